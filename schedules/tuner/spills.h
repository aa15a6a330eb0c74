// Registers that a hot loop keeps in memory because it has too few: seen in the assembly, before
// anything is measured.
#ifndef MHA_SCHEDULES_TUNER_SPILLS_H_
#define MHA_SCHEDULES_TUNER_SPILLS_H_

#include <string>
#include <string_view>
#include <vector>

namespace mha {

struct SpillingLoop {
  int first_line = 0, last_line = 0;  // of the text, from 1
  int products = 0;                   // fused multiply-adds
  int spills = 0;                     // vector registers written to the stack or read from it
};

// The register tile loops of LLVM's assembly (AT&T syntax, with its comments, which name spills)
// that spill at least once for every eight products. A tile loop is an innermost loop of which two
// fifths or more are products: loops over exponentials, whose many constants never fit into sixteen
// registers, are none. A stray reload among dozens of products is free and does not count either.
// Code without fused multiply-adds (x86-64-v2) is not looked at: there a product needs a register
// of its own, and the default's tiles spill.
std::vector<SpillingLoop> spilling_loops(std::string_view assembly);

// "its loop at lines 10-80 spills 12 vector registers for 48 multiply-adds"
std::string spill_text(const SpillingLoop& loop);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_SPILLS_H_
