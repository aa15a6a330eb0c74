// minilm-demo: what one attention head has learned, and how fast the generated kernels show it.
#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "bench/peak.h"
#include "examples/minilm/encoder.h"
#include "examples/minilm/generated_attention.h"
#include "examples/minilm/text_report.h"
#include "tools/common/cli.h"

namespace mha::minilm {
namespace {

using Json = nlohmann::ordered_json;

// In this head a pronoun looks at the noun it stands for.
constexpr int kLayer = 3;
constexpr int kHead = 1;
constexpr const char* kPronoun = "it";
constexpr std::array<const char*, 2> kPronounSentences = {
    "The animal didn't cross the street because it was too tired.",
    "The trophy doesn't fit in the suitcase because it is too big.",
};

constexpr std::array<std::array<const char*, 2>, 4> kPairs = {{
    {"How do I reset my password?", "I forgot my login and cannot get in."},
    {"How do I reset my password?", "The bakery opens at seven."},
    {"A man is playing a guitar on stage.", "A musician performs for an audience."},
    {"A man is playing a guitar on stage.", "The stock market fell sharply today."},
}};

struct Options {
  std::string model;
  int threads = 0;
};

struct Measured {
  double median_seconds = 0;
  double fastest_seconds = std::numeric_limits<double>::infinity();
};

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Times `body` for about a quarter of a second, with samples of the peak in between, so that a
// clock that changes moves both.
Measured measure(PeakMeter* meter, const std::function<void()>& body) {
  body();
  std::vector<double> samples;
  double total = 0;
  while (total < 0.25 || samples.size() < 5) {
    meter->sample_flops();
    for (int i = 0; i < 5; ++i) {
      samples.push_back(seconds_of(body));
      total += samples.back();
    }
  }
  std::sort(samples.begin(), samples.end());
  return {samples[samples.size() / 2], samples.front()};
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

void show_head(Encoder* encoder, Console* console, Json* report) {
  if (!console->json()) {
    console->print(console->paint("1", "What \"it\" means") + "  (layer " + std::to_string(kLayer) +
                   ", head " + std::to_string(kHead) + " of the model, counted from 0)\n\n");
  }
  for (const char* sentence : kPronounSentences) {
    Probe probe{kLayer, kHead, {}};
    const Tokens tokens = encoder->tokenize(sentence);
    encoder->embed(tokens, &probe);
    const auto found = std::find(tokens.pieces.begin(), tokens.pieces.end(), kPronoun);
    const auto query = static_cast<size_t>(found - tokens.pieces.begin());
    const float* row = probe.weights.data() + query * tokens.ids.size();
    (*report)["attention"].push_back(
        {{"sentence", sentence},
         {"layer", kLayer},
         {"head", kHead},
         {"token", kPronoun},
         {"tokens", tokens.pieces},
         {"weights", std::vector<float>(row, row + tokens.ids.size())}});
    if (console->json()) continue;
    console->print("  " + shaded_row(tokens.pieces, query, probe.weights, *console) + "\n" +
                   strongest(tokens.pieces, query, probe.weights, 3, *console) + "\n");
  }
}

void show_pairs(Encoder* encoder, Console* console, Json* report) {
  auto embed = [&](const char* text) { return encoder->embed(encoder->tokenize(text)); };
  if (!console->json()) console->print(console->paint("1", "Which sentences are alike") + "\n\n");
  for (const auto& [a, b] : kPairs) {
    const double similarity = cosine(embed(a), embed(b));
    (*report)["similarity"].push_back({{"sentences", {a, b}}, {"cosine", similarity}});
    if (console->json()) continue;
    console->print("  " + console->paint(similarity > 0.4 ? "1;32" : "2", fixed(similarity, 2)) +
                   "  " + a + "  |  " + b + "\n");
  }
}

void show_speed(Encoder* encoder, GeneratedAttention* attention, Console* console, Json* report) {
  const int threads = attention->threads();
  const mha_kernel_info info = attention->info();
  PeakMeter meter(threads, best_peak_isa());

  const Tokens tokens = encoder->tokenize(kPronounSentences[0]);
  const Measured sentence =
      measure(&meter, [&] { encoder->embed(encoder->tokenize(kPronounSentences[0])); });

  struct Block {
    int64_t length;
    Measured time;
  };
  std::vector<Block> blocks;
  for (int64_t length : {static_cast<int64_t>(tokens.ids.size()), int64_t{128}, int64_t{512}}) {
    // Normalised rows, as a block meets them.
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<size_t>(length * kWidth)), y(x.size());
    for (float& value : x) value = normal(random);
    int layer = 0;  // the layers in turn: their weights come from the cache as they do in the model
    blocks.push_back({length, measure(&meter, [&] {
                        attention->run(layer, length, x.data(), y.data(), nullptr);
                        layer = (layer + 1) % kLayers;
                      })});
  }

  const double peak = meter.flops_per_second();
  Json& speed = (*report)["speed"];
  speed = {
      {"kernel", info.name},
      {"target", info.target},
      {"schedule_origin", info.schedule_origin},
      {"threads", threads},
      {"peak_gflops", peak / 1e9},
      {"sentence",
       {{"tokens", tokens.ids.size()},
        {"seconds", {{"min", sentence.fastest_seconds}, {"median", sentence.median_seconds}}}}}};
  std::string text = "\n" + console->paint("1", "How fast") + "  (kernel " + info.name + " for " +
                     info.target + ", schedule: " + info.schedule_origin + ", " +
                     std::to_string(threads) + (threads == 1 ? " thread" : " threads") + ")\n\n";
  text += "  this machine's multiply-add peak, f32   " + fixed(peak / 1e9, 1) + " GFLOP/s\n";
  text += "  a sentence of " + std::to_string(tokens.ids.size()) + " tokens, text to vector    " +
          fixed(sentence.median_seconds * 1e3, 2) + " ms, attention blocks " +
          fixed(kLayers * blocks.front().time.median_seconds * 1e3, 2) + " ms of it\n";
  for (const Block& block : blocks) {
    const double rate = GeneratedAttention::flops(block.length) / block.time.median_seconds;
    speed["attention_block"].push_back(
        {{"tokens", block.length},
         {"seconds", {{"min", block.time.fastest_seconds}, {"median", block.time.median_seconds}}},
         {"flops", GeneratedAttention::flops(block.length)},
         {"gflops", rate / 1e9},
         {"percent_of_peak", 100 * rate / peak}});
    std::string label = "  one attention block, " + std::to_string(block.length) + " tokens";
    label.resize(42, ' ');
    text += label + fixed(rate / 1e9, 1) + " GFLOP/s, " +
            console->paint("1;32", fixed(100 * rate / peak, 0) + " %") + " of the peak\n";
  }
  if (!console->json()) console->print(text);
}

int demo(const Options& options, Console& console) {
  GeneratedAttention* attention = nullptr;
  Encoder encoder(options.model, [&] {
    auto made = std::make_unique<GeneratedAttention>(weights_file(options.model), options.threads);
    attention = made.get();
    return made;
  });
  Json report;
  show_head(&encoder, &console, &report);
  show_pairs(&encoder, &console, &report);
  show_speed(&encoder, attention, &console, &report);
  if (console.json()) console.print_json(report);
  return kExitDone;
}

}  // namespace
}  // namespace mha::minilm

int main(int argc, char** argv) {
  mha::minilm::Options options;
  return mha::run_main(
      {"minilm-demo", "What a head of all-MiniLM-L6-v2 looks at, and how fast."}, argc, argv,
      [&](CLI::App& app) {
        app.add_option("--model", options.model, "The model's folder")->required();
        app.add_option("--threads", options.threads, "Default: the CPUs that the process may use")
            ->check(CLI::Range(1, 1024));
      },
      [&](mha::Console& console) { return mha::minilm::demo(options, console); });
}
