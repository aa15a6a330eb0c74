// ./dev bench: every case of cases.txt, measured with Google Benchmark beside the machine's own
// peak.
//
// A row times whole calls through the C API; for a block it also times each stage by itself, in
// turn with the whole and with samples of the FMA peak, so that a slow moment of the machine falls
// on all of them alike. Counters:
//   GFLOPS     of the median call, visible work only, 2 a multiply-add
//   peak       GFLOP/s: median sample of the FMA peak at this thread count, taken between the calls
//   percent    GFLOPS / peak
//   best       percent of the fastest call against the fastest sample of the peak
//   goal       what the case must reach (0: no figure of its own)
//   parts_us   sum of the stages' medians; over_us: the whole call's median above it (blocks)
//   points     percentage points under the FLOP-weighted harmonic mean of the stages (blocks)
//   <stage>    percent of the peak of a stage by itself (blocks)
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/peak.h"
#include "mha/kernel.h"
#include "mha/mha.h"

#define BENCH_CASE(name, ...) extern "C" const mha_kernel bench_##name##_kernel;
#include "bench_cases.inc"
#undef BENCH_CASE

namespace {

struct Case {
  const char* name;
  const mha_kernel* kernel;
  int64_t d_model, heads, kv_heads, d_head, length;
  bool causal;
  double goal;

  double attention_flops() const {
    const double pairs = causal
                             ? 0.5 * static_cast<double>(length) * static_cast<double>(length + 1)
                             : static_cast<double>(length) * static_cast<double>(length);
    return 4.0 * static_cast<double>(heads * d_head) * pairs;
  }
  double projection_flops(bool out) const {
    const int64_t columns = out ? heads * d_head : (heads + 2 * kv_heads) * d_head;
    return 2.0 * static_cast<double>(length) * static_cast<double>(d_model) *
           static_cast<double>(columns);
  }
  double flops() const {
    return attention_flops() +
           (d_model > 0 ? projection_flops(false) + projection_flops(true) : 0.0);
  }
  double stage_flops(const std::string& stage) const {
    if (stage == "attention") return attention_flops();
    if (stage == "project_out") return projection_flops(true);
    if (stage.rfind("project_", 0) == 0) return projection_flops(false);
    return 0;
  }
};

const Case kCases[] = {
#define BENCH_CASE(name, d_model, heads, kv_heads, d_head, length, causal, goal) \
  {#name, &bench_##name##_kernel, d_model, heads, kv_heads, d_head, length, causal != 0, goal},
#include "bench_cases.inc"
#undef BENCH_CASE
};

void require(mha_status status, const char* what) {
  if (status == MHA_OK) return;
  std::fprintf(stderr, "mha_bench: %s: %s\n", what, mha_last_message());
  std::exit(1);
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<char, Free>;

Memory allocate(size_t bytes) {
  Memory memory(static_cast<char*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)));
  if (!memory) std::exit(1);
  return memory;
}

Memory random_floats(size_t count, float amplitude) {
  Memory memory = allocate(count * sizeof(float));
  std::minstd_rand generator(7);
  std::uniform_real_distribution<float> uniform(-amplitude, amplitude);
  auto* values = reinterpret_cast<float*>(memory.get());
  for (size_t i = 0; i < count; i++) values[i] = uniform(generator);
  return memory;
}

// One kernel, ready to be called with random operands, whole or one stage of it: on the same
// memory, so that a stage by itself finds in the caches what it finds there in the whole.
class Runner {
 public:
  Runner(const mha_kernel& kernel, mha_context* context, int64_t length)
      : kernel_(kernel), context_(context) {
    args_.resize(kernel_.args_size);
    auto* call = reinterpret_cast<mha_call*>(args_.data());
    call->size = kernel_.args_size;
    call->query_length = length;
    if (!kernel_.self_length) call->key_length = length;
    for (uint64_t i = 0; i < kernel_.tensor_count; i++) {
      const mha_tensor_info& info = kernel_.tensors[i];
      size_t count = 1;
      for (uint32_t axis = 0; axis < info.rank; axis++) {
        count *= static_cast<size_t>(info.axes[axis].scale *
                                     (info.axes[axis].symbol >= MHA_SYMBOL_QUERY ? length : 1));
      }
      memory_.push_back(random_floats(count, 1.0f));
      reinterpret_cast<mha_tensor*>(args_.data() + info.offset)->data = memory_.back().get();
    }
    std::vector<mha_weight_array> arrays;
    std::vector<Memory> weights;
    for (uint64_t i = 0; i < kernel_.weight_count; i++) {
      const mha_weight_info& info = kernel_.weights[i];
      mha_weight_array array = {};
      array.name = info.name;
      array.dtype = MHA_F32;
      array.rank = static_cast<int32_t>(info.rank);
      size_t count = 1;
      for (uint32_t axis = 0; axis < info.rank; axis++) {
        array.shape[axis] = info.shape[axis];
        count *= static_cast<size_t>(info.shape[axis]);
      }
      weights.push_back(random_floats(count, 0.05f));
      array.data = weights.back().get();
      arrays.push_back(array);
    }
    if (!arrays.empty()) {
      mha_weights* packed = nullptr;
      require(mha_weights_create(&kernel_, arrays.data(), arrays.size(), &packed), "weights");
      weights_ = packed;
      call->weights = packed;
    }
    mha_variant_info variant;
    require(mha_kernel_variant(&kernel_, length, &variant), "variant");
    variant_ = variant.index;
    size_t bytes = 0;
    require(mha_workspace_size(&kernel_, args_.data(), mha_context_threads(context), &bytes),
            "workspace size");
    memory_.push_back(random_floats(bytes / sizeof(float) + 1, 1.0f));
    call->workspace = memory_.back().get();
    call->workspace_size = bytes;
  }
  ~Runner() { mha_weights_destroy(weights_); }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // Of the variant that serves the length.
  uint64_t stage_count() const { return kernel_.variants[variant_].stage_count; }
  const char* stage_name(uint64_t stage) const {
    return kernel_.variants[variant_].stages[stage].name;
  }

  static constexpr uint64_t kWhole = UINT64_MAX;
  double seconds(uint64_t stage = kWhole) {
    const mha_kernel all = kernel_;
    mha_variant one = all.variants[variant_];
    if (stage != kWhole) {
      one.stages = &one.stages[stage];
      one.stage_count = 1;
      kernel_.variants = &one;
      kernel_.variant_count = 1;
    }
    const auto start = std::chrono::steady_clock::now();
    const mha_status status = mha_run(&kernel_, context_, args_.data());
    const auto end = std::chrono::steady_clock::now();
    kernel_ = all;
    require(status, "run");
    return std::chrono::duration<double>(end - start).count();
  }

 private:
  mha_kernel kernel_;
  uint32_t variant_ = 0;
  mha_context* context_;
  std::vector<char> args_;
  std::vector<Memory> memory_;
  mha_weights* weights_ = nullptr;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

void run_case(benchmark::State& state, const Case& c, int threads) {
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = threads;
  mha_context* context = nullptr;
  require(mha_context_create(&options, &context), "context");
  {
    Runner whole(*c.kernel, context, c.length);
    const uint64_t parts = c.d_model > 0 ? whole.stage_count() : 0;
    mha::PeakMeter meter(threads, mha::best_peak_isa());
    std::vector<double> times;
    std::vector<std::vector<double>> part_times(parts);
    whole.seconds();
    double since_peak = 1;
    for (auto _ : state) {
      if (since_peak > 0.01) {
        meter.sample_flops();
        whole.seconds();  // the first call after the peak finds cold caches
        since_peak = 0;
      }
      const double seconds = whole.seconds();
      state.SetIterationTime(seconds);
      times.push_back(seconds);
      since_peak += seconds;
      for (uint64_t i = 0; i < parts; i++) {
        part_times[i].push_back(whole.seconds(i));
        since_peak += part_times[i].back();
      }
    }
    const double typical = median(times), peak = meter.median_flops_per_second();
    state.counters["GFLOPS"] = c.flops() / typical / 1e9;
    state.counters["peak"] = peak / 1e9;
    state.counters["percent"] = 100 * c.flops() / typical / peak;
    state.counters["best"] =
        100 * c.flops() / *std::min_element(times.begin(), times.end()) / meter.flops_per_second();
    state.counters["goal"] = c.goal;
    if (parts > 0) {
      double sum = 0;
      for (uint64_t i = 0; i < parts; i++) {
        const std::string stage = whole.stage_name(i);
        const double part = median(part_times[i]);
        sum += part;
        state.counters[stage] = 100 * c.stage_flops(stage) / part / peak;
      }
      state.counters["parts_us"] = sum * 1e6;
      state.counters["over_us"] = (typical - sum) * 1e6;
      state.counters["points"] = 100 * c.flops() / peak * (1 / sum - 1 / typical);
    }
  }
  mha_context_destroy(context);
}

// The machine alone: the FMA peak at each thread count, and the read bandwidth.
void run_machine(benchmark::State& state, int threads) {
  mha::PeakMeter meter(threads, mha::best_peak_isa());
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    meter.sample_flops();
    meter.sample_read();
    state.SetIterationTime(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  state.counters["peak"] = meter.flops_per_second() / 1e9;
  state.counters["read_GBps"] = meter.read_bytes_per_second() / 1e9;
}

// How much faster two threads are than one, next to what the FMA loop itself gains; all four in
// turn.
void run_scaling(benchmark::State& state, const Case& c) {
  mha_context* contexts[2] = {};
  for (int i = 0; i < 2; i++) {
    mha_context_options options = {};
    options.size = sizeof options;
    options.threads = i + 1;
    require(mha_context_create(&options, &contexts[i]), "context");
  }
  {
    Runner one(*c.kernel, contexts[0], c.length), two(*c.kernel, contexts[1], c.length);
    mha::PeakMeter meter_one(1, mha::best_peak_isa()), meter_two(2, mha::best_peak_isa());
    std::vector<double> times_one, times_two, peaks_one, peaks_two;
    one.seconds();
    two.seconds();
    for (auto _ : state) {
      peaks_one.push_back(meter_one.sample_flops());
      times_one.push_back((one.seconds(), one.seconds()));
      peaks_two.push_back(meter_two.sample_flops());
      times_two.push_back((two.seconds(), two.seconds()));
      state.SetIterationTime(times_two.back());
    }
    const double scaling = median(times_one) / median(times_two),
                 fma = median(peaks_two) / median(peaks_one);
    state.counters["scaling"] = scaling;
    state.counters["fma"] = fma;
    state.counters["percent"] = 100 * scaling / fma;
    state.counters["goal"] = 95;
  }
  for (mha_context* context : contexts) mha_context_destroy(context);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  for (int threads = 1; threads <= std::min(cores, 2); threads++) {
    benchmark::RegisterBenchmark(("machine/threads:" + std::to_string(threads)).c_str(),
                                 run_machine, threads)
        ->UseManualTime()
        ->MinTime(0.3)
        ->Unit(benchmark::kMillisecond);
  }
  for (const Case& c : kCases) {
    benchmark::RegisterBenchmark((std::string(c.name) + "/threads:1").c_str(), run_case, c, 1)
        ->UseManualTime()
        ->MinTime(0.5)
        ->Unit(benchmark::kMicrosecond);
  }
  for (const Case& c : kCases) {
    if (c.length < 512 || cores < 2) continue;
    benchmark::RegisterBenchmark((std::string(c.name) + "/scaling").c_str(), run_scaling, c)
        ->UseManualTime()
        ->MinTime(0.4)
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
