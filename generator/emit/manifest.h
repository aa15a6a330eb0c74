// What is known of a library before it runs, as JSON for tools and as text for people.
#ifndef MHA_GENERATOR_EMIT_MANIFEST_H_
#define MHA_GENERATOR_EMIT_MANIFEST_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "generator/emit/variant.h"
#include "generator/ir/plan.h"
#include "generator/spec/spec.h"
#include "schedules/machine.h"

namespace mha {

// How many (query block, key block) tiles of one head the masks hide, cut through, and leave whole.
// The end of the keys masks too, where a block of keys reaches beyond it.
struct BlockCount {
  int64_t query_block = 0, key_block = 0;
  int64_t hidden = 0, partial = 0, full = 0;
};

struct ManifestInput {
  const Spec& spec;
  const Plan& plan;
  const Machine& machine;
  const std::vector<Variant>& variants;
  int threads = 1;
  // The one that the largest call gets.
  const Variant& largest() const { return variants.back(); }
};

// Bytes of a workspace for the largest call, as the runtime's mha_workspace_size() counts them.
int64_t workspace_bytes(const ManifestInput& input, int threads);

// Of the largest call, with all keys there.
BlockCount count_blocks(const Plan& plan, int64_t query_block, int64_t key_block, int64_t key_tile);

// Of one target; footprint.archive_bytes is left to join_manifests().
nlohmann::ordered_json make_manifest(const ManifestInput& input);
std::string explain(const ManifestInput& input);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_MANIFEST_H_
