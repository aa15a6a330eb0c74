// The floating-point state of a thread while it works for us.
#ifndef MHA_RUNTIME_SRC_FLOAT_STATE_H_
#define MHA_RUNTIME_SRC_FLOAT_STATE_H_

namespace mha {

// Round to nearest, subnormal numbers kept, no exception trapped, whatever the thread has set for
// itself; its own state comes back at the end. Results would else depend on which thread took which
// task.
class FloatState {
 public:
#if defined(__x86_64__)
  FloatState() : saved_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(kDefault); }
  // Exceptions that we raised are not the thread's.
  ~FloatState() { __builtin_ia32_ldmxcsr(saved_); }
#else
  FloatState() = default;
#endif
  FloatState(const FloatState&) = delete;
  FloatState& operator=(const FloatState&) = delete;

#if defined(__x86_64__)
 private:
  static constexpr unsigned kDefault = 0x1f80;
  unsigned saved_;
#endif
};

}  // namespace mha

#endif  // MHA_RUNTIME_SRC_FLOAT_STATE_H_
