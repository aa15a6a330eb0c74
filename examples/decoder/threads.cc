#include "examples/decoder/threads.h"

namespace mha::decoder {
namespace {

// Looks before a thread goes to sleep: a token has some hundred short rounds, close together.
constexpr int kLooks = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Until it is no longer `value`.
template <typename T>
void wait_while(const std::atomic<T>& place, T value) {
  for (int i = 0; i < kLooks; ++i) {
    if (place.load(std::memory_order_acquire) != value) return;
    pause();
  }
  place.wait(value, std::memory_order_acquire);
}

}  // namespace

Threads::Threads(int count) {
  for (int i = 1; i < count; ++i) workers_.emplace_back([this] { work(); });
}

Threads::~Threads() {
  over_ = true;
  ++round_;
  round_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Threads::run(int32_t count, const std::function<void(int32_t)>& body) {
  if (workers_.empty() || count <= 1) {
    for (int32_t i = 0; i < count; ++i) body(i);
    return;
  }
  const uint32_t round = round_.load() + 1;
  body_ = &body;
  count_ = count;
  left_ = count;
  untaken_.store(uint64_t{round} << 32 | static_cast<uint32_t>(count), std::memory_order_release);
  round_.store(round, std::memory_order_release);
  round_.notify_all();
  take(round);
  for (int32_t left; (left = left_.load(std::memory_order_acquire)) > 0;) wait_while(left_, left);
}

void Threads::work() {
  for (uint32_t seen = 0;;) {
    wait_while(round_, seen);
    if (over_) return;
    seen = round_.load(std::memory_order_acquire);
    take(seen);
  }
}

void Threads::take(uint32_t round) {
  for (;;) {
    uint64_t untaken = untaken_.load(std::memory_order_acquire);
    const auto indices = static_cast<int32_t>(untaken & 0xffffffff);
    if (untaken >> 32 != round || indices == 0) return;
    if (!untaken_.compare_exchange_weak(untaken, untaken - 1)) continue;
    // The round lasts until this index is done: only now may its body and count be read.
    (*body_)(count_ - indices);
    if (left_.fetch_sub(1) == 1) left_.notify_all();
  }
}

}  // namespace mha::decoder
