#include "generator/emit/compile.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <vector>

#include "generator/spec/error.h"

namespace mha {
namespace {

using Halide::OutputFileType;

const std::map<std::string, OutputFileType>& output_types() {
  static const std::map<std::string, OutputFileType> types = {
      {"object", OutputFileType::object},       {"asm", OutputFileType::assembly},
      {"llvm", OutputFileType::llvm_assembly},  {"stmt", OutputFileType::stmt},
      {"stmt_html", OutputFileType::stmt_html},
  };
  return types;
}

// A file in memory that code which wants a path can write to.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& name) : fd_(memfd_create(name.c_str(), MFD_CLOEXEC)) {
    if (fd_ < 0) throw SystemError(std::string("cannot make a file in memory: ") + strerror(errno));
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

  std::string bytes() const {
    struct stat status = {};
    if (fstat(fd_, &status) != 0) throw SystemError(std::string("fstat: ") + strerror(errno));
    std::string bytes(static_cast<size_t>(status.st_size), '\0');
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n =
          pread(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0)
        throw SystemError(std::string("cannot read a file in memory: ") + strerror(errno));
      done += static_cast<size_t>(n);
    }
    return bytes;
  }

 private:
  int fd_;
};

// Halide warns about schedules. They are ours, so that a user can do nothing about it: silent
// unless Halide's own debugging is on.
class Reporter : public Halide::CompileTimeErrorReporter {
 public:
  void warning(const char* message) override {
    if (std::getenv("HL_DEBUG_CODEGEN")) std::cerr << message;
  }
  [[noreturn]] void error(const char* message) override { throw Halide::CompileError(message); }
};

}  // namespace

void quiet_halide() {
  static Reporter reporter;
  Halide::set_custom_compile_time_error_reporter(&reporter);
}

Halide::Module lower_stage(const Stage& stage, const std::string& function_name,
                           const Halide::Target& target) {
  Halide::Pipeline pipeline = stage.pipeline;
  try {
    return pipeline.compile_to_module(stage.arguments, function_name, target,
                                      Halide::LinkageType::ExternalPlusArgv);
  } catch (const Halide::Error& error) {
    throw InternalError("stage '" + stage.name + "' does not lower: " + error.what());
  }
}

std::map<std::string, std::string> compile_stage(const Halide::Module& module,
                                                 const std::set<std::string>& kinds) {
  std::map<std::string, std::unique_ptr<MemoryFile>> files;
  std::map<OutputFileType, std::string> outputs;
  for (const std::string& kind : kinds) {
    files[kind] = std::make_unique<MemoryFile>(kind);
    outputs[output_types().at(kind)] = files[kind]->path();
  }
  try {
    module.compile(outputs);
  } catch (const Halide::Error& error) {
    throw InternalError("'" + module.name() + "' does not compile: " + error.what());
  }
  std::map<std::string, std::string> bytes;
  for (const auto& [kind, file] : files) bytes[kind] = file->bytes();
  return bytes;
}

}  // namespace mha
