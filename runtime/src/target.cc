// Which of a library's targets runs here: decided when the kernel is first used, for packing and
// running alike.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/src/internal.h"

namespace {

// What the user asks for; NULL: nothing.
const char* forced_target() {
  const char* name = getenv("MHA_TARGET");
  return name == nullptr || name[0] == '\0' ? nullptr : name;
}

mha_status check_abi(const mha_kernel* kernel) {
  if (kernel == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "kernel is NULL");
  if (kernel->abi == MHA_KERNEL_ABI && kernel->struct_size == sizeof(mha_kernel)) return MHA_OK;
  return mha_internal_fail(
      MHA_ABI_MISMATCH,
      "the kernel was generated for ABI %u (%u bytes), this runtime (%s) has ABI %u "
      "(%zu bytes): generate it again with the mha-gen of this runtime",
      kernel->abi, kernel->struct_size, mha_version(), MHA_KERNEL_ABI, sizeof(mha_kernel));
}

// The limits within which a call needs no allocation.
mha_status check_tables(const mha_kernel* kernel) {
  if (kernel->variant_count < 1 || kernel->variant_count > MHA_MAX_VARIANTS) {
    return mha_internal_fail(
        MHA_INTERNAL,
        "kernel '%s' has %llu variants; the runtime takes 1 to %d: please report this",
        kernel->info.name, static_cast<unsigned long long>(kernel->variant_count),
        MHA_MAX_VARIANTS);
  }
  for (uint64_t v = 0; v < kernel->variant_count; ++v) {
    const uint64_t buffers = kernel->variants[v].buffer_count;
    if (kernel->tensor_count <= MHA_MAX_TENSORS && buffers <= MHA_MAX_BUFFERS) continue;
    return mha_internal_fail(
        MHA_INTERNAL,
        "kernel '%s' has %llu tensors and %llu buffers; the runtime takes %d and %d: "
        "please report this",
        kernel->info.name, static_cast<unsigned long long>(kernel->tensor_count),
        static_cast<unsigned long long>(buffers), MHA_MAX_TENSORS, MHA_MAX_BUFFERS);
  }
  return MHA_OK;
}

uint64_t missing_features(const mha_kernel* kernel) {
  return kernel->cpu_features & ~mha_cpu_features();
}

// Whether the kernel of one target can run.
mha_status check_one(const mha_kernel* kernel) {
  mha_status status = check_abi(kernel);
  if (status == MHA_OK) status = check_tables(kernel);
  if (status != MHA_OK) return status;
  const uint64_t missing = missing_features(kernel);
  if (missing == 0) return MHA_OK;
  char names[256];
  mha_internal_feature_names(missing, names, sizeof names);
  return mha_internal_fail(MHA_UNSUPPORTED_CPU,
                           "kernel '%s' was generated for target %s; this machine lacks %s",
                           kernel->info.name, kernel->info.target, names);
}

mha_status not_held(const mha_kernel* kernel, const char* forced) {
  return mha_internal_fail(MHA_INVALID_ARGUMENT,
                           "MHA_TARGET is '%.40s'; kernel '%s' was generated for %s", forced,
                           kernel->info.name, kernel->info.target);
}

// Sets *found to what kernel->choice becomes.
mha_status find_target(const mha_kernel* kernel, uint32_t* found) {
  const char* forced = forced_target();
  if (kernel->targets == nullptr) {
    if (forced != nullptr && strcmp(forced, kernel->info.target) != 0) {
      return not_held(kernel, forced);
    }
    *found = 1;
    return check_one(kernel);
  }
  for (uint64_t i = 0; i < kernel->target_count; ++i) {
    const mha_kernel* one = kernel->targets[i];
    if (forced == nullptr ? missing_features(one) != 0 : strcmp(forced, one->info.target) != 0) {
      continue;
    }
    *found = static_cast<uint32_t>(i + 1);
    const mha_status status = check_one(one);
    if (status != MHA_OK && forced != nullptr) {
      char prefix[64];
      snprintf(prefix, sizeof prefix, "MHA_TARGET is '%.40s': ", forced);
      mha_internal_prefix_message(prefix);
    }
    return status;
  }
  if (forced != nullptr) return not_held(kernel, forced);
  char names[256] = "";
  if (kernel->target_count > 0) {
    mha_internal_feature_names(missing_features(kernel->targets[kernel->target_count - 1]), names,
                               sizeof names);
  }
  return mha_internal_fail(MHA_UNSUPPORTED_CPU,
                           "kernel '%s' was generated for %s; this machine can run none of them: "
                           "for the last it lacks %s",
                           kernel->info.name, kernel->info.target, names);
}

// Of threads that race the first one decides.
mha_status choose_now(const mha_kernel* kernel, uint32_t* choice) {
  uint32_t found = 0;
  const mha_status status = find_target(kernel, &found);
  if (status != MHA_OK) return status;
  *choice = 0;
  if (__atomic_compare_exchange_n(kernel->choice, choice, found, false, __ATOMIC_RELAXED,
                                  __ATOMIC_RELAXED)) {
    *choice = found;
  }
  return MHA_OK;
}

}  // namespace

extern "C" {

mha_status mha_internal_choose(const mha_kernel* kernel, const mha_kernel** chosen) {
  *chosen = kernel;
  mha_status status = check_abi(kernel);
  if (status != MHA_OK) return status;
  if (kernel->choice == nullptr) return check_one(kernel);
  uint32_t choice = __atomic_load_n(kernel->choice, __ATOMIC_RELAXED);
  if (choice == 0) {
    status = choose_now(kernel, &choice);
    if (status != MHA_OK) return status;
  }
  if (kernel->targets != nullptr) *chosen = kernel->targets[choice - 1];
  return MHA_OK;
}

mha_status mha_internal_choose_any(const mha_kernel* kernel, const mha_kernel** chosen) {
  const mha_status status = mha_internal_choose(kernel, chosen);
  return status == MHA_UNSUPPORTED_CPU && kernel->targets == nullptr ? MHA_OK : status;
}

mha_status mha_kernel_check(const mha_kernel* kernel) {
  const mha_kernel* chosen;
  return mha_internal_choose(kernel, &chosen);
}

mha_status mha_kernel_get_info(const mha_kernel* kernel, mha_kernel_info* info) {
  if (kernel == nullptr || info == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "%s is NULL",
                             kernel == nullptr ? "kernel" : "info");
  }
  const mha_kernel* chosen;
  const mha_status status = mha_internal_choose(kernel, &chosen);
  // The information of a kernel for another machine is of interest too.
  if (status != MHA_OK && status != MHA_UNSUPPORTED_CPU) return status;
  *info = chosen->info;
  return MHA_OK;
}

mha_status mha_kernel_target(const mha_kernel* kernel, uint32_t index, mha_target_info* info) {
  if (info == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "info is NULL");
  *info = {};
  const mha_status status = check_abi(kernel);
  if (status != MHA_OK) return status;
  info->count = kernel->targets == nullptr ? 1 : static_cast<uint32_t>(kernel->target_count);
  if (index >= info->count) {
    return mha_internal_fail(MHA_OUT_OF_RANGE, "target %u of kernel '%s', which has %u", index,
                             kernel->info.name, info->count);
  }
  const mha_kernel* one = kernel->targets == nullptr ? kernel : kernel->targets[index];
  info->index = index;
  info->runs_here = missing_features(one) == 0;
  info->name = one->info.target;
  info->kernel = one;
  return MHA_OK;
}

}  // extern "C"
