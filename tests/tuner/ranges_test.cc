// Tuning for a range of lengths, in laboratories that are not there: what is fast depends on the
// length in a way that is known.
#include "schedules/tuner/ranges.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "tests/schedules/plans.h"
#include "tests/tuner/simulated.h"

namespace mha {
namespace {

// Calls of one length. Blocks of queries are computed whole, and each costs something by itself.
class LengthLab : public Lab {
 public:
  using Programs = std::map<std::string, Schedule>;
  // Labs share their programs.
  LengthLab(SimulatedMachine& machine, Programs& programs, int64_t length, double block_gain)
      : machine_(machine), programs_(programs), length_(length), block_gain_(block_gain) {}

  std::vector<Built> build(const std::vector<Candidate>& candidates) override {
    std::vector<Built> built;
    for (const Candidate& candidate : candidates) {
      const std::string name = std::to_string(programs_.size());
      programs_.emplace(name, candidate.schedule);
      built.push_back({Outcome::kMeasured, "", name});
    }
    machine_.pass(0.1);
    return built;
  }
  std::unique_ptr<Runner> start(const Built& built, double) override {
    const StageSchedule& stage = programs_.at(built.program).stage("attention");
    const int64_t block = stage.get("query_block");
    const int64_t blocks = (length_ + block - 1) / block;
    double seconds = 1e-7 * static_cast<double>(blocks * (block + 40));
    if (stage.get("key_unroll") == 4) seconds *= block_gain_;
    return std::make_unique<SimulatedRunner>(machine_, std::vector<double>{seconds});
  }
  void discard(const Built&) override {}
  std::vector<std::string> stages() const override { return {"attention"}; }

 private:
  SimulatedMachine& machine_;
  Programs& programs_;
  int64_t length_;
  double block_gain_;
};

class TuneRanges : public testing::Test {
 protected:
  TuneRanges()
      : plan_(plan_of("{version: 1, name: t, op: attention, heads: 8, d_head: 64,"
                      " query_length: {min: 1, max: 512}}")),
        zen5_(machine_named("zen5")),
        folder_(std::filesystem::temp_directory_path() /
                ("mha-ranges-test-" + std::to_string(getpid()))),
        machine_({}, 5) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    options_.tuner.trials = 150;
    options_.tuner.seed = 1;
    options_.samples = 4;
  }
  ~TuneRanges() override { std::filesystem::remove_all(folder_); }

  // `gain` is what key_unroll = 4 makes of the time, at every length.
  // A run on the same database; a lab's noise goes on from where it was.
  RangesResult tune(double gain) {
    return tune([gain](int64_t) { return gain; });
  }
  RangesResult tune(const std::function<double(int64_t)>& gain) {
    const RangesProblem problem{
        plan_,
        zen5_,
        [&](int64_t length) {
          return std::make_unique<LengthLab>(machine_, programs_, length, gain(length));
        },
        [](int64_t length) {
          return Subject{"attention", "Lq=" + std::to_string(length), "zen5", "none", 1, "g", "s"};
        },
        {}};
    Database database((folder_ / "db").string());
    TunerEvents events;
    const TunerClock clock{[this] { return machine_.now(); }, [] { return std::string("t"); }};
    return tune_ranges(problem, database, options_, events, clock);
  }

  const Plan plan_;
  const Machine zen5_;
  const std::filesystem::path folder_;
  SimulatedMachine machine_;
  LengthLab::Programs programs_;
  RangesOptions options_;
};

TEST_F(TuneRanges, EachLengthGetsWhatIsFastThere) {
  const RangesResult result = tune(0.8);
  EXPECT_EQ(result.table.lengths, tuned_lengths(plan_, zen5_, 1, options_.samples));
  ASSERT_TRUE(result.certified) << result.note;
  EXPECT_EQ(check_variants(result.variants, plan_, zen5_), std::vector<std::string>());
  EXPECT_GT(result.variants.size(), 1u);
  EXPECT_EQ(result.variants.back().max_query_length, 512);
  // Short calls take small blocks, long ones large ones.
  const int64_t small = result.variants.front().schedule.stage("attention").get("query_block");
  const int64_t large = result.variants.back().schedule.stage("attention").get("query_block");
  EXPECT_LE(small, 16);
  EXPECT_GE(large, 64);
  for (const LengthVariant& variant : result.variants) {
    EXPECT_EQ(variant.schedule.origin, "record");
  }
  EXPECT_LT(result.chosen.worst, 0.1);
  EXPECT_FALSE(result.certificates.empty());
  for (const auto& [length, certificate] : result.certificates) {
    EXPECT_GT(certificate.low, certificate.margin) << length;
    EXPECT_EQ(certificate.machine, "none");
  }
}

// A search that finds nothing leaves the default.
TEST_F(TuneRanges, TheDefaultStays) {
  options_.tuner.trials = 4;  // the default alone is measured at each length
  options_.tuner.certificate.margin = 10;
  const RangesResult result = tune(1);
  EXPECT_FALSE(result.certified);
  EXPECT_FALSE(result.note.empty());
  const std::vector<LengthVariant> usual = default_variants(plan_, zen5_, 1);
  ASSERT_EQ(result.variants.size(), usual.size());
  for (size_t i = 0; i < usual.size(); ++i) {
    EXPECT_EQ(result.variants[i].schedule.stages, usual[i].schedule.stages);
    EXPECT_EQ(result.variants[i].max_query_length, usual[i].max_query_length);
  }
}

const Schedule& at(const std::vector<LengthVariant>& variants, int64_t length) {
  for (const LengthVariant& variant : variants) {
    if (length <= variant.max_query_length) return variant.schedule;
  }
  return variants.back().schedule;
}

// What is faster for long calls alone leaves short ones the default, at every length and not only
// at those that are sampled.
TEST_F(TuneRanges, LengthsWithoutACertificateKeepTheDefault) {
  const RangesResult result = tune([](int64_t length) { return length < 512 ? 1.3 : 0.7; });
  ASSERT_TRUE(result.certified) << result.note;
  EXPECT_EQ(result.certificates.count(512), 1u);
  const std::vector<LengthVariant> usual = default_variants(plan_, zen5_, 1);
  int64_t before = 0;
  for (const int64_t length : result.table.lengths) {
    for (int64_t l = before + 1; l <= length && result.certificates.count(length) == 0; ++l) {
      EXPECT_EQ(at(result.variants, l).stages, at(usual, l).stages) << l;
    }
    before = length;
  }
}

// A second run asks nothing again, and says the same.
TEST_F(TuneRanges, NothingIsMeasuredTwice) {
  options_.tuner.trials = 40;
  const RangesResult first = tune(0.8);
  const int64_t slices = machine_.slices;
  const RangesResult second = tune(0.8);
  EXPECT_EQ(machine_.slices, slices);
  EXPECT_EQ(second.progress.remembered, second.progress.trials);
  ASSERT_EQ(second.variants.size(), first.variants.size());
  for (size_t i = 0; i < first.variants.size(); ++i) {
    EXPECT_EQ(second.variants[i].schedule.stages, first.variants[i].schedule.stages);
    EXPECT_EQ(second.variants[i].max_query_length, first.variants[i].max_query_length);
  }
}

// Searches, table and certificates all fit.
TEST_F(TuneRanges, TheBudgetHolds) {
  options_.tuner.trials = 0;
  for (const double budget : {1.0, 6.0, 30.0}) {
    options_.tuner.budget_seconds = budget;
    const double began = machine_.now();
    const RangesResult result = tune(0.8);
    EXPECT_LT(machine_.now() - began, budget + 2) << budget;
    if (budget > 20) {
      EXPECT_TRUE(result.certified) << result.note;
    }
  }
}

TEST_F(TuneRanges, AsManyVariantsAsAreAllowed) {
  options_.most = 1;
  const RangesResult result = tune(0.6);
  EXPECT_LE(result.chosen.ranges.size(), 1u);
  if (result.certified) {
    EXPECT_EQ(result.variants.size(), 1u);
  }
}

// Between two samples the default is one schedule.
TEST(TunedLengths, TheDefaultChangesAtSamples) {
  for (const char* lengths : {"{min: 1, max: 512}", "{min: 3, max: 40}", "{min: 100, max: 4096}"}) {
    const Plan plan = plan_of(std::string("{version: 1, name: t, op: attention, heads: 8,"
                                          " d_head: 64, query_length: ") +
                              lengths + "}");
    for (const char* target : {"zen4", "zen5", "sapphirerapids"}) {
      const Machine machine = machine_named(target);
      const std::vector<int64_t> sampled = tuned_lengths(plan, machine, 1, 5);
      EXPECT_EQ(sampled.front(), plan.query_length.min);
      EXPECT_EQ(sampled.back(), plan.query_length.max);
      EXPECT_TRUE(std::is_sorted(sampled.begin(), sampled.end(), std::less_equal<>()));
      for (const LengthVariant& variant : default_variants(plan, machine, 1)) {
        EXPECT_TRUE(std::binary_search(sampled.begin(), sampled.end(), variant.max_query_length));
        EXPECT_EQ(check_schedule(variant.schedule, plan, machine), std::vector<std::string>());
      }
    }
  }
}

}  // namespace
}  // namespace mha
