#include "tests/schedules/plans.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "generator/ir/lower.h"
#include "generator/spec/parse.h"

namespace mha {

namespace {

template <typename T>
T pick(std::mt19937_64& random, const std::vector<T>& values) {
  return values[random() % values.size()];
}

std::string length(std::mt19937_64& random, int64_t size, int64_t most) {
  size = std::min(size, most);
  if (random() % 3 != 0) return std::to_string(size);
  return "{min: " + std::to_string(1 + random() % size) + ", max: " + std::to_string(size) + "}";
}

}  // namespace

Plan plan_of(const std::string& config) {
  const ParseResult parsed = parse_spec_text(config, "config.yaml");
  if (!parsed.spec) throw std::runtime_error(format_diagnostics(parsed.problems, parsed.text));
  const LowerResult lowered = lower(*parsed.spec);
  if (!lowered.plan) throw std::runtime_error(format_diagnostics(lowered.problems, parsed.text));
  return *lowered.plan;
}

std::map<std::string, Plan> shipped_plans() {
  std::map<std::string, Plan> plans;
  for (const auto& entry : std::filesystem::directory_iterator(MHA_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    std::ifstream file(entry.path());
    std::stringstream text;
    text << file.rdbuf();
    plans.emplace(entry.path().string(), plan_of(text.str()));
  }
  return plans;
}

std::optional<std::string> random_config(std::mt19937_64& random) {
  static const std::vector<int64_t> widths = {1,  3,  7,  8,  15, 16, 17,  24,  32,  40,  48,
                                              59, 64, 72, 80, 96, 97, 112, 128, 160, 192, 256};
  static const std::vector<int64_t> lengths = {
      1,   2,   3,   5,   7,   8,   13,  16,  17,  31,  33,  63,   64,   96,   113,
      127, 128, 129, 203, 256, 384, 511, 512, 577, 768, 997, 1024, 2048, 4096, 8192};
  const bool block = random() % 2 == 0;
  const int64_t groups = pick<int64_t>(random, {1, 2, 3, 4, 8});
  const int64_t heads = groups * pick<int64_t>(random, {1, 2, 4, 7});
  const bool weights = random() % 4 == 0;
  const int64_t most = weights ? 1024 : 8192;
  std::ostringstream text;
  text << "version: 1\nname: random\nop: " << (block ? "block" : "attention") << "\n";
  if (block) {
    text << "d_model: " << pick<int64_t>(random, {1, 16, 30, 64, 101, 384, 512, 768, 1000, 1024})
         << "\n";
  } else {
    text << "layout: " << (random() % 2 ? "bshd" : "bhsd") << "\n";
    if (random() % 2) text << "key_length: " << length(random, pick(random, lengths), most) << "\n";
  }
  text << "heads: " << heads << "\nkv_heads: " << groups << "\nd_head: " << pick(random, widths)
       << "\n";
  if (random() % 2) text << "d_value: " << pick(random, widths) << "\n";
  text << "batch: " << length(random, pick<int64_t>(random, {1, 1, 2, 3}), 3) << "\n";
  text << "query_length: " << length(random, pick(random, lengths), most) << "\n";
  text << "query_offset: " << pick<std::string>(random, {"start", "end", "input"}) << "\n";
  text << "mask: {causal: " << (random() % 2 ? "true" : "false")
       << ", key_lengths: " << (random() % 3 == 0 ? "true" : "false") << "}\n";
  if (block && random() % 2) {
    text << "projection_bias: {q: true, v: " << (random() % 2 ? "true" : "false") << "}\n";
  }
  text << "outputs: [output" << (weights ? ", weights" : "") << (random() % 3 == 0 ? ", lse" : "")
       << "]\n";
  if (!parse_spec_text(text.str(), "config.yaml").spec) {
    // The one rule that these numbers may break.
    const ParseResult parsed = parse_spec_text(text.str(), "config.yaml");
    for (const Diagnostic& problem : parsed.problems) {
      if (problem.message.find("2^31") == std::string::npos) {
        throw std::runtime_error(format_diagnostics(parsed.problems, parsed.text));
      }
    }
    return std::nullopt;
  }
  return text.str();
}

uint64_t test_seed() {
  const char* seed = std::getenv("MHA_TEST_SEED");
  return seed ? std::strtoull(seed, nullptr, 10) : 20240607;
}

Machine machine_named(const std::string& target) {
  const std::optional<Machine> machine = named_machine(target);
  if (!machine) throw std::runtime_error("no machine " + target);
  return *machine;
}

std::vector<Machine> named_machines() {
  std::vector<Machine> machines;
  for (const std::string& target : named_targets()) machines.push_back(machine_named(target));
  return machines;
}

Schedule with(Schedule schedule, const std::string& stage, const std::string& param,
              int64_t value) {
  for (StageSchedule& s : schedule.stages) {
    if (s.stage != stage) continue;
    for (auto& [name, old] : s.params) {
      if (name == param) {
        old = value;
        return schedule;
      }
    }
  }
  throw std::runtime_error("no " + stage + "." + param);
}

}  // namespace mha
