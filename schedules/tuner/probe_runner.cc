#include "schedules/tuner/probe_runner.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <sstream>

#include "generator/spec/error.h"
#include "schedules/tuner/probe/protocol.h"

namespace mha {
namespace {

// Least bytes a second at which operands must get there and be packed.
constexpr double kTransfer = 20e6;
// The status of ssh when it is ssh that failed.
constexpr int kConnectionLost = 255;

std::vector<std::string> with_limit(std::vector<std::string> words, uint64_t memory_bytes) {
  words.push_back(std::to_string(memory_bytes));
  return words;
}

}  // namespace

ProbeRunner::ProbeRunner(std::vector<std::string> words, const ProbeLimits& limits)
    : process_(with_limit(std::move(words), limits.memory_bytes)), limits_(limits) {
  try {
    process_.set_limit(10 + 2 * limits_.slack);
    hello_ = read_hello();
  } catch (const Process::Timeout&) {
    throw SystemError("the measuring program does not start: no answer in time. " +
                      process_.last_words());
  } catch (const Process::Closed&) {
    const std::string status = status_text(process_.finish());
    throw SystemError(
        fmt::format("the measuring program does not start: {}. {}", status, process_.last_words()));
  }
}

ProbeHello ProbeRunner::read_hello() {
  ProbeHello hello;
  const std::string first = process_.read_line();
  if (first != fmt::format("mha-probe {}", kProbeProtocol)) {
    throw SystemError("the measuring program should say hello, and says '" + first + "'");
  }
  for (;;) {
    const std::string line = process_.read_line();
    if (line == "ready") return hello;
    const size_t space = line.find(' ');
    const std::string key = line.substr(0, space);
    const std::string value = space == std::string::npos ? "" : line.substr(space + 1);
    if (key == "version") hello.version = value;
    if (key == "machine") hello.machine = value;
    if (key == "kernel") {
      std::istringstream names(value);
      names >> hello.kernel;
      for (std::string stage; names >> stage;) hello.stages.push_back(stage);
    }
  }
}

template <typename F>
auto ProbeRunner::guarded(F f) {
  try {
    return f();
  } catch (const Process::Timeout&) {
    process_.finish();
    throw RunnerFailure(Outcome::kHang, "no answer in time");
  } catch (const Process::Closed&) {
    ended();
  }
}

void ProbeRunner::send(const Workload& workload) {
  process_.write(fmt::format("threads {}\nlengths {} {} {} {}\n", workload.threads, workload.batch,
                             workload.query_length, workload.key_length, workload.new_keys));
  for (const Workload::Input& input : workload.inputs) {
    const std::string strides =
        input.strides.empty() ? "-" : fmt::format("{}", fmt::join(input.strides, ","));
    process_.write(
        fmt::format("input {} {} {} {}\n", input.name, input.flags, strides, input.bytes.size()));
    process_.write(input.bytes);
  }
  for (const Workload::Weight& weight : workload.weights) {
    process_.write(fmt::format("weight {} {} {} {}\n", weight.name, weight.rows, weight.columns,
                               weight.bytes.size()));
    process_.write(weight.bytes);
  }
  for (const Workload::Output& output : workload.outputs) {
    process_.write(fmt::format("output {} {}\n", output.name, output.bytes));
  }
}

void ProbeRunner::set_up(const Workload& workload, const std::vector<std::string>& stages,
                         double slowest_call) {
  parts_ = stages.size();
  const auto index_of = [&](const std::string& name) {
    return static_cast<size_t>(std::find(stages.begin(), stages.end(), name) - stages.begin());
  };
  for (const std::string& stage : hello_.stages) {
    part_of_.push_back(index_of(stage));
    // Copies of K and V, appending to a cache, merging and further outputs are attention's.
    if (part_of_.back() == parts_) part_of_.back() = index_of("decode");
    if (part_of_.back() == parts_) part_of_.back() = index_of("attention");
    if (part_of_.back() == parts_) throw InternalError("no stage is called '" + stage + "'");
  }
  slowest_call_ = slowest_call;
  const double transfer = static_cast<double>(workload.size()) / kTransfer;
  const double setup = 10 + transfer;
  Workload::Outputs outputs;
  guarded([&] {
    process_.set_limit(setup + limits_.slack);
    send(workload);
    ask("prepare", setup);
    // Two calls, and the moving of operands between them.
    ask("check", transfer + 2 * slowest_call);
    process_.set_limit(setup + limits_.slack);
    for (const Workload::Output& output : workload.outputs) {
      const std::string line = process_.read_line();
      if (line != fmt::format("output {} {}", output.name, output.bytes)) fail(line);
      outputs[output.name] = process_.read_bytes(output.bytes);
    }
  });
  if (workload.wrong) {
    const std::optional<std::string> wrong = workload.wrong(outputs);
    if (wrong) {
      guarded([&] { process_.write("quit\n"); });
      process_.finish();
      throw RunnerFailure(Outcome::kWrong, *wrong);
    }
  }
  guarded([&] {
    ask("load", setup);
    ask("warm", transfer + 2 * slowest_call);
  });
}

std::string ProbeRunner::ask(const std::string& command, double limit) {
  // The program's own limit is the later one: it is for when nobody listens any more.
  const double ours = limit + limits_.slack;
  process_.set_limit(ours);
  process_.write(fmt::format("{} {:.3f}\n", command, ours + 1));
  const std::string line = process_.read_line();
  if (line == "ok") return "";
  if (line.starts_with("ok ")) return line.substr(3);
  fail(line);
}

Slice ProbeRunner::slice(const char* command, double seconds) {
  return guarded([&] {
    // The warm-up, and the call during which the time is over.
    const double limit = seconds + 2 * slowest_call_;
    std::istringstream words(ask(fmt::format("{} {:.6f}", command, seconds), limit));
    Slice slice;
    words >> slice.calls >> slice.switches >> slice.peak_flops;
    for (double value = 0; words >> value;) slice.seconds.push_back(value);
    if (slice.seconds.empty()) throw InternalError("a slice without a time");
    return slice;
  });
}

Slice ProbeRunner::stages(double seconds) {
  Slice slice = this->slice("stages", seconds);
  if (slice.seconds.size() != part_of_.size()) throw InternalError("a slice of other stages");
  std::vector<double> parts(parts_);
  for (size_t i = 0; i < part_of_.size(); ++i) parts[part_of_[i]] += slice.seconds[i];
  slice.seconds = std::move(parts);
  return slice;
}

Slice ProbeRunner::whole(double seconds) { return slice("whole", seconds); }

void ProbeRunner::fail(const std::string& line) {
  std::istringstream words(line);
  std::string failed, name, detail;
  words >> failed >> name;
  std::getline(words >> std::ws, detail);
  process_.finish();
  if (failed != "failed") throw RunnerFailure(Outcome::kCrash, "it says '" + line + "'");
  Outcome outcome = Outcome::kCrash;
  try {
    outcome = outcome_of(name);
  } catch (const std::out_of_range&) {
    detail = name + " " + detail;
  }
  throw RunnerFailure(outcome, detail);
}

void ProbeRunner::ended() {
  try {
    // Its last line may lie unread, where it was a write of ours that failed.
    process_.set_limit(1);
    const std::string line = process_.read_line();
    if (line.starts_with("failed ")) fail(line);
  } catch (const Process::Timeout&) {
  } catch (const Process::Closed&) {
  }
  const int status = process_.finish();
  if (limits_.remote && WIFEXITED(status) && WEXITSTATUS(status) == kConnectionLost) {
    throw SystemError("the connection to the measuring machine was lost: " + process_.last_words());
  }
  // Who else kills: the system, when its memory is used up.
  const bool memory = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  throw RunnerFailure(memory ? Outcome::kMemory : Outcome::kCrash, status_text(status));
}

}  // namespace mha
