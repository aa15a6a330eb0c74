// The program that a candidate is linked into: it checks and times the kernel as it is told
// (protocol.h).
//
//   PROGRAM MEMORY      at most so many bytes of address space; 0: no limit
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <sstream>

#include "schedules/tuner/fingerprint.h"
#include "schedules/tuner/probe/clock.h"
#include "schedules/tuner/probe/guard.h"
#include "schedules/tuner/probe/protocol.h"
#include "schedules/tuner/probe/stream.h"
#include "schedules/tuner/probe/subject.h"

extern "C" const mha_kernel candidate_kernel __attribute__((weak));

namespace mha::probe {
namespace {

// Timed outputs are compared in pieces, so that large ones do not take longer than what is timed.
constexpr size_t kComparedBytes = size_t{16} << 20;
// Where its pages happen to lie makes a small kernel faster or slower by 2 % (one standard
// deviation between processes that do the same). Slices take turns among as many copies of all
// operands, as far as those fit: the operands of a large kernel are an average by themselves.
constexpr size_t kPlaces = 12, kPlacesBytes = size_t{32} << 20;

class Session {
 public:
  Session(Stream& stream, const mha_kernel& kernel) : stream_(stream), kernel_(kernel) {}

  // False: the session is over.
  bool command(const std::string& line) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    if (name == "threads") {
      words >> problem_.threads;
    } else if (name == "lengths") {
      words >> problem_.batch >> problem_.query_length >> problem_.key_length >> problem_.new_keys;
    } else if (name == "input") {
      return take_input(words);
    } else if (name == "weight") {
      return take_weight(words);
    } else if (name == "output") {
      Output output;
      words >> output.name >> output.bytes;
      problem_.outputs.push_back(output);
    } else if (name == "prepare" || name == "check" || name == "load" || name == "warm") {
      double limit = 0;
      words >> limit;
      limit_seconds(limit);
      if (name == "prepare") prepare();
      if (name == "check") check();
      if (name == "load") load();
      if (name == "warm") warm();
      limit_seconds(0);
    } else if (name == "stages" || name == "whole") {
      double seconds = 0, limit = 0;
      words >> seconds >> limit;
      limit_seconds(limit);
      slice(name == "stages", seconds);
      limit_seconds(0);
    } else {
      if (name != "quit") stream_.write("failed crash unknown command\n");
      return false;
    }
    return true;
  }

 private:
  bool take_input(std::istringstream& words) {
    Input input;
    std::string strides;
    size_t bytes = 0;
    words >> input.name >> input.flags >> strides >> bytes;
    if (strides != "-") {
      std::istringstream numbers(strides);
      for (std::string number; std::getline(numbers, number, ',');) {
        input.strides.push_back(std::atoll(number.c_str()));
      }
    }
    input.bytes.resize(bytes);
    problem_.inputs.push_back(std::move(input));
    return stream_.read_bytes(&problem_.inputs.back().bytes);
  }

  bool take_weight(std::istringstream& words) {
    Weight weight;
    size_t bytes = 0;
    words >> weight.name >> weight.rows >> weight.columns >> bytes;
    weight.bytes.resize(bytes);
    problem_.weights.push_back(std::move(weight));
    return stream_.read_bytes(&problem_.weights.back().bytes);
  }

  void prepare() {
    subject_ = std::make_unique<Subject>(kernel_, problem_, Subject::Placement::kFlushEnd);
    stream_.write("ok\n");
  }

  void check() {
    subject_->run();
    subject_->check_surroundings();
    for (const auto& output : subject_->outputs()) {
      expected_.emplace_back(output->data(), output->data() + output->bytes());
    }
    subject_.reset();
    subject_ = std::make_unique<Subject>(kernel_, problem_, Subject::Placement::kFlushStart);
    subject_->run();
    subject_->check_surroundings();
    compare_outputs(*subject_, SIZE_MAX);
    subject_.reset();
    compared_ = 0;
    stream_.write("ok\n");
    for (size_t i = 0; i < expected_.size(); ++i) {
      stream_.write("output " + problem_.outputs[i].name + " " +
                    std::to_string(expected_[i].size()) + "\n");
      stream_.write(expected_[i].data(), expected_[i].size());
    }
  }

  void load() {
    const auto place = [&](const Subject* other) {
      places_.push_back(
          std::make_unique<Subject>(kernel_, problem_, Subject::Placement::kTimed, other));
    };
    place(nullptr);
    size_t bytes = places_[0]->bytes();
    for (const Weight& weight : problem_.weights) bytes += weight.bytes.size();
    while (places_.size() < kPlaces && (places_.size() + 1) * bytes <= kPlacesBytes) {
      place(places_[0].get());
    }
    clock_.emplace(*places_[0], kernel_.variants[0].stage_count, problem_.threads);
    stream_.write("ok\n");
  }

  void warm() {
    const double seconds = clock_->warm();
    after_calls(*places_[0]);
    char text[64];
    snprintf(text, sizeof text, "ok %.9g\n", seconds);
    stream_.write(text);
  }

  void slice(bool stages, double seconds) {
    Subject& subject = *places_[turn_++ % places_.size()];
    clock_->turn_to(subject);
    const Slice slice = stages ? clock_->stages(seconds) : clock_->whole(seconds);
    after_calls(subject);
    char text[64];
    snprintf(text, sizeof text, "ok %lld %lld %.9g", static_cast<long long>(slice.calls),
             static_cast<long long>(slice.switches), slice.peak_flops);
    std::string line = text;
    for (const double value : slice.seconds) {
      snprintf(text, sizeof text, " %.9g", value);
      line += text;
    }
    stream_.write(line + "\n");
  }

  void after_calls(const Subject& subject) {
    subject.check_surroundings();
    compare_outputs(subject, kComparedBytes);
  }

  // Bit for bit: a kernel gives the same bits whatever its threads do.
  void compare_outputs(const Subject& subject, size_t most) {
    size_t left = most;
    for (size_t i = 0; i < expected_.size(); ++i) {
      const std::vector<unsigned char>& want = expected_[i];
      const unsigned char* got = subject.outputs()[i]->data();
      size_t begin = compared_ % std::max<size_t>(want.size(), 1);
      if (want.size() <= most) begin = 0;
      const size_t count = std::min(want.size() - begin, left);
      left -= count;
      if (memcmp(want.data() + begin, got + begin, count) == 0) continue;
      size_t at = begin;
      while (want[at] == got[at]) ++at;
      throw Failure("wrong", problem_.outputs[i].name + " differs between two calls, at byte " +
                                 std::to_string(at));
    }
    compared_ += most;
  }

  Stream& stream_;
  const mha_kernel& kernel_;
  Problem problem_;
  std::unique_ptr<Subject> subject_;  // while it is checked
  std::vector<std::unique_ptr<Subject>> places_;
  size_t turn_ = 0;
  std::optional<Clock> clock_;
  std::vector<std::vector<unsigned char>> expected_;
  size_t compared_ = 0;
};

int run(Stream& stream) {
  const mha_kernel* kernel = &candidate_kernel;
  std::string hello = "mha-probe " + std::to_string(kProbeProtocol) + "\nversion " + mha_version() +
                      "\nmachine " + fingerprint().text() + "\nkernel";
  if (kernel == nullptr) {
    hello += " -";
  } else {
    hello += std::string(" ") + kernel->info.name;
    for (uint64_t i = 0; i < kernel->variants[0].stage_count; ++i) {
      hello += std::string(" ") + kernel->variants[0].stages[i].name;
    }
  }
  stream.write(hello + "\nready\n");
  if (kernel == nullptr) return 0;
  Session session(stream, *kernel);
  std::string line;
  try {
    while (stream.read_line(&line) && session.command(line)) {
    }
  } catch (const Failure& failure) {
    stream.write(std::string("failed ") + failure.what() + "\n");
    _exit(1);
  } catch (const std::bad_alloc&) {
    stream.write("failed memory it asked for more than its limit\n");
    _exit(1);
  }
  return 0;
}

}  // namespace
}  // namespace mha::probe

int main(int argc, char** argv) {
  // A program that computes for ever must not outlive whoever started it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Whatever the candidate prints is not part of the protocol.
  const int out = dup(STDOUT_FILENO);
  dup2(STDERR_FILENO, STDOUT_FILENO);
  mha::probe::catch_signals(out);
  const uint64_t memory = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  if (memory > 0) mha::probe::limit_memory(memory);
  mha::probe::Stream stream(STDIN_FILENO, out);
  _exit(mha::probe::run(stream));
}
