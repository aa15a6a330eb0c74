#include "tests/numeric/harness.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <stdexcept>

#include "generator/spec/error.h"
#include "generator/spec/parse.h"
#include "tools/mha-run/cache.h"
#include "tools/mha-run/call_cache.h"
#include "tools/reference/precision.h"

namespace mha {
namespace {

// A NaN that no computation makes: whoever finds it knows that nobody wrote there.
constexpr uint32_t kCanary = 0x7fc0dead;
// The same in bf16 and f16: to both a NaN.
constexpr uint16_t kCanaryHalf = 0x7fdd;
// And for bools, where there are only bytes.
constexpr unsigned char kCanaryByte = 0xa5;

size_t size_of(Dtype dtype) { return dtype == Dtype::kBool ? 1 : is_half(dtype) ? 2 : 4; }

int64_t next_prime(int64_t n) {
  const auto prime = [](int64_t m) {
    for (int64_t d = 2; d * d <= m; ++d) {
      if (m % d == 0) return false;
    }
    return m > 1;
  };
  while (!prime(n)) ++n;
  return n;
}

// A tensor in guarded memory, dense or with gaps.
class Placed {
 public:
  Placed(const TensorDecl& decl, bool strided) : shape_(decl.shape), size_(size_of(decl.dtype)) {
    const size_t rank = shape_.size();
    strides_.assign(rank, 1);
    for (size_t axis = rank; axis-- > 1;) {
      strides_[axis - 1] = strides_[axis] * shape_[axis];
      // Prime, so that no row but the first is aligned to a vector, and no two strides agree.
      if (strided) strides_[axis - 1] = next_prime(strides_[axis - 1] + 2);
    }
    int64_t last = 0;
    for (size_t axis = 0; axis < rank; ++axis) last += strides_[axis] * (shape_[axis] - 1);
    bytes_ = std::make_unique<GuardedBytes>(static_cast<size_t>(last + 1) * size_);
    for (size_t i = 0; i < bytes_->size(); ++i) at(0)[i] = canary(i);
    view_.data = bytes_->data();
    if (decl.name == "mask") {
      broadcast();
    } else if (strided && rank > 1) {
      view_.flags = MHA_STRIDED;
      for (size_t axis = 0; axis + 1 < rank; ++axis) view_.strides[axis] = strides_[axis];
    }
  }

  void fill(const void* dense) {
    each([&](size_t from, size_t to) {
      std::memcpy(at(to), static_cast<const char*>(dense) + from * size_, size_);
    });
  }
  std::vector<char> dense() const {
    std::vector<char> bytes;
    each([&](size_t, size_t from) { bytes.insert(bytes.end(), at(from), at(from) + size_); });
    return bytes;
  }
  bool gaps_untouched() const {
    std::vector<bool> inside(bytes_->size() / size_);
    each([&](size_t, size_t element) { inside[element] = true; });
    for (size_t i = 0; i < bytes_->size(); ++i) {
      if (!inside[i / size_] && at(0)[i] != canary(i)) return false;
    }
    return true;
  }
  const mha_tensor& view() const { return view_; }

 private:
  // An axis of 1 stands for all of the call's: a stride of 0.
  void broadcast() {
    view_.flags = MHA_STRIDED;
    for (size_t axis = 0; axis + 1 < shape_.size(); ++axis) {
      view_.strides[axis] = shape_[axis] == 1 ? 0 : strides_[axis];
    }
    if (shape_.back() == 1) view_.flags |= MHA_REPEATED;
  }
  char canary(size_t byte) const {
    if (size_ == 1) return static_cast<char>(kCanaryByte);
    if (size_ == 2) return static_cast<char>(kCanaryHalf >> (byte % 2 * 8));
    return static_cast<char>(kCanary >> (byte % 4 * 8));
  }
  char* at(size_t element) const { return static_cast<char*>(bytes_->data()) + element * size_; }
  template <typename F>
  void each(F f) const {
    std::vector<int64_t> index(shape_.size());
    size_t count = 1;
    for (int64_t extent : shape_) count *= static_cast<size_t>(extent);
    for (size_t n = 0; n < count; ++n) {
      int64_t element = 0;
      for (size_t axis = 0; axis < shape_.size(); ++axis) element += index[axis] * strides_[axis];
      f(n, static_cast<size_t>(element));
      for (size_t axis = shape_.size(); axis-- > 0;) {
        if (++index[axis] < shape_[axis]) break;
        index[axis] = 0;
      }
    }
  }

  std::vector<int64_t> shape_, strides_;
  size_t size_;  // of an element
  std::unique_ptr<GuardedBytes> bytes_;
  mha_tensor view_ = {};
};

// The values of an output; indices are whole numbers far below 2^24.
std::vector<float> values_of(const TensorDecl& decl, const std::vector<char>& bytes) {
  const size_t size = size_of(decl.dtype);
  std::vector<float> values(bytes.size() / size);
  for (size_t i = 0; i < values.size(); ++i) {
    if (size == 2) {
      uint16_t half;
      std::memcpy(&half, &bytes[i * 2], 2);
      if (half == kCanaryHalf) throw std::runtime_error(decl.name + ": an element was not written");
      values[i] = decl.dtype == Dtype::kBF16 ? float_of_bf16(half) : float_of_f16(half);
      continue;
    }
    uint32_t bits;
    std::memcpy(&bits, &bytes[i * 4], 4);
    if (bits == kCanary) throw std::runtime_error(decl.name + ": an element was not written");
    if (decl.dtype == Dtype::kI32) {
      values[i] = static_cast<float>(static_cast<int32_t>(bits));
    } else {
      std::memcpy(&values[i], &bits, 4);
    }
  }
  return values;
}

}  // namespace

uint64_t test_seed(uint64_t otherwise) {
  const char* text = std::getenv("MHA_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

Spec spec_of(const std::string& yaml) {
  ParseResult parsed = parse_spec_text(yaml, "test.yaml");
  if (!parsed.spec) throw UserError(format_diagnostics(parsed.problems, yaml));
  if (auto missing = unsupported(*parsed.spec); !missing.empty()) {
    throw UserError(format_diagnostics(missing, yaml));
  }
  return *parsed.spec;
}

TestKernel::TestKernel(const std::string& yaml, const std::string& target,
                       const std::string& sanitizer)
    : yaml_(yaml), spec_(spec_of(yaml)) {
  KernelRequest request;
  request.config_text = yaml;
  request.target = target;
  request.threads = 2;
  request.sanitizer = sanitizer;
  load([&] { return build_kernel(spec_, request, folder_); });
}

TestKernel::TestKernel(const std::string& yaml, const Generated& generated)
    : yaml_(yaml), spec_(spec_of(yaml)) {
  load([&] { return link_kernel(generated, folder_); });
}

void TestKernel::load(const std::function<std::string()>& build) {
  folder_ = (std::filesystem::temp_directory_path() / "mha-test-XXXXXX").string();
  if (mkdtemp(folder_.data()) == nullptr) throw SystemError("cannot make a temporary folder");
  try {
    file_ = build();
    library_ = std::make_unique<KernelLibrary>(file_, spec_.name);
  } catch (...) {
    std::filesystem::remove_all(folder_);
    throw;
  }
}

void TestKernel::use(const mha_kernel& kernel) {
  mha_target_info target = {};
  target.kernel = &kernel;
  library_->use(target);
}

TestKernel::~TestKernel() {
  library_.reset();
  std::filesystem::remove_all(folder_);
}

GuardedBytes::GuardedBytes(size_t size) : size_(size) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t body = (size + page - 1) / page * page;
  mapped_ = body + 2 * page;
  base_ = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base_ == MAP_FAILED) throw std::bad_alloc();
  char* begin = static_cast<char*>(base_) + page;
  if (body > 0 && mprotect(begin, body, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  data_ = begin + body - size;
}

GuardedBytes::~GuardedBytes() { munmap(base_, mapped_); }

HostTensors random_inputs(const Spec& spec, const CallLengths& lengths, uint64_t seed) {
  HostTensors tensors;
  for (const auto& list : {input_tensors(spec, lengths), weight_tensors(spec)}) {
    for (const TensorDecl& decl : list) {
      tensors.emplace(decl.name, random_tensor(spec, lengths, decl, seed));
    }
  }
  return tensors;
}

Arrays arrays_of(const HostTensors& tensors) {
  Arrays arrays;
  for (const auto& [name, tensor] : tensors) arrays[name] = tensor.array();
  return arrays;
}

Outputs run_kernel(const TestKernel& kernel, const CallLengths& lengths, const HostTensors& inputs,
                   const CallOptions& options) {
  const Spec& spec = kernel.spec();
  Call call(kernel.library(), lengths, options.threads);
  // A workspace that ends at a guard page, full of NaN as a hint for whoever reads before writing.
  const size_t workspace = (call.workspace_bytes() + 63) / 64 * 64;
  GuardedBytes guarded(workspace);
  for (size_t i = 0; i + 4 <= workspace; i += 4) {
    std::memcpy(static_cast<char*>(guarded.data()) + i, &kCanary, 4);
  }
  call.arguments().workspace = guarded.data();
  call.arguments().workspace_size = call.workspace_bytes();

  std::map<std::string, Placed> placed;
  for (const TensorDecl& decl : input_tensors(spec, lengths)) {
    if (CallCache::holds(decl.name) || decl.elements() == 0) continue;
    HostTensor copy = inputs.at(decl.name);
    // A mask has a shape of its own.
    Placed& tensor = placed.emplace(decl.name, Placed(copy.decl, options.strided)).first->second;
    tensor.fill(copy.data());
    call.bind(decl.name, tensor.view());
  }
  for (const TensorDecl& decl : output_tensors(spec, lengths)) {
    if (CallCache::holds(decl.name)) continue;
    Placed& tensor = placed.emplace(decl.name, Placed(decl, options.strided)).first->second;
    call.bind(decl.name, tensor.view());
  }
  std::vector<std::unique_ptr<GuardedBytes>> weights;
  std::vector<mha_weight_array> arrays;
  for (const TensorDecl& decl : weight_tensors(spec)) {
    HostTensor copy = inputs.at(decl.name);
    weights.push_back(std::make_unique<GuardedBytes>(copy.bytes()));
    std::memcpy(weights.back()->data(), copy.data(), copy.bytes());
    mha_weight_array array = {};
    array.name = inputs.find(decl.name)->first.c_str();
    array.data = weights.back()->data();
    array.dtype = runtime_dtype(decl.dtype);
    array.rank = static_cast<int32_t>(decl.shape.size());
    std::copy(decl.shape.begin(), decl.shape.end(), array.shape);
    arrays.push_back(array);
  }
  if (spec.op == Op::kBlock) call.create_weights(arrays);
  weights.clear();  // packing copies: the originals are not needed any more

  std::optional<CallCache> cache;
  if (spec.kv_cache) cache.emplace(kernel.library(), call, spec, lengths, inputs);
  call.run();

  Outputs outputs;
  for (const TensorDecl& decl : output_tensors(spec, lengths)) {
    if (CallCache::holds(decl.name)) {
      HostTensor present(decl);
      cache->read(&present);
      outputs[decl.name] = present.floats;
      continue;
    }
    outputs[decl.name] = values_of(decl, placed.at(decl.name).dense());
  }
  for (const auto& [name, tensor] : placed) {
    if (!tensor.gaps_untouched()) throw std::runtime_error(name + ": written between its rows");
  }
  for (const TensorDecl& decl : input_tensors(spec, lengths)) {
    if (CallCache::holds(decl.name) || decl.elements() == 0) continue;
    HostTensor copy = inputs.at(decl.name);
    const std::vector<char> after = placed.at(decl.name).dense();
    if (std::memcmp(after.data(), copy.data(), copy.bytes()) != 0) {
      throw std::runtime_error(decl.name + ": an input was changed");
    }
  }
  return outputs;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

namespace {

Array array_of(const std::vector<float>& values, const Array& like) {
  return {like.shape, std::vector<double>(values.begin(), values.end())};
}

// What an output is held against, element by element: that of a list of the strongest keys depends
// on the keys that it names.
struct Expected {
  Array values, bounds;
};
Expected expected_of(const std::string& name, const Arrays& got, const Reference& want) {
  if (name != "top_weights") return {want.outputs.at(name), want.bounds.at(name)};
  const ExpectedTop top =
      expected_top(want.top_rows, want.keys, got.at("top_weights"), got.at("top_indices"));
  return {top.weights, top.bounds};
}

double square_of_errors(const Array& got, const Expected& expected) {
  double sum = 0;
  for (size_t i = 0; i < got.values.size(); ++i) {
    if (!(expected.bounds.values[i] > 0)) continue;
    const double error = (got.values[i] - expected.values.values[i]) / expected.bounds.values[i];
    if (std::isfinite(error)) sum += error * error;
  }
  return sum;
}

}  // namespace

std::string check_against_reference(const TestKernel& kernel, const CallLengths& lengths,
                                    const HostTensors& inputs, const Outputs& outputs, bool plain,
                                    Tally* tally) {
  const Spec& spec = kernel.spec();
  const Arrays arrays = arrays_of(inputs);
  const Reference want = reference(spec, lengths, arrays);
  const Arrays by_hand = plain ? plain_f32(spec, lengths, arrays) : Arrays();
  Arrays got;
  for (const auto& [name, values] : outputs) got[name] = array_of(values, want.outputs.at(name));
  std::string wrong;
  for (const auto& [name, values] : got) {
    const Comparison c = compare_output(name, got, want);
    const Expected expected = expected_of(name, got, want);
    const size_t worst = static_cast<size_t>(c.worst);
    if (!c.passed()) {
      wrong += name + ": " + std::to_string(c.failures) + " of " + std::to_string(c.compared) +
               " beyond the bound; element " + std::to_string(worst) + " is " +
               std::to_string(values.values[worst]) + ", expected " +
               std::to_string(expected.values.values[worst]) + " within " +
               std::to_string(expected.bounds.values[worst]) + "\n";
    }
    if (name == "top_indices") continue;
    for (size_t i = 0; i < values.values.size(); ++i) {
      // Weights of hidden keys and the like say something by being zero or infinite.
      const double value = expected.values.values[i];
      const bool hidden = expected.bounds.values[i] == 0 && (value == 0 || std::isinf(value));
      if (hidden && name != "output") continue;
      ++tally->compared;
      tally->zeros += values.values[i] == 0;
    }
    if (!plain) continue;
    // Errors of bf16 and of f32 are of different kinds, and so are their bounds.
    const char* precision = spec.dtype == Dtype::kBF16  ? " in bf16"
                            : spec.dtype == Dtype::kF16 ? " in f16"
                                                        : "";
    const std::string kind = name + precision;
    tally->kernel_squares[kind] += square_of_errors(values, expected);
    tally->rounded[kind] +=
        std::count_if(expected.bounds.values.begin(), expected.bounds.values.end(),
                      [](double bound) { return bound > 0; });
    tally->plain_squares[kind] +=
        square_of_errors(by_hand.at(name), expected_of(name, by_hand, want));
  }
  return wrong;
}

double share_of_blind_rows(const Spec& spec, const CallLengths& lengths,
                           const HostTensors& inputs) {
  // The masks of the spec over operands that are as small as they can be.
  Spec masks = spec;
  masks.op = Op::kAttention;
  masks.layout = Layout::kBshd;
  masks.kv_heads = masks.d_value = 1;
  if (masks.mask.rule.empty()) masks.d_head = 1;  // which rules may name
  masks.dtype = Dtype::kF32;
  masks.outputs = {"lse"};
  masks.top_k = 0;
  masks.score_rule.clear();
  masks.softcap.reset();
  masks.rope.reset();
  masks.qk_norm.reset();
  masks.alibi = masks.sink = false;
  masks.pruned_heads.clear();
  Arrays arrays;
  for (const TensorDecl& decl : input_tensors(masks, lengths)) {
    const auto given = inputs.find(decl.name);
    const bool operand =
        decl.dtype == Dtype::kF32 && decl.name != "mask" && !is_table(masks, decl.name);
    arrays[decl.name] = operand ? HostTensor(decl).array() : given->second.array();
  }
  int64_t blind = 0;
  const std::vector<double> lse = reference(masks, lengths, arrays).outputs.at("lse").values;
  for (double value : lse) blind += std::isinf(value);
  return static_cast<double>(blind) / static_cast<double>(lse.size());
}

}  // namespace mha
