// What a kernel wrote, beside the float64 reference.
#ifndef MHA_TOOLS_MHA_RUN_VERIFY_H_
#define MHA_TOOLS_MHA_RUN_VERIFY_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/common/console.h"
#include "tools/mha-run/host_tensor.h"
#include "tools/reference/reference.h"

namespace mha {

// printf of one number.
std::string number(const char* format, double value);

// A line for each output, and what --json says: {passed, outputs}.
nlohmann::ordered_json verify_outputs(const std::vector<HostTensor>& outputs, const Reference& want,
                                      Console& console);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_VERIFY_H_
