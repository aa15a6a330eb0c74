#include "schedules/tuner/probe/stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

namespace mha::probe {

bool Stream::fill() {
  ssize_t n;
  do n = ::read(in_, buffer_.data(), buffer_.size());
  while (n < 0 && errno == EINTR);
  begin_ = 0;
  end_ = n > 0 ? static_cast<size_t>(n) : 0;
  return n > 0;
}

bool Stream::read_line(std::string* line) {
  line->clear();
  for (;;) {
    if (begin_ == end_ && !fill()) return false;
    const char c = buffer_[begin_++];
    if (c == '\n') return true;
    line->push_back(c);
  }
}

bool Stream::read_bytes(std::vector<unsigned char>* bytes) {
  size_t done = 0;
  while (done < bytes->size()) {
    if (begin_ == end_ && !fill()) return false;
    const size_t n = std::min(bytes->size() - done, end_ - begin_);
    memcpy(bytes->data() + done, buffer_.data() + begin_, n);
    begin_ += n;
    done += n;
  }
  return true;
}

void Stream::write(const void* bytes, size_t count) {
  const char* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t n = ::write(out_, at, count);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(1);  // nobody listens
    at += n;
    count -= static_cast<size_t>(n);
  }
}

}  // namespace mha::probe
