// What a mask rule says of a whole block of queries and a block of keys at once: whether it may
// show some of its pairs, and whether it surely shows all. Private to generator/pipeline.
//
// Numbers are known as intervals over the block, conditions by whether they may and whether they
// must hold. Sums of q and k are exact; what queries or keys alone decide and is not a sum (a
// table, a rest) is looked at element by element, once a task, so that documents which lie together
// in a batch cost no more than the pairs that they show.
#ifndef MHA_GENERATOR_PIPELINE_BLOCK_RULE_H_
#define MHA_GENERATOR_PIPELINE_BLOCK_RULE_H_

#include <Halide.h>

#include <map>
#include <optional>
#include <vector>

#include "generator/pipeline/rule.h"

namespace mha {

class BlockRule {
 public:
  // The queries of a task stand at places first_place to last_place, and see only keys from
  // key_begin to key_end. `scope` has what is the same for all of them. Block c has the keys from
  // c * key_block on; those from first_block on are looked at.
  struct Task {
    RuleScope scope;
    Halide::Expr first_place, last_place, key_begin, key_end, first_block;
    int key_block = 0;
  };
  BlockRule(const Rule& rule, Task task);

  // Outside of these, which lie in block c, the rule hides all keys from all queries of the task;
  // an end of 0 where it hides the whole block.
  Halide::Expr key_begin(const Halide::Expr& c) const, key_end(const Halide::Expr& c) const;
  // Whether the rule may hide a pair of block c.
  Halide::Expr is_cut(const Halide::Expr& c) const;

  // All that is computed once a task, for the schedule: "block_..." in the order of their use.
  const std::vector<Halide::Func>& funcs() const { return funcs_; }

 private:
  struct Bounds {
    Halide::Expr low, high;
    bool known() const { return low.defined(); }
  };
  struct Truth {
    Halide::Expr may, must;
  };
  // factor_q * q + factor_k * k + rest; whole numbers.
  struct Sum {
    int64_t q = 0, k = 0;
    Halide::Expr rest;
  };

  bool is_fixed(int node) const;
  bool is_of_one_side(int node) const;
  Truth truth(int node);
  Truth compared(const Expression::Node& node);
  Bounds bounds(int node);
  Bounds extremes(int node);
  std::optional<Sum> sum(int node) const;
  Bounds over_block(const Sum& sum) const;

  const Rule& rule_;
  const Task task_;
  // A group of keys of a block: what is hidden at its ends is left out in steps of so many.
  static constexpr int kGrain = 16;
  Halide::Expr wide(const Halide::Expr& whole) const;
  Halide::Expr number(int64_t value) const;

  Halide::Type wide_ = Halide::Int(32);
  Halide::Var m_{"m"}, n_{"n"};        // group of keys m of block first_block + n
  Halide::Expr first_key_, last_key_;  // of that group
  Halide::Func may_{"block_may"}, must_{"block_must"}, hull_{"block_hull"};
  std::vector<Halide::Func> funcs_;
  std::map<int, Bounds> extremes_;
};

}  // namespace mha

#endif  // MHA_GENERATOR_PIPELINE_BLOCK_RULE_H_
