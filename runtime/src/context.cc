// Contexts: how many threads a call may use, and whose they are.
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/src/internal.h"

namespace {

// The CPUs that this process may use.
int32_t usable_cpus() {
  // The kernel refuses a set smaller than its own, and does not say how large that is.
  for (int bits = 1024; bits <= (1 << 20); bits *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(bits));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(bits));
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count < mha::kMaxThreads ? count : static_cast<int32_t>(mha::kMaxThreads);
  }
  return 1;
}

}  // namespace

extern "C" {

mha_status mha_context_create(const mha_context_options* options, mha_context** context) {
  if (context == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "context is NULL");
  *context = nullptr;
  mha_context_options defaults = {};
  defaults.size = sizeof defaults;
  if (options == nullptr) options = &defaults;
  if (options->size != sizeof defaults) {
    return mha_internal_fail(
        MHA_INVALID_ARGUMENT,
        "options->size is %zu: set it to sizeof(mha_context_options), which is %zu", options->size,
        sizeof defaults);
  }
  if (options->threads < 0 || options->threads > mha::kMaxThreads) {
    return mha_internal_fail(MHA_OUT_OF_RANGE,
                             "options->threads is %d; it may be 0 (all CPUs) to %d",
                             options->threads, static_cast<int>(mha::kMaxThreads));
  }
  mha_context* made = static_cast<mha_context*>(calloc(1, sizeof(mha_context)));
  if (made == nullptr) return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a context");
  made->threads = options->threads > 0 ? options->threads : usable_cpus();
  made->parallel_for = options->parallel_for;
  made->parallel_for_user = options->parallel_for_user;
  made->log = options->log;
  made->log_user = options->log_user;
  if (made->threads > 1 && made->parallel_for == nullptr) {
    const mha_status status = mha_internal_pool_create(made->threads, &made->pool);
    if (status != MHA_OK) {
      free(made);
      return status;
    }
  }
  if (made->log != nullptr) {
    char text[96];
    snprintf(text, sizeof text, "context: %d thread%s, %s", made->threads,
             made->threads == 1 ? "" : "s",
             made->parallel_for != nullptr ? "the application's parallel_for"
             : made->pool != nullptr       ? "own pool"
                                           : "the caller alone");
    mha_internal_log(made, text);
  }
  *context = made;
  return MHA_OK;
}

void mha_context_destroy(mha_context* context) {
  if (context == nullptr) return;
  mha_internal_pool_destroy(context->pool);
  free(context);
}

int32_t mha_context_threads(const mha_context* context) {
  return context == nullptr ? 0 : context->threads;
}

void mha_internal_log(const mha_context* context, const char* message) {
  if (context->log != nullptr) context->log(context->log_user, message);
}

}  // extern "C"
