// What schedules need to know of a machine: its vector unit and its caches.
#ifndef MHA_SCHEDULES_MACHINE_H_
#define MHA_SCHEDULES_MACHINE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mha {

struct Machine {
  std::string target;     // "zen5": one of the named targets of the spec
  int vector_floats = 4;  // f32 lanes of a vector register
  int vector_registers = 16;
  int fma_ports = 2;
  bool fma = false;
  int64_t l1d_bytes = 32 << 10, l2_bytes = 256 << 10,
          l3_bytes = 8 << 20;  // of one core; l3 as shared
  uint64_t cpu_features = 0;   // MHA_CPU_* bits of the runtime's ABI
};

// Whether it multiplies pairs of bf16.
bool has_bf16_dot(const Machine& machine);

// The named targets that code can be generated for, in the order of the spec's table; caches are
// those of a typical part.
std::vector<std::string> named_targets();
std::optional<Machine> named_machine(const std::string& target);

// The machines in the order in which a library tries them: none before one that is better where
// both run. Of two with the same target the first one given stays.
std::vector<Machine> best_first(std::vector<Machine> machines);

// The best named target that this process can run, with this machine's caches.
Machine host_machine();

}  // namespace mha

#endif  // MHA_SCHEDULES_MACHINE_H_
