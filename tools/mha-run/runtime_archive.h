// libmha.a, carried inside the program: what a kernel needs to become a shared object, wherever the
// program lies.
#ifndef MHA_TOOLS_MHA_RUN_RUNTIME_ARCHIVE_H_
#define MHA_TOOLS_MHA_RUN_RUNTIME_ARCHIVE_H_

#include <string_view>

namespace mha {

std::string_view runtime_archive();

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_RUNTIME_ARCHIVE_H_
