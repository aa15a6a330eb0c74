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
  // The round in the upper half and how many of its indices nobody has taken in the lower one: all
  // that a thread which wakes late needs to see that nothing is left for it. The rest of a round
  // may be the next one's already.
  std::atomic<uint64_t> untaken_{0};
  const std::function<void(int32_t)>* body_ = nullptr;
  int32_t count_ = 0;
  std::atomic<int32_t> left_{0};
  std::atomic<uint32_t> round_{0};
  std::atomic<bool> over_{false};
};

}  // namespace mha::decoder

#endif  // MHA_EXAMPLES_DECODER_THREADS_H_
