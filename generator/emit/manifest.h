// What is known of a library before it runs, as JSON for tools and as text for people.
#ifndef MHA_GENERATOR_EMIT_MANIFEST_H_
#define MHA_GENERATOR_EMIT_MANIFEST_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"
#include "generator/spec/spec.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"

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
  const Program& program;
  const Machine& machine;
  const Schedule& schedule;
  int threads = 1;
  std::vector<int64_t> scratch_bytes;  // one a stage
  std::vector<int64_t> object_bytes;   // likewise; empty when nothing was compiled
  int64_t archive_bytes = 0;
};

// Bytes of a workspace for the largest call, as the runtime's mha_workspace_size() counts them.
int64_t workspace_bytes(const ManifestInput& input, int threads);

// Of the largest call, with all keys there.
BlockCount count_blocks(const Plan& plan, int64_t query_block, int64_t key_block, int64_t key_tile);

nlohmann::ordered_json make_manifest(const ManifestInput& input);
std::string explain(const ManifestInput& input);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_MANIFEST_H_
