// The two kinds of failure: what the user gave is wrong, or we have a bug.
#ifndef MHA_GENERATOR_SPEC_ERROR_H_
#define MHA_GENERATOR_SPEC_ERROR_H_

#include <stdexcept>
#include <string>

namespace mha {

// What the user gave is wrong (exit code 2). The message names the place and the rule.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The system failed us: disk full, unreadable device (exit code 1).
class SystemError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A bug of ours (exit code 1); the message asks for a report.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_ERROR_H_
