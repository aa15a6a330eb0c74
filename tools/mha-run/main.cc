// mha-run: runs one config on tensors from files, or on random ones; checks it and times it.
#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "generator/emit/generate.h"
#include "generator/spec/parse.h"
#include "schedules/usable_cpus.h"
#include "tools/common/cli.h"
#include "tools/common/files.h"
#include "tools/common/safetensors_writer.h"
#include "tools/mha-run/bench.h"
#include "tools/mha-run/cache.h"
#include "tools/mha-run/call_cache.h"
#include "tools/mha-run/host_tensor.h"
#include "tools/mha-run/inputs.h"
#include "tools/mha-run/kernel_library.h"
#include "tools/mha-run/lengths.h"
#include "tools/mha-run/random.h"
#include "tools/mha-run/tensor_file.h"
#include "tools/mha-run/verify.h"
#include "tools/mha-run/weights.h"
#include "tools/mha-run/work.h"
#include "tools/reference/reference.h"

namespace mha {
namespace {

struct Options {
  std::string config, size, autoscheduler;
  std::optional<std::string> input, output, weights, target;
  int layer = 0;
  int threads = 0;
  uint64_t seed = 0;
  bool verify = false, bench = false, shared = false;
};

std::string seconds_text(double seconds) {
  if (seconds < 1e-3) return number("%.2f us", seconds * 1e6);
  if (seconds < 1) return number("%.3f ms", seconds * 1e3);
  return number("%.3f s", seconds);
}

// One run, from the parsed config to what it reports.
class Run {
 public:
  Run(const Options& options, Console& console)
      : options_(options),
        console_(console),
        threads_(options.threads > 0 ? options.threads : usable_cpus()) {}

  int go() {
    ParseResult parsed = parse_spec_file(options_.config);
    if (!parsed.problems.empty() || !parsed.spec) {
      throw DiagnosedError(format_diagnostics(parsed.problems, parsed.text));
    }
    spec_ = *parsed.spec;
    if (auto missing = unsupported(spec_); !missing.empty()) {
      throw DiagnosedError(format_diagnostics(missing, parsed.text));
    }
    // All that can be refused is refused before anything is generated.
    if (options_.output) check_output_file(*options_.output);
    if (options_.target && options_.target->empty()) throw UserError("--target: no name is given");
    if (options_.weights && spec_.op != Op::kBlock) {
      throw UserError("--weights: op attention has no weights");
    }
    if (options_.shared && !spec_.kv_cache) {
      throw UserError("--shared: the config has no kv_cache, so that sequences share nothing");
    }
    read_tensors();

    KernelRequest request;
    request.config_text = parsed.text;
    request.target = options_.target.value_or("");
    request.threads = threads_;
    request.autoscheduler = options_.autoscheduler;
    const std::string object = kernel(request);
    KernelLibrary library(object, spec_.name);
    std::vector<HostTensor> outputs = fresh_outputs();
    Call call(library, lengths_, threads_);
    std::optional<CallCache> cache;
    compute(library, call, cache, outputs);

    nlohmann::ordered_json json;
    const mha_kernel_info info = library.info();
    json["name"] = spec_.name;
    json["op"] = spec_.op == Op::kBlock ? "block" : "attention";
    json["target"] = info.target;
    json["threads"] = call.threads();
    describe(info.target, call, outputs);
    bool passed = true;
    if (options_.verify) {
      passed = verify(outputs, json);
      passed = verify_others(object, info.target, json) && passed;
    }
    if (options_.output) write_outputs(outputs);
    if (options_.bench) time(library, call, cache ? &*cache : nullptr, json);
    json["schedule"] = {{"origin", info.schedule_origin}};
    if (console_.json()) console_.print_json(json);
    if (!passed) console_.error("the result is further from the reference than the bound allows");
    return passed ? kExitDone : kExitFailure;
  }

 private:
  std::string kernel(const KernelRequest& request) {
    try {
      return cached_kernel(spec_, request,
                           [&] { console_.note("generating " + spec_.name + " ..."); });
    } catch (const ConfigError& error) {
      throw DiagnosedError(error.what());
    }
  }

  void read_tensors() {
    const SizeOptions sizes = parse_sizes(options_.size, spec_);
    std::unique_ptr<TensorFile> file;
    if (options_.input) file = std::make_unique<TensorFile>(*options_.input);
    lengths_ = resolve_lengths(spec_, file.get(), sizes);
    if (file != nullptr) {
      inputs_ = read_inputs(spec_, lengths_, *file);
      batch_of_one_ = is_batch_of_one(spec_, *file);
    } else {
      lengths_ = random_lengths(spec_, lengths_, options_.seed);
      inputs_ = random_input_tensors(spec_, lengths_, options_.seed);
    }
    if (options_.weights) {
      // Read here too, so that a file that does not fit is refused before the kernel is made.
      weights_ = read_weights(spec_, *options_.weights, options_.layer);
    } else {
      for (const TensorDecl& decl : weight_tensors(spec_)) {
        weights_.emplace(decl.name, random_tensor(spec_, lengths_, decl, options_.seed));
      }
    }
  }

  std::vector<HostTensor> fresh_outputs() const {
    std::vector<HostTensor> outputs;
    for (const TensorDecl& decl : output_tensors(spec_, lengths_)) {
      HostTensor tensor(decl);
      // What the kernel fails to write shows.
      tensor.floats.assign(tensor.floats.size(), std::numeric_limits<float>::quiet_NaN());
      tensor.ints.assign(tensor.ints.size(), std::numeric_limits<int32_t>::min());
      outputs.push_back(std::move(tensor));
    }
    return outputs;
  }

  // One call of the library's kernel as it stands; `call` and `cache` are left as it leaves them.
  void compute(const KernelLibrary& library, Call& call, std::optional<CallCache>& cache,
               std::vector<HostTensor>& outputs) {
    bind(call, outputs);
    if (spec_.kv_cache) cache.emplace(library, call, spec_, lengths_, inputs_);
    if (options_.shared) call.set_entry(Call::kDecodeShared);
    call.run();
    for (HostTensor& tensor : outputs) {
      if (CallCache::holds(tensor.decl.name)) {
        cache->read(&tensor);
      } else {
        tensor.read_back();
      }
    }
  }

  void bind(Call& call, std::vector<HostTensor>& outputs) {
    for (auto& [name, tensor] : inputs_) {
      if (!CallCache::holds(name)) call.bind(name, tensor.view());
    }
    for (HostTensor& tensor : outputs) {
      if (!CallCache::holds(tensor.decl.name)) call.bind(tensor.decl.name, tensor.data());
    }
    if (spec_.op != Op::kBlock) return;
    if (options_.weights) {
      call.load_weights(*options_.weights, options_.layer);
      return;
    }
    std::vector<mha_weight_array> arrays;
    for (auto& [name, tensor] : weights_) {
      mha_weight_array array = {};
      array.name = name.c_str();
      array.data = tensor.data();
      array.dtype = runtime_dtype(tensor.decl.dtype);
      array.rank = static_cast<int32_t>(tensor.decl.shape.size());
      std::copy(tensor.decl.shape.begin(), tensor.decl.shape.end(), array.shape);
      arrays.push_back(array);
    }
    call.create_weights(arrays);
  }

  void describe(const std::string& target, const Call& call,
                const std::vector<HostTensor>& outputs) {
    if (console_.json()) return;
    console_.print(console_.paint("1", spec_.name) + ": op " +
                   (spec_.op == Op::kBlock ? "block" : "attention") + ", target " + target + ", " +
                   std::to_string(call.threads()) + (call.threads() == 1 ? " thread" : " threads") +
                   ", B=" + std::to_string(lengths_.batch) +
                   " Lq=" + std::to_string(lengths_.query) + " Lk=" + std::to_string(lengths_.key) +
                   (spec_.packed ? " T=" + std::to_string(lengths_.total) : "") +
                   (spec_.kv_cache ? " cached=" + std::to_string(lengths_.past) : "") +
                   ", workspace " + std::to_string(call.workspace_bytes()) + " bytes\n");
    constexpr size_t kNameWidth = sizeof "sequence_starts";
    auto line = [&](const HostTensor& tensor, const std::string& from) {
      console_.print(
          "  " + tensor.decl.name +
          std::string(kNameWidth - std::min(tensor.decl.name.size(), kNameWidth - 1), ' ') +
          shape_text(tensor.decl.shape) + "  " + from + "\n");
    };
    const std::string random = "random, seed " + std::to_string(options_.seed);
    for (const auto& [name, tensor] : inputs_) {
      line(tensor, options_.input ? "from " + *options_.input : random);
    }
    for (const auto& [name, tensor] : weights_) {
      line(tensor, options_.weights ? "from " + *options_.weights : random);
    }
    for (const HostTensor& tensor : outputs) {
      line(tensor, options_.output ? "to " + *options_.output : "output");
    }
  }

  // The other targets of the library that this machine can run, each with weights of its own.
  bool verify_others(const std::string& object, const std::string& chosen,
                     nlohmann::ordered_json& json) {
    KernelLibrary library(object, spec_.name);
    const std::vector<mha_target_info> targets = library.targets();
    if (targets.size() == 1) return true;
    bool passed = true;
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    all.push_back({{"target", chosen}, {"passed", json["verify"]["passed"]}});
    std::string left_out;
    for (const mha_target_info& target : targets) {
      if (target.name == chosen) continue;
      if (target.runs_here == 0) {
        left_out += (left_out.empty() ? "" : ", ") + std::string(target.name);
        continue;
      }
      library.use(target);
      std::vector<HostTensor> outputs = fresh_outputs();
      Call call(library, lengths_, threads_);
      std::optional<CallCache> cache;
      compute(library, call, cache, outputs);
      if (!console_.json()) console_.print("target " + std::string(target.name) + "\n");
      nlohmann::ordered_json entry = {{"target", target.name}};
      passed = verify(outputs, entry) && passed;
      entry.update(nlohmann::ordered_json(entry["verify"]));
      entry.erase("verify");
      all.push_back(entry);
    }
    json["verify"]["passed"] = json["verify"]["passed"].get<bool>() && passed;
    json["verify"]["targets"] = all;
    if (!left_out.empty()) console_.note("not run, as this machine cannot: " + left_out);
    return passed;
  }

  bool verify(const std::vector<HostTensor>& outputs, nlohmann::ordered_json& json) {
    if (!reference_) {
      Arrays arrays;
      for (const auto& [name, tensor] : inputs_) arrays[name] = tensor.array();
      for (const auto& [name, tensor] : weights_) arrays[name] = tensor.array();
      reference_ = reference(spec_, lengths_, arrays);
    }
    json["verify"] = verify_outputs(outputs, *reference_, console_);
    return json["verify"]["passed"];
  }

  void write_outputs(std::vector<HostTensor>& outputs) {
    std::vector<SafetensorsEntry> entries;
    for (HostTensor& tensor : outputs) {
      std::vector<int64_t> shape = tensor.decl.shape;
      if (batch_of_one_) shape.insert(shape.begin(), 1);
      entries.push_back({tensor.decl.name,
                         tensor.dtype_name(),
                         shape,
                         {static_cast<const char*>(tensor.data()), tensor.bytes()}});
    }
    write_safetensors(*options_.output, entries);
  }

  void time(const KernelLibrary& library, Call& call, CallCache* cache,
            nlohmann::ordered_json& json) {
    const Work work = work_of(spec_, lengths_, inputs_);
    // Each call continues the sequences anew.
    const auto run = [&] {
      if (cache != nullptr) cache->rewind();
      call.run();
    };
    const BenchResult r =
        bench(run, call.threads(), isa_of_target(library.info().target, spec_.dtype));
    const double rate = static_cast<double>(work.flops) / r.seconds_min;
    const double percent = 100 * rate / r.peak_flops;
    json["calls"] = r.calls;
    json["seconds"] = {{"min", r.seconds_min}, {"median", r.seconds_median}};
    json["flops"] = work.flops;
    json["bytes"] = work.bytes;
    json["peak_gflops"] = r.peak_flops / 1e9;
    json["read_gbytes_per_s"] = r.read_bytes / 1e9;
    json["percent_of_peak"] = percent;
    if (console_.json()) return;
    console_.print("bench " + seconds_text(r.seconds_min) + " min, " +
                   seconds_text(r.seconds_median) + " median of " + std::to_string(r.calls) +
                   " calls\n      " + number("%.1f GFLOP/s", rate / 1e9) + " = " +
                   console_.paint("1", number("%.1f %%", percent)) + " of the " +
                   peak_isa_name(r.isa) + number(" peak, %.1f GFLOP/s", r.peak_flops / 1e9) +
                   number("; memory reads %.1f GB/s\n", r.read_bytes / 1e9));
    if (!spec_.kv_cache || options_.shared) return;
    const double streamed = static_cast<double>(work.bytes) / r.seconds_min;
    console_.print("      " + number("%.1f GB/s of operands and cached rows", streamed / 1e9) +
                   number(" = %.1f %% of them\n", 100 * streamed / r.read_bytes));
  }

  const Options& options_;
  Console& console_;
  int threads_;
  Spec spec_;
  CallLengths lengths_;
  bool batch_of_one_ = false;  // outputs get an axis of 1 before their own
  HostTensors inputs_, weights_;
  std::optional<Reference> reference_;
};

}  // namespace
}  // namespace mha

int main(int argc, char** argv) {
  mha::Options options;
  return mha::run_main(
      {"mha-run", "Runs a config: generates its kernel into a cache, loads it, and calls it once."},
      argc, argv,
      [&](CLI::App& app) {
        app.add_option("--config", options.config, "The YAML config")
            ->required()
            ->type_name("FILE");
        app.add_option("--input", options.input, "Inputs, safetensors (default: random tensors)")
            ->type_name("FILE");
        app.add_option("--output", options.output, "Where the outputs go, safetensors")
            ->type_name("FILE");
        app.add_option("--weights", options.weights,
                       "A model's weights, safetensors or an index of shards (default: random)")
            ->type_name("FILE");
        app.add_option("--layer", options.layer, "What {layer} in weights_from stands for")
            ->type_name("N")
            ->check(CLI::Range(0, 1 << 20));
        app.add_option("--target", options.target, "A named target instead of the config's")
            ->type_name("TARGET");
        app.add_option("--threads", options.threads,
                       "Threads, the caller included (default: the CPUs this process may use)")
            ->type_name("N")
            ->check(CLI::Range(1, 1024));
        app.add_option("--size", options.size,
                       "Lengths within the config's ranges: batch=N,query_length=N,key_length=N; "
                       "with kv_cache cached=N,shared=N: keys before the call, and common ones, "
                       "key_length counting new ones (0: none, with key_length or cross)")
            ->type_name("KEY=N,...");
        app.add_option("--autoscheduler", options.autoscheduler,
                       "Let one of Halide's arrange the attention: adams2019, mullapudi2016")
            ->type_name("NAME");
        app.add_option("--seed", options.seed, "Of the random tensors (default 0)")->type_name("N");
        app.add_flag("--verify", options.verify,
                     "Compare with the float64 reference; exit 1 beyond the bound");
        app.add_flag("--shared", options.shared,
                     "With kv_cache: read what sequences share once (NAME_decode_shared)");
        app.add_flag("--bench", options.bench, "Time it beside the machine's measured peak");
      },
      [&](mha::Console& console) { return mha::Run(options, console).go(); });
}
