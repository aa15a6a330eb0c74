// Random numbers that are the same everywhere: what the standard's distributions make of a
// generator is up to the library.
#ifndef MHA_SCHEDULES_TUNER_RANDOM_H_
#define MHA_SCHEDULES_TUNER_RANDOM_H_

#include <cstdint>
#include <random>

namespace mha {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // 0 to count - 1; count is small beside 2^64, so that the bias of a remainder is nothing.
  int below(int64_t count) {
    return static_cast<int>(engine_() % static_cast<uint64_t>(count < 1 ? 1 : count));
  }
  // [0, 1)
  double unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_RANDOM_H_
