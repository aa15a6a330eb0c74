// A program that is talked to on its standard input and output, under time limits.
#ifndef MHA_SCHEDULES_TUNER_PROCESS_H_
#define MHA_SCHEDULES_TUNER_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

namespace mha {

class Process {
 public:
  class Timeout : public std::runtime_error {
   public:
    Timeout() : std::runtime_error("no answer in time") {}
  };
  // The other side closed its output, or does not read what it is sent.
  class Closed : public std::runtime_error {
   public:
    Closed() : std::runtime_error("the process has ended") {}
  };

  // Starts it in a process group of its own; words[0] is looked up in the PATH. What it writes to
  // standard error is kept. Throws SystemError.
  explicit Process(const std::vector<std::string>& words);
  // Kills the group and waits for it.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Until when the calls below may take, together.
  void set_limit(double seconds);
  // Throw Timeout or Closed.
  void write(const void* bytes, size_t count);
  void write(const std::string& text) { write(text.data(), text.size()); }
  std::string read_line();
  std::string read_bytes(size_t count);

  // Waits a moment for its end, then kills it. Its wait status.
  int finish();
  // The end of what it wrote to standard error, one line.
  std::string last_words() const;

 private:
  void wait_for(int fd, short events);
  bool fill();

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, error_ = -1;
  int status_ = 0;
  std::chrono::steady_clock::time_point end_;
  std::string buffer_;
  size_t begin_ = 0;
};

// "exited with status 3", "ended by signal 9 (Killed)"
std::string status_text(int wait_status);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_PROCESS_H_
