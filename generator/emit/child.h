// Runs pieces of work in child processes.
#ifndef MHA_GENERATOR_EMIT_CHILD_H_
#define MHA_GENERATOR_EMIT_CHILD_H_

#include <functional>
#include <vector>

#include "generator/emit/generate.h"
#include "generator/emit/library.h"

namespace mha {

// What each of `work` returns in a child process of its own, in their order; at most `at_once` run
// at a time. An exception of generator/spec/error.h that one throws is thrown here, any other one
// as InternalError. A child that dies is an InternalError, or a SystemError if the system killed
// it. Where several fail, the first of them counts.
std::vector<Part> run_in_children(const std::vector<std::function<Part()>>& work, int at_once);

// The same for one, and a library that is made as a whole.
Generated run_in_child(const std::function<Generated()>& work);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_CHILD_H_
