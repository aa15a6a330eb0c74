// Ranges of lengths: a kernel may hold several variants of its stages, each with a schedule of its
// own for a range of query lengths (of a packed batch: rows of the longest sequence). Calls are
// dispatched by that length alone, at run time.
#ifndef MHA_SCHEDULES_LENGTHS_H_
#define MHA_SCHEDULES_LENGTHS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "generator/ir/plan.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"

namespace mha {

// Serves calls of up to so many queries that no variant before it serves.
struct LengthVariant {
  int64_t max_query_length = 0;
  Schedule schedule;
};

// Each variant is code to be generated and kept: this many do.
inline constexpr size_t kMaxVariants = 6;
// What tuning writes where nothing else is asked for.
inline constexpr size_t kTunedVariants = 4;

// The plan for calls of these query lengths alone. Where Lk is Lq, that is narrowed too.
Plan narrowed(const Plan& plan, const Range& query_length);

// Those of variant `index`.
Range served(const std::vector<LengthVariant>& variants, size_t index, const Plan& plan);

// The analytic defaults: several where a short call deserves another schedule than a long one.
std::vector<LengthVariant> default_variants(const Plan& plan, const Machine& machine, int threads);

// A schedule that was found for the longest calls, and for shorter ones the attention (or decode)
// of the default beside its projections, so that it does not cost them what the default gives them.
std::vector<LengthVariant> for_longest(const Schedule& schedule, const Plan& plan,
                                       const Machine& machine, int threads);

// The same schedules, each legal for its own lengths where it was for longer calls: a parameter
// that arranges what shorter calls have only one of (softmax_level and split_keys of a single block
// of keys) is 0.
void settle_variants(std::vector<LengthVariant>& variants, const Plan& plan,
                     const Machine& machine);

// Every rule that they break, as "variant to N: text" or, of one variant for all lengths, as
// check_schedule() says it: lengths ascend to the largest of the plan, there are at most
// kMaxVariants, every schedule is legal for its lengths, and all want weights packed alike.
std::vector<std::string> check_variants(const std::vector<LengthVariant>& variants,
                                        const Plan& plan, const Machine& machine);

// The parameters that decide how weights are packed, which all variants share, and in which
// `schedule` is not like `first`: "stage.param = value: rule".
std::vector<std::string> packed_differences(const Schedule& first, const Schedule& schedule);

// Like find_record(), with all variants of a record.
std::optional<std::vector<LengthVariant>> find_variants(const std::string& directory,
                                                        const Plan& plan, const Machine& machine,
                                                        int threads);

}  // namespace mha

#endif  // MHA_SCHEDULES_LENGTHS_H_
