// aa: how often a schedule is certified to be faster than itself. power: how often it is certified
// to be faster than itself made slower.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "bench/tune/busy_core.h"
#include "bench/tune/command.h"
#include "bench/tune/tune_case.h"
#include "schedules/tuner/race.h"
#include "schedules/tuner/statistics.h"
#include "tools/common/cli.h"

namespace mha {
namespace {

// What must be reached: 10 false wins of 1,000, and 190 of 200 differences of 5 % seen.
constexpr double kFalseWins = 0.01, kSeen = 0.95;

// Every call takes as much longer as MHA_SLOWER says, by the clock.
constexpr char kSlowerSource[] = R"(
#include <chrono>
#include "mha/mha.h"
extern "C" mha_status __real_mha_run(const mha_kernel*, mha_context*, const void*);
extern "C" mha_status __wrap_mha_run(const mha_kernel* kernel, mha_context* context,
                                     const void* arguments) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const mha_status status = __real_mha_run(kernel, context, arguments);
  const Clock::time_point end = Clock::now();
  while (Clock::now() - end < (end - start) * MHA_SLOWER) {
  }
  return status;
}
)";

struct Tally {
  int64_t decisions = 0, faster = 0, pairs = 0, disturbed = 0;
  double seconds = 0;  // all in all
  std::vector<double> spreads, gains;
  std::vector<double> calls;  // seconds of a call of the candidate
};

Built build_one(ProcessLab& lab, const Candidate& candidate) {
  Built built = lab.build({candidate}).front();
  if (built.outcome != Outcome::kMeasured) {
    throw SystemError(std::string("the kernel cannot be built: ") + outcome_name(built.outcome) +
                      ": " + built.detail);
  }
  return built;
}

// A folder with the source above, gone when this is.
class SlowerSource {
 public:
  SlowerSource() {
    std::string path = (std::filesystem::temp_directory_path() / "mha-slower-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) {
      throw SystemError("cannot make a folder in '" +
                        std::filesystem::temp_directory_path().string() + "'");
    }
    folder_ = path;
    std::ofstream file(folder_ + "/slower.cc");
    file << kSlowerSource;
    file.close();
    if (!file) {
      throw SystemError("cannot write '" + folder_ + "/slower.cc'");
    }
  }
  ~SlowerSource() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  SlowerSource(const SlowerSource&) = delete;
  SlowerSource& operator=(const SlowerSource&) = delete;

  // The compiler takes the source among the linker's arguments.
  std::vector<std::string> arguments(double slower) const {
    return {"-O2", fmt::format("-DMHA_SLOWER={}", slower), "-I" MHA_RUNTIME_INCLUDE,
            "-Wl,--wrap=mha_run", folder_ + "/slower.cc"};
  }

 private:
  std::string folder_;
};

class Decisions : public BenchCommand {
 public:
  explicit Decisions(bool power) : power_(power), decisions_(power ? 200 : 1000) {}

  const char* name() const override { return power_ ? "power" : "aa"; }
  const char* summary() const override {
    return power_ ? "How often the certificate sees that the default, made slower, is slower."
                  : "How often the certificate says that a schedule is faster than itself.";
  }

  void declare(CLI::App& app) override {
    app.add_option("--decisions", decisions_, "how many")->check(CLI::PositiveNumber);
    if (power_) {
      app.add_option("--slower", slower_, "by how much, of its own time")
          ->check(CLI::Range(0.0, 10.0));
    }
    app.add_flag("--busy", busy_, "keep the last CPU busy meanwhile");
    app.add_option("--config", config_, "the kernel (a small attention)");
    app.add_option("--threads", threads_, "of a call")->check(CLI::PositiveNumber);
    app.add_option("--margin", options_.margin, "log gain that must be exceeded");
    app.add_option("--min-pairs", options_.min_pairs, "pairs of processes, at least")
        ->check(CLI::Range(2, 100));
    app.add_option("--max-pairs", options_.max_pairs, "pairs of processes, at most")
        ->check(CLI::Range(2, 100));
    app.add_option("--rounds", options_.rounds, "of a pair")->check(CLI::PositiveNumber);
    app.add_option("--slice", options_.slice_seconds, "seconds of each in a round")
        ->check(CLI::PositiveNumber);
  }

  int run(Console& console) override {
    if (options_.max_pairs < options_.min_pairs) {
      throw UserError("--max-pairs is less than --min-pairs");
    }
    const TuneCase subject(config_, threads_);
    const auto lab = subject.lab({});
    const Built candidate = build_one(*lab, subject.analytic());
    const SlowerSource source;
    std::unique_ptr<ProcessLab> slower_lab;
    Built against = candidate;
    if (power_) {
      LabOptions options;
      options.link_with = source.arguments(slower_);
      slower_lab = subject.lab(options);
      against = build_one(*slower_lab, subject.analytic());
    }
    std::optional<BusyCore> load;
    if (busy_) {
      load.emplace();
    }
    constexpr double kSlowestCall = 60;
    const Start start = [&] { return lab->start(candidate, kSlowestCall); };
    const Start start_against = [&] {
      return (power_ ? *slower_lab : *lab).start(against, kSlowestCall);
    };
    const Tally tally = decide(start, start_against, console);
    report(tally, subject.spec.name, console);
    const double share = static_cast<double>(tally.faster) / static_cast<double>(tally.decisions);
    return (power_ ? share >= kSeen : share <= kFalseWins) ? kExitDone : kExitFailure;
  }

 private:
  Tally decide(const Start& start, const Start& start_against, Console& console) const {
    using Steady = std::chrono::steady_clock;
    Tally tally;
    const Steady::time_point begin = Steady::now();
    for (; tally.decisions < decisions_; ++tally.decisions) {
      if (tally.decisions > 0 && tally.decisions % std::max<int64_t>(decisions_ / 10, 1) == 0) {
        console.note(fmt::format("{} of {} decisions, {} faster", tally.decisions, decisions_,
                                 tally.faster));
      }
      const Certificate certificate = certify(start, start_against, options_);
      tally.faster += certificate.faster;
      tally.pairs += static_cast<int64_t>(certificate.pair_log_gains.size());
      tally.disturbed += certificate.disturbed;
      tally.spreads.push_back(spread(certificate.pair_log_gains));
      tally.gains.push_back(certificate.log_gain);
      tally.calls.push_back(median(certificate.seconds));
    }
    tally.seconds = std::chrono::duration<double>(Steady::now() - begin).count();
    return tally;
  }

  void report(const Tally& tally, const std::string& config, Console& console) const {
    const Interval share = proportion_interval(tally.faster, tally.decisions);
    const double decisions = static_cast<double>(tally.decisions);
    const double pairs = static_cast<double>(tally.pairs) / decisions;

    const double rounds = static_cast<double>(tally.pairs) * options_.rounds;
    if (console.json()) {
      console.print_json({{"bench", name()},
                          {"config", config},
                          {"threads", threads_},
                          {"busy", busy_},
                          {"slower", power_ ? slower_ : 0.0},
                          {"margin", options_.margin},
                          {"error", options_.error},
                          {"rounds", options_.rounds},
                          {"slice_seconds", options_.slice_seconds},
                          {"decisions", tally.decisions},
                          {"faster", tally.faster},
                          {"share_low", share.low()},
                          {"share_high", share.high()},
                          {"seconds_per_decision", tally.seconds / decisions},
                          {"pairs_per_decision", pairs},
                          {"disturbed_rounds", tally.disturbed},
                          {"rounds_wanted", rounds},
                          {"pair_spread", median(tally.spreads)},
                          {"log_gain", median(tally.gains)},
                          {"call_seconds", median(tally.calls)}});
      return;
    }
    console.print(fmt::format(
        "{}{}: {} of {} decisions say \"faster\" ({:.2f} %, 95 % interval {:.2f} to {:.2f} %)\n"
        "  {} on {} thread{}, {:.1f} us a call; median log gain {:+.4f}, spread of the pairs "
        "{:.4f}\n"
        "  {:.2f} s and {:.1f} pairs of processes a decision; {} rounds disturbed beside {:.0f} "
        "wanted\n",
        power_ ? fmt::format("{:g} % slower", 100 * slower_) : "A/A", busy_ ? ", busy core" : "",
        tally.faster, tally.decisions, 100 * static_cast<double>(tally.faster) / decisions,
        100 * share.low(), 100 * share.high(), config, threads_, threads_ == 1 ? "" : "s",
        1e6 * median(tally.calls), median(tally.gains), median(tally.spreads),
        tally.seconds / decisions, pairs, tally.disturbed, rounds));
  }

  bool power_;
  int64_t decisions_;
  double slower_ = 0.05;
  bool busy_ = false;
  std::string config_;
  int threads_ = 1;
  CertificateOptions options_;
};

}  // namespace

std::unique_ptr<BenchCommand> aa_command() { return std::make_unique<Decisions>(false); }
std::unique_ptr<BenchCommand> power_command() { return std::make_unique<Decisions>(true); }

}  // namespace mha
