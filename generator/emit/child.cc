#include "generator/emit/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "generator/spec/error.h"

namespace mha {
namespace {

using nlohmann::json;

// The kinds of failure on their way through the pipe.
enum Kind { kResult = 0, kConfigError = 1, kUserError = 2, kSystemError = 3, kInternalError = 4 };

json::binary_t to_binary(const std::string& bytes) {
  return json::binary_t(std::vector<uint8_t>(bytes.begin(), bytes.end()));
}

std::string from_binary(const json& value) {
  const json::binary_t& bytes = value.get_binary();
  return std::string(bytes.begin(), bytes.end());
}

json to_json(const Generated& generated) {
  json message = {{"kind", kResult}};
  message["name"] = to_binary(generated.name);
  message["target"] = to_binary(generated.target);
  message["origin"] = to_binary(generated.origin);
  message["manifest"] = to_binary(generated.manifest);
  message["explanation"] = to_binary(generated.explanation);
  message["files"] = json::array();
  for (const auto& [name, bytes] : generated.files) {
    message["files"].push_back({to_binary(name), to_binary(bytes)});
  }
  return message;
}

Generated from_json(const json& message) {
  Generated generated;
  generated.name = from_binary(message.at("name"));
  generated.target = from_binary(message.at("target"));
  generated.origin = from_binary(message.at("origin"));
  generated.manifest = from_binary(message.at("manifest"));
  generated.explanation = from_binary(message.at("explanation"));
  for (const json& file : message.at("files")) {
    generated.files[from_binary(file.at(0))] = from_binary(file.at(1));
  }
  return generated;
}

json failure(Kind kind, const std::string& what) {
  return {{"kind", kind}, {"what", to_binary(what)}};
}

json outcome(const std::function<Generated()>& work) {
  try {
    return to_json(work());
  } catch (const ConfigError& error) {
    return failure(kConfigError, error.what());
  } catch (const UserError& error) {
    return failure(kUserError, error.what());
  } catch (const SystemError& error) {
    return failure(kSystemError, error.what());
  } catch (const std::bad_alloc&) {
    return failure(kSystemError, "out of memory");
  } catch (const std::exception& error) {
    return failure(kInternalError, error.what());
  } catch (...) {
    return failure(kInternalError, "an exception of unknown type");
  }
}

// The child's side; returns its exit status.
int child(const std::function<Generated()>& work, int out, pid_t parent) {
  // Nobody would read the result of an orphan.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) return 1;
  std::vector<uint8_t> bytes;
  try {
    bytes = json::to_cbor(outcome(work));
  } catch (const std::exception&) {
    return 1;
  }
  std::cout.flush();
  std::cerr.flush();
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(out, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 1;
    done += static_cast<size_t>(n);
  }
  return 0;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  void reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

[[noreturn]] void throw_death(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const std::string text = std::string("the generating process was ended by signal ") +
                             std::to_string(signal) + " (" + strsignal(signal) + ")";
    if (signal == SIGKILL || signal == SIGTERM || signal == SIGINT || signal == SIGXCPU) {
      throw SystemError(text + (signal == SIGKILL ? "; is the machine out of memory?" : ""));
    }
    throw InternalError(text);
  }
  throw InternalError("the generating process ended with status " +
                      std::to_string(WEXITSTATUS(status)) + " and without a result");
}

}  // namespace

Generated run_in_child(const std::function<Generated()>& work) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    throw SystemError(std::string("cannot make a pipe: ") + strerror(errno));
  Descriptor in(ends[0]), out(ends[1]);
  // What is buffered here must not be written twice.
  std::fflush(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) throw SystemError(std::string("cannot start a process: ") + strerror(errno));
  if (pid == 0) {
    in.reset();
    _exit(child(work, out.get(), parent));
  }
  out.reset();
  std::vector<uint8_t> bytes;
  std::vector<uint8_t> piece(1 << 16);
  for (;;) {
    const ssize_t n = read(in.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    bytes.insert(bytes.end(), piece.begin(), piece.begin() + n);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || bytes.empty()) throw_death(status);
  const json message = json::from_cbor(bytes);
  switch (message.at("kind").get<int>()) {
    case kResult:
      return from_json(message);
    case kConfigError:
      throw ConfigError(from_binary(message.at("what")));
    case kUserError:
      throw UserError(from_binary(message.at("what")));
    case kSystemError:
      throw SystemError(from_binary(message.at("what")));
    default:
      throw InternalError(from_binary(message.at("what")));
  }
}

}  // namespace mha
