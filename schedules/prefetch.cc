#include "schedules/prefetch.h"

#include <string>

namespace mha {

namespace hi = Halide::Internal;

namespace {

// Moves prefetches by a number of the steps that they name themselves.
class MoveBy : public hi::IRMutator {
 public:
  explicit MoveBy(int lines) : lines_(lines) {}

 private:
  using hi::IRMutator::visit;
  Halide::Expr visit(const hi::Call* call) override {
    if (!call->is_intrinsic(hi::Call::prefetch)) return hi::IRMutator::visit(call);
    // Base, place, extent, step: places and steps in elements.
    std::vector<Halide::Expr> args = call->args;
    args[1] = args[1] + lines_ * args[3];
    return hi::Call::make(call->type, call->name, args, call->call_type);
  }

  int lines_;
};

class UnrollPrefetches : public hi::IRMutator {
 private:
  using hi::IRMutator::visit;
  hi::Stmt visit(const hi::For* loop) override {
    const std::string& name = loop->name;
    const auto count = hi::as_const_int(loop->extent);
    if (!name.starts_with("prefetch_") || !count) return hi::IRMutator::visit(loop);
    const bool lines = name.starts_with("prefetch_split_");
    const hi::Stmt body = mutate(loop->body);
    hi::Stmt all;
    for (int i = 0; i < *count; ++i) {
      hi::Stmt one = hi::substitute(name, lines ? 0 : i, body);
      if (lines) one = MoveBy(i).mutate(one);
      all = all.defined() ? hi::Block::make(all, one) : one;
    }
    return all;
  }
};

}  // namespace

void prefetch(Halide::Stage stage, const Halide::ImageParam& input, const Halide::VarOrRVar& loop,
              int ahead) {
  if (ahead == 0) return;
  stage.prefetch(input, loop, loop, ahead, Halide::PrefetchBoundStrategy::NonFaulting);
}

void unroll_prefetches(Halide::Pipeline& pipeline) {
  pipeline.add_custom_lowering_pass(new UnrollPrefetches);
}

}  // namespace mha
