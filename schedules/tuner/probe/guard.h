// Memory whose every neighbour is forbidden, and what happens to a program that goes there.
#ifndef MHA_SCHEDULES_TUNER_PROBE_GUARD_H_
#define MHA_SCHEDULES_TUNER_PROBE_GUARD_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace mha::probe {

// A mapping of its own with inaccessible pages on both sides. What remains of the mapping before
// and behind the data is filled with a pattern.
class GuardedBlock {
 public:
  enum class Flush { kEnd, kStart };  // which end of the data touches its guard
  // Throws std::bad_alloc.
  GuardedBlock(const std::string& name, size_t bytes, size_t alignment, Flush flush);
  ~GuardedBlock();
  GuardedBlock(const GuardedBlock&) = delete;
  GuardedBlock& operator=(const GuardedBlock&) = delete;

  unsigned char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  const std::string& name() const { return name_; }
  void make_read_only();
  // "" or what of the pattern was overwritten.
  std::string damage() const;

 private:
  friend void on_fault(int signal, void* info, void* context);
  std::string name_;
  size_t bytes_ = 0, pages_bytes_ = 0;
  unsigned char* mapping_ = nullptr;
  unsigned char* pages_ = nullptr;  // the accessible part
  unsigned char* data_ = nullptr;
  GuardedBlock* next_;  // of all blocks
};

// From now on a fatal signal writes one line to `fd`, "failed OUTCOME DETAIL", and ends the
// program. Faults next to a block are out_of_bounds; any signal is "memory" where the address
// space that set_limits() left is used up; the alarm is "hang"; all others are "crash".
void catch_signals(int fd);

// What limit_memory() allows, in bytes of address space.
void limit_memory(uint64_t bytes);
bool memory_used_up();

// The program ends as hanging after so many seconds; 0: no limit.
void limit_seconds(double seconds);

}  // namespace mha::probe

#endif  // MHA_SCHEDULES_TUNER_PROBE_GUARD_H_
