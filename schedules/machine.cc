#include "schedules/machine.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include "mha/kernel.h"

namespace mha {
namespace {

constexpr uint64_t kV2 = MHA_CPU_SSE42;
constexpr uint64_t kV3 = kV2 | MHA_CPU_AVX2;
constexpr uint64_t kV4 = kV3 | MHA_CPU_AVX512;
constexpr uint64_t kZen4 = kV4 | MHA_CPU_AVX512_BF16;

struct Row {
  const char* target;
  int vector_floats, vector_registers, fma_ports;
  bool fma;
  int64_t l1d_kib, l2_kib, l3_kib;
  uint64_t cpu_features;
};

// Caches are those of a typical server part: Nehalem, Haswell, Skylake-SP, and the named cores
// themselves. fma_ports counts full-width instructions a cycle: Zen 4 runs a 512-bit one as two
// halves. f32 code needs none of the tile registers, so that a Sapphire Rapids whose system
// withholds AMX still qualifies.
constexpr std::array<Row, 6> kRows = {{
    {"x86-64-v2", 4, 16, 1, false, 32, 256, 8 << 10, kV2},
    {"x86-64-v3", 8, 16, 2, true, 32, 256, 16 << 10, kV3},
    {"x86-64-v4", 16, 32, 2, true, 32, 1 << 10, 24 << 10, kV4},
    {"zen4", 16, 32, 1, true, 32, 1 << 10, 32 << 10, kZen4},
    {"zen5", 16, 32, 2, true, 48, 1 << 10, 32 << 10, kZen4 | MHA_CPU_AVX512_VP2},
    {"sapphirerapids", 16, 32, 2, true, 48, 2 << 10, 60 << 10, kZen4 | MHA_CPU_AVX512_FP16},
}};

// Where a machine fits several rows, the last of these that it fits is the best.
constexpr std::array<const char*, 6> kBestLast = {"x86-64-v2", "x86-64-v3",      "x86-64-v4",
                                                  "zen4",      "sapphirerapids", "zen5"};

Machine machine_of(const Row& row) {
  Machine machine;
  machine.target = row.target;
  machine.vector_floats = row.vector_floats;
  machine.vector_registers = row.vector_registers;
  machine.fma_ports = row.fma_ports;
  machine.fma = row.fma;
  machine.l1d_bytes = row.l1d_kib << 10;
  machine.l2_bytes = row.l2_kib << 10;
  machine.l3_bytes = row.l3_kib << 10;
  machine.cpu_features = row.cpu_features;
  return machine;
}

// The MHA_CPU_* bits of this processor, as the runtime's mha_cpu_features() defines them. GCC's
// built-in looks at what the system saves on a context switch too.
uint64_t host_features() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  uint64_t features = 0;
  if (__builtin_cpu_supports("x86-64-v2")) features |= MHA_CPU_SSE42;
  if (__builtin_cpu_supports("x86-64-v3")) features |= MHA_CPU_AVX2;
  if (__builtin_cpu_supports("x86-64-v4")) features |= MHA_CPU_AVX512;
  if (!(features & MHA_CPU_AVX512)) return features;
  if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") &&
      __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("avx512vbmi") &&
      __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bitalg") &&
      __builtin_cpu_supports("avx512vpopcntdq")) {
    features |= MHA_CPU_AVX512_BF16;
  }
  if (__builtin_cpu_supports("avxvnni") && __builtin_cpu_supports("avx512vp2intersect")) {
    features |= MHA_CPU_AVX512_VP2;
  }
  if (__builtin_cpu_supports("avx512fp16")) features |= MHA_CPU_AVX512_FP16;
  return features;
#else
  return 0;
#endif
}

// The first word of a file of the kernel's; empty when it cannot be read.
std::string read_word(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

// This machine's caches, where the system says something sensible. Linux' own account comes first:
// sysconf(3) multiplies the last level of some AMD parts by the cores that do not share it.
void read_caches(Machine* machine) {
  const std::array<std::pair<int, int64_t*>, 3> levels = {
      {{_SC_LEVEL1_DCACHE_SIZE, &machine->l1d_bytes},
       {_SC_LEVEL2_CACHE_SIZE, &machine->l2_bytes},
       {_SC_LEVEL3_CACHE_SIZE, &machine->l3_bytes}}};
  bool listed = false;
  for (int index = 0; index < 16; ++index) {
    const std::string folder =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const int level = std::atoi(read_word(folder + "level").c_str());
    const std::string size = read_word(folder + "size");  // "48K"
    if (level < 1 || level > 3 || read_word(folder + "type") == "Instruction") continue;
    const int64_t kib = std::atoll(size.c_str());
    if (kib <= 0 || size.back() != 'K') continue;
    *levels[level - 1].second = kib << 10;
    listed = true;
  }
  if (listed) return;
  for (const auto& [name, bytes] : levels) {
    const long value = sysconf(name);
    if (value > 0) *bytes = value;
  }
}

}  // namespace

bool has_bf16_dot(const Machine& machine) {
  return (machine.cpu_features & MHA_CPU_AVX512_BF16) != 0;
}

std::vector<std::string> named_targets() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.push_back(row.target);
  return names;
}

std::optional<Machine> named_machine(const std::string& target) {
  const auto row =
      std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return target == r.target; });
  if (row == kRows.end()) return std::nullopt;
  return machine_of(*row);
}

std::vector<Machine> best_first(std::vector<Machine> machines) {
  const auto rank = [](const Machine& machine) {
    return std::find(kBestLast.begin(), kBestLast.end(), machine.target) - kBestLast.begin();
  };
  std::stable_sort(machines.begin(), machines.end(),
                   [&](const Machine& a, const Machine& b) { return rank(a) > rank(b); });
  machines.erase(
      std::unique(machines.begin(), machines.end(),
                  [](const Machine& a, const Machine& b) { return a.target == b.target; }),
      machines.end());
  return machines;
}

Machine host_machine() {
  const uint64_t features = host_features();
  Machine machine = machine_of(kRows[0]);
  for (const char* target : kBestLast) {
    const Machine candidate = *named_machine(target);
    if ((candidate.cpu_features & ~features) == 0) machine = candidate;
  }
  read_caches(&machine);
  return machine;
}

}  // namespace mha
