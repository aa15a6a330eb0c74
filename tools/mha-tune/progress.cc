#include "tools/mha-tune/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace mha {
namespace {

constexpr double kLiveSeconds = 0.2;  // between two drawings of the live line
constexpr double kPlainSeconds = 30;  // between two plain lines without news
constexpr double kNews = 0.005;       // log gain that is worth a plain line of its own
constexpr int kNarrow = 40, kUsual = 80;

volatile std::sig_atomic_t asked_to_end = 0;

void on_signal(int number) {
  asked_to_end = 1;
  std::signal(number, SIG_DFL);
}

int terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > kNarrow) return size.ws_col;
  return kUsual;
}

const char* phase_text(Progress::Phase phase) {
  switch (phase) {
    case Progress::Phase::kStarting:
      return "measuring the default";
    case Progress::Phase::kBuilding:
      return "building";
    case Progress::Phase::kRacing:
      return "measuring";
    case Progress::Phase::kComparing:
      return "comparing what was found at all lengths";
    case Progress::Phase::kCertifying:
      return "certifying the best against the default";
  }
  return "";
}

}  // namespace

void catch_signals() {
  struct sigaction action{};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool signalled() { return asked_to_end != 0; }

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::max(seconds, 0.0));
  if (whole < 100) return std::to_string(whole) + " s";
  if (whole < 3600) {
    return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
  }
  return std::to_string(whole / 3600) + " h " + std::to_string(whole % 3600 / 60) + " min";
}

std::string gain_text(double log_gain) {
  const double percent = 100 * std::expm1(log_gain);
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", std::fabs(percent));
  if (std::string(text) == "0.0 %") return "as fast";
  return std::string(text) + (percent > 0 ? " faster" : " slower");
}

std::string progress_text(const Progress& progress) {
  std::string text;
  if (progress.seconds > 0) {
    text = progress.log_gain > 0
               ? "best so far about " + gain_text(progress.log_gain) + " than the default; "
               : "nothing faster than the default yet; ";
  }
  text += std::to_string(progress.trials) + (progress.trials == 1 ? " trial" : " trials");
  if (progress.remembered > 0) text += " (" + std::to_string(progress.remembered) + " known)";
  int64_t rejected = 0;
  std::string causes;
  for (const auto& [outcome, count] : progress.rejected) {
    rejected += count;
    causes += (causes.empty() ? "" : ", ") + std::to_string(count) + " " + outcome_name(outcome);
  }
  if (rejected > 0) text += ", " + std::to_string(rejected) + " rejected (" + causes + ")";
  if (progress.seconds_left) text += "; " + duration_text(*progress.seconds_left) + " left";
  return text;
}

ProgressLine::ProgressLine(Console& console, std::string what)
    : console_(console), what_(std::move(what)) {
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal == nullptr || std::string(terminal) == "dumb";
  live_ = isatty(STDERR_FILENO) == 1 && !dumb && !console.quiet();
}

ProgressLine::~ProgressLine() { clear(); }

void ProgressLine::clear() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

void ProgressLine::draw(const std::string& text) {
  const auto width = static_cast<size_t>(terminal_width() - 1);
  std::fprintf(stderr, "\r\033[K%s", text.substr(0, width).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressLine::progress(const Progress& progress) {
  const double now = progress.elapsed_seconds;
  const std::string what = what_ + (progress.part.empty() ? "" : ", " + progress.part);
  const bool new_part = progress.part != part_;
  if (new_part) shown_gain_ = 0;
  part_ = progress.part;
  if (live_) {
    const bool long_phase = progress.phase != Progress::Phase::kRacing;
    if (!long_phase && now < shown_at_ + kLiveSeconds) return;
    draw(what + ": " + progress_text(progress) + "; " + phase_text(progress.phase));
    shown_at_ = now;
    return;
  }
  const bool news = progress.log_gain > shown_gain_ + kNews;
  const bool due = now >= shown_at_ + kPlainSeconds || new_part ||
                   progress.phase == Progress::Phase::kCertifying;
  if (!news && !due) return;
  console_.note(what + ": " + progress_text(progress) + "; " + phase_text(progress.phase));
  shown_at_ = now;
  shown_gain_ = progress.log_gain;
}

}  // namespace mha
