// The call that is measured: its lengths, its operands as bytes, and what it must give.
#ifndef MHA_SCHEDULES_TUNER_WORKLOAD_H_
#define MHA_SCHEDULES_TUNER_WORKLOAD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mha {

struct Workload {
  // Of a kernel with a cache three inputs are no tensors of it: past_key and past_value, F32 rows
  // [rows, G, width] of one sequence after the other, and cache_lengths, how many each has.
  struct Input {
    std::string name;
    uint32_t flags = 0;            // of its mha_tensor
    std::vector<int64_t> strides;  // of its mha_tensor
    std::string bytes;
  };
  struct Weight {  // f32
    std::string name;
    int64_t rows = 0, columns = 0;  // columns 0: a vector
    std::string bytes;
  };
  struct Output {
    std::string name;
    size_t bytes = 0;
  };
  using Outputs = std::map<std::string, std::string>;  // name -> bytes

  int threads = 1;
  int64_t batch = 1, query_length = 0, key_length = 0;
  int64_t new_keys = 0;  // as in mha_call
  std::vector<Input> inputs;
  std::vector<Weight> weights;
  std::vector<Output> outputs;
  // What is wrong with the outputs of a call, or nothing.
  std::function<std::optional<std::string>(const Outputs&)> wrong;

  // Bytes of all operands.
  uint64_t size() const {
    uint64_t sum = 0;
    for (const Input& input : inputs) sum += input.bytes.size();
    for (const Weight& weight : weights) sum += weight.bytes.size();
    for (const Output& output : outputs) sum += output.bytes;
    return sum;
  }
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_WORKLOAD_H_
