#include "tests/emit/handmade.h"

#include "generator/emit/child.h"
#include "generator/emit/library.h"

namespace mha {

HalideExtern_1(float, mha_test_foreign_call, float);

Handmade handmade(const std::string& name, Flaw flaw) {
  Handmade made;
  made.spec.name = name;
  made.spec.op = Op::kAttention;
  made.spec.heads = made.spec.kv_heads = kHandmadeHeads;
  made.spec.d_head = made.spec.d_value = kHandmadeWidth;
  made.spec.batch = {1, kHandmadeBatch};
  made.spec.query_length = made.spec.key_length = {1, kHandmadeLength};
  made.spec.outputs = {"output"};
  made.spec.targets = {"host"};

  made.plan.name = name;
  made.plan.op = Op::kAttention;
  made.plan.batch = made.spec.batch;
  made.plan.query_length = made.plan.key_length = made.spec.query_length;
  made.plan.self_length = true;
  made.plan.attention.heads = made.plan.attention.kv_heads = kHandmadeHeads;
  made.plan.attention.all_heads = made.plan.attention.all_kv_heads = kHandmadeHeads;
  made.plan.attention.d_head = made.plan.attention.d_value = kHandmadeWidth;
  made.plan.outputs = {"output"};

  made.schedule.stages = {{"double", {{"lanes", 4}}}};

  const std::vector<Extent> shape = {
      {1, Symbol::kBatch}, {1, Symbol::kQuery}, {kHandmadeHeads}, {kHandmadeWidth}};
  TensorInfo query, output;
  query.name = "query";
  query.axes = shape;
  output.name = "output";
  output.output = true;
  output.axes = shape;
  made.program.tensors = {query, output};

  Halide::ImageParam in(Halide::Float(32), 4, "query_view");
  Halide::Param<int32_t> task("task");
  Halide::Var d("d"), h("h"), i("i"), b("b");
  Halide::Func more("more"), twice("twice");
  Halide::Expr from = in(d, h, i, b);
  if (flaw == Flaw::kForeignCall) from = mha_test_foreign_call(from);
  // Reads up to `task` places further along, which the bounds of the input do not limit.
  more(d, h, i, b) = from + 1.0f;
  Halide::Expr value = more(d, h, i, b);
  if (flaw == Flaw::kUnboundedAllocation) {
    value += more(d, h, i + Halide::cast<int32_t>(in(0, 0, 0, 0)), b);
  }
  twice(d, h, i, b) = 2.0f * value + Halide::cast<float>(0 * task);
  more.compute_root().store_in(Halide::MemoryType::Heap).vectorize(d, 4);
  twice.vectorize(d, 4);
  if (flaw == Flaw::kParallelLoop) twice.parallel(i);

  Stage stage;
  stage.name = "double";
  stage.pipeline = Halide::Pipeline(twice);
  stage.arguments = {in, task};
  stage.operands = {{Operand::kTensor, 0, {3, 2, 1, 0}},
                    {Operand::kScalar, static_cast<int>(Symbol::kTask0), {}},
                    {Operand::kTensor, 1, {3, 2, 1, 0}}};
  stage.grid = {{1, Symbol::kOne, 1}};
  made.program.stages.push_back(stage);
  return made;
}

Generated generate_handmade(const std::string& name, const std::string& target,
                            const GenerateOptions& options, Flaw flaw) {
  return run_in_child([&] {
    const Handmade made = handmade(name, flaw);
    const Machine machine = target == "host" ? host_machine() : named_machine(target).value();
    return make_library(made.spec, made.plan, machine, made.schedule, made.program, "", options);
  });
}

}  // namespace mha
