// Generated kernels as shared objects, kept between runs: $XDG_CACHE_HOME/mha, else ~/.cache/mha.
#ifndef MHA_TOOLS_MHA_RUN_CACHE_H_
#define MHA_TOOLS_MHA_RUN_CACHE_H_

#include <functional>
#include <string>
#include <string_view>

#include "generator/emit/generate.h"
#include "generator/spec/spec.h"

namespace mha {

struct KernelRequest {
  std::string config_text;    // the bytes of the config
  std::string target;         // "" : the spec's
  int threads = 1;            // that the schedule is for
  std::string schedules_dir;  // of records; "" : see record_directories()
  std::string autoscheduler;  // one of Halide's for the stage attention, or ""
  std::string sanitizer;      // "", "address" or "thread"
};

// The path of a shared object that holds the kernel and the runtime, made now unless the cache has
// it. Many processes may ask for the same kernel at once. `announce` is called before anything is
// generated.
std::string cached_kernel(const Spec& spec, const KernelRequest& request,
                          const std::function<void()>& announce);

// Generates into `folder` and links folder/libNAME.so, whose path it returns.
std::string build_kernel(const Spec& spec, const KernelRequest& request, const std::string& folder);

// The second half of it: writes what was generated into `folder`, and links.
std::string link_kernel(const Generated& generated, const std::string& folder);

// The cache's folder, which need not exist yet. Throws UserError where there is neither
// XDG_CACHE_HOME nor a home.
std::string cache_directory();

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_CACHE_H_
