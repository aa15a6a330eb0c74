#include "schedules/read_ahead.h"

#include <utility>
#include <vector>

namespace mha {

namespace hi = Halide::Internal;

using Halide::Expr;

namespace {

using Lets = std::vector<std::pair<std::string, Expr>>;

Expr inlined(Expr value, const Lets& lets) {
  for (auto let = lets.rbegin(); let != lets.rend(); ++let) {
    if (hi::expr_uses_var(value, let->first))
      value = hi::substitute(let->first, let->second, value);
  }
  return value;
}

// Where the vectors of `input` begin that a statement loads, each once.
class Loads : public hi::IRVisitor {
 public:
  Loads(std::string input, Lets lets) : input_(std::move(input)), lets_(std::move(lets)) {}
  std::vector<Expr> places;
  Halide::Type type;

 private:
  using hi::IRVisitor::visit;
  void visit(const hi::Load* load) override {
    hi::IRVisitor::visit(load);
    const auto* ramp = load->index.as<hi::Ramp>();
    if (load->name != input_ || ramp == nullptr) return;
    Expr place = inlined(ramp->base, lets_);
    for (const Expr& known : places) {
      if (hi::equal(known, place)) return;
    }
    places.push_back(place);
    type = load->type.element_of();
  }
  void visit(const hi::Let* let) override { within(let); }
  void visit(const hi::LetStmt* let) override { within(let); }
  template <typename L>
  void within(const L* let) {
    let->value.accept(this);
    lets_.emplace_back(let->name, let->value);
    let->body.accept(this);
    lets_.pop_back();
  }

  const std::string input_;
  Lets lets_;
};

class HasLoop : public hi::IRVisitor {
 public:
  bool found = false;

 private:
  using hi::IRVisitor::visit;
  void visit(const hi::For*) override { found = true; }
};

// The body of the loop whose later iterations are read.
class Body : public hi::IRMutator {
 public:
  Body(const ReadAhead& stream, const hi::For* loop)
      : stream_(stream),
        loop_(loop->name),
        later_(Halide::min(hi::Variable::make(Halide::Int(32), loop->name) + stream.steps,
                           loop->min + loop->extent - 1)) {}

  hi::Stmt with_prefetches(const hi::Stmt& body) {
    HasLoop inner;
    body.accept(&inner);
    if (inner.found) return mutate(body);
    Loads loads(stream_.input, lets_);
    body.accept(&loads);
    hi::Stmt all = body;
    for (auto place = loads.places.rbegin(); place != loads.places.rend(); ++place) {
      Expr base = hi::Variable::make(Halide::type_of<void*>(), stream_.input);
      Expr later = hi::simplify(hi::substitute(loop_, later_, *place));
      // What is read in any case, where the page goes on.
      later = hi::simplify(Halide::select(later - *place == stream_.distance, *place, later));
      Expr one = hi::make_const(Halide::Int(32), 1);
      all = hi::Block::make(
          hi::Evaluate::make(hi::Call::make(loads.type, hi::Call::prefetch, {base, later, one, one},
                                            hi::Call::Intrinsic)),
          all);
    }
    return all;
  }

 private:
  using hi::IRMutator::visit;
  hi::Stmt visit(const hi::LetStmt* let) override {
    lets_.emplace_back(let->name, let->value);
    hi::Stmt body = mutate(let->body);
    lets_.pop_back();
    return hi::LetStmt::make(let->name, let->value, body);
  }
  hi::Stmt visit(const hi::For* loop) override {
    hi::Stmt body = with_prefetches(loop->body);
    return hi::For::make(loop->name, loop->min, loop->extent, loop->for_type,
                         loop->partition_policy, loop->device_api, body);
  }

  const ReadAhead& stream_;
  const std::string loop_;
  const Expr later_;
  Lets lets_;
};

class Stream : public hi::IRMutator {
 public:
  explicit Stream(ReadAhead stream) : stream_(std::move(stream)) {}

 private:
  using hi::IRMutator::visit;
  hi::Stmt visit(const hi::For* loop) override {
    if (!loop->name.starts_with(stream_.func) || !has("." + stream_.loop, loop->name))
      return hi::IRMutator::visit(loop);
    hi::Stmt body = Body(stream_, loop).with_prefetches(loop->body);
    return hi::For::make(loop->name, loop->min, loop->extent, loop->for_type,
                         loop->partition_policy, loop->device_api, body);
  }

  // As one of the parts of a name, which are joined by dots.
  static bool has(const std::string& part, const std::string& name) {
    const size_t at = name.find(part);
    return at != std::string::npos &&
           (at + part.size() == name.size() || name[at + part.size()] == '.');
  }

  const ReadAhead stream_;
};

}  // namespace

void read_ahead(Halide::Pipeline& pipeline, const ReadAhead& stream) {
  if (stream.steps > 0) pipeline.add_custom_lowering_pass(new Stream(stream));
}

}  // namespace mha
