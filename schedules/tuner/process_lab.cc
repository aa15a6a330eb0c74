#include "schedules/tuner/process_lab.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "generator/spec/error.h"
#include "schedules/tuner/spills.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "mha-tune-";

// "mha-tune-1234-aB3xYz": whose it is can be seen, so that those of processes that were killed are
// cleared away by the next.
std::string make_folder(const std::string& parent) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const long pid = std::atol(name.c_str() + strlen(kPrefix));
    if (pid > 0 && kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) {
      fs::remove_all(entry.path(), ignored);
    }
  }
  std::string path = parent + "/" + kPrefix + std::to_string(getpid()) + "-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    throw SystemError("cannot make a folder in '" + parent + "': " + strerror(errno));
  }
  return path;
}

std::string parent_folder(const std::string& given) {
  if (!given.empty()) return given;
  const char* temporary = std::getenv("TMPDIR");
  return temporary != nullptr && temporary[0] == '/' ? temporary : "/tmp";
}

}  // namespace

ProcessLab::ProcessLab(const Spec& spec, std::vector<std::string> stages,
                       const GenerateOptions& generate, Workload workload,
                       const LabOptions& options)
    : spec_(spec),
      stages_(std::move(stages)),
      generate_(generate),
      workload_(std::move(workload)),
      options_(options) {
  spec_.name = "candidate";
  if (options_.run_memory_bytes == 0) {
    // What was sent, twice as operands, once packed; the outputs kept; a workspace that may well be
    // larger than all of them; threads' stacks and heaps.
    options_.run_memory_bytes = (uint64_t{1} << 30) + 8 * workload_.size() +
                                static_cast<uint64_t>(workload_.threads) * (uint64_t{160} << 20);
  }
  folder_ = make_folder(parent_folder(options_.folder));
  try {
    linker_.emplace(folder_, options_.link_with);
    const std::string program = folder_ + "/hello";
    const std::string message = Linker(folder_, {}).link("", program);
    if (!message.empty()) {
      throw SystemError("cannot link a static program with '" + linker_->compiler().front() +
                        "' (set CXX to use another): " + message);
    }
    machine_ = launch(program)->hello().machine;
    fs::remove(program);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    throw;
  }
}

ProcessLab::~ProcessLab() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::vector<Built> ProcessLab::build(const std::vector<Candidate>& candidates) {
  const int64_t first = built_;
  built_ += static_cast<int64_t>(candidates.size());
  return build_in_parallel(candidates.size(), options_.build, [&](size_t i) {
    return build_one(candidates[i],
                     folder_ + "/candidate-" + std::to_string(first + static_cast<int64_t>(i)));
  });
}

Built ProcessLab::build_one(const Candidate& candidate, const std::string& path) const {
  GenerateOptions options = generate_;
  options.schedule = candidate.schedule;
  const bool autoscheduled = !candidate.autoscheduler.empty();
  options.autoscheduler = candidate.autoscheduler;
  options.emit.insert("asm");
  const Generated generated = generate(spec_, options);
  for (const auto& [name, text] : generated.files) {
    // An autoscheduler's kernel is measured for comparison, however it was made.
    if (!name.ends_with(".s") || autoscheduled) continue;
    const std::vector<SpillingLoop> loops = spilling_loops(text);
    if (loops.empty()) continue;
    // "candidate_STAGE.s"
    const std::string stage =
        name.substr(spec_.name.size() + 1, name.size() - spec_.name.size() - 3);
    return {Outcome::kSpill, stage + ": " + spill_text(loops.front()), ""};
  }
  const std::string archive = path + ".a";
  {
    const std::string& bytes = generated.files.at("libcandidate.a");
    std::ofstream file(archive, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file) throw SystemError("cannot write '" + archive + "': " + strerror(errno));
  }
  const std::string message = linker_->link(archive, path);
  fs::remove(archive);
  if (!message.empty()) return {Outcome::kBuild, message, ""};
  return {Outcome::kMeasured, "", path};
}

std::unique_ptr<Runner> ProcessLab::start(const Built& built, double slowest_call) {
  std::unique_ptr<ProbeRunner> runner = launch(built.program);
  runner->set_up(workload_, stages_, slowest_call);
  return runner;
}

void ProcessLab::discard(const Built& built) {
  std::error_code ignored;
  if (!built.program.empty()) fs::remove(built.program, ignored);
}

std::unique_ptr<ProbeRunner> ProcessLab::launch(const std::string& program) const {
  std::vector<std::string> words;
  std::istringstream text(options_.remote);
  for (std::string word; text >> word;) words.push_back(word);
  ProbeLimits limits;
  limits.memory_bytes = options_.run_memory_bytes;
  limits.remote = !words.empty();
  limits.slack = options_.slack > 0 ? options_.slack : limits.remote ? 15 : 2;
  words.push_back(program);
  return std::make_unique<ProbeRunner>(words, limits);
}

}  // namespace mha
