#include "schedules/tuner/link.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "generator/spec/error.h"
#include "schedules/tuner/probe_archives.h"
#include "schedules/tuner/process.h"

namespace mha {

Linker::Linker(const std::string& folder, std::vector<std::string> extra)
    : folder_(folder), extra_(std::move(extra)) {
  const char* cxx = std::getenv("CXX");
  std::istringstream words(cxx != nullptr ? cxx : "");
  for (std::string word; words >> word;) compiler_.push_back(word);
  if (compiler_.empty()) compiler_.push_back("c++");
  for (const auto& [name, bytes] : probe_archives()) {
    archives_.push_back(folder + "/" + std::string(name));
    std::ofstream file(archives_.back(), std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file) {
      throw SystemError("cannot write '" + archives_.back() + "': " + strerror(errno));
    }
  }
}

std::string Linker::link(const std::string& candidate, const std::string& program) const {
  std::vector<std::string> words = compiler_;
  // Without the plugin for link-time optimisation, which has nothing to do here, linking takes
  // two thirds of the time.
  words.insert(words.end(), {"-static", "-s", "-fno-lto", "-o", program,
                             "-Wl,--wrap=posix_memalign", "-Wl,-z,noexecstack"});
  words.push_back(archives_.front());
  words.insert(words.end(), extra_.begin(), extra_.end());
  // A weak reference alone, as the program has it, takes nothing out of an archive.
  if (!candidate.empty()) words.insert(words.end(), {"-Wl,-u,candidate_kernel", candidate});
  words.insert(words.end(), archives_.begin() + 1, archives_.end());
  words.insert(words.end(), {"-pthread", "-lm"});
  Process process(words);
  process.set_limit(60);
  try {
    while (true) process.read_line();
  } catch (const Process::Closed&) {
  } catch (const Process::Timeout&) {
    return "the linker takes too long";
  }
  const int status = process.finish();
  if (status == 0) return "";
  const std::string message = process.last_words();
  return words[0] + " " + status_text(status) + (message.empty() ? "" : ": " + message);
}

}  // namespace mha
