// The measuring program's ends of the protocol.
#ifndef MHA_SCHEDULES_TUNER_PROBE_STREAM_H_
#define MHA_SCHEDULES_TUNER_PROBE_STREAM_H_

#include <cstddef>
#include <string>
#include <vector>

namespace mha::probe {

class Stream {
 public:
  Stream(int in, int out) : in_(in), out_(out) {}
  // False at the end of the input, which ends the program: whoever asked is gone.
  bool read_line(std::string* line);
  bool read_bytes(std::vector<unsigned char>* bytes);
  void write(const std::string& text) { write(text.data(), text.size()); }
  void write(const void* bytes, size_t count);

 private:
  bool fill();
  int in_, out_;
  std::vector<char> buffer_ = std::vector<char>(1 << 16);
  size_t begin_ = 0, end_ = 0;
};

}  // namespace mha::probe

#endif  // MHA_SCHEDULES_TUNER_PROBE_STREAM_H_
