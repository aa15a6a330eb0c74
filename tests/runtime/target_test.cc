// A library for several targets: which of them is chosen, on machines that are better or lesser
// than this one. The linker puts __wrap_mha_cpu_features() in the place of mha_cpu_features().
#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/runtime/toy_kernel.h"

namespace {
uint64_t machine_features = 0;
}
extern "C" uint64_t __wrap_mha_cpu_features(void) { return machine_features; }

namespace mha {
namespace {

constexpr uint64_t kLeast = MHA_CPU_SSE42;
constexpr uint64_t kMiddle = kLeast | MHA_CPU_AVX2;
constexpr uint64_t kBest = kMiddle | MHA_CPU_AVX512;

std::array<std::atomic<int>, 3> calls;
mha_stage_function plain_add;

template <int kTarget>
int counted_add(void** argv) {
  ++calls[kTarget];
  return plain_add(argv);
}

// Three targets, the best first, and the kernel that stands for them, as a library holds it.
class Library {
 public:
  Library() {
    const std::array<mha_stage_function, 3> adds = {counted_add<0>, counted_add<1>, counted_add<2>};
    const std::array<uint64_t, 3> features = {kBest, kMiddle, kLeast};
    for (size_t i = 0; i < 3; ++i) {
      ToyKernel& toy = toys_[i];
      plain_add = toy.stages[ToyKernel::kAdd].run;
      toy.stages[ToyKernel::kAdd].run = adds[i];
      // So that workspaces tell the targets apart.
      toy.stages[ToyKernel::kAdd].scratch_bytes += (3 - i) * 4096;
      toy.kernel.info.target = kNames[i];
      toy.kernel.cpu_features = features[i];
      list_[i] = &toy.kernel;
    }
    front.kernel.targets = list_.data();
    front.kernel.target_count = 3;
    front.kernel.choice = &choice;
    front.kernel.info.target = "best, middle, least";
    front.kernel.variants = nullptr;
    front.kernel.variant_count = 0;
    calls[0] = calls[1] = calls[2] = 0;
  }
  const mha_kernel* target(size_t i) const { return list_[i]; }
  // Like a new process, to which nothing is known.
  void forget() { choice = 0; }
  std::string chosen() {
    mha_kernel_info info = {};
    return mha_kernel_get_info(&front.kernel, &info) == MHA_OK ? info.target : mha_last_message();
  }

  static constexpr std::array<const char*, 3> kNames = {"best", "middle", "least"};
  ToyKernel front;
  uint32_t choice = 0;

 private:
  std::array<ToyKernel, 3> toys_;
  std::array<const mha_kernel*, 3> list_;
};

class TargetChoice : public testing::Test {
 protected:
  void SetUp() override {
    unsetenv("MHA_TARGET");
    machine_features = kBest;
  }
  void TearDown() override { unsetenv("MHA_TARGET"); }
  // Which stage ran in a call that gives the right result.
  int ran() {
    calls[0] = calls[1] = calls[2] = 0;
    ToyCall call(library.front, 2, 20, 20, 1);
    EXPECT_EQ(call.run(one), MHA_OK) << mha_last_message();
    EXPECT_EQ(call.y, call.expected());
    int found = -1;
    for (int i = 0; i < 3; ++i) {
      if (calls[static_cast<size_t>(i)] == 0) continue;
      EXPECT_EQ(found, -1) << "two targets in one call";
      found = i;
    }
    return found;
  }
  Library library;
  TestContext one{1};
};

TEST_F(TargetChoice, TheBestThatTheMachineRuns) {
  const std::array<uint64_t, 3> machines = {kBest | MHA_CPU_AMX, kMiddle | MHA_CPU_AVX512_BF16,
                                            kLeast};
  for (int i = 0; i < 3; ++i) {
    library.forget();
    machine_features = machines[static_cast<size_t>(i)];
    EXPECT_EQ(ran(), i);
    EXPECT_EQ(library.chosen(), Library::kNames[static_cast<size_t>(i)]);
  }
}

TEST_F(TargetChoice, NoneThatTheMachineRuns) {
  machine_features = 0;
  EXPECT_EQ(mha_kernel_check(&library.front.kernel), MHA_UNSUPPORTED_CPU);
  const std::string message = mha_last_message();
  EXPECT_NE(message.find("best, middle, least"), std::string::npos) << message;
  EXPECT_NE(message.find("lacks SSE4.2"), std::string::npos) << message;
  ToyArgs args = {};
  args.call.size = sizeof args;
  size_t bytes = 1;
  EXPECT_EQ(mha_workspace_size(&library.front.kernel, &args, 1, &bytes), MHA_UNSUPPORTED_CPU);
  mha_variant_info variant;
  EXPECT_EQ(mha_kernel_variant(&library.front.kernel, 0, &variant), MHA_UNSUPPORTED_CPU);
  EXPECT_EQ(mha_run(&library.front.kernel, one, &args), MHA_UNSUPPORTED_CPU);
  // What it is can be asked all the same, and a later try is a new one.
  EXPECT_EQ(library.chosen(), "best, middle, least");
  machine_features = kLeast;
  EXPECT_EQ(ran(), 2);
}

TEST_F(TargetChoice, StaysChosen) {
  machine_features = kMiddle;
  EXPECT_EQ(ran(), 1);
  machine_features = kBest;
  setenv("MHA_TARGET", "least", 1);
  EXPECT_EQ(ran(), 1);
}

TEST_F(TargetChoice, EachIsForcedInTurn) {
  for (int i = 0; i < 3; ++i) {
    library.forget();
    setenv("MHA_TARGET", Library::kNames[static_cast<size_t>(i)], 1);
    EXPECT_EQ(ran(), i);
  }
  library.forget();
  setenv("MHA_TARGET", "", 1);  // as if it were not set
  EXPECT_EQ(ran(), 0);
}

TEST_F(TargetChoice, OneThatTheLibraryLacks) {
  for (const char* name : {"Best", "middle ", "host", "zen4"}) {
    setenv("MHA_TARGET", name, 1);
    EXPECT_EQ(mha_kernel_check(&library.front.kernel), MHA_INVALID_ARGUMENT);
    const std::string message = mha_last_message();
    EXPECT_NE(message.find("MHA_TARGET is '" + std::string(name) + "'"), std::string::npos);
    EXPECT_NE(message.find("best, middle, least"), std::string::npos) << message;
  }
  EXPECT_EQ(library.choice, 0u);
  unsetenv("MHA_TARGET");
  EXPECT_EQ(ran(), 0);
}

TEST_F(TargetChoice, OneThatTheMachineLacks) {
  machine_features = kMiddle;
  setenv("MHA_TARGET", "best", 1);
  ToyCall call(library.front, 2, 20, 20, 1);
  EXPECT_EQ(call.run(one), MHA_UNSUPPORTED_CPU);
  const std::string message = mha_last_message();
  EXPECT_NE(message.find("MHA_TARGET is 'best'"), std::string::npos) << message;
  EXPECT_NE(message.find("AVX-512"), std::string::npos) << message;
  EXPECT_EQ(library.choice, 0u);
  EXPECT_EQ(calls[0] + calls[1] + calls[2], 0);
}

TEST_F(TargetChoice, ALibraryForOneTargetIsForcedToo) {
  ToyKernel single;
  uint32_t choice = 0;
  single.kernel.info.target = "least";
  single.kernel.cpu_features = kLeast;
  single.kernel.choice = &choice;
  setenv("MHA_TARGET", "best", 1);
  EXPECT_EQ(mha_kernel_check(&single.kernel), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(choice, 0u);
  setenv("MHA_TARGET", "least", 1);
  EXPECT_EQ(mha_kernel_check(&single.kernel), MHA_OK);
  EXPECT_EQ(choice, 1u);
  machine_features = 0;
  choice = 0;
  EXPECT_EQ(mha_kernel_check(&single.kernel), MHA_UNSUPPORTED_CPU);
}

TEST_F(TargetChoice, LibrariesChooseEachForItself) {
  setenv("MHA_TARGET", "least", 1);
  EXPECT_EQ(ran(), 2);
  setenv("MHA_TARGET", "middle", 1);
  Library other;
  EXPECT_EQ(other.chosen(), "middle");
  EXPECT_EQ(library.chosen(), "least");
  unsetenv("MHA_TARGET");
  EXPECT_EQ(ran(), 2);
}

TEST_F(TargetChoice, TargetsAreListedAndRunByThemselves) {
  machine_features = kMiddle;
  setenv("MHA_TARGET", "middle", 1);
  for (uint32_t i = 0; i < 3; ++i) {
    mha_target_info info;
    ASSERT_EQ(mha_kernel_target(&library.front.kernel, i, &info), MHA_OK);
    EXPECT_EQ(info.index, i);
    EXPECT_EQ(info.count, 3u);
    EXPECT_STREQ(info.name, Library::kNames[i]);
    EXPECT_EQ(info.runs_here, i > 0 ? 1u : 0u);
    EXPECT_EQ(info.kernel, library.target(i));
    EXPECT_EQ(mha_kernel_check(info.kernel), i > 0 ? MHA_OK : MHA_UNSUPPORTED_CPU);
  }
  EXPECT_EQ(library.choice, 0u);  // listing chooses nothing
  mha_target_info info;
  EXPECT_EQ(mha_kernel_target(&library.front.kernel, 3, &info), MHA_OUT_OF_RANGE);
  EXPECT_EQ(info.count, 3u);
  EXPECT_EQ(mha_kernel_target(&library.front.kernel, 0, nullptr), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_kernel_target(nullptr, 0, &info), MHA_INVALID_ARGUMENT);
  const ToyKernel single;
  ASSERT_EQ(mha_kernel_target(&single.kernel, 0, &info), MHA_OK);
  EXPECT_EQ(info.count, 1u);
  EXPECT_EQ(info.kernel, &single.kernel);
}

TEST_F(TargetChoice, WorkspacesAreThoseOfTheChosenTarget) {
  size_t before = SIZE_MAX;
  for (const char* name : Library::kNames) {
    library.forget();
    setenv("MHA_TARGET", name, 1);
    const ToyCall call(library.front, 2, 20, 20, 1);
    EXPECT_LT(call.workspace_bytes, before) << name;
    before = call.workspace_bytes;
  }
}

TEST_F(TargetChoice, AnotherAbiIsRefusedInEveryTarget) {
  const_cast<mha_kernel*>(library.target(0))->abi = MHA_KERNEL_ABI + 1;
  EXPECT_EQ(mha_kernel_check(&library.front.kernel), MHA_ABI_MISMATCH);
  EXPECT_EQ(library.choice, 0u);
}

// All threads get the same target, whichever of them is the first.
TEST_F(TargetChoice, IsOneForAllThreads) {
  for (int round = 0; round < 200; ++round) {
    library.forget();
    std::atomic<int> waiting{0};
    std::array<std::string, 4> chosen;
    std::vector<std::thread> threads;
    for (std::string& name : chosen) {
      threads.emplace_back([&] {
        ++waiting;
        while (waiting < 4) std::this_thread::yield();
        name = library.chosen();
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::string& name : chosen) EXPECT_EQ(name, "best");
  }
}

}  // namespace
}  // namespace mha
