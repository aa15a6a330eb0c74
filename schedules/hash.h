// A hash for names of files and identities of rows: FNV-1a over 128 bits. Nobody attacks a cache
// that only its owner can write, nor a database of measurements; it has to tell apart, no more.
#ifndef MHA_SCHEDULES_HASH_H_
#define MHA_SCHEDULES_HASH_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace mha {

class Hash {
 public:
  // The length first, so that two fields never run into each other.
  void add(std::string_view bytes) {
    add(static_cast<int64_t>(bytes.size()));
    mix(bytes);
  }
  void add(int64_t value) { mix({reinterpret_cast<const char*>(&value), sizeof value}); }
  // 32 hexadecimal digits.
  std::string text() const {
    std::string digits;
    for (int shift = 124; shift >= 0; shift -= 4) {
      digits += "0123456789abcdef"[static_cast<int>(state_ >> shift) & 15];
    }
    return digits;
  }
  // Bytes of a field whose length is fixed, or has been added.
  void mix(std::string_view bytes) {
    constexpr unsigned __int128 kPrime = (static_cast<unsigned __int128>(1) << 88) + 0x13b;
    for (char c : bytes) state_ = (state_ ^ static_cast<unsigned char>(c)) * kPrime;
  }

 private:
  unsigned __int128 state_ =
      (static_cast<unsigned __int128>(0x6c62272e07bb0142) << 64) + 0x62b821756295c58d;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_HASH_H_
