#include "generator/emit/scratch.h"

#include <algorithm>
#include <limits>
#include <string>

#include "generator/pipeline/pipeline.h"
#include "generator/spec/error.h"
#include "mha/kernel.h"

namespace mha {
namespace {

using namespace Halide::Internal;  // NOLINT: the IR's own vocabulary
using Halide::Expr;
using Halide::MemoryType;

// Halide keeps constant allocations up to this size on the stack unless told otherwise
// (maximum_stack_allocation_bytes of its runtime).
constexpr int64_t kStackBytes = 16384;

int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

Interval constant_interval(const Bounds& bounds) {
  return Interval(make_const(Halide::Int(32), bounds.min), make_const(Halide::Int(32), bounds.max));
}

// Walks the lowered stage with the range of every variable in scope. `held_` is what is allocated
// around the current statement: the nesting of Allocate nodes is the order in which the runtime's
// stack of scratch grows.
class ScratchVisitor : public IRVisitor {
 public:
  ScratchVisitor(const std::string& stage, Scope<Interval>* scope) : stage_(stage), scope_(scope) {}

  int64_t most() const { return most_ + kept_; }

 protected:
  using IRVisitor::visit;

  void visit(const LetStmt* op) override {
    op->value.accept(this);
    // The head of a stage reads the fields of its buffers into variables; what those can be is
    // known already.
    const Call* call = op->value.as<Call>();
    const bool field =
        call && (call->name == Call::buffer_get_min || call->name == Call::buffer_get_extent);
    const bool known = field && scope_->contains(op->name);
    ScopedBinding<Interval> bind(!known, *scope_, op->name,
                                 known ? Interval() : bounds_of(op->value));
    op->body.accept(this);
  }

  void visit(const For* op) override {
    if (op->is_unordered_parallel()) {
      throw InternalError("stage '" + stage_ + "' has the parallel loop '" + op->name +
                          "'; a stage computes one task");
    }
    const Interval first = bounds_of(op->min);
    const Interval last = bounds_of(op->min + op->extent - 1);
    ScopedBinding<Interval> bind(*scope_, op->name, Interval(first.min, last.max));
    op->body.accept(this);
  }

  void visit(const Allocate* op) override {
    const int64_t bytes = heap_bytes(*op);
    // Memory of a size that is not known at compile time, asked for on the stack, is kept until the
    // stage ends.
    const bool kept = op->memory_type == MemoryType::Stack;
    (kept ? kept_ : held_) += bytes;
    most_ = std::max(most_, held_);
    op->body.accept(this);
    if (!kept) held_ -= bytes;
  }

  void visit(const Call* op) override {
    if (op->name == "halide_do_par_for" || op->name == "halide_do_parallel_tasks") {
      throw InternalError("stage '" + stage_ + "' has a parallel loop; a stage computes one task");
    }
    IRVisitor::visit(op);
  }

 private:
  Interval bounds_of(const Expr& value) {
    if (!value.type().is_int_or_uint() || !value.type().is_scalar()) return Interval::everything();
    return find_constant_bounds(value, *scope_);
  }

  // What the runtime takes for this allocation; 0 when it is on the stack or in registers.
  int64_t heap_bytes(const Allocate& op) {
    if (op.new_expr.defined()) {
      throw InternalError("stage '" + stage_ + "': the allocation '" + op.name +
                          "' brings its own allocator");
    }
    if (op.memory_type == MemoryType::Register || is_const_zero(op.condition)) return 0;
    if (op.extents.empty()) return 0;
    int64_t bytes = op.type.bytes();
    bool constant = true;
    for (const Expr& extent : op.extents) {
      const auto fixed = as_const_int(extent);
      constant = constant && fixed.has_value();
      const Expr bound =
          fixed ? extent : simplify(find_constant_bound(extent, Direction::Upper, *scope_));
      const auto most = bound.defined() ? as_const_int(bound) : std::nullopt;
      if (!most) {
        std::ostringstream text;
        text << "stage '" << stage_ << "': found no bound of the allocation '" << op.name
             << "', extent " << extent;
        throw InternalError(text.str());
      }
      if (__builtin_mul_overflow(bytes, std::max<int64_t>(*most, 0), &bytes) ||
          bytes > std::numeric_limits<int32_t>::max()) {
        throw InternalError("stage '" + stage_ + "': the allocation '" + op.name +
                            "' may take 2^31 bytes or more");
      }
    }
    bytes += static_cast<int64_t>(op.padding) * op.type.bytes();
    if (constant && op.memory_type != MemoryType::Heap && bytes <= kStackBytes) return 0;
    return round_up(bytes, MHA_WORKSPACE_ALIGNMENT) + MHA_SCRATCH_HEADER;
  }

  const std::string stage_;
  Scope<Interval>* scope_;
  int64_t held_ = 0, most_ = 0, kept_ = 0;
};

Bounds length_bounds(Symbol symbol, const Plan& plan) {
  switch (symbol) {
    case Symbol::kBatch:
      return {plan.batch.min, plan.batch.max};
    case Symbol::kQuery:
      return {plan.query_length.min, plan.query_length.max};
    case Symbol::kKey:
      return {plan.key_length.min, plan.key_length.max};
    case Symbol::kRows:
      return {plan.rows().min, plan.rows().max};
    case Symbol::kStarts:
      return {plan.batch.min + 1, plan.batch.max + 1};
    case Symbol::kNewKeys:
      return {plan.new_key_length.min, plan.new_key_length.max};
    default:
      return {1, 1};
  }
}

int64_t value(const Extent& extent, int64_t symbol) {
  return extent.scale * ((round_up(symbol, extent.round) + extent.per - 1) / extent.per);
}

Bounds fixed(int64_t n) { return {n, n}; }

// What the runtime passes (MHA_OPERAND_CACHE_KEYS ...).
std::vector<Bounds> cache_extents(const Operand& operand, const CacheInfo& cache,
                                  const Plan& plan) {
  const Bounds pages = {1, INT32_MAX}, heads = fixed(cache.kv_heads);
  const int64_t pair = cache.pairs() ? 2 : 1;
  switch (operand.kind) {
    case Operand::kCacheKeys:
      return {fixed(kCachePanel * pair), fixed(cache.d_head_padded / pair),
              fixed(cache.page / kCachePanel), heads, pages};
    case Operand::kCacheValues:
      return {fixed(cache.d_value_padded * pair), fixed(cache.page / pair), heads, pages};
    case Operand::kPageTable:
      return {fixed(cache.pages_per_sequence()), {1, INT32_MAX}};
    default:
      return {fixed(MHA_SEQUENCE_FIELDS), {plan.batch.min, plan.batch.max}};
  }
}

Bounds extent_bounds(const Extent& extent, const Plan& plan) {
  const Bounds bounds = length_bounds(extent.symbol, plan);
  return {value(extent, bounds.min), value(extent, bounds.max)};
}

}  // namespace

std::vector<Bounds> operand_extents(const Operand& operand, const Program& program,
                                    const Plan& plan) {
  std::vector<Bounds> extents;
  if (operand.kind == Operand::kTensor) {
    for (int axis : operand.axes) {
      if (axis == kNoAxis) {
        extents.push_back({1, 1});
        continue;
      }
      extents.push_back(extent_bounds(program.tensors.at(operand.index).axes.at(axis), plan));
    }
  } else if (operand.kind == Operand::kBuffer) {
    for (const Extent& extent : program.buffers.at(operand.index).extents) {
      extents.push_back(extent_bounds(extent, plan));
    }
  } else if (operand.kind == Operand::kPack) {
    const PackInfo& pack = program.packs.at(operand.index);
    if (pack.kind != PackKind::kMatrix) {
      extents = {{pack.rows, pack.rows}};
    } else {
      const int64_t panels = pack.rows / pack.panel, steps = pack.columns / pack.pair;
      if (operand.axes.size() == 4) extents.push_back({pack.pair, pack.pair});
      extents.insert(extents.end(), {{pack.panel, pack.panel}, {steps, steps}, {panels, panels}});
    }
  } else if (program.cache) {
    extents = cache_extents(operand, *program.cache, plan);
  }
  return extents;
}

int64_t largest(const Extent& extent, const Plan& plan) { return extent_bounds(extent, plan).max; }

Bounds symbol_bounds(Symbol symbol, const Stage& stage, const Plan& plan) {
  switch (symbol) {
    case Symbol::kTask0:
    case Symbol::kTask1:
    case Symbol::kTask2:
    case Symbol::kTask3: {
      const size_t axis = static_cast<int>(symbol) - static_cast<int>(Symbol::kTask0);
      if (axis >= stage.grid.size()) {
        throw InternalError("stage '" + stage.name + "' reads a coordinate that its grid lacks");
      }
      const GridAxis& grid = stage.grid[axis];
      const int64_t work = grid.scale * length_bounds(grid.symbol, plan).max;
      return {0, (work + grid.tile - 1) / grid.tile - 1};
    }
    case Symbol::kSequenceKeys:
    case Symbol::kSequenceFirstKey:
      return {0, plan.keys().max};
    case Symbol::kSequenceFirstRow:
      return {0, plan.rows().max - 1};
    case Symbol::kSequenceQueries:
      return {1, plan.query_length.max};
    case Symbol::kSequenceOffset:
      if (plan.cache) return {0, plan.cache->capacity};
      switch (plan.attention.query_offset) {
        case QueryOffset::kStart:
          return {0, 0};
        case QueryOffset::kEnd:
          return {-plan.query_length.max, plan.keys().max};
        case QueryOffset::kInput:
          return {-(int64_t{1} << 30), int64_t{1} << 30};  // MHA_CHECK_INT32_OFFSET
      }
      return {0, 0};
    case Symbol::kSequenceSlot:
      return {0, INT32_MAX};
    case Symbol::kSequenceNewKeys:
      return {0, new_keys(plan).max};
    case Symbol::kShared:
    case Symbol::kSequenceCached:
      return {0, plan.cache ? plan.cache->capacity : 0};
    default:
      return length_bounds(symbol, plan);
  }
}

int64_t scratch_bytes(const LoweredFunc& function, const Stage& stage, const Program& program,
                      const Plan& plan) {
  Scope<Interval> scope;
  // The lowered function's arguments: the user context, then the stage's operands in order.
  size_t operand = 0;
  for (const LoweredArgument& argument : function.args) {
    if (argument.name == "__user_context") continue;
    if (operand >= stage.operands.size()) {
      throw InternalError("stage '" + stage.name + "' takes more arguments than it has operands");
    }
    const Operand& from = stage.operands[operand++];
    if (argument.is_buffer()) {
      const std::vector<Bounds> extents = operand_extents(from, program, plan);
      if (extents.size() != argument.dimensions) {
        throw InternalError("stage '" + stage.name + "': argument '" + argument.name + "' has " +
                            std::to_string(argument.dimensions) + " dimensions, its operand " +
                            std::to_string(extents.size()));
      }
      for (size_t d = 0; d < extents.size(); ++d) {
        const std::string dimension = std::to_string(d);
        scope.push(argument.name + ".min." + dimension, constant_interval({0, 0}));
        scope.push(argument.name + ".extent." + dimension, constant_interval(extents[d]));
      }
    } else if (from.kind == Operand::kScalar) {
      scope.push(argument.name,
                 constant_interval(symbol_bounds(static_cast<Symbol>(from.index), stage, plan)));
    } else {
      throw InternalError("stage '" + stage.name + "': argument '" + argument.name +
                          "' is a scalar, its operand is not");
    }
  }
  if (operand != stage.operands.size()) {
    throw InternalError("stage '" + stage.name + "' has more operands than it takes arguments");
  }
  ScratchVisitor visitor(stage.name, &scope);
  function.body.accept(&visitor);
  return visitor.most();
}

}  // namespace mha
