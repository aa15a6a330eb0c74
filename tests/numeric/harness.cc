#include "tests/numeric/harness.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <stdexcept>

#include "generator/spec/error.h"
#include "generator/spec/parse.h"
#include "tools/mha-run/cache.h"

namespace mha {
namespace {

// A NaN that no computation makes: whoever finds it knows that nobody wrote there.
constexpr uint32_t kCanary = 0x7fc0dead;

// A tensor in guarded memory, dense or with gaps.
class Placed {
 public:
  Placed(const TensorDecl& decl, bool strided) : shape_(decl.shape) {
    const size_t rank = shape_.size();
    strides_.assign(rank, 1);
    for (size_t axis = rank; axis-- > 1;) {
      // Odd gaps, so that no row but the first is aligned to a vector.
      strides_[axis - 1] = strides_[axis] * shape_[axis] + (strided ? 3 : 0);
    }
    int64_t last = 0;
    for (size_t axis = 0; axis < rank; ++axis) last += strides_[axis] * (shape_[axis] - 1);
    bytes_ = std::make_unique<GuardedBytes>(static_cast<size_t>(last + 1) * 4);
    for (int64_t i = 0; i <= last; ++i) words()[i] = kCanary;
    if (strided && rank > 1) {
      view_.flags = MHA_STRIDED;
      for (size_t axis = 0; axis + 1 < rank; ++axis) view_.strides[axis] = strides_[axis];
    }
    view_.data = bytes_->data();
  }

  void fill(const void* dense) {
    each([&](size_t from, size_t at) {
      std::memcpy(words() + at, static_cast<const char*>(dense) + from * 4, 4);
    });
  }
  std::vector<float> dense() const {
    std::vector<float> values;
    each([&](size_t, size_t at) {
      float value;
      std::memcpy(&value, words() + at, 4);
      values.push_back(value);
    });
    return values;
  }
  bool gaps_untouched() const {
    std::vector<bool> inside(bytes_->size() / 4);
    each([&](size_t, size_t at) { inside[at] = true; });
    for (size_t i = 0; i < inside.size(); ++i) {
      if (!inside[i] && words()[i] != kCanary) return false;
    }
    return true;
  }
  const mha_tensor& view() const { return view_; }

 private:
  uint32_t* words() const { return static_cast<uint32_t*>(bytes_->data()); }
  template <typename F>
  void each(F f) const {
    std::vector<int64_t> index(shape_.size());
    size_t count = 1;
    for (int64_t extent : shape_) count *= static_cast<size_t>(extent);
    for (size_t n = 0; n < count; ++n) {
      int64_t at = 0;
      for (size_t axis = 0; axis < shape_.size(); ++axis) at += index[axis] * strides_[axis];
      f(n, static_cast<size_t>(at));
      for (size_t axis = shape_.size(); axis-- > 0;) {
        if (++index[axis] < shape_[axis]) break;
        index[axis] = 0;
      }
    }
  }

  std::vector<int64_t> shape_, strides_;
  std::unique_ptr<GuardedBytes> bytes_;
  mha_tensor view_ = {};
};

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
    library_ = std::make_unique<KernelLibrary>(build(), spec_.name);
  } catch (...) {
    std::filesystem::remove_all(folder_);
    throw;
  }
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

std::map<std::string, std::vector<float>> run_kernel(const TestKernel& kernel,
                                                     const CallLengths& lengths,
                                                     const HostTensors& inputs,
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
    Placed& tensor = placed.emplace(decl.name, Placed(decl, options.strided)).first->second;
    HostTensor copy = inputs.at(decl.name);
    tensor.fill(copy.data());
    call.bind(decl.name, tensor.view());
  }
  for (const TensorDecl& decl : output_tensors(spec, lengths)) {
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
    array.dtype = MHA_F32;
    array.rank = static_cast<int32_t>(decl.shape.size());
    std::copy(decl.shape.begin(), decl.shape.end(), array.shape);
    arrays.push_back(array);
  }
  if (spec.op == Op::kBlock) call.create_weights(arrays);
  weights.clear();  // packing copies: the originals are not needed any more

  call.run();

  std::map<std::string, std::vector<float>> outputs;
  for (const TensorDecl& decl : output_tensors(spec, lengths)) {
    outputs[decl.name] = placed.at(decl.name).dense();
    for (float value : outputs[decl.name]) {
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      if (bits == kCanary) throw std::runtime_error(decl.name + ": an element was not written");
    }
  }
  for (const auto& [name, tensor] : placed) {
    if (!tensor.gaps_untouched()) throw std::runtime_error(name + ": written between its rows");
  }
  for (const TensorDecl& decl : input_tensors(spec, lengths)) {
    HostTensor copy = inputs.at(decl.name);
    std::vector<float> after = placed.at(decl.name).dense();
    if (std::memcmp(after.data(), copy.data(), copy.bytes()) != 0) {
      throw std::runtime_error(decl.name + ": an input was changed");
    }
  }
  return outputs;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::string check_against_reference(const TestKernel& kernel, const CallLengths& lengths,
                                    const HostTensors& inputs,
                                    const std::map<std::string, std::vector<float>>& outputs,
                                    bool plain, Tally* tally) {
  const Spec& spec = kernel.spec();
  const Arrays arrays = arrays_of(inputs);
  const Reference want = reference(spec, lengths, arrays);
  const Arrays plain_outputs = plain ? plain_f32(spec, lengths, arrays) : Arrays();
  std::string wrong;
  for (const auto& [name, got] : outputs) {
    const Array& expected = want.outputs.at(name);
    const Array& bound = want.bounds.at(name);
    const Comparison c = compare(got, expected, bound);
    // Weights of hidden keys are zeros that say something.
    if (name != "weights") {
      tally->compared += c.compared;
      tally->zeros += c.zeros;
    }
    if (!c.passed()) {
      const size_t at = static_cast<size_t>(c.worst);
      wrong += name + ": " + std::to_string(c.failures) + " of " + std::to_string(c.compared) +
               " beyond the bound; element " + std::to_string(at) + " is " +
               std::to_string(got[at]) + ", expected " + std::to_string(expected.values[at]) +
               " within " + std::to_string(bound.values[at]) + "\n";
    }
    if (!plain) continue;
    const Array& by_hand = plain_outputs.at(name);
    for (size_t i = 0; i < got.size(); ++i) {
      if (!(bound.values[i] > 0)) continue;
      const double kernel_error = (got[i] - expected.values[i]) / bound.values[i];
      const double plain_error = (by_hand.values[i] - expected.values[i]) / bound.values[i];
      if (!std::isfinite(kernel_error) || !std::isfinite(plain_error)) continue;
      tally->kernel_squares[name] += kernel_error * kernel_error;
      tally->plain_squares[name] += plain_error * plain_error;
    }
  }
  return wrong;
}

}  // namespace mha
