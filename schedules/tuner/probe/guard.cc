#include "schedules/tuner/probe/guard.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <new>

namespace mha::probe {
namespace {

// A row of a matrix past the end is caught too.
constexpr size_t kGuardBytes = size_t{64} << 10;
// Less room than this is none.
constexpr size_t kLastRoom = size_t{64} << 20;

GuardedBlock* all_blocks = nullptr;
int report_fd = -1;

size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

unsigned char pattern(const unsigned char* at) {
  return static_cast<unsigned char>(0xA5 ^ (reinterpret_cast<uintptr_t>(at) * 37));
}

void end_with(const char* line, size_t length) {
  // Other threads may fail at the same time: the first one reports.
  static int reported = 0;
  if (__atomic_exchange_n(&reported, 1, __ATOMIC_SEQ_CST) == 0) {
    while (length > 0) {
      const ssize_t n = write(report_fd, line, length);
      if (n <= 0) break;
      line += n;
      length -= static_cast<size_t>(n);
    }
    _exit(1);
  }
  for (;;) pause();
}

}  // namespace

void on_fault(int signal, void* information, void* context) {
  const auto* info = static_cast<const siginfo_t*>(information);
  char line[512];
  int length = 0;
  if (signal == SIGALRM) {
    length = snprintf(line, sizeof line, "failed hang it reached its own time limit\n");
    end_with(line, static_cast<size_t>(length));
  }
  const auto* at = static_cast<const unsigned char*>(info->si_addr);
  const char* what = "touches";
#if defined(__x86_64__)
  const auto* machine = static_cast<const ucontext_t*>(context);
  what = (machine->uc_mcontext.gregs[REG_ERR] & 2) != 0 ? "writes" : "reads";
#else
  (void)context;
#endif
  const bool fault = (signal == SIGSEGV || signal == SIGBUS) && info->si_code > 0;
  for (const GuardedBlock* block = fault ? all_blocks : nullptr; block != nullptr;
       block = block->next_) {
    const unsigned char* end = block->pages_ + block->pages_bytes_;
    if (at < block->pages_ - kGuardBytes || at >= end + kGuardBytes) continue;
    if (at >= end) {
      length = snprintf(line, sizeof line, "failed out_of_bounds %s %td bytes past the end of %s\n",
                        what, at - (block->data_ + block->bytes_), block->name_.c_str());
    } else if (at < block->pages_) {
      length =
          snprintf(line, sizeof line, "failed out_of_bounds %s %td bytes before the start of %s\n",
                   what, block->data_ - at, block->name_.c_str());
    } else {
      length = snprintf(line, sizeof line, "failed out_of_bounds %s %s, which it may only read\n",
                        what, block->name_.c_str());
    }
    end_with(line, static_cast<size_t>(length));
  }
  if (memory_used_up()) {
    length = snprintf(line, sizeof line, "failed memory it asked for more than its limit\n");
  } else {
    length = snprintf(line, sizeof line, "failed crash ended by signal %d (SIG%s)\n", signal,
                      sigabbrev_np(signal));
  }
  end_with(line, static_cast<size_t>(length));
}

GuardedBlock::GuardedBlock(const std::string& name, size_t bytes, size_t alignment, Flush flush)
    : name_(name), bytes_(bytes), next_(all_blocks) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  pages_bytes_ = round_up(bytes == 0 ? 1 : bytes, page);
  void* mapping = mmap(nullptr, pages_bytes_ + 2 * kGuardBytes, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<unsigned char*>(mapping);
  pages_ = mapping_ + kGuardBytes;
  if (mprotect(pages_, pages_bytes_, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping_, pages_bytes_ + 2 * kGuardBytes);
    throw std::bad_alloc();
  }
  data_ = pages_;
  if (flush == Flush::kEnd) data_ += (pages_bytes_ - bytes) / alignment * alignment;
  for (unsigned char* p = pages_; p < data_; ++p) *p = pattern(p);
  for (unsigned char* p = data_ + bytes_; p < pages_ + pages_bytes_; ++p) *p = pattern(p);
  all_blocks = this;
}

GuardedBlock::~GuardedBlock() {
  for (GuardedBlock** link = &all_blocks; *link != nullptr; link = &(*link)->next_) {
    if (*link != this) continue;
    *link = next_;
    break;
  }
  munmap(mapping_, pages_bytes_ + 2 * kGuardBytes);
}

void GuardedBlock::make_read_only() { mprotect(pages_, pages_bytes_, PROT_READ); }

std::string GuardedBlock::damage() const {
  for (const unsigned char* p = data_; p-- > pages_;) {
    if (*p == pattern(p)) continue;
    return "wrote " + std::to_string(data_ - p) + " bytes before the start of " + name_;
  }
  for (const unsigned char* p = data_ + bytes_; p < pages_ + pages_bytes_; ++p) {
    if (*p == pattern(p)) continue;
    return "wrote " + std::to_string(p - data_ - static_cast<ptrdiff_t>(bytes_)) +
           " bytes past the end of " + name_;
  }
  return "";
}

void catch_signals(int fd) {
  report_fd = fd;
  // A stack that has overflowed cannot hold the handler's frame.
  static unsigned char stack[64 << 10];
  stack_t other = {};
  other.ss_sp = stack;
  other.ss_size = sizeof stack;
  sigaltstack(&other, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = [](int signal, siginfo_t* info, void* context) {
    on_fault(signal, info, context);
  };
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGALRM, SIGXCPU}) {
    sigaction(signal, &action, nullptr);
  }
}

void limit_memory(uint64_t bytes) {
  rlimit limit = {bytes, bytes};
  setrlimit(RLIMIT_AS, &limit);
  limit = {0, 0};
  setrlimit(RLIMIT_CORE, &limit);
}

bool memory_used_up() {
  void* room =
      mmap(nullptr, kLastRoom, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return true;
  munmap(room, kLastRoom);
  return false;
}

void limit_seconds(double seconds) {
  itimerval timer = {};
  timer.it_value.tv_sec = static_cast<time_t>(seconds);
  timer.it_value.tv_usec = static_cast<suseconds_t>((seconds - std::floor(seconds)) * 1e6);
  setitimer(ITIMER_REAL, &timer, nullptr);
}

}  // namespace mha::probe
