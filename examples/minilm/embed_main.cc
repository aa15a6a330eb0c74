// minilm-embed: sentences in, one a line; embeddings out, one JSON object a line.
#include <array>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "examples/minilm/encoder.h"
#include "examples/minilm/generated_attention.h"
#include "examples/minilm/text_report.h"
#include "tools/common/cli.h"

namespace mha::minilm {
namespace {

// Floats print with the digits that tell them from their neighbours, no more.
using Json = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, int64_t,
                                  uint64_t, float>;

struct Options {
  std::string model;
  std::vector<int> attention;  // empty, or layer and head
  int threads = 0;
  int max_tokens = 0;
};

void declare(CLI::App& app, Options* options) {
  app.add_option("--model", options->model, "The model's folder: config.json, tokenizer.json, ...")
      ->required();
  app.add_option("--attention", options->attention, "Adds what each token of this head looks at")
      ->expected(2)
      ->type_name("LAYER HEAD");
  app.add_option("--threads", options->threads, "Default: the CPUs that the process may use")
      ->check(CLI::Range(1, 1024));
  app.add_option("--max-tokens", options->max_tokens,
                 "Longer sentences are cut; default: what the model says")
      ->check(CLI::Range(3, static_cast<int>(kMaxLength)));
  app.footer("Reads one sentence a line from standard input.");
}

std::unique_ptr<Probe> make_probe(const std::vector<int>& attention) {
  if (attention.empty()) return nullptr;
  auto in_range = [](const char* what, int value, int count) {
    if (value >= 0 && value < count) return;
    throw UserError(std::string("--attention: the ") + what + " must be 0 to " +
                    std::to_string(count - 1) + ", not " + std::to_string(value));
  };
  in_range("layer", attention[0], kLayers);
  in_range("head", attention[1], kHeads);
  auto probe = std::make_unique<Probe>();
  probe->layer = attention[0];
  probe->head = attention[1];
  return probe;
}

std::string json_line(const std::string& sentence, const Tokens& tokens,
                      const std::vector<float>& embedding, const Probe* probe) {
  Json line;
  line["sentence"] = sentence;
  line["tokens"] = tokens.pieces;
  line["embedding"] = embedding;
  if (probe != nullptr) {
    const size_t length = tokens.ids.size();
    Json rows = Json::array();
    for (size_t i = 0; i < length; ++i) {
      const float* row = probe->weights.data() + i * length;
      rows.push_back(std::vector<float>(row, row + length));
    }
    line["attention"] = std::move(rows);
  }
  return line.dump() + "\n";
}

std::string text_block(const std::string& sentence, const Tokens& tokens,
                       const std::vector<float>& embedding, const Probe* probe,
                       const Console& console) {
  std::string text = console.paint("1", sentence) + "\n  tokens    ";
  for (const std::string& piece : tokens.pieces) text += " " + piece;
  text += "\n  embedding ";
  for (size_t i = 0; i < 6; ++i) text += " " + fixed(embedding[i], 4);
  text += " ... (" + std::to_string(embedding.size()) + ")\n";
  if (probe != nullptr) {
    text += "  attention  layer " + std::to_string(probe->layer) + ", head " +
            std::to_string(probe->head) + "\n";
    for (size_t i = 0; i < tokens.ids.size(); ++i) {
      text += "  " + shaded_row(tokens.pieces, i, probe->weights, console) + "\n";
    }
  }
  return text;
}

int embed_lines(const Options& options, Console& console) {
  std::unique_ptr<Probe> probe = make_probe(options.attention);
  Encoder encoder(options.model, [&] {
    return std::make_unique<GeneratedAttention>(weights_file(options.model), options.threads);
  });
  if (options.max_tokens != 0) encoder.set_max_tokens(static_cast<size_t>(options.max_tokens));

  std::ios::sync_with_stdio(false);
  std::string sentence;
  for (int64_t number = 1; std::getline(std::cin, sentence); ++number) {
    if (!sentence.empty() && sentence.back() == '\r') sentence.pop_back();
    const std::string place = "line " + std::to_string(number) + ": ";
    Tokens tokens;
    try {
      tokens = encoder.tokenize(sentence);
    } catch (const UserError& error) {
      throw UserError(place + error.what());
    }
    if (tokens.truncated) {
      console.warning(place + "cut to " + std::to_string(tokens.ids.size()) + " tokens");
    }
    const std::vector<float> embedding = encoder.embed(tokens, probe.get());
    console.print(console.json() ? json_line(sentence, tokens, embedding, probe.get())
                                 : text_block(sentence, tokens, embedding, probe.get(), console));
  }
  if (std::cin.bad()) throw UserError("standard input cannot be read");
  return kExitDone;
}

}  // namespace
}  // namespace mha::minilm

int main(int argc, char** argv) {
  mha::minilm::Options options;
  return mha::run_main(
      {"minilm-embed", "Sentence embeddings by all-MiniLM-L6-v2 on generated attention kernels."},
      argc, argv, [&](CLI::App& app) { mha::minilm::declare(app, &options); },
      [&](mha::Console& console) { return mha::minilm::embed_lines(options, console); });
}
