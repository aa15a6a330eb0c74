// Tuning for a range of lengths, in laboratories that are not there: what is fast depends on the
// length in a way that is known.
#include "schedules/tuner/ranges.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "tests/schedules/plans.h"
#include "tests/tuner/simulated.h"

namespace mha {
namespace {

// Calls of one length. Blocks of queries are computed whole, and each costs something by itself.
class LengthLab : public Lab {
 public:
  LengthLab(SimulatedMachine& machine, int64_t length, double block_gain)
      : machine_(machine), length_(length), block_gain_(block_gain) {}

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
  int64_t length_;
  double block_gain_;
  std::map<std::string, Schedule> programs_;
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
  RangesResult tune(double gain) {
    const RangesProblem problem{
        plan_,
        zen5_,
        [&](int64_t length) { return std::make_unique<LengthLab>(machine_, length, gain); },
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
  RangesOptions options_;
};

TEST_F(TuneRanges, EachLengthGetsWhatIsFastThere) {
  const RangesResult result = tune(0.8);
  EXPECT_EQ(result.table.lengths, (std::vector<int64_t>{1, 8, 64, 512}));
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
  EXPECT_EQ(result.certificates.size(), result.certified_lengths.size());
  for (const Certificate& certificate : result.certificates) {
    EXPECT_GT(certificate.low, -options_.slower);
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

}  // namespace
}  // namespace mha
