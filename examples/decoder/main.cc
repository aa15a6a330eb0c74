// mha-decoder: generates tokens with a Llama-style model on a generated kernel with a paged cache,
// and says how fast beside what the machine's memory allows.
#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/peak.h"
#include "decoder_block.h"
#include "examples/decoder/decoder.h"
#include "schedules/usable_cpus.h"
#include "tools/common/cli.h"

namespace mha::decoder {
namespace {

struct Options {
  std::string weights;
  std::vector<int32_t> prompt;
  int prompt_length = 64;
  int tokens = 64;
  int samples = 1;
  double temperature = 0;
  uint64_t seed = 0;
  int threads = 0;
  Model model;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

class Generation {
 public:
  Generation(const Options& options, Console& console)
      : options_(options),
        console_(console),
        threads_(options.threads > 0 ? options.threads : usable_cpus()) {}

  int run() {
    Model model = options_.model;
    std::unique_ptr<Weights> weights;
    if (options_.weights.empty()) {
      weights = std::make_unique<RandomWeights>(options_.seed);
      console_.note("making random weights");
    } else {
      auto file = std::make_unique<FileWeights>(options_.weights);
      model = file->model();
      weights = std::move(file);
    }
    const Kernel kernel = kernel_of<decoder_block_kernel, decoder_block_args>();
    const Shape shape = shape_of(kernel);
    std::vector<int32_t> prompt = options_.prompt;
    std::mt19937_64 random(options_.seed);
    while (options_.prompt.empty() && prompt.size() < static_cast<size_t>(options_.prompt_length)) {
      prompt.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(model.vocabulary)));
    }
    check(shape, static_cast<int64_t>(prompt.size()));
    // One more than the samples: the sequence that they are forked from.
    Decoder decoder(kernel, *weights, model, options_.samples + 1, threads_);
    weights.reset();

    double began = now();
    const int32_t root = decoder.attention().create_sequence();
    const auto chunk = static_cast<size_t>(shape.most_tokens);
    std::span<const float> logits;
    for (size_t at = 0; at < prompt.size(); at += chunk) {
      const size_t count = std::min(chunk, prompt.size() - at);
      logits = decoder.feed(std::span(&root, 1), std::span(prompt).subspan(at, count));
    }
    const double prefill = now() - began;

    // All samples share the prompt's pages.
    std::vector<int32_t> sequences, tokens;
    std::vector<std::vector<int32_t>> texts(static_cast<size_t>(options_.samples));
    std::uniform_real_distribution<double> chance;
    for (int i = 0; i < options_.samples; ++i) {
      sequences.push_back(decoder.attention().fork(root));
      tokens.push_back(choose(logits, options_.temperature, chance(random)));
    }
    const auto vocabulary = static_cast<size_t>(model.vocabulary);
    PeakMeter meter(threads_.count(), best_peak_isa());
    meter.sample_read();
    double seconds = 0, bytes = 0;
    int64_t steps = 0;
    for (int64_t length = static_cast<int64_t>(prompt.size());; ++length) {
      for (size_t i = 0; i < texts.size(); ++i) texts[i].push_back(tokens[i]);
      print(tokens.front());
      if (static_cast<int>(texts.front().size()) >= options_.tokens) break;
      began = now();
      logits = decoder.feed(sequences, tokens);
      for (size_t i = 0; i < tokens.size(); ++i) {
        tokens[i] = choose(logits.subspan(i * vocabulary, vocabulary), options_.temperature,
                           chance(random));
      }
      seconds += now() - began;
      bytes += static_cast<double>(decoder.weight_bytes() +
                                   sequences.size() * decoder.cache_bytes(length + 1));
      // In between, so that a clock that changes or a busy neighbour hits both alike.
      if (++steps % 8 == 0) meter.sample_read();
    }
    report(decoder, texts, prompt.size(), prefill, seconds, bytes, steps,
           meter.read_bytes_per_second());
    return kExitDone;
  }

 private:
  void check(const Shape& shape, int64_t prompt) const {
    if (options_.samples > shape.most_batch) {
      throw UserError("--samples: the kernel takes " + std::to_string(shape.most_batch) +
                      " sequences at a time at most");
    }
    // The last token is not fed back.
    if (prompt + options_.tokens - 1 > shape.capacity) {
      throw UserError("the cache holds " + std::to_string(shape.capacity) +
                      " tokens of a sequence, fewer than the prompt's " + std::to_string(prompt) +
                      " and all but the last of --tokens " + std::to_string(options_.tokens));
    }
  }

  void print(int32_t token) {
    if (!console_.json() && !console_.quiet()) console_.print(std::to_string(token) + " ");
  }

  void report(Decoder& decoder, const std::vector<std::vector<int32_t>>& texts, size_t prompt,
              double prefill, double seconds, double bytes, int64_t steps, double peak) {
    const mha_kernel_info info = decoder.attention().info();
    const double rate = steps > 0 ? static_cast<double>(steps) / seconds : 0;
    const double read = steps > 0 ? bytes / seconds : 0;
    const double prompt_rate = static_cast<double>(prompt) / prefill;
    if (console_.json()) {
      console_.print_json({{"kernel", info.name},
                           {"target", info.target},
                           {"threads", threads_.count()},
                           {"tokens", texts},
                           {"prompt", {{"tokens", prompt}, {"seconds", prefill}}},
                           {"steps", steps},
                           {"seconds", seconds},
                           {"tokens_per_second", rate * static_cast<double>(texts.size())},
                           {"bytes", bytes},
                           {"weight_bytes", decoder.weight_bytes()},
                           {"cache_bytes", decoder.attention().cache_bytes()},
                           {"read_gbytes_per_s", read / 1e9},
                           {"peak_read_gbytes_per_s", peak / 1e9},
                           {"percent_of_read", 100 * read / peak}});
      return;
    }
    std::string text = console_.quiet() ? "" : "\n\n";
    text += "prompt     " + std::to_string(prompt) + " tokens, " + fixed(prompt_rate, 1) +
            " tokens/s\n";
    if (steps > 0) {
      text += "generation " + std::to_string(steps) + " steps of " + std::to_string(texts.size()) +
              (texts.size() == 1 ? " sequence, " : " sequences, ") +
              console_.paint("1;32", fixed(rate * static_cast<double>(texts.size()), 1)) +
              " tokens/s\n";
      text += "memory     " + fixed(bytes / static_cast<double>(steps) / 1e6, 1) +
              " MB of weights and cache a step: " + fixed(read / 1e9, 1) + " GB/s, " +
              console_.paint("1;32", fixed(100 * read / peak, 0) + " %") + " of the " +
              fixed(peak / 1e9, 1) + " GB/s that " + std::to_string(threads_.count()) +
              (threads_.count() == 1 ? " thread reads\n" : " threads read\n");
    }
    console_.print(text);
  }

  const Options& options_;
  Console& console_;
  Threads threads_;
};

}  // namespace
}  // namespace mha::decoder

int main(int argc, char** argv) {
  mha::decoder::Options options;
  return mha::run_main(
      {"mha-decoder", "Generates tokens with a Llama-style model on a generated kernel."}, argc,
      argv,
      [&](CLI::App& app) {
        app.add_option("--weights", options.weights,
                       "A model.safetensors of the kernel's shape; default: random weights")
            ->type_name("FILE");
        app.add_option("--layers", options.model.layers, "Of random weights")
            ->excludes("--weights")
            ->check(CLI::Range(1, 1000))
            ->capture_default_str();
        app.add_option("--prompt", options.prompt, "Token numbers, with commas; default: random")
            ->delimiter(',')
            ->type_name("N,N,...");
        app.add_option("--prompt-length", options.prompt_length, "Of a random prompt")
            ->excludes("--prompt")
            ->check(CLI::Range(1, 1 << 20))
            ->capture_default_str();
        app.add_option("--tokens", options.tokens, "To generate")
            ->check(CLI::Range(1, 1 << 20))
            ->capture_default_str();
        app.add_option("--samples", options.samples,
                       "Continuations of the one prompt, side by side in one batch")
            ->check(CLI::Range(1, 1024))
            ->capture_default_str();
        app.add_option("--temperature", options.temperature, "0: the likeliest token each time")
            ->check(CLI::Range(0.0, 100.0))
            ->capture_default_str();
        app.add_option("--seed", options.seed, "Of random weights, prompts and choices")
            ->capture_default_str();
        app.add_option("--threads", options.threads, "Default: the CPUs that the process may use")
            ->check(CLI::Range(1, 1024));
      },
      [&](mha::Console& console) { return mha::decoder::Generation(options, console).run(); });
}
