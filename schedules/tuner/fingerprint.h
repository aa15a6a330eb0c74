// Which machine a measurement was made on.
#ifndef MHA_SCHEDULES_TUNER_FINGERPRINT_H_
#define MHA_SCHEDULES_TUNER_FINGERPRINT_H_

#include <cstdint>
#include <string>

namespace mha {

// What decides how fast a schedule is, and nothing that differs between two machines of a kind (no
// serial number, host name or frequency of the moment).
struct Fingerprint {
  std::string cpu;            // "AuthenticAMD 25/17/1": vendor, family/model/stepping
  uint64_t cpu_features = 0;  // MHA_CPU_*
  int64_t l1d_bytes = 0, l2_bytes = 0, l3_bytes = 0;
  int threads = 0;  // hardware threads that are online, whichever of them this process may use
  // One line of printable ASCII, the identity of the machine in databases and records:
  // "AuthenticAMD 25/17/1 features=0xf l1d=32768 l2=1048576 l3=33554432 threads=2".
  std::string text() const;
  bool operator==(const Fingerprint&) const = default;
};

// Of this machine. Needs nothing but libc and the runtime's mha_cpu_features(), so that the
// measuring program can report it from elsewhere.
Fingerprint fingerprint();
// Reads text() back. Throws std::invalid_argument.
Fingerprint parse_fingerprint(const std::string& text);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_FINGERPRINT_H_
