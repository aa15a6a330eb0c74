// A small pool for one kind of work: a loop whose iterations are handed out one at a time.
//
// The caller opens a job, workers join it, each takes iterations until none is left, and the caller
// closes the job and waits for those that joined. A worker that the system has put aside never
// joins, so nobody waits for it. A second caller that finds the pool busy does its loop by itself:
// it neither waits nor can deadlock, and with several callers every core has work anyway.
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/src/internal.h"

namespace {

// How long an idle worker, and a caller waiting for the last worker, watch memory before they
// sleep: the stages of a call follow each other within a few microseconds, and waking a sleeper
// costs about as much.
constexpr int64_t kSpinNanoseconds = 50'000;
// Stages keep tiles of at most some 16 KiB each on the stack.
constexpr size_t kStackBytes = size_t{4} << 20;

// Bumped in every child of fork(): threads of a pool made before do not exist there.
uint32_t fork_epoch;
pthread_once_t fork_once = PTHREAD_ONCE_INIT;
int fork_error;

void after_fork_in_child() { __atomic_fetch_add(&fork_epoch, 1, __ATOMIC_RELAXED); }
void watch_forks() { fork_error = pthread_atfork(nullptr, nullptr, after_fork_in_child); }

void futex_wait(uint32_t* word, uint32_t expected) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake(uint32_t* word, int32_t count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// The gate is one word, so that joining and closing cannot miss each other:
// [63:32] number of the job, [31] open, [30:0] workers that joined.
constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kJoined = kOpen - 1;
uint32_t job_of(uint64_t gate) { return static_cast<uint32_t>(gate >> 32); }

}  // namespace

namespace mha {

// Words that different threads write stand on cache lines of their own.
struct Pool {
  // The job; written while the gate is closed.
  alignas(64) void (*body)(void*, int32_t);
  void* body_context;
  uint32_t limit;  // workers that may join
  alignas(64) uint64_t gate;
  alignas(64) uint32_t finished;  // of the workers that joined; the caller sleeps on it
  uint32_t caller_sleeps;
  alignas(64) uint32_t wake;  // changes with every job; idle workers sleep on it
  uint32_t sleepers;
  uint32_t stop;
  alignas(64) uint32_t busy;
  alignas(64) int64_t spin_nanoseconds;
  uint32_t epoch;
  int32_t workers;
  pthread_t* threads;
};

}  // namespace mha

namespace {

using mha::Pool;

// Joins the job behind `gate` if it is open and wants more workers; says which one this worker is,
// or 0.
int32_t try_join(Pool* pool, uint64_t gate) {
  while (gate & kOpen) {
    const uint64_t joined = gate & kJoined;
    // A stale limit does no harm: the exchange fails when the gate has moved on since it was read.
    if (joined >= __atomic_load_n(&pool->limit, __ATOMIC_RELAXED)) return 0;
    if (__atomic_compare_exchange_n(&pool->gate, &gate, gate + 1, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
      return static_cast<int32_t>(joined) + 1;
    }
  }
  return 0;
}

// Returns once there may be a job other than `seen`, or the pool stops.
void wait_for_job(Pool* pool, uint32_t seen) {
  const auto arrived = [&] {
    const uint64_t gate = __atomic_load_n(&pool->gate, __ATOMIC_SEQ_CST);
    return ((gate & kOpen) && job_of(gate) != seen) ||
           __atomic_load_n(&pool->stop, __ATOMIC_RELAXED);
  };
  if (pool->spin_nanoseconds > 0) {
    const int64_t end = now() + pool->spin_nanoseconds;
    do {
      for (int i = 0; i < 64; ++i) {
        if (arrived()) return;
        relax();
      }
    } while (now() < end);
  }
  // The order matters against open_job(): a job opened after `word` was read changes the word, and
  // the wait returns at once; a job opened before is seen by arrived().
  const uint32_t word = __atomic_load_n(&pool->wake, __ATOMIC_SEQ_CST);
  __atomic_fetch_add(&pool->sleepers, 1, __ATOMIC_SEQ_CST);
  if (!arrived()) futex_wait(&pool->wake, word);
  __atomic_fetch_sub(&pool->sleepers, 1, __ATOMIC_SEQ_CST);
}

void* worker(void* argument) {
  Pool* pool = static_cast<Pool*>(argument);
  uint32_t seen = 0;
  while (!__atomic_load_n(&pool->stop, __ATOMIC_ACQUIRE)) {
    const uint64_t gate = __atomic_load_n(&pool->gate, __ATOMIC_ACQUIRE);
    if ((gate & kOpen) && job_of(gate) != seen) {
      seen = job_of(gate);
      const int32_t index = try_join(pool, gate);
      if (index > 0) {
        pool->body(pool->body_context, index);
        __atomic_fetch_add(&pool->finished, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&pool->caller_sleeps, __ATOMIC_SEQ_CST)) futex_wake(&pool->finished, 1);
      }
      continue;
    }
    wait_for_job(pool, seen);
  }
  return nullptr;
}

void wait_for_workers(Pool* pool, uint32_t joined) {
  const auto done = [&] { return __atomic_load_n(&pool->finished, __ATOMIC_SEQ_CST) == joined; };
  if (done()) return;
  if (pool->spin_nanoseconds > 0) {
    const int64_t end = now() + pool->spin_nanoseconds;
    do {
      for (int i = 0; i < 64; ++i) {
        if (done()) return;
        relax();
      }
    } while (now() < end);
  }
  __atomic_store_n(&pool->caller_sleeps, 1, __ATOMIC_SEQ_CST);
  for (;;) {
    const uint32_t finished = __atomic_load_n(&pool->finished, __ATOMIC_SEQ_CST);
    if (finished == joined) break;
    futex_wait(&pool->finished, finished);
  }
  __atomic_store_n(&pool->caller_sleeps, 0, __ATOMIC_SEQ_CST);
}

}  // namespace

extern "C" {

mha_status mha_internal_pool_create(int32_t threads, Pool** result) {
  pthread_once(&fork_once, watch_forks);
  if (fork_error != 0) {
    return mha_internal_fail(MHA_OUT_OF_MEMORY, "pthread_atfork: %s", strerror(fork_error));
  }
  const int32_t workers = threads - 1;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignof(Pool), sizeof(Pool)) != 0) {
    return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a pool of %d threads", threads);
  }
  memset(memory, 0, sizeof(Pool));
  Pool* pool = static_cast<Pool*>(memory);
  pool->threads = static_cast<pthread_t*>(malloc(static_cast<size_t>(workers) * sizeof(pthread_t)));
  if (pool->threads == nullptr) {
    free(pool);
    return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a pool of %d threads", threads);
  }
  pool->epoch = __atomic_load_n(&fork_epoch, __ATOMIC_RELAXED);
  // With more threads than CPUs whoever spins keeps another thread from its work.
  cpu_set_t cpus;
  const bool fits = sched_getaffinity(0, sizeof cpus, &cpus) != 0 || CPU_COUNT(&cpus) >= threads;
  pool->spin_nanoseconds = fits ? kSpinNanoseconds : 0;

  pthread_attr_t attributes;
  int error = pthread_attr_init(&attributes);
  if (error == 0) {
    pthread_attr_setstacksize(&attributes, kStackBytes);
    // The program's signal handlers are to run on its own threads; what a crash or a profiler
    // raises belongs to the thread that runs.
    sigset_t all, before;
    sigfillset(&all);
    constexpr int kOwn[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF};
    for (const int own : kOwn) {
      sigdelset(&all, own);
    }
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (error == 0 && pool->workers < workers) {
      error = pthread_create(&pool->threads[pool->workers], &attributes, worker, pool);
      if (error != 0) break;
      pthread_setname_np(pool->threads[pool->workers], "mha-worker");
      ++pool->workers;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
  }
  if (error != 0) {
    const int32_t made = pool->workers;
    mha_internal_pool_destroy(pool);
    return mha_internal_fail(MHA_OUT_OF_MEMORY, "the system gave %d of %d worker threads: %s", made,
                             workers, strerror(error));
  }
  *result = pool;
  return MHA_OK;
}

void mha_internal_pool_destroy(Pool* pool) {
  if (pool == nullptr) return;
  if (pool->epoch == __atomic_load_n(&fork_epoch, __ATOMIC_RELAXED)) {
    __atomic_store_n(&pool->stop, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&pool->wake, 1, __ATOMIC_SEQ_CST);
    futex_wake(&pool->wake, pool->workers);
    for (int32_t i = 0; i < pool->workers; ++i) pthread_join(pool->threads[i], nullptr);
  }
  free(pool->threads);
  free(pool);
}

void mha_internal_pool_run(Pool* pool, int32_t count, void (*body)(void*, int32_t),
                           void* body_context) {
  const int32_t wanted = count - 1 < pool->workers ? count - 1 : pool->workers;
  if (wanted < 1 || __atomic_exchange_n(&pool->busy, 1, __ATOMIC_ACQUIRE) != 0) {
    body(body_context, 0);
    return;
  }
  pool->body = body;
  pool->body_context = body_context;
  __atomic_store_n(&pool->limit, static_cast<uint32_t>(wanted), __ATOMIC_RELAXED);
  __atomic_store_n(&pool->finished, 0, __ATOMIC_RELAXED);
  const uint64_t closed = __atomic_load_n(&pool->gate, __ATOMIC_RELAXED);
  const uint64_t job = static_cast<uint64_t>(job_of(closed) + 1u) << 32;
  __atomic_store_n(&pool->gate, job | kOpen, __ATOMIC_SEQ_CST);
  __atomic_fetch_add(&pool->wake, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&pool->sleepers, __ATOMIC_SEQ_CST) > 0) futex_wake(&pool->wake, wanted);

  body(body_context, 0);

  const uint64_t at_close = __atomic_fetch_and(&pool->gate, ~kOpen, __ATOMIC_SEQ_CST);
  wait_for_workers(pool, static_cast<uint32_t>(at_close & kJoined));
  __atomic_store_n(&pool->busy, 0, __ATOMIC_RELEASE);
}

}  // extern "C"
