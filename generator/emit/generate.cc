#include "generator/emit/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <utility>

#include "generator/emit/autoschedule.h"
#include "generator/emit/child.h"
#include "generator/emit/compile.h"
#include "generator/emit/library.h"
#include "generator/emit/scratch.h"
#include "generator/emit/target.h"
#include "generator/emit/variant.h"
#include "generator/ir/lower.h"
#include "generator/spec/parse.h"
#include "schedules/apply.h"
#include "schedules/lengths.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"
#include "schedules/usable_cpus.h"

namespace mha {
namespace {

// Stages and the runtime index with int32.
constexpr int64_t kMaxElements = (int64_t{1} << 31) - 1;

// The text of the config, to show the line that a problem is about.
std::string config_text(const Spec& spec) {
  std::ifstream file(spec.file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string known_targets() { return fmt::format("host, {}", fmt::join(named_targets(), ", ")); }

struct NamedMachine {
  std::string name;  // as it was asked for: "host"
  Machine machine;
};

NamedMachine resolve_machine(const Spec& spec, const std::string& target) {
  if (target == "host") return {target, host_machine()};
  const std::optional<Machine> machine = named_machine(target);
  if (machine) return {target, *machine};
  throw ConfigError(format_diagnostics(
      {{spec.where("targets"),
        fmt::format("targets: no code is generated for '{}' in this version", target),
        "one of " + known_targets()}},
      config_text(spec)));
}

// The best first, none twice: where `host` is one of the targets that are named too, this machine's
// caches count.
std::vector<NamedMachine> resolve_machines(const Spec& spec, const GenerateOptions& options) {
  std::vector<std::string> names = options.targets.empty() ? spec.targets : options.targets;
  if (names.empty()) names = {"host"};
  std::stable_partition(names.begin(), names.end(),
                        [](const std::string& name) { return name == "host"; });
  std::vector<NamedMachine> named;
  std::vector<Machine> machines;
  for (const std::string& name : names) {
    named.push_back(resolve_machine(spec, name));
    machines.push_back(named.back().machine);
  }
  std::vector<NamedMachine> ordered;
  for (const Machine& machine : best_first(machines)) {
    ordered.push_back(*std::find_if(named.begin(), named.end(), [&](const NamedMachine& one) {
      return one.machine.target == machine.target;
    }));
  }
  return ordered;
}

std::vector<LengthVariant> choose_variants(const Spec& spec, const Plan& plan,
                                           const Machine& machine, const GenerateOptions& options) {
  if (options.schedule) return {{plan.query_length.max, *options.schedule}};
  if (!options.variants.empty()) return options.variants;
  const int threads = std::max(options.threads, 1);
  for (const std::string& directory : record_directories(spec.file, options.schedules_dir)) {
    auto record = find_variants(directory, plan, machine, threads);
    if (record) return *record;
  }
  return default_variants(plan, machine, threads);
}

// Padding can make a buffer of ours larger than any tensor of the user's.
void check_buffers(const Spec& spec, const Program& program, const Plan& plan) {
  for (const BufferInfo& buffer : program.buffers) {
    int64_t elements = 1;
    bool overflow = false;
    std::vector<int64_t> sizes;
    std::string key = "query_length";
    // The outermost axis first, as for tensors.
    for (auto extent = buffer.extents.rbegin(); extent != buffer.extents.rend(); ++extent) {
      sizes.push_back(largest(*extent, plan));
      overflow = overflow || __builtin_mul_overflow(elements, sizes.back(), &elements);
      if (extent->symbol == Symbol::kKey)
        key = plan.cache ? "kv_cache.capacity" : spec.key_length_given ? "key_length" : key;
    }
    if (!overflow && elements <= kMaxElements) continue;
    const std::string count = overflow ? "more than 2^63" : std::to_string(elements);
    throw ConfigError(format_diagnostics(
        {{spec.where(key),
          fmt::format("{}: the internal buffer `{}` [{}], with widths padded to whole vectors, has "
                      "{} elements: a buffer must have fewer than 2^31",
                      key, buffer.name, fmt::join(sizes, ", "), count),
          fmt::format("lower {} or batch", key)}},
        config_text(spec)));
  }
}

Part generate_here(const Spec& spec, const Machine& machine, const TargetPlace& place,
                   const GenerateOptions& options) {
  quiet_halide();
  const LowerResult lowered = lower(spec);
  if (!lowered.plan) throw ConfigError(format_diagnostics(lowered.problems, config_text(spec)));
  const Plan& plan = *lowered.plan;
  std::vector<LengthVariant> chosen = choose_variants(spec, plan, machine, options);
  const std::vector<std::string> broken = check_variants(chosen, plan, machine);
  if (!broken.empty()) {
    const std::string origin = chosen.empty() ? "none" : chosen.back().schedule.origin;
    const std::string text =
        fmt::format("the schedule ({}) breaks its rules:\n  {}", origin, fmt::join(broken, "\n  "));
    if (origin == "record") throw UserError(text);
    throw InternalError(text);
  }
  for (LengthVariant& variant : chosen) {
    if (!options.autoscheduler.empty()) variant.schedule.origin = options.autoscheduler;
  }
  try {
    std::vector<Variant> variants;
    for (size_t i = 0; i < chosen.size(); ++i) {
      const Plan own = narrowed(plan, served(chosen, i, plan));
      const Schedule& schedule = chosen[i].schedule;
      Program program = options.autoscheduler.empty()
                            ? scheduled_program(own, schedule, machine)
                            : autoscheduled_program(own, schedule, machine,
                                                    halide_target(machine, Sanitizer::kNone),
                                                    options.autoscheduler);
      variants.push_back({own, schedule, std::move(program), {}, {}});
      check_buffers(spec, variants.back().program, own);
    }
    return make_part(spec, plan, machine, place, std::move(variants), lowered.mlir_after, options);
  } catch (const Halide::Error& error) {  // which is no std::exception
    throw InternalError(fmt::format("Halide: {}", error.what()));
  }
}

}  // namespace

const std::vector<std::string>& emit_kinds() {
  static const std::vector<std::string> kinds = {"asm", "llvm", "mlir", "stmt", "stmt_html"};
  return kinds;
}

void check_options(const GenerateOptions& options) {
  for (const std::string& target : options.targets) {
    if (target == "host" || named_machine(target)) continue;
    throw UserError(fmt::format("unknown target '{}'; known are {}", target, known_targets()));
  }
  const auto& autoschedulers = halide_autoschedulers();
  if (!options.autoscheduler.empty() && std::find(autoschedulers.begin(), autoschedulers.end(),
                                                  options.autoscheduler) == autoschedulers.end()) {
    throw UserError(fmt::format("unknown autoscheduler '{}'; known are {}", options.autoscheduler,
                                fmt::join(autoschedulers, ", ")));
  }
  const auto& kinds = emit_kinds();
  for (const std::string& kind : options.emit) {
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
      throw UserError(fmt::format("nothing to emit is called '{}'; known are {}", kind,
                                  fmt::join(kinds, ", ")));
    }
  }
  if (!options.schedules_dir.empty()) record_directories("", options.schedules_dir);
}

Generation resolve(const Spec& spec, const GenerateOptions& options) {
  check_options(options);
  const LowerResult lowered = lower(spec);
  if (!lowered.plan) throw ConfigError(format_diagnostics(lowered.problems, config_text(spec)));
  const std::vector<NamedMachine> machines = resolve_machines(spec, options);
  const uint64_t here = host_machine().cpu_features;
  const auto runs = std::find_if(machines.begin(), machines.end(), [&](const NamedMachine& one) {
    return (one.machine.cpu_features & ~here) == 0;
  });
  const NamedMachine& best = runs == machines.end() ? machines.front() : *runs;
  return {*lowered.plan, best.machine, best.name};
}

Generated generate(const Spec& spec, const GenerateOptions& options) {
  check_options(options);
  const std::vector<NamedMachine> machines = resolve_machines(spec, options);
  if (machines.size() > 1 && (options.schedule || !options.variants.empty())) {
    throw InternalError("a schedule is given, and more than one target");
  }
  TargetPlace place;
  for (const NamedMachine& one : machines) place.targets.push_back(one.machine.target);
  std::vector<std::function<Part()>> work;
  for (const NamedMachine& one : machines) {
    work.push_back([&spec, &options, &one, place] {
      return generate_here(spec, one.machine, place, options);
    });
    ++place.index;
  }
  return join_parts(run_in_children(work, usable_cpus()), options);
}

}  // namespace mha
