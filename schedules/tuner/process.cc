#include "schedules/tuner/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "generator/spec/error.h"

extern char** environ;

namespace mha {
namespace {

// How long a process may take to end after it said that it would.
constexpr std::chrono::milliseconds kParting{500};

}  // namespace

Process::Process(const std::vector<std::string>& words) {
  // A socket as its input, so that writing to a dead process is an error and no signal.
  int input[2], output[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) != 0) {
    throw SystemError(std::string("cannot make a socket: ") + strerror(errno));
  }
  if (pipe2(output, O_CLOEXEC) != 0) {
    close(input[0]);
    close(input[1]);
    throw SystemError(std::string("cannot make a pipe: ") + strerror(errno));
  }
  error_ = memfd_create("stderr", MFD_CLOEXEC);
  in_ = input[0];
  out_ = output[0];
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, error_, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const int error = posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(input[1]);
  close(output[1]);
  if (error != 0) {
    pid_ = -1;
    close(in_);
    close(out_);
    close(error_);
    throw SystemError("cannot start '" + words[0] + "': " + strerror(error));
  }
  fcntl(in_, F_SETFL, O_NONBLOCK);
  fcntl(out_, F_SETFL, O_NONBLOCK);
  set_limit(10);
}

Process::~Process() {
  if (pid_ > 0) {
    kill(-pid_, SIGKILL);
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
  }
  for (const int fd : {in_, out_, error_}) {
    if (fd >= 0) close(fd);
  }
}

void Process::set_limit(double seconds) {
  end_ = std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(
             std::chrono::duration<double>(std::min(seconds, 1e6)));
}

void Process::wait_for(int fd, short events) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end_ - std::chrono::steady_clock::now());
    if (left.count() < 0) throw Timeout();
    pollfd poll_fd = {fd, events, 0};
    const int n = poll(&poll_fd, 1, static_cast<int>(left.count()) + 1);
    if (n > 0) return;
    if (n < 0 && errno != EINTR) throw Closed();
  }
}

void Process::write(const void* bytes, size_t count) {
  const char* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t n = send(in_, at, count, MSG_NOSIGNAL);
    if (n > 0) {
      at += n;
      count -= static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      wait_for(in_, POLLOUT);
    } else if (errno != EINTR) {
      throw Closed();
    }
  }
}

bool Process::fill() {
  if (begin_ > 0) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  const size_t had = buffer_.size();
  buffer_.resize(had + (1 << 16));
  for (;;) {
    const ssize_t n = ::read(out_, buffer_.data() + had, buffer_.size() - had);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      buffer_.resize(had);
      wait_for(out_, POLLIN);
      buffer_.resize(had + (1 << 16));
      continue;
    }
    buffer_.resize(had + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    return n > 0;
  }
}

std::string Process::read_line() {
  for (;;) {
    const size_t end = buffer_.find('\n', begin_);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(begin_, end - begin_);
      begin_ = end + 1;
      return line;
    }
    if (!fill()) throw Closed();
  }
}

std::string Process::read_bytes(size_t count) {
  std::string bytes = buffer_.substr(begin_, count);
  begin_ += bytes.size();
  bytes.reserve(count);
  while (bytes.size() < count) {
    if (!fill()) throw Closed();
    const size_t n = std::min(count - bytes.size(), buffer_.size() - begin_);
    bytes.append(buffer_, begin_, n);
    begin_ += n;
  }
  return bytes;
}

int Process::finish() {
  if (pid_ <= 0) return status_;
  const auto end = std::chrono::steady_clock::now() + kParting;
  pid_t done = 0;
  while ((done = waitpid(pid_, &status_, WNOHANG)) == 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // Also what it may have started.
  kill(-pid_, SIGKILL);
  if (done == 0) {
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
  }
  pid_ = -1;
  return status_;
}

std::string Process::last_words() const {
  char text[512];
  const off_t size = lseek(error_, 0, SEEK_END);
  const off_t begin = std::max<off_t>(0, size - static_cast<off_t>(sizeof text));
  const ssize_t n = pread(error_, text, sizeof text, begin);
  std::string words(text, static_cast<size_t>(std::max<ssize_t>(n, 0)));
  while (!words.empty() && words.back() == '\n') words.pop_back();
  return words.substr(words.rfind('\n') == std::string::npos ? 0 : words.rfind('\n') + 1);
}

std::string status_text(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return "ended by signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
  }
  return "exited with status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace mha
