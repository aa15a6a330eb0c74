#include "tests/numeric/hostile.h"

#include <gtest/gtest.h>

namespace mha {

void expect_right(const TestKernel& kernel, const CallLengths& lengths, const HostTensors& inputs,
                  const Outputs& outputs) {
  Tally tally;
  EXPECT_EQ(check_against_reference(kernel, lengths, inputs, outputs, false, &tally), "");
}

HostTensor mask_by(const Spec& spec, const std::vector<int64_t>& shape,
                   const std::function<double(int64_t, int64_t, int64_t, int64_t)>& value) {
  HostTensor mask({"mask", spec.mask.tensor == MaskTensor::kBool ? Dtype::kBool : Dtype::kF32,
                   "B,H,Lq,Lk", shape});
  size_t at = 0;
  for (int64_t b = 0; b < shape[0]; ++b) {
    for (int64_t h = 0; h < shape[1]; ++h) {
      for (int64_t i = 0; i < shape[2]; ++i) {
        for (int64_t j = 0; j < shape[3]; ++j, ++at) {
          const double v = value(b, h, i, j);
          if (mask.bools.empty()) {
            mask.floats[at] = static_cast<float>(v);
          } else {
            mask.bools[at] = static_cast<uint8_t>(v);
          }
        }
      }
    }
  }
  return mask;
}

}  // namespace mha
