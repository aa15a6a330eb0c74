#include "generator/emit/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
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

json to_json(const Part& part) {
  const Generated& generated = part.generated;
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
  message["objects"] = json::array();
  for (const Object& object : part.objects) {
    message["objects"].push_back({to_binary(object.name), to_binary(object.bytes)});
  }
  return message;
}

Part from_json(const json& message) {
  Part part;
  Generated& generated = part.generated;
  generated.name = from_binary(message.at("name"));
  generated.target = from_binary(message.at("target"));
  generated.origin = from_binary(message.at("origin"));
  generated.manifest = from_binary(message.at("manifest"));
  generated.explanation = from_binary(message.at("explanation"));
  for (const json& file : message.at("files")) {
    generated.files[from_binary(file.at(0))] = from_binary(file.at(1));
  }
  for (const json& object : message.at("objects")) {
    part.objects.push_back({from_binary(object.at(0)), from_binary(object.at(1))});
  }
  return part;
}

json failure(Kind kind, const std::string& what) {
  return {{"kind", kind}, {"what", to_binary(what)}};
}

json outcome(const std::function<Part()>& work) {
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
int child(const std::function<Part()>& work, int out, pid_t parent) {
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

// A child at work, from its start to its end. One that is not waited for is ended.
class Child {
 public:
  explicit Child(const std::function<Part()>& work) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
      throw SystemError(std::string("cannot make a pipe: ") + strerror(errno));
    // What is buffered here must not be written twice.
    std::fflush(nullptr);
    const pid_t parent = getpid();
    pid_ = fork();
    const int error = errno;
    if (pid_ == 0) {
      close(ends[0]);
      _exit(child(work, ends[1], parent));
    }
    close(ends[1]);
    in_ = ends[0];
    if (pid_ > 0) return;
    close(in_);
    throw SystemError(std::string("cannot start a process: ") + strerror(error));
  }
  ~Child() {
    close(in_);
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    wait();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int descriptor() const { return in_; }
  bool done() const { return done_; }

  // Takes in what there is; blocks where there is nothing.
  void read_some() {
    std::vector<uint8_t> piece(1 << 16);
    const ssize_t n = read(in_, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) return;
    done_ = n <= 0;
    if (n > 0) bytes_.insert(bytes_.end(), piece.begin(), piece.begin() + n);
  }

  // When done.
  Part result() {
    const int status = wait();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || bytes_.empty()) throw_death(status);
    const json message = json::from_cbor(bytes_);
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

 private:
  int wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

  int in_ = -1;
  pid_t pid_ = -1;
  bool done_ = false;
  std::vector<uint8_t> bytes_;
};

}  // namespace

std::vector<Part> run_in_children(const std::vector<std::function<Part()>>& work, int at_once) {
  std::vector<std::unique_ptr<Child>> children;
  std::vector<Part> parts;
  const size_t most = static_cast<size_t>(std::max(at_once, 1));
  while (parts.size() < work.size()) {
    std::vector<pollfd> waiting;
    std::vector<Child*> busy;
    for (const auto& child : children) {
      if (child == nullptr || child->done()) continue;
      waiting.push_back({child->descriptor(), POLLIN, 0});
      busy.push_back(child.get());
    }
    if (busy.size() < most && children.size() < work.size()) {
      children.push_back(std::make_unique<Child>(work[children.size()]));
      continue;
    }
    if (!busy.empty() && poll(waiting.data(), waiting.size(), -1) > 0) {
      for (size_t i = 0; i < busy.size(); ++i) {
        if (waiting[i].revents != 0) busy[i]->read_some();
      }
    }
    while (parts.size() < children.size() && children[parts.size()]->done()) {
      std::unique_ptr<Child>& next = children[parts.size()];
      parts.push_back(next->result());
      next.reset();
    }
  }
  return parts;
}

Generated run_in_child(const std::function<Generated()>& work) {
  return std::move(run_in_children({[&] { return Part{work(), {}}; }}, 1)[0].generated);
}

}  // namespace mha
