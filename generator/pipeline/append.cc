// A call's new rows of K and of V into the pages of the cache: some rows of one head a task.
//
// K: pool[page][g][panel][d][lane] = k[t][g][d], V: pool[page][g][key][d] = v[t][g][d], where key
// cached + t of the sequence lies; in pools of bf16 two neighbours in the width of K, and two keys
// of V, are a pair. What pads the width is written as 0. Rounded to the pool's type once, after
// norm and rotation.
#include "generator/pipeline/head_rows.h"
#include "generator/pipeline/precision.h"
#include "generator/pipeline/scores.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::min;
using Halide::RDom;
using Halide::select;
using Halide::Var;

Stage build_append(const std::string& name, const Plan& plan, const HeadSource& rows,
                   const HeadSource& cache, const NormSource* norm) {
  StageScalars scalars(name);
  const CacheInfo& info = cache.cache->info;
  const bool keys = cache.cache->keys;
  const int width = static_cast<int>(keys ? info.d_head : info.d_value);
  const int padded = static_cast<int>(keys ? info.d_head_padded : info.d_value_padded);
  const int rows_of_task = 64;
  const Symbol symbol = plan.has_own_keys() ? Symbol::kNewKeys : Symbol::kQuery;
  Expr length = scalars.length(new_keys(plan), plan.packed ? Symbol::kSequenceQueries : symbol);
  Expr block = scalars.get(Symbol::kTask0), head = scalars.get(Symbol::kTask1),
       sequence = scalars.get(Symbol::kTask2);
  Expr first = block * rows_of_task;
  Expr first_row = plan.packed ? scalars.get(Symbol::kSequenceFirstRow) : Expr(0);
  Expr batch_index = plan.packed ? Expr(0) : sequence;
  Expr slot = scalars.get(Symbol::kSequenceSlot), cached = scalars.get(Symbol::kSequenceCached);

  // d along the new rows, r over them.
  Var d("d"), r("r");
  Func row("row"), output("output");
  const auto element = [&](const Expr& of) {
    return rows.input(of, first_row + r, rows.head(head), batch_index);
  };
  Expr in_row = padded == width ? Expr(d) : min(d, width - 1), value;
  std::optional<HeadRows> transformed;
  if (norm != nullptr) {
    const HeadRow of_key{[&](const Expr& of) { return widened(element(of)); },
                         pick(plan.attention.kept_kv_heads, head), cached + r, first_row + r,
                         batch_index};
    transformed.emplace(plan, *norm, of_key, std::vector<Var>{r});
    value = transformed->rows(in_row, r);
  } else {
    value = element(in_row);
  }
  if (padded != width) value = select(d < width, value, Halide::cast(value.type(), 0));
  // What has the type already is copied, bits and all.
  const Halide::Type type = cache.input.type();
  row(d, r) = value.type() == type ? value : narrowed_to(type, widened(value));

  RDom rt(0, padded, first, Halide::max(min(rows_of_task, length - first), 0), "rt");
  std::vector<Var> any;
  for (int i = 0; i < cache.input.dimensions(); ++i) any.emplace_back("p" + std::to_string(i));
  output(any) = Halide::undef(cache.input.type());
  Expr pages = output.output_buffer().dim(cache.input.dimensions() - 1).extent();
  output(cache_place(cache, rt.x, cached + rt.y, head, slot, pages)) = row(rt.x, rt.y);

  Stage stage;
  stage.name = name;
  stage.appends = true;
  add_input(stage, rows.input, rows.operand);
  if (transformed) transformed->add_to(stage);
  add_input(stage, cache.cache->table, {Operand::kPageTable, 0, {}});
  scalars.add_to(stage);
  stage.operands.push_back(cache.operand);
  stage.pipeline = Halide::Pipeline(output);
  stage.grid = {{1, symbol, rows_of_task},
                {plan.attention.kv_heads, Symbol::kOne, 1},
                {1, Symbol::kBatch, 1}};
  if (!plan.has_own_keys()) stage.query_axis = 0;
  stage.batch_axis = 2;
  stage.funcs["output"] = output;
  stage.domains["rt"] = rt;
  return stage;
}

}  // namespace mha
