// Contexts: pools, hooks, many callers, fork.
#include <HalideRuntime.h>
#include <gtest/gtest.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "tests/runtime/toy_kernel.h"

namespace mha {
namespace {

TEST(Context, Options) {
  mha_context* context = nullptr;
  EXPECT_EQ(mha_context_create(nullptr, nullptr), MHA_INVALID_ARGUMENT);
  mha_context_options options = {};
  EXPECT_EQ(mha_context_create(&options, &context), MHA_INVALID_ARGUMENT) << "size 0";
  EXPECT_EQ(context, nullptr);
  options.size = sizeof options;
  for (const int32_t threads : {-1, 1025}) {
    options.threads = threads;
    EXPECT_EQ(mha_context_create(&options, &context), MHA_OUT_OF_RANGE);
    EXPECT_NE(strstr(mha_last_message(), std::to_string(threads).c_str()), nullptr);
  }
  mha_context_destroy(nullptr);
  EXPECT_EQ(mha_context_threads(nullptr), 0);
}

TEST(Context, DefaultIsTheCpusOfTheProcess) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  mha_context* context = nullptr;
  ASSERT_EQ(mha_context_create(nullptr, &context), MHA_OK);
  EXPECT_EQ(mha_context_threads(context), CPU_COUNT(&before));
  mha_context_destroy(context);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    CPU_SET(cpu, &one);
    break;
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  ASSERT_EQ(mha_context_create(nullptr, &context), MHA_OK);
  EXPECT_EQ(mha_context_threads(context), 1);
  mha_context_destroy(context);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(Context, LogHookHearsOfItsBeginning) {
  std::string heard;
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = 2;
  options.log_user = &heard;
  options.log = [](void* user, const char* message) {
    *static_cast<std::string*>(user) += message;
  };
  mha_context* context = nullptr;
  ASSERT_EQ(mha_context_create(&options, &context), MHA_OK);
  EXPECT_NE(heard.find("2 threads"), std::string::npos) << heard;
  mha_context_destroy(context);
}

TEST(Message, BelongsToItsThread) {
  mha_context* context;
  mha_context_options options = {};
  ASSERT_EQ(mha_context_create(&options, &context), MHA_INVALID_ARGUMENT);
  const std::string here = mha_last_message();
  EXPECT_NE(here, "");
  std::thread([] {
    EXPECT_STREQ(mha_last_message(), "");
    EXPECT_EQ(mha_context_create(nullptr, nullptr), MHA_INVALID_ARGUMENT);
    EXPECT_STREQ(mha_last_message(), "context is NULL");
  }).join();
  EXPECT_EQ(mha_last_message(), here);
}

TEST(Pool, SameBitsForAnyNumberOfThreads) {
  ToyKernel toy;
  for (const int32_t threads : {1, 2, 3, 8}) {
    TestContext context(threads);
    EXPECT_EQ(mha_context_threads(context), threads);
    for (int repeat = 0; repeat < 50; ++repeat) {
      ToyCall call(toy, 1 + repeat % 3, 1 + repeat, 40, threads);
      ASSERT_EQ(call.run(context), MHA_OK) << mha_last_message();
      ASSERT_EQ(call.y, call.expected()) << threads << " threads, repeat " << repeat;
    }
  }
}

TEST(Pool, AllThreadsWork) {
  ToyKernel toy;
  std::mutex mutex;
  std::set<std::thread::id> seen;
  // Every task waits until four threads have begun one, so that the caller alone could not get
  // through.
  std::atomic<int> waiting{0};
  ToyKernel::on_task = [&](void**) {
    {
      std::lock_guard lock(mutex);
      if (!seen.insert(std::this_thread::get_id()).second) return 0;
    }
    ++waiting;
    for (int i = 0; i < 10'000 && waiting < 4; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return 0;
  };
  TestContext context(4);
  ToyCall call(toy, 1, 64, 40, 4);
  ASSERT_EQ(call.run(context), MHA_OK) << mha_last_message();
  EXPECT_EQ(call.y, call.expected());
  EXPECT_EQ(seen.size(), 4u);
}

// Whoever waits here does so for at most ten seconds.
template <typename Condition>
void wait_until(Condition condition) {
  for (int i = 0; i < 10'000 && !condition(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST(Pool, CallWaitsForItsWorkers) {
  ToyKernel toy;
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> begun{0}, ended{0};
  ToyKernel::on_task = [&](void**) {
    if (std::this_thread::get_id() == caller) {
      wait_until([&] { return begun > 0; });
      return 0;
    }
    ++begun;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ++ended;
    return 0;
  };
  TestContext context(2);
  ToyCall call(toy, 1, 4, 40, 2);
  ASSERT_EQ(call.run(context), MHA_OK) << mha_last_message();
  EXPECT_GT(ended, 0);
  EXPECT_EQ(ended, begun);
}

TEST(Pool, EachThreadHasItsOwnScratch) {
  ToyKernel toy;
  std::atomic<int> inside{0}, wrong{0};
  ToyKernel::on_task = [&](void** argv) {
    void* context = *static_cast<void**>(argv[0]);
    int* own = static_cast<int*>(mha_halide_malloc(context, sizeof(int)));
    if (own == nullptr) return -11;
    const int number = ++inside;
    *own = number;
    wait_until([&] { return inside >= 3; });
    if (*own != number) ++wrong;
    mha_halide_free(context, own);
    return 0;
  };
  TestContext context(3);
  ToyCall call(toy, 1, 6, 40, 3);  // three tasks, each of which waits for the other two
  ASSERT_EQ(call.run(context), MHA_OK) << mha_last_message();
  EXPECT_EQ(inside, 3);
  EXPECT_EQ(wrong, 0);
}

TEST(Pool, BusyPoolLeavesTheSecondCallerToItself) {
  ToyKernel toy;
  TestContext context(2);
  std::atomic<bool> first_inside{false}, second_done{false};
  std::atomic<int> elsewhere{0};
  std::thread::id second;
  std::mutex mutex;
  ToyKernel::on_task = [&](void** argv) {
    // The second call has two sequences, the first one.
    if (static_cast<halide_buffer_t*>(argv[1])->dim[2].extent == 1) {
      first_inside = true;
      wait_until([&] { return second_done.load(); });
      return 0;
    }
    std::lock_guard lock(mutex);
    if (std::this_thread::get_id() != second) ++elsewhere;
    return 0;
  };
  ToyCall first(toy, 1, 64, 40, 2);
  mha_status first_status = MHA_INTERNAL;
  std::thread first_caller([&] { first_status = first.run(context); });
  wait_until([&] { return first_inside.load(); });
  second = std::this_thread::get_id();
  ToyCall call(toy, 2, 64, 40, 2);
  EXPECT_EQ(call.run(context), MHA_OK) << mha_last_message();
  EXPECT_EQ(call.y, call.expected());
  second_done = true;
  first_caller.join();
  EXPECT_EQ(first_status, MHA_OK);
  EXPECT_EQ(first.y, first.expected());
  EXPECT_EQ(elsewhere, 0);
}

TEST(Pool, TaskOrderIsReversedWhenAsked) {
  ToyKernel toy;
  std::vector<int32_t> order;
  ToyKernel::on_task = [&](void** argv) {
    order.push_back(*static_cast<int32_t*>(argv[2]));
    return 0;
  };
  TestContext context(1);
  ToyCall call(toy, 1, 7, 40, 1);
  ASSERT_EQ(call.run(context), MHA_OK);
  EXPECT_EQ(order, (std::vector<int32_t>{3, 2, 1, 0}));
  order.clear();
  toy.stages[ToyKernel::kAdd].reverse = 0;
  ASSERT_EQ(call.run(context), MHA_OK);
  EXPECT_EQ(order, (std::vector<int32_t>{0, 1, 2, 3}));
}

TEST(Pool, WorksAfterItsThreadsSlept) {
  ToyKernel toy;
  TestContext context(2);
  for (int repeat = 0; repeat < 5; ++repeat) {
    ToyCall call(toy, 3, 64, 40, 2);
    ASSERT_EQ(call.run(context), MHA_OK);
    EXPECT_EQ(call.y, call.expected());
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
}

TEST(Pool, ManyCallersShareAContext) {
  ToyKernel toy;
  TestContext context(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&, t] {
      for (int repeat = 0; repeat < 100; ++repeat) {
        ToyCall call(toy, 1 + t % 3, 1 + repeat % 64, 40, 3);
        if (call.run(context) != MHA_OK || call.y != call.expected()) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Pool, ContextsComeAndGo) {
  ToyKernel toy;
  for (int i = 0; i < 50; ++i) {
    TestContext context(1 + i % 5);
    if (i % 3 == 0) continue;
    ToyCall call(toy, 2, 10, 40, 1 + i % 5);
    ASSERT_EQ(call.run(context), MHA_OK);
    ASSERT_EQ(call.y, call.expected());
  }
}

TEST(Pool, OneFailingTaskFailsTheCall) {
  ToyKernel toy;
  std::atomic<int> ran{0};
  ToyKernel::on_task = [&](void**) { return ++ran == 5 ? -22 : 0; };
  TestContext context(3);
  ToyCall call(toy, 3, 64, 40, 3);
  EXPECT_EQ(call.run(context), MHA_INTERNAL);
  EXPECT_NE(strstr(mha_last_message(), "-22"), nullptr) << mha_last_message();
  ToyKernel::on_task = nullptr;
  EXPECT_EQ(call.run(context), MHA_OK);
  EXPECT_EQ(call.y, call.expected());
}

TEST(Pool, WorkersTakeNoSignals) {
  ToyKernel toy;
  std::atomic<int> blocked{0}, workers{0};
  const std::thread::id caller = std::this_thread::get_id();
  ToyKernel::on_task = [&](void**) {
    if (std::this_thread::get_id() == caller) {
      for (int i = 0; i < 1000 && workers == 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return 0;
    }
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    ++workers;
    if (sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGSEGV) == 0) ++blocked;
    return 0;
  };
  TestContext context(2);
  ToyCall call(toy, 1, 64, 40, 2);
  ASSERT_EQ(call.run(context), MHA_OK);
  EXPECT_GT(workers, 0);
  EXPECT_EQ(blocked, workers);
}

// --- hooks ---
struct Hook {
  enum Kind {
    kForward,
    kBackward,
    kThreads,
    kFirstOnly,
    kFromOne,
    kAllTheSame,
    kNothing
  } kind = kForward;
  std::atomic<int> calls{0};
  std::atomic<int> most{0};
};

void hook(void* user, int32_t count, void (*body)(void*, int32_t), void* context) {
  Hook* self = static_cast<Hook*>(user);
  ++self->calls;
  if (count > self->most) self->most = count;
  switch (self->kind) {
    case Hook::kForward:
      for (int32_t i = 0; i < count; ++i) body(context, i);
      break;
    case Hook::kBackward:
      for (int32_t i = count; i-- > 0;) body(context, i);
      break;
    case Hook::kThreads: {
      std::vector<std::thread> threads;
      for (int32_t i = 0; i < count; ++i) threads.emplace_back([=] { body(context, i); });
      for (std::thread& thread : threads) thread.join();
      break;
    }
    case Hook::kFromOne:
      for (int32_t i = 1; i <= count + 1; ++i) body(context, i);
      break;
    case Hook::kAllTheSame: {
      std::vector<std::thread> threads;
      for (int32_t i = 0; i < count; ++i) threads.emplace_back([=] { body(context, 7); });
      for (std::thread& thread : threads) thread.join();
      break;
    }
    case Hook::kFirstOnly:
      body(context, 0);
      break;
    case Hook::kNothing:
      break;
  }
}

TEST(Hook, RunsTheLoops) {
  ToyKernel toy;
  for (const Hook::Kind kind : {Hook::kForward, Hook::kBackward, Hook::kThreads, Hook::kFirstOnly,
                                Hook::kFromOne, Hook::kAllTheSame}) {
    for (const int32_t threads : {2, 5}) {
      Hook state;
      state.kind = kind;
      TestContext context(threads, hook, &state);
      EXPECT_EQ(mha_context_threads(context), threads);
      for (int repeat = 0; repeat < 10; ++repeat) {
        ToyCall call(toy, 3, 40 + repeat, 40, threads);
        ASSERT_EQ(call.run(context), MHA_OK) << mha_last_message();
        ASSERT_EQ(call.y, call.expected()) << "kind " << kind;
      }
      EXPECT_EQ(state.calls, 20);
      EXPECT_LE(state.most, threads);
    }
  }
}

#if defined(__x86_64__)
// The caller's own rounding and its subnormals reach no task, and are his again afterwards.
TEST(Context, TasksHaveAFloatingPointStateOfTheirOwn) {
  ToyKernel toy;
  const unsigned own = _mm_getcsr();
  const unsigned odd = own | _MM_ROUND_UP | _MM_FLUSH_ZERO_ON;
  for (const int32_t threads : {1, 3}) {
    TestContext context(threads);
    ToyCall call(toy, 3, 40, 40, threads);
    std::atomic<int> others{0};
    ToyKernel::on_task = [&](void**) {
      if ((_mm_getcsr() & (_MM_ROUND_MASK | _MM_FLUSH_ZERO_MASK)) != 0) ++others;
      return 0;
    };
    _mm_setcsr(odd);
    const mha_status status = call.run(context);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(own);
    EXPECT_EQ(status, MHA_OK);
    EXPECT_EQ(others, 0);
    EXPECT_EQ(after, odd);
  }
}
#endif

TEST(Hook, ThatDoesNothingIsFound) {
  ToyKernel toy;
  Hook state;
  state.kind = Hook::kNothing;
  TestContext context(2, hook, &state);
  ToyCall call(toy, 3, 40, 40, 2);
  EXPECT_EQ(call.run(context), MHA_INVALID_ARGUMENT);
  EXPECT_NE(strstr(mha_last_message(), "hook"), nullptr) << mha_last_message();
}

// --- fork ---
// Runs `body` in a child and says whether it returned true, within a minute.
template <typename Body>
bool in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body() ? 0 : 1);
  }
  int status = -1;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Fork, ChildMakesItsOwnContextAndDestroysTheInherited) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer ends a forked child that starts threads";
#endif
  ToyKernel toy;
  mha_context* inherited = nullptr;
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = 3;
  ASSERT_EQ(mha_context_create(&options, &inherited), MHA_OK);
  ToyCall before(toy, 3, 64, 40, 3);
  ASSERT_EQ(before.run(inherited), MHA_OK);
  EXPECT_TRUE(in_child([&] {
    mha_context_destroy(inherited);
    mha_context* own = nullptr;
    if (mha_context_create(&options, &own) != MHA_OK) return false;
    ToyCall call(toy, 3, 64, 40, 3);
    const bool right = call.run(own) == MHA_OK && call.y == call.expected();
    mha_context_destroy(own);
    return right;
  }));
  // The parent's threads are unharmed.
  ToyCall after(toy, 3, 64, 40, 3);
  EXPECT_EQ(after.run(inherited), MHA_OK);
  EXPECT_EQ(after.y, after.expected());
  mha_context_destroy(inherited);
}

TEST(Fork, InheritedContextRunsOnTheCallerAlone) {
  ToyKernel toy;
  TestContext inherited(3);
  ToyCall call(toy, 3, 64, 40, 3);
  ASSERT_EQ(call.run(inherited), MHA_OK);
  EXPECT_TRUE(in_child([&] {
    ToyCall child(toy, 3, 64, 40, 3);
    return child.run(inherited) == MHA_OK && child.y == child.expected();
  }));
}

TEST(Fork, InTheMiddleOfACall) {
  ToyKernel toy;
  TestContext inherited(2);
  bool child_was_right = false;
  std::atomic<bool> forked{false};
  ToyKernel::on_task = [&](void**) {
    if (forked.exchange(true)) return 0;
    child_was_right = in_child([&] {
      ToyKernel::on_task = nullptr;
      ToyCall call(toy, 3, 64, 40, 2);
      return call.run(inherited) == MHA_OK && call.y == call.expected();
    });
    return 0;
  };
  ToyCall call(toy, 3, 64, 40, 2);
  ASSERT_EQ(call.run(inherited), MHA_OK);
  EXPECT_TRUE(child_was_right);
  EXPECT_EQ(call.y, call.expected());
}

// A sanitizer maps more address space than such a limit leaves.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Context, ThreadsThatTheSystemDoesNotGiveAreAStatus) {
  EXPECT_TRUE(in_child([] {
    const rlimit limit = {rlim_t{1} << 30, rlim_t{1} << 30};
    setrlimit(RLIMIT_AS, &limit);  // room for fewer than 1024 stacks
    mha_context_options options = {};
    options.size = sizeof options;
    options.threads = 1024;
    mha_context* context = nullptr;
    if (mha_context_create(&options, &context) != MHA_OUT_OF_MEMORY || context != nullptr)
      return false;
    if (strstr(mha_last_message(), "of 1023 worker threads") == nullptr) return false;
    // Those that it gave have ended, and their memory is there again.
    options.threads = 8;
    if (mha_context_create(&options, &context) != MHA_OK) return false;
    mha_context_destroy(context);
    return true;
  }));
}
#endif

}  // namespace
}  // namespace mha
