// What a tuner and the program that measures a candidate say to each other, on the program's
// standard input and output. Lines of ASCII that end with a newline; where a line ends with a
// number of bytes, so many bytes follow it as they are. Both sides have the same byte order.
//
// The program starts with
//   mha-probe 1                 the version of this protocol
//   version 0.1.0               of libmha
//   machine TEXT                Fingerprint::text() of where it runs
//   kernel NAME STAGE STAGE ... or "kernel -": none is linked
//   ready
// and then takes commands. These have no answer:
//   threads N                                     counts the caller
//   lengths B LQ LK
//   input NAME FLAGS STRIDES BYTES                FLAGS: of its mha_tensor; STRIDES: "0,128,1" or
//   "-" weight NAME ROWS COLUMNS BYTES                f32; a vector has 0 columns output NAME BYTES
// and these one, "ok ..." or "failed OUTCOME DETAIL", after which the program ends. LIMIT is in
// seconds: then it ends by itself, also where whoever asked is gone.
//   prepare LIMIT               "ok": operands lie in guarded memory, weights are packed
//   check LIMIT                 "ok"; then for each output, in the order above, "output NAME BYTES"
//                               and the bytes; runs the kernel with each operand flush with the end
//                               of its memory, and again flush with the start
//   load LIMIT                  "ok": operands lie in the memory that is timed
//   warm LIMIT                  "ok SECONDS": of the second of two calls
//   stages SECONDS LIMIT        "ok CALLS SWITCHES PEAK T T ...": a slice, seconds of each stage
//   whole SECONDS LIMIT         the same with one T
//   quit                        no answer: it ends
// From `check` on each call's outputs must have the same bits.
#ifndef MHA_SCHEDULES_TUNER_PROBE_PROTOCOL_H_
#define MHA_SCHEDULES_TUNER_PROBE_PROTOCOL_H_

namespace mha {

inline constexpr int kProbeProtocol = 1;

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_PROBE_PROTOCOL_H_
