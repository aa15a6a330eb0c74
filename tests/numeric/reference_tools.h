// What the tests of the oracle share: specs from text, random inputs, and a second formulation.
#ifndef MHA_TESTS_NUMERIC_REFERENCE_TOOLS_H_
#define MHA_TESTS_NUMERIC_REFERENCE_TOOLS_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "generator/spec/parse.h"
#include "tools/mha-run/random.h"
#include "tools/reference/reference.h"

namespace mha {

// Of a config that may hold what is not built yet.
inline Spec parsed(const std::string& yaml) {
  ParseResult result = parse_spec_text("version: 1\nname: reference\n" + yaml, "test.yaml");
  if (!result.spec) throw std::runtime_error(format_diagnostics(result.problems, result.text));
  return *result.spec;
}

inline Arrays random_arrays(const Spec& spec, const CallLengths& lengths, uint64_t seed) {
  Arrays arrays;
  for (const auto& list : {input_tensors(spec, lengths), weight_tensors(spec)}) {
    for (const TensorDecl& decl : list) {
      arrays[decl.name] = random_tensor(spec, lengths, decl, seed).array();
    }
  }
  return arrays;
}

inline std::vector<float> floats(const Array& array) {
  return std::vector<float>(array.values.begin(), array.values.end());
}

// A pair of a query and a key of op attention in layout bshd, with its scaled product.
struct Pair {
  int64_t b, h, i, j;
  long double s;
};
// What a pair's score becomes; -infinity hides.
using ScoreOf = std::function<long double(const Pair&)>;

// output, weights and lse from full matrices in long double. `sinks`: a logit for each head.
inline Arrays by_matrix(const Spec& spec, const CallLengths& l, const Arrays& in,
                        const ScoreOf& score, const std::vector<double>& sinks = {}) {
  const int64_t rows = l.batch * spec.heads * l.query, d = spec.d_head, dv = spec.d_value;
  auto zeros = [](int64_t n) { return Array{{n}, std::vector<double>(static_cast<size_t>(n))}; };
  Arrays out = {
      {"output", zeros(rows * dv)}, {"weights", zeros(rows * l.key)}, {"lse", zeros(rows)}};
  auto value = [&](const char* name, int64_t at) {
    return static_cast<long double>(in.at(name).values.at(static_cast<size_t>(at)));
  };
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t b = row / (spec.heads * l.query), h = row / l.query % spec.heads,
                  i = row % l.query, g = h * spec.kv_heads / spec.heads;
    std::vector<long double> e(static_cast<size_t>(l.key));
    long double total =
        sinks.empty() ? 0 : std::exp(static_cast<long double>(sinks[static_cast<size_t>(h)]));
    for (int64_t j = 0; j < l.key; ++j) {
      long double s = 0;
      for (int64_t c = 0; c < d; ++c) {
        s += value("query", ((b * l.query + i) * spec.heads + h) * d + c) *
             value("key", ((b * l.key + j) * spec.kv_heads + g) * d + c);
      }
      s = score({b, h, i, j, s * static_cast<long double>(spec.scale)});
      total += e[static_cast<size_t>(j)] = std::exp(s);
    }
    out["lse"].values[static_cast<size_t>(row)] = static_cast<double>(std::log(total));
    for (int64_t j = 0; j < l.key; ++j) {
      const long double p = e[static_cast<size_t>(j)] == 0 ? 0 : e[static_cast<size_t>(j)] / total;
      out["weights"].values[static_cast<size_t>(row * l.key + j)] = static_cast<double>(p);
      for (int64_t c = 0; c < dv; ++c) {
        out["output"].values[static_cast<size_t>(((b * l.query + i) * spec.heads + h) * dv + c)] +=
            static_cast<double>(p * value("value", ((b * l.key + j) * spec.kv_heads + g) * dv + c));
      }
    }
  }
  return out;
}

inline void expect_near(const Arrays& want, const Arrays& got, double tolerance) {
  for (const auto& [name, array] : want) {
    const std::vector<double>& values = got.at(name).values;
    ASSERT_EQ(values.size(), array.values.size()) << name;
    for (size_t n = 0; n < values.size(); ++n) {
      if (std::isinf(array.values[n])) {
        ASSERT_EQ(values[n], array.values[n]) << name << " " << n;
      } else {
        ASSERT_NEAR(values[n], array.values[n], tolerance) << name << " " << n;
      }
    }
  }
}

// A plain computation in the spec's precision keeps the bounds, and is not exact; that of a spec
// that is wrong does not.
inline void expect_bounds_hold(const Spec& spec, const CallLengths& lengths, const Arrays& inputs) {
  const Reference want = reference(spec, lengths, inputs);
  const Arrays plain = plain_f32(spec, lengths, inputs);
  for (const auto& [name, values] : plain) {
    const Comparison c = compare_output(name, plain, want);
    EXPECT_TRUE(c.passed()) << name << ": " << c.failures << " of " << c.compared << ", element "
                            << c.worst << " off by " << c.error_at_worst << " of "
                            << c.bound_at_worst;
  }
}
inline void expect_bounds_fail(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                               const Spec& wrong, const Arrays& wrong_inputs) {
  const Reference want = reference(spec, lengths, inputs);
  const Arrays plain = plain_f32(wrong, lengths, wrong_inputs);
  bool failed = false;
  for (const auto& [name, values] : plain) {
    failed = failed || !compare_output(name, plain, want).passed();
  }
  EXPECT_TRUE(failed) << "a wrong result is within the bounds";
}

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_REFERENCE_TOOLS_H_
