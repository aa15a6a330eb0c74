// Which instruction sets this process may use: what the processor has and the system saves on a
// switch.
#include <stdio.h>

#include "runtime/src/internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
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

// Linux hands out the tile registers to processes that asked for them: XCR0 alone says that it
// could. A process that has not asked is not made to: no kernel needs them yet.
bool may_use_tiles() {
  constexpr long kGetPermitted = 0x1022;  // ARCH_GET_XCOMP_PERM
  uint64_t permitted = 0;
  return syscall(SYS_arch_prctl, kGetPermitted, &permitted) == 0 &&
         (permitted & (uint64_t{1} << 18)) != 0;  // XTILEDATA
}

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
  if (saves_amx && has_all(d7, bit(22) | bit(24) | bit(25)) && may_use_tiles())
    features |= MHA_CPU_AMX;
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

void mha_internal_feature_names(uint64_t features, char* text, size_t size) {
  size_t length = 0;
  text[0] = '\0';
  for (const FeatureName& feature : kFeatureNames) {
    if ((features & feature.bit) == 0 || length >= size) continue;
    features &= ~feature.bit;
    length += static_cast<size_t>(
        snprintf(text + length, size - length, "%s%s", length ? ", " : "", feature.name));
  }
  if (features != 0 && length < size) {
    snprintf(text + length, size - length, "%sfeatures 0x%llx unknown to this runtime",
             length ? ", " : "", static_cast<unsigned long long>(features));
  }
}

}  // extern "C"
