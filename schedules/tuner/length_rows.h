// The table of what each schedule takes at every sampled length, measured and remembered.
#ifndef MHA_SCHEDULES_TUNER_LENGTH_ROWS_H_
#define MHA_SCHEDULES_TUNER_LENGTH_ROWS_H_

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "schedules/tuner/database.h"
#include "schedules/tuner/length_labs.h"
#include "schedules/tuner/range_watch.h"

namespace mha {

class LengthRows {
 public:
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  // `comparing` is told before the work at a length begins.
  LengthRows(const RangesProblem& problem, LengthLabs& labs, Database& database,
             const RangesOptions& options, RangeWatch& watch, const TunerClock& clock,
             std::function<void(size_t l)> comparing);

  // The row of a schedule; kNone where it is not legal by itself.
  size_t add(const Schedule& schedule);
  // The same attention beside other projections, where the two pack weights differently.
  void add_joined(const Schedule& attention, const Schedule& projections);
  // The default's row at the next length.
  void add_usual(size_t row) { usual_.push_back(row); }
  size_t usual(size_t l) const { return usual_[l]; }

  size_t size() const { return table_.candidates.size(); }
  const Schedule& schedule(size_t c) const { return table_.candidates[c]; }
  const LengthTable& table() const { return table_; }

  // Times what is not known yet, as far as the budget goes when `reserve` seconds of it are for
  // later. The text says what there was no time for. Throws SystemError where the default fails.
  std::string measure(double reserve);

  // The program of a row, built if need be.
  const Built& program(size_t c);
  void build(const std::vector<size_t>& rows);
  void discard();

 private:
  std::optional<Trial> known(size_t c, size_t l) const;
  void measure_at(size_t l, const std::vector<size_t>& wanted);
  void store(size_t c, size_t l, Trial trial);
  std::unique_ptr<Runner> started_usual(size_t l);

  const RangesProblem& problem_;
  LengthLabs& labs_;
  Database& database_;
  const RangesOptions& options_;
  RangeWatch& watch_;
  const TunerClock& clock_;
  std::function<void(size_t l)> comparing_;
  LengthTable table_;
  std::vector<size_t> usual_;    // by length
  std::vector<Built> programs_;  // by row; those that were needed
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_LENGTH_ROWS_H_
