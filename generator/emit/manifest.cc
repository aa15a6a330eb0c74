#include "generator/emit/manifest.h"

#include <Halide.h>
#include <fmt/format.h>
#include <llvm/Config/llvm-config.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "generator/emit/bound.h"
#include "generator/emit/cache_text.h"
#include "generator/emit/cost.h"
#include "generator/emit/header.h"
#include "generator/emit/provenance.h"
#include "generator/emit/scratch.h"
#include "generator/emit/version.h"
#include "generator/spec/expression_count.h"
#include "generator/spec/parse.h"
#include "mha/kernel.h"
#include "schedules/space.h"
#include "schedules/tuner/fingerprint.h"

namespace mha {
namespace {

using nlohmann::ordered_json;

// What the runtime keeps beside a thread's scratch (kSlotHead and kSlotTail of its internal.h).
constexpr int64_t kSlotBytes = 128;

int64_t aligned(int64_t bytes) {
  return (bytes + MHA_WORKSPACE_ALIGNMENT - 1) / MHA_WORKSPACE_ALIGNMENT * MHA_WORKSPACE_ALIGNMENT;
}

int64_t buffer_bytes(const BufferInfo& buffer, const Plan& plan) {
  int64_t bytes = dtype_bytes(buffer.dtype);
  for (const Extent& extent : buffer.extents) bytes *= largest(extent, plan);
  return aligned(bytes);
}

int64_t most_scratch(const Variant& variant) {
  int64_t most = 0;
  for (int64_t bytes : variant.scratch_bytes) most = std::max(most, bytes);
  return aligned(most);
}

int64_t pack_bytes(const Program& program) {
  int64_t bytes = 0;
  for (const PackInfo& pack : program.packs) {
    const int64_t columns = pack.kind == PackKind::kMatrix ? pack.columns : 1;
    bytes += pack.rows * columns * dtype_bytes(pack.dtype);
  }
  return bytes;
}

int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }

// Tasks of the largest call along one axis.
int64_t tasks(const GridAxis& axis, const Plan& plan) {
  return ceil_div(largest({axis.scale, axis.symbol, 1}, plan), axis.tile);
}

int64_t tasks(const Stage& stage, const Plan& plan) {
  int64_t count = 1;
  for (const GridAxis& axis : stage.grid) count *= tasks(axis, plan);
  return count;
}

// The parameter of the stage, or 0 where it has none of that name.
int64_t parameter(const Schedule& schedule, const std::string& stage, const std::string& name) {
  for (const StageSchedule& s : schedule.stages) {
    if (s.stage != stage) continue;
    for (const auto& [key, value] : s.params) {
      if (key == name) return value;
    }
  }
  return 0;
}

BlockCount scheduled_blocks(const ManifestInput& input) {
  const Schedule& schedule = input.largest().schedule;
  const int64_t query_block = parameter(schedule, "attention", "query_block");
  const int64_t key_block = parameter(schedule, "attention", "key_block");
  const int64_t key_tile = parameter(schedule, "attention", "key_tile");
  if (query_block < 1 || key_block < 1 || key_tile < 1) return {};
  return count_blocks(input.plan, query_block, key_block, key_tile);
}

std::string halide_version() {
  return fmt::format("{}.{}.{}", HALIDE_VERSION_MAJOR, HALIDE_VERSION_MINOR, HALIDE_VERSION_PATCH);
}

ordered_json range_json(const Range& range) {
  if (range.fixed()) return range.min;
  return {{"min", range.min}, {"max", range.max}};
}

ordered_json parameters_json(const Schedule& schedule) {
  ordered_json parameters = ordered_json::object();
  for (const StageSchedule& stage : schedule.stages) {
    for (const auto& [name, value] : stage.params) parameters[stage.stage][name] = value;
  }
  return parameters;
}

ordered_json stages_json(const Variant& variant) {
  ordered_json stages = ordered_json::array();
  for (size_t i = 0; i < variant.program.stages.size(); ++i) {
    const Stage& stage = variant.program.stages[i];
    ordered_json entry = {{"name", stage.name},
                          {"tasks", tasks(stage, variant.plan)},
                          {"scratch_bytes", variant.scratch_bytes[i]}};
    if (i < variant.object_bytes.size()) entry["object_bytes"] = variant.object_bytes[i];
    stages.push_back(entry);
  }
  return stages;
}

ordered_json buffers_json(const Variant& variant) {
  ordered_json buffers = ordered_json::object();
  for (const BufferInfo& buffer : variant.program.buffers) {
    buffers[buffer.name] = buffer_bytes(buffer, variant.plan);
  }
  return buffers;
}

int64_t workspace_bytes(const Variant& variant, int threads) {
  int64_t bytes = 0;
  for (const BufferInfo& buffer : variant.program.buffers) {
    bytes += buffer_bytes(buffer, variant.plan);
  }
  return bytes + threads * (most_scratch(variant) + kSlotBytes);
}

// 1234567 as "1,234,567".
std::string grouped(int64_t value) {
  std::string digits = std::to_string(value);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

}  // namespace

BlockCount count_blocks(const Plan& plan, int64_t query_block, int64_t key_block,
                        int64_t key_tile) {
  const Lengths lengths = largest_lengths(plan);
  const Attention& a = plan.attention;
  const int64_t offset =
      plan.attention.query_offset == QueryOffset::kStart ? 0 : lengths.key - lengths.query;
  const Range keys = plan.keys();
  const int64_t query_blocks = ceil_div(lengths.query, query_block);
  const int64_t key_blocks = ceil_div(lengths.key, key_block);
  // A last block that keys fill in part is masked, unless they are known to end with a tile.
  const bool ragged = lengths.key % key_block != 0 &&
                      (plan.attention.key_lengths || !keys.fixed() || keys.max % key_tile != 0);
  // Key blocks that hold some of the keys [begin, end), and those that hold nothing else.
  const auto touched = [&](int64_t begin, int64_t end) {
    begin = std::max<int64_t>(begin, 0);
    end = std::min(end, lengths.key);
    return begin < end ? ceil_div(end, key_block) - begin / key_block : 0;
  };
  const auto whole = [&](int64_t begin, int64_t end) {
    begin = std::max<int64_t>(begin, 0);
    const int64_t last =
        end < lengths.key ? std::max<int64_t>(end, 0) / key_block : key_blocks - ragged;
    return std::max<int64_t>(last - ceil_div(begin, key_block), 0);
  };
  BlockCount count{query_block, key_block};
  if (!a.left && !a.right) {
    count.full = query_blocks * whole(0, lengths.key);
    count.partial = query_blocks * key_blocks - count.full;
  }
  for (int64_t q = 0; (a.left || a.right) && q < lengths.query; q += query_block) {
    const int64_t last = std::min(q + query_block, lengths.query) - 1;
    const auto begin = [&](int64_t i) { return a.left ? i + offset - *a.left : 0; };
    const auto end = [&](int64_t i) { return a.right ? i + offset + *a.right + 1 : lengths.key; };
    const int64_t visible = touched(begin(q), end(last)), full = whole(begin(last), end(q));
    count.hidden += key_blocks - visible;
    count.partial += visible - full;
    count.full += full;
  }
  if (a.key_starts || a.mask != MaskTensor::kNone) {
    count.partial += count.full;
    count.full = 0;
  }
  return count;
}

int64_t workspace_bytes(const ManifestInput& input, int threads) {
  int64_t bytes = 0;
  for (const Variant& variant : input.variants) {
    bytes = std::max(bytes, workspace_bytes(variant, threads));
  }
  return bytes;
}

ordered_json make_manifest(const ManifestInput& input) {
  const Plan& plan = input.plan;
  const Machine& machine = input.machine;
  const Lengths lengths = largest_lengths(plan);
  ordered_json manifest;
  manifest["format"] = 1;
  manifest["name"] = plan.name;
  manifest["generator"] = generator_version();
  manifest["versions"] = {
      {"halide", halide_version()}, {"llvm", LLVM_VERSION_STRING}, {"kernel_abi", MHA_KERNEL_ABI}};
  manifest["spec"] = ordered_json::parse(spec_to_json(input.spec));
  manifest["targets"] = {machine.target};
  manifest["machine"] = {{"vector_floats", machine.vector_floats},
                         {"vector_registers", machine.vector_registers},
                         {"fma_ports", machine.fma_ports},
                         {"fma", machine.fma},
                         {"l1d_bytes", machine.l1d_bytes},
                         {"l2_bytes", machine.l2_bytes},
                         {"l3_bytes", machine.l3_bytes}};
  manifest["threads"] = input.threads;

  // Of several variants these are the one of the largest call, and `variants` lists them all.
  const Variant& variant = input.largest();
  manifest["schedule"] = {{"origin", variant.schedule.origin},
                          {"parameters", parameters_json(variant.schedule)}};
  manifest["schedule"].update(provenance_json(variant.schedule));

  manifest["tensors"] = ordered_json::array();
  for (const TensorInfo& tensor : input.largest().program.tensors) {
    manifest["tensors"].push_back({{"name", tensor.name},
                                   {"role", tensor.output ? "output" : "input"},
                                   {"dtype", dtype_name(tensor.dtype)},
                                   {"shape", shape_text(tensor, plan)}});
  }
  if (variant.program.cache) manifest["cache"] = cache_json(*variant.program.cache);
  manifest["stages"] = stages_json(variant);
  if (input.variants.size() > 1) {
    manifest["variants"] = ordered_json::array();
    for (const Variant& each : input.variants) {
      manifest["variants"].push_back({{"min_query_length", each.plan.query_length.min},
                                      {"max_query_length", each.plan.query_length.max},
                                      {"parameters", parameters_json(each.schedule)},
                                      {"stages", stages_json(each)},
                                      {"workspace_bytes", workspace_bytes(each, input.threads)}});
    }
  }

  manifest["footprint"] = {{"archive_bytes", 0},
                           {"packed_weight_bytes", pack_bytes(variant.program)},
                           {"workspace_bytes", workspace_bytes(input, input.threads)},
                           {"workspace",
                            {{"buffers", buffers_json(variant)},
                             {"scratch_bytes_per_thread", most_scratch(variant) + kSlotBytes}}}};

  ordered_json call = {{"batch", range_json(plan.batch)},
                       {"query_length", range_json(plan.query_length)}};
  call["key_length"] = range_json(plan.keys());
  if (plan.has_own_keys()) call["new_keys"] = range_json(plan.new_key_length);
  const CallWork work = call_work(plan, lengths);
  call["flops"] = work.flops;
  call["bytes"] = call_bytes(plan, lengths);
  call["visible_pairs"] = work.visible_pairs;
  const BlockCount blocks = scheduled_blocks(input);
  if (blocks.query_block > 0) {
    call["key_blocks"] = {{"query_block", blocks.query_block},
                          {"key_block", blocks.key_block},
                          {"hidden", blocks.hidden},
                          {"partial", blocks.partial},
                          {"full", blocks.full}};
  }
  manifest["largest_call"] = call;
  const Bound bound = predicted_bound(plan, machine, lengths, work);
  manifest["bound"] = {{"flops_per_cycle", bound.flops_per_cycle},
                       {"product_cycles", std::llround(bound.product_cycles)},
                       {"exp_cycles", std::llround(bound.exp_cycles)},
                       {"percent_of_peak", std::round(bound.percent_of_peak * 10) / 10}};
  return manifest;
}

std::string explain(const ManifestInput& input) {
  const Plan& plan = input.plan;
  const Machine& machine = input.machine;
  const Lengths lengths = largest_lengths(plan);
  std::string text = fmt::format(
      "{}: op {} for {} ({} f32 lanes, {} vector registers, L1 {} KiB, L2 {} KiB, L3 {} KiB)\n",
      plan.name, plan.op == Op::kBlock ? "block" : "attention", machine.target,
      machine.vector_floats, machine.vector_registers, machine.l1d_bytes >> 10,
      machine.l2_bytes >> 10, machine.l3_bytes >> 10);
  text += "\noperands\n";
  for (const TensorInfo& tensor : input.largest().program.tensors) {
    text += fmt::format("  {:<6} {:<14} {}\n", tensor.output ? "output" : "input", tensor.name,
                        shape_text(tensor, plan));
  }
  for (const Variant& variant : input.variants) {
    const Range& served = variant.plan.query_length;
    text += input.variants.size() == 1
                ? fmt::format("\nstages, with the schedule ({})\n", variant.schedule.origin)
                : fmt::format("\nstages for {} to {} queries, with the schedule ({})\n", served.min,
                              served.max, variant.schedule.origin);
    for (size_t i = 0; i < variant.program.stages.size(); ++i) {
      const Stage& stage = variant.program.stages[i];
      text += fmt::format("  {:<14} {} tasks, {} bytes of scratch a thread\n", stage.name,
                          grouped(tasks(stage, variant.plan)), grouped(variant.scratch_bytes[i]));
    }
    text += provenance_text(variant.schedule, fingerprint().text(), generator_version(),
                            space_signature());
    std::istringstream lines(variant.schedule.text());
    for (std::string line; std::getline(lines, line);) text += "    " + line + "\n";
  }

  if (input.largest().program.cache) text += explain_cache(*input.largest().program.cache);
  text += "\nmasks\n";
  const int64_t pairs = lengths.query * lengths.key;
  const CallWork work = call_work(plan, lengths);
  const int64_t visible = work.visible_pairs;
  const Attention& a = plan.attention;
  const bool bands = a.left || a.right;
  if (bands && !a.mask_rule) {
    text += fmt::format("  {}: {} of {} pairs of a head are visible ({:.1f} %)\n",
                        a.right == 0 && !a.left ? "causal" : "window", grouped(visible),
                        grouped(pairs), pairs > 0 ? 100.0 * visible / pairs : 0.0);
  }
  if (a.mask_rule && reads_tables(*a.mask_rule)) {
    text += "  rule: reads tables, so that a call alone knows what it hides\n";
  } else if (a.mask_rule) {
    text += fmt::format("  rule: {} of {} pairs of a head are visible, other masks among them\n",
                        grouped(visible), grouped(pairs));
  }
  if (a.key_starts) text += "  key_starts: keys before the start of a sequence are not read\n";
  if (a.mask != MaskTensor::kNone) text += "  mask: a tensor, read for every pair of a block\n";
  if (plan.attention.key_lengths) {
    text += "  key_lengths: keys past the length of a sequence are not read\n";
  }
  const BlockCount blocks = scheduled_blocks(input);
  if (blocks.query_block > 0) {
    text += fmt::format(
        "  blocks of {} queries x {} keys: {} skipped, {} masked, {} without mask cost\n",
        blocks.query_block, blocks.key_block, grouped(blocks.hidden), grouped(blocks.partial),
        grouped(blocks.full));
  }
  if (!bands && !a.mask_rule && !a.key_lengths && !a.key_starts && a.mask == MaskTensor::kNone) {
    text += blocks.partial > 0
                ? "  every key is visible; the end of the keys cuts through a block\n"
                : "  none: every key is visible\n";
  }

  text +=
      fmt::format("\nworkspace of the largest call with {} thread{}: {} bytes\n", input.threads,
                  input.threads == 1 ? "" : "s", grouped(workspace_bytes(input, input.threads)));
  const Variant& largest = input.largest();
  for (const BufferInfo& buffer : largest.program.buffers) {
    text += fmt::format("  {:<14} {}\n", buffer.name, grouped(buffer_bytes(buffer, plan)));
  }
  text +=
      fmt::format("  {:<14} {} a thread\n", "scratch", grouped(most_scratch(largest) + kSlotBytes));
  if (!largest.program.packs.empty()) {
    text += fmt::format("packed weights: {} bytes\n", grouped(pack_bytes(largest.program)));
  }
  text += fmt::format("\nlargest call (B = {}, Lq = {}, Lk = {}): {} FLOPs, {} bytes of operands\n",
                      lengths.batch, lengths.query, lengths.key, grouped(work.flops),
                      grouped(call_bytes(plan, lengths)));
  const Bound bound = predicted_bound(plan, machine, lengths, work);
  text += fmt::format(
      "  predicted bound on one core: {} cycles of products ({} FLOPs a cycle) and {} of "
      "exponentials, {:.1f} % of the peak\n",
      grouped(std::llround(bound.product_cycles)), bound.flops_per_cycle,
      grouped(std::llround(bound.exp_cycles)), bound.percent_of_peak);
  return text;
}

}  // namespace mha
