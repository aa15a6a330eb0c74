#include "generator/emit/library.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "generator/emit/compile.h"
#include "generator/emit/header.h"
#include "generator/emit/manifest.h"
#include "generator/emit/object.h"
#include "generator/emit/scratch.h"
#include "generator/emit/tables.h"
#include "generator/emit/target.h"
#include "generator/emit/version.h"

namespace mha {
namespace {

Sanitizer sanitizer_of(const std::string& name) {
  if (name.empty()) return Sanitizer::kNone;
  if (name == "address") return Sanitizer::kAddress;
  if (name == "thread") return Sanitizer::kThread;
  throw UserError("unknown sanitizer '" + name + "': address or thread");
}

// What --emit calls each kind in file names.
const char* extension(const std::string& kind) {
  if (kind == "asm") return ".s";
  if (kind == "llvm") return ".ll";
  if (kind == "stmt") return ".stmt";
  return ".stmt.html";
}

}  // namespace

Generated make_library(const Spec& spec, const Plan& plan, const Machine& machine,
                       std::vector<Variant> variants, const std::string& mlir,
                       const GenerateOptions& options) {
  const Sanitizer sanitizer = sanitizer_of(options.sanitizer);
  const Halide::Target target = halide_target(machine, sanitizer);
  const std::string& name = plan.name;
  check_shared(variants);

  Generated generated;
  generated.name = name;
  generated.target = machine.target;
  generated.origin = variants.back().schedule.origin;

  std::vector<std::vector<Halide::Module>> modules(variants.size());
  for (size_t v = 0; v < variants.size(); ++v) {
    Variant& variant = variants[v];
    for (const Stage& stage : variant.program.stages) {
      const std::string function =
          stage_function_name(name, stage.name + variant_suffix(variants, v));
      modules[v].push_back(lower_stage(stage, function, target));
      variant.scratch_bytes.push_back(scratch_bytes(
          modules[v].back().get_function_by_name(function), stage, variant.program, variant.plan));
    }
  }

  int64_t archive_bytes = 0;
  if (!options.explain_only) {
    std::set<std::string> kinds = options.emit;
    kinds.erase("mlir");
    kinds.insert("object");
    const bool sanitized = sanitizer != Sanitizer::kNone;
    std::vector<Object> objects;
    for (size_t v = 0; v < variants.size(); ++v) {
      for (size_t i = 0; i < modules[v].size(); ++i) {
        const std::string file =
            name + "_" + variants[v].program.stages[i].name + variant_suffix(variants, v);
        for (auto& [kind, bytes] : compile_stage(modules[v][i], kinds)) {
          if (kind == "object") {
            objects.push_back({file + ".o", clean_object(bytes, name + "_", sanitized)});
            variants[v].object_bytes.push_back(static_cast<int64_t>(objects.back().bytes.size()));
          } else {
            generated.files[file + extension(kind)] = std::move(bytes);
          }
        }
      }
    }
    objects.push_back({name + "_kernel.o", kernel_object({spec, plan, machine, variants})});
    check_object(objects.back().bytes, name + "_", sanitized);
    std::string archive = make_archive(objects);
    archive_bytes = static_cast<int64_t>(archive.size());
    generated.files["lib" + name + ".a"] = std::move(archive);
    generated.files[name + ".h"] = c_header(
        plan, variants.back().program, machine.target + " (schedule: " + generated.origin + ")");
    generated.files[name + "-config.cmake"] = cmake_config(name);
    generated.files[name + ".pc"] = pkg_config(name, project_version());
    if (options.emit.count("mlir")) generated.files[name + ".mlir"] = mlir;
  }
  const ManifestInput manifest{spec,         plan, machine, variants, std::max(options.threads, 1),
                               archive_bytes};
  generated.manifest = make_manifest(manifest).dump(2) + "\n";
  generated.explanation = explain(manifest);
  if (!options.explain_only) generated.files["manifest.json"] = generated.manifest;
  return generated;
}

Generated make_library(const Spec& spec, const Plan& plan, const Machine& machine,
                       const Schedule& schedule, const Program& program, const std::string& mlir,
                       const GenerateOptions& options) {
  return make_library(spec, plan, machine, {Variant{plan, schedule, program, {}, {}}}, mlir,
                      options);
}

}  // namespace mha
