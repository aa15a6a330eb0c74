#include "tools/mha-run/cache.h"

#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>
#include <vector>

#include "generator/emit/generate.h"
#include "generator/spec/error.h"
#include "schedules/hash.h"
#include "schedules/machine.h"
#include "tools/common/files.h"
#include "tools/mha-run/runtime_archive.h"

extern char** environ;

namespace mha {
namespace {

namespace fs = std::filesystem;

// Names and bytes of all files of a folder of records; nothing for a folder that is not there.
void add_records(Hash& hash, const std::string& folder) {
  std::error_code error;
  std::map<std::string, std::string> files;
  if (!folder.empty()) {
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (entry.is_regular_file(error)) {
        files[entry.path().filename().string()] = read_file(entry.path().string());
      }
    }
  }
  for (const auto& [name, bytes] : files) {
    hash.add(name);
    hash.add(bytes);
  }
}

std::string cache_key(const Spec& spec, const KernelRequest& request) {
  Hash hash;
  hash.add(request.config_text);
  const std::vector<std::string> targets =
      request.target.empty() ? spec.targets : std::vector<std::string>{request.target};
  for (const std::string& target : targets) hash.add(target);
  if (std::find(targets.begin(), targets.end(), "host") != targets.end()) {
    // A home folder may be shared by machines that differ.
    Machine host = host_machine();
    hash.add(host.target);
    hash.add(std::to_string(host.l1d_bytes) + " " + std::to_string(host.l2_bytes) + " " +
             std::to_string(host.l3_bytes));
  }
  hash.add(std::to_string(request.threads));
  hash.add(request.sanitizer);
  hash.add(request.autoscheduler);
  for (const std::string& folder : record_directories(spec.file, request.schedules_dir)) {
    add_records(hash, folder);
  }
  // The generator is this very program, and it carries the runtime.
  hash.add(read_file("/proc/self/exe"));
  return spec.name + "-" + hash.text();
}

// $CC, which may hold arguments after the program ("gcc -m64"), or cc.
std::vector<std::string> compiler() {
  const char* cc = std::getenv("CC");
  std::istringstream text(cc != nullptr ? cc : "");
  std::vector<std::string> words;
  for (std::string word; text >> word;) words.push_back(word);
  if (words.empty()) words.push_back("cc");
  return words;
}

// Runs a program and returns its exit code; `messages` is what it wrote to standard error.
int run_program(const std::vector<std::string>& words, const std::string& log,
                std::string* messages) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t child = -1;
  int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    *messages = std::strerror(error);
    return -1;
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  *messages = read_file(log);
  unlink(log.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

std::string cache_directory() {
  // The XDG specification: a relative path is to be ignored.
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && xdg[0] == '/') return std::string(xdg) + "/mha";
  const char* home = std::getenv("HOME");
  if (home == nullptr || home[0] != '/') {
    const passwd* user = getpwuid(getuid());
    home = user != nullptr ? user->pw_dir : nullptr;
  }
  if (home == nullptr || home[0] != '/') {
    throw UserError("no place for the kernel cache: neither XDG_CACHE_HOME nor HOME is set");
  }
  return std::string(home) + "/.cache/mha";
}

std::string build_kernel(const Spec& spec, const KernelRequest& request,
                         const std::string& folder) {
  GenerateOptions options;
  if (!request.target.empty()) options.targets = {request.target};
  options.threads = request.threads;
  options.schedules_dir = request.schedules_dir;
  options.sanitizer = request.sanitizer;
  options.autoscheduler = request.autoscheduler;
  return link_kernel(generate(spec, options), folder);
}

std::string link_kernel(const Generated& generated, const std::string& folder) {
  for (const auto& [name, bytes] : generated.files) atomic_write_file(folder + "/" + name, bytes);
  const std::string archive = folder + "/lib" + generated.name + ".a";
  const std::string runtime = folder + "/libmha.a";
  const std::string object = folder + "/lib" + generated.name + ".so";
  atomic_write_file(runtime, runtime_archive());
  std::vector<std::string> words = compiler();
  words.insert(words.end(),
               {"-shared",
                // Kernel and runtime call each other, never a namesake in the program.
                "-Wl,-Bsymbolic", "-Wl,-z,noexecstack", "-o", object, "-Wl,--whole-archive",
                archive, runtime, "-Wl,--no-whole-archive", "-lm", "-lpthread", "-ldl"});
  std::string messages;
  int code = run_program(words, folder + "/link.log", &messages);
  if (code != 0) {
    throw SystemError("cannot link the kernel with '" + words[0] +
                      "' (set CC to use another): " + messages);
  }
  unlink(runtime.c_str());
  return object;
}

std::string cached_kernel(const Spec& spec, const KernelRequest& request,
                          const std::function<void()>& announce) {
  const std::string folder = cache_directory() + "/" + cache_key(spec, request);
  const std::string object = folder + "/lib" + spec.name + ".so";
  if (access(object.c_str(), R_OK) == 0) return object;

  const std::string marker = "lib" + spec.name + ".so";
  PendingDirectory pending(folder, marker);
  announce();
  build_kernel(spec, request, pending.path());
  pending.publish();
  return object;
}

}  // namespace mha
