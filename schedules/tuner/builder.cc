#include "schedules/tuner/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <string>

#include "generator/spec/error.h"
#include "schedules/tuner/process.h"
#include "schedules/usable_cpus.h"

namespace mha {
namespace {

using Clock = std::chrono::steady_clock;

struct Job {
  size_t index = 0;
  pid_t pid = -1;
  int fd = -1;
  Clock::time_point end;
  std::string text;
};

// One line of the outcome, one of the program, and the detail.
std::string to_text(const Built& built) {
  return std::string(outcome_name(built.outcome)) + "\n" + built.program + "\n" + built.detail;
}

Built from_text(const std::string& text) {
  const size_t first = text.find('\n');
  const size_t second = text.find('\n', first + 1);
  return {outcome_of(text.substr(0, first)), text.substr(second + 1),
          text.substr(first + 1, second - first - 1)};
}

Built guarded(const std::function<Built(size_t)>& work, size_t index) {
  try {
    return work(index);
  } catch (const std::bad_alloc&) {
    return {Outcome::kMemory, "building it takes more memory than its limit", ""};
  } catch (const SystemError& error) {
    const bool memory = std::string(error.what()) == "out of memory";
    return {memory ? Outcome::kMemory : Outcome::kBuild, error.what(), ""};
  } catch (const std::exception& error) {
    return {Outcome::kBuild, error.what(), ""};
  }
}

void run_child(const std::function<Built(size_t)>& work, size_t index, const BuildLimits& limits,
               int out, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  setpgid(0, 0);
  rlimit limit = {limits.memory_bytes, limits.memory_bytes};
  if (limits.memory_bytes > 0) setrlimit(RLIMIT_AS, &limit);
  const auto seconds = static_cast<rlim_t>(limits.seconds) + 2;
  limit = {seconds, seconds};
  setrlimit(RLIMIT_CPU, &limit);
  limit = {0, 0};
  setrlimit(RLIMIT_CORE, &limit);
  const std::string text = to_text(guarded(work, index));
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = write(out, text.data() + done, text.size() - done);
    if (n <= 0 && errno != EINTR) _exit(1);
    done += static_cast<size_t>(std::max<ssize_t>(n, 0));
  }
  _exit(0);
}

Job start(const std::function<Built(size_t)>& work, size_t index, const BuildLimits& limits) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw SystemError(std::string("cannot make a pipe: ") + strerror(errno));
  }
  // What is buffered here must not be written twice.
  std::cout.flush();
  std::fflush(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    close(ends[0]);
    close(ends[1]);
    throw SystemError(std::string("cannot start a process: ") + strerror(errno));
  }
  if (pid == 0) {
    close(ends[0]);
    run_child(work, index, limits, ends[1], parent);
  }
  close(ends[1]);
  setpgid(pid, pid);  // whichever of the two comes first
  Job job;
  job.index = index;
  job.pid = pid;
  job.fd = ends[0];
  job.end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                               std::chrono::duration<double>(limits.seconds));
  return job;
}

// Kills whatever of it is left. Its status.
int reap(const Job& job) {
  close(job.fd);
  int status = 0;
  while (waitpid(job.pid, &status, 0) < 0 && errno == EINTR) {
  }
  kill(-job.pid, SIGKILL);
  return status;
}

Built result_of(const Job& job) {
  const int status = reap(job);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !job.text.empty()) {
    return from_text(job.text);
  }
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  return {killed ? Outcome::kMemory : Outcome::kBuild, "building it: " + status_text(status), ""};
}

class Jobs {
 public:
  ~Jobs() {
    for (const Job& job : running) {
      kill(-job.pid, SIGKILL);
      reap(job);
    }
  }
  std::vector<Job> running;
};

}  // namespace

std::vector<Built> build_in_parallel(size_t count, const BuildLimits& limits,
                                     const std::function<Built(size_t)>& work) {
  const auto width = static_cast<size_t>(limits.jobs > 0 ? limits.jobs : usable_cpus());
  std::vector<Built> results(count);
  Jobs jobs;
  size_t next = 0;
  while (next < count || !jobs.running.empty()) {
    while (next < count && jobs.running.size() < width) {
      jobs.running.push_back(start(work, next++, limits));
    }
    std::vector<pollfd> fds;
    Clock::time_point first = Clock::time_point::max();
    for (const Job& job : jobs.running) {
      fds.push_back({job.fd, POLLIN, 0});
      first = std::min(first, job.end);
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(first - Clock::now());
    poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(left.count(), 0)) + 1);
    std::vector<Job> still;
    for (size_t i = 0; i < fds.size(); ++i) {
      Job& job = jobs.running[i];
      char bytes[4096];
      ssize_t n = -1;
      if (fds[i].revents != 0) n = read(job.fd, bytes, sizeof bytes);
      if (n > 0) job.text.append(bytes, static_cast<size_t>(n));
      if (n == 0) {
        results[job.index] = result_of(job);
      } else if (Clock::now() >= job.end) {
        kill(-job.pid, SIGKILL);
        reap(job);
        results[job.index] = {Outcome::kHang, "building it takes too long", ""};
      } else {
        still.push_back(std::move(job));
      }
    }
    jobs.running = std::move(still);
  }
  return results;
}

}  // namespace mha
