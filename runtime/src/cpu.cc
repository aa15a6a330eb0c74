// Which instruction sets this process may use: what the processor has and the system saves on a
// switch.
#include <stdio.h>
#include <string.h>

#include "runtime/src/internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

struct FeatureName {
  uint64_t bit;
  const char* name;
};
constexpr FeatureName kFeatureNames[] = {
    {MHA_CPU_SSE42, "SSE4.2 (x86-64-v2)"},
    {MHA_CPU_AVX2, "AVX2 with FMA (x86-64-v3)"},
    {MHA_CPU_AVX512, "AVX-512 F/BW/CD/DQ/VL (x86-64-v4)"},
    {MHA_CPU_AVX512_BF16, "AVX-512 BF16 and VNNI (zen4)"},
    {MHA_CPU_AVX512_VP2, "AVX-512 VP2INTERSECT and AVX-VNNI (zen5)"},
    {MHA_CPU_AVX512_FP16, "AVX-512 FP16"},
    {MHA_CPU_AMX, "AMX"},
};

#if defined(__x86_64__)

constexpr bool has_all(uint32_t value, uint32_t bits) { return (value & bits) == bits; }
constexpr uint32_t bit(int n) { return 1u << n; }

uint64_t detect() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const uint32_t basic_c = c;
  uint32_t extended_c = 0;
  if (__get_cpuid(0x80000001u, &a, &b, &c, &d)) extended_c = c;
  uint32_t b7 = 0, c7 = 0, d7 = 0, a71 = 0;
  if (__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) && a >= 1) {
    __get_cpuid_count(7, 1, &a71, &b, &c, &d);
  }
  uint64_t saved = 0;  // XCR0: the registers that the system saves
  if (has_all(basic_c, bit(27))) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    saved = (static_cast<uint64_t>(high) << 32) | low;
  }
  const bool saves_avx = (saved & 0x6) == 0x6;
  const bool saves_avx512 = (saved & 0xE6) == 0xE6;
  const bool saves_amx = (saved & 0x60000) == 0x60000;

  uint64_t features = 0;
  // sse3, ssse3, cx16, sse4.1, sse4.2, popcnt; lahf
  if (!has_all(basic_c, bit(0) | bit(9) | bit(13) | bit(19) | bit(20) | bit(23)) ||
      !has_all(extended_c, bit(0))) {
    return features;
  }
  features |= MHA_CPU_SSE42;
  // fma, movbe, avx, f16c; lzcnt; bmi1, avx2, bmi2
  if (!saves_avx || !has_all(basic_c, bit(12) | bit(22) | bit(28) | bit(29)) ||
      !has_all(extended_c, bit(5)) || !has_all(b7, bit(3) | bit(5) | bit(8))) {
    return features;
  }
  features |= MHA_CPU_AVX2;
  // f, dq, cd, bw, vl
  if (!saves_avx512 || !has_all(b7, bit(16) | bit(17) | bit(28) | bit(30) | bit(31)))
    return features;
  features |= MHA_CPU_AVX512;
  // bf16; ifma; vbmi, vbmi2, vnni, bitalg, vpopcntdq
  const bool bf16 = has_all(a71, bit(5)) && has_all(b7, bit(21)) &&
                    has_all(c7, bit(1) | bit(6) | bit(11) | bit(12) | bit(14));
  if (bf16) features |= MHA_CPU_AVX512_BF16;
  if (has_all(a71, bit(4)) && has_all(d7, bit(8))) features |= MHA_CPU_AVX512_VP2;
  if (has_all(d7, bit(23))) features |= MHA_CPU_AVX512_FP16;
  if (saves_amx && has_all(d7, bit(22) | bit(24) | bit(25))) features |= MHA_CPU_AMX;
  return features;
}

#else

uint64_t detect() { return 0; }

#endif

// The detected bits with kKnown set; 0 while nobody has asked. Threads that race store the same
// value.
constexpr uint64_t kKnown = uint64_t{1} << 63;
uint64_t cached_features;

}  // namespace

extern "C" {

uint64_t mha_cpu_features(void) {
  uint64_t features = __atomic_load_n(&cached_features, __ATOMIC_RELAXED);
  if (features == 0) {
    features = detect() | kKnown;
    __atomic_store_n(&cached_features, features, __ATOMIC_RELAXED);
  }
  return features & ~kKnown;
}

mha_status mha_kernel_check(const mha_kernel* kernel) {
  if (kernel == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "kernel is NULL");
  if (kernel->abi != MHA_KERNEL_ABI || kernel->struct_size != sizeof(mha_kernel)) {
    return mha_internal_fail(
        MHA_ABI_MISMATCH,
        "the kernel was generated for ABI %u (%u bytes), this runtime (%s) has ABI %u "
        "(%zu bytes): generate it again with the mha-gen of this runtime",
        kernel->abi, kernel->struct_size, mha_version(), MHA_KERNEL_ABI, sizeof(mha_kernel));
  }
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
  const uint64_t missing = kernel->cpu_features & ~mha_cpu_features();
  if (missing == 0) return MHA_OK;
  char names[256] = "";
  uint64_t unnamed = missing;
  size_t length = 0;
  for (const FeatureName& feature : kFeatureNames) {
    if ((missing & feature.bit) == 0) continue;
    unnamed &= ~feature.bit;
    length += static_cast<size_t>(
        snprintf(names + length, sizeof names - length, "%s%s", length ? ", " : "", feature.name));
    if (length >= sizeof names) break;
  }
  if (unnamed != 0 && length < sizeof names) {
    snprintf(names + length, sizeof names - length, "%sfeatures 0x%llx unknown to this runtime",
             length ? ", " : "", static_cast<unsigned long long>(unnamed));
  }
  return mha_internal_fail(MHA_UNSUPPORTED_CPU,
                           "kernel '%s' was generated for target %s; this machine lacks %s",
                           kernel->info.name, kernel->info.target, names);
}

mha_status mha_kernel_get_info(const mha_kernel* kernel, mha_kernel_info* info) {
  if (kernel == nullptr || info == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "%s is NULL",
                             kernel == nullptr ? "kernel" : "info");
  }
  // The information of a kernel for another machine is of interest too.
  if (kernel->abi != MHA_KERNEL_ABI || kernel->struct_size != sizeof(mha_kernel)) {
    return mha_kernel_check(kernel);
  }
  *info = kernel->info;
  return MHA_OK;
}

}  // extern "C"
