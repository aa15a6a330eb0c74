#include <algorithm>
#include <string>
#include <utility>

#include "generator/spec/reader.h"

namespace mha {
namespace {

// 2^31 elements are one more than a 32-bit index reaches.
constexpr uint64_t kMaxElements = (uint64_t{1} << 31) - 1;

// With everything else that a config may ask for, a call has fewer than MHA_MAX_TENSORS tensors and
// a stage fewer than MHA_MAX_OPERANDS operands.
constexpr size_t kMaxTables = 32;

struct Axis {
  const char* name;
  int64_t size;
};

class SizeChecker {
 public:
  SizeChecker(const Spec& spec, std::vector<Diagnostic>* problems)
      : spec_(spec), problems_(problems) {}

  void operator()(const std::string& what, const std::vector<Axis>& axes, const std::string& key) {
    uint64_t count = 1;
    bool overflow = false;
    std::string letters, numbers;
    for (const Axis& axis : axes) {
      overflow =
          overflow || __builtin_mul_overflow(count, static_cast<uint64_t>(axis.size), &count);
      letters += (letters.empty() ? "" : ", ") + std::string(axis.name);
      numbers += (numbers.empty() ? "" : ", ") + std::to_string(axis.size);
    }
    if (!overflow && count <= kMaxElements) return;
    const std::string elements = overflow ? "more than 2^64" : std::to_string(count);
    problems_->push_back({spec_.where(key),
                          what + " [" + letters + "] = [" + numbers + "] has " + elements +
                              " elements: a tensor must have fewer than 2^31",
                          ""});
  }

 private:
  const Spec& spec_;
  std::vector<Diagnostic>* problems_;
};

}  // namespace

void check_tensor_sizes(const Spec& spec, std::vector<Diagnostic>* problems) {
  SizeChecker check(spec, problems);
  const Axis b{"B", spec.batch.max}, h{"H", spec.heads}, g{"G", spec.kv_heads},
      lq{"Lq", spec.query_length.max}, lk{"Lk", spec.key_length.max}, d{"D", spec.d_head},
      dv{"Dv", spec.d_value}, m{"M", spec.d_model};
  const std::string keys = spec.key_length_given ? "key_length" : "query_length";
  const bool bhsd = spec.layout == Layout::kBhsd;
  // Sizes do not depend on the order of the axes, but a message should show the user's.
  const auto heads_tensor = [&](const std::string& what, Axis length, Axis heads, Axis width,
                                const std::string& key) {
    check(what,
          bhsd ? std::vector<Axis>{b, heads, length, width}
               : std::vector<Axis>{b, length, heads, width},
          key);
  };

  if (spec.op == Op::kBlock) {
    check("tensor `x`", {b, lq, m}, "query_length");
    if (spec.cross) check("tensor `memory`", {b, lk, m}, keys);
    check("weight `w_q`", {{"H * D", spec.heads * spec.d_head}, m}, "heads");
    check("weight `w_k`", {{"G * D", spec.kv_heads * spec.d_head}, m}, "heads");
    check("weight `w_v`", {{"G * Dv", spec.kv_heads * spec.d_value}, m}, "heads");
    check("weight `w_o`", {m, {"H * Dv", spec.heads * spec.d_value}}, "heads");
    // Not tensors that a user sees, but the kernel indexes them just the same.
    check("the projected queries", {b, lq, h, d}, "query_length");
    check("the projected keys", {b, lk, g, d}, keys);
    check("the projected values", {b, lk, g, dv}, keys);
    check("the concatenated heads", {b, lq, h, dv}, "query_length");
    // `output` is as large as `x`.
  } else {
    heads_tensor("tensor `query`", lq, h, d, "query_length");
    heads_tensor("tensor `key`", lk, g, d, keys);
    heads_tensor("tensor `value`", lk, g, dv, keys);
    heads_tensor("tensor `output`", lq, h, dv, "query_length");
  }
  // A mask tensor is given in any shape that broadcasts, so its size is known by a call alone.

  for (const char* name : {"weights", "scores", "scores_capped", "scores_masked"}) {
    if (spec.wants(name)) check(std::string("output `") + name + "`", {b, h, lq, lk}, "outputs");
  }
  if (spec.wants("mean_weights")) check("output `mean_weights`", {b, lq, lk}, "outputs");
  if (spec.wants("lse")) check("output `lse`", {b, h, lq}, "outputs");
  if (spec.top_k > 0) check("output `top_weights`", {b, h, lq, {"top_k", spec.top_k}}, "top_k");
  if (spec.kv_cache) {
    const Axis capacity{"capacity", spec.kv_cache->capacity};
    check("cache `present_key`", {b, g, capacity, d}, "kv_cache.capacity");
    check("cache `present_value`", {b, g, capacity, dv}, "kv_cache.capacity");
    // A page has whole panels of 16 keys and whole vectors of values, as cache_info.cc lays it out.
    const double elements = static_cast<double>(b.size) * static_cast<double>(g.size) *
                            static_cast<double>(capacity.size) *
                            static_cast<double>(std::max(d.size, dv.size));
    const auto padded = [](int64_t n) { return (n + 15) / 16 * 16; };
    const int64_t page = spec.kv_cache->paged ? spec.kv_cache->page : padded(capacity.size);
    if (elements <= static_cast<double>(kMaxElements)) {
      check("a page of values, in whole vectors,", {g, {"keys", page}, {"Dv", padded(dv.size)}},
            "kv_cache.capacity");
    }
  }
  if (spec.tables.size() > kMaxTables) {
    problems->push_back({spec.where("table"),
                         "table: " + std::to_string(spec.tables.size()) +
                             " tables, a kernel has at most " + std::to_string(kMaxTables),
                         "tables of the same shape and dtype may be one with an axis more"});
  }
  for (const Table& table : spec.tables) {
    std::vector<Axis> axes;
    for (const std::string& axis : table.shape) {
      const int64_t size = axis == "B"    ? b.size
                           : axis == "H"  ? h.size
                           : axis == "G"  ? g.size
                           : axis == "Lq" ? lq.size
                           : axis == "Lk" ? (spec.kv_cache ? spec.kv_cache->capacity : lk.size)
                           : axis == "D"  ? d.size
                                          : std::stoll(axis);
      axes.push_back({axis.c_str(), size});
    }
    check("table `" + table.name + "`", axes, "table." + table.name);
  }
}

}  // namespace mha
