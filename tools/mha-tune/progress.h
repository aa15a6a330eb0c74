// What mha-tune shows while it works: one live line on a terminal, plain lines elsewhere.
#ifndef MHA_TOOLS_MHA_TUNE_PROGRESS_H_
#define MHA_TOOLS_MHA_TUNE_PROGRESS_H_

#include <string>

#include "schedules/tuner/tuner.h"
#include "tools/common/console.h"

namespace mha {

// SIGINT and SIGTERM ask for an end from now on: the measurement at hand is finished first. A
// second one ends the process at once.
void catch_signals();
bool signalled();

// "best so far 4.5 % faster than the default; 63 trials, 12 rejected (8 spill, 4 wrong); 2 min 13 s
// left"
std::string progress_text(const Progress& progress);
// "90 s", "2 min 13 s", "1 h 5 min"
std::string duration_text(double seconds);
// "4.5 % faster", "0.3 % slower", "as fast": of a log gain.
std::string gain_text(double log_gain);

class ProgressLine : public TunerEvents {
 public:
  // `what`: "transformer_base, zen5, 1 thread".
  ProgressLine(Console& console, std::string what);
  ~ProgressLine() override;
  void progress(const Progress& progress) override;
  bool stop() override { return signalled(); }

 private:
  void draw(const std::string& text);
  void clear();

  Console& console_;
  std::string what_;
  std::string part_;
  bool live_ = false;
  bool drawn_ = false;
  double shown_at_ = -1e9;  // seconds since the start
  double shown_gain_ = 0;
};

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_PROGRESS_H_
