// What the cache of a kernel takes, for the manifest, --explain and the header.
#ifndef MHA_GENERATOR_EMIT_CACHE_TEXT_H_
#define MHA_GENERATOR_EMIT_CACHE_TEXT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "generator/pipeline/program.h"

namespace mha {

// Of K and V of one key, all heads, in one layer.
int64_t cache_key_bytes(const CacheInfo& cache);
// Of a sequence that fills its capacity, in whole pages.
int64_t cache_sequence_bytes(const CacheInfo& cache);

nlohmann::ordered_json cache_json(const CacheInfo& cache);
std::string explain_cache(const CacheInfo& cache);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_CACHE_TEXT_H_
