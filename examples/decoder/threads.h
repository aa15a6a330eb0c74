// Threads that the kernels and our own layers share: the kernels are given it as their
// parallel_for.
#ifndef MHA_EXAMPLES_DECODER_THREADS_H_
#define MHA_EXAMPLES_DECODER_THREADS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace mha::decoder {

class Threads {
 public:
  // `count` counts the caller.
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return static_cast<int>(workers_.size()) + 1; }
  // body(0) ... body(count - 1), at the same time where there are threads; returns when all are
  // done. One caller at a time.
  void run(int32_t count, const std::function<void(int32_t)>& body);

 private:
  void work();
  void take(uint32_t round);

  std::vector<std::thread> workers_;
  const std::function<void(int32_t)>* body_ = nullptr;
  // The round in the upper half and the next index in the lower one, so that a thread that wakes
  // late takes nothing of a round that is not its own.
  std::atomic<uint64_t> next_{0};
  std::atomic<int32_t> left_{0};
  std::atomic<uint32_t> round_{0};
  std::atomic<int32_t> count_{0};
  std::atomic<bool> over_{false};
};

}  // namespace mha::decoder

#endif  // MHA_EXAMPLES_DECODER_THREADS_H_
