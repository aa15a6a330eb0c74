#include "generator/emit/library.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "generator/emit/compile.h"
#include "generator/emit/header.h"
#include "generator/emit/join.h"
#include "generator/emit/manifest.h"
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

Part make_part(const Spec& spec, const Plan& plan, const Machine& machine, const TargetPlace& place,
               std::vector<Variant> variants, const std::string& mlir,
               const GenerateOptions& options) {
  const Sanitizer sanitizer = sanitizer_of(options.sanitizer);
  const Halide::Target target = halide_target(machine, sanitizer);
  const std::string& name = plan.name;
  check_shared(variants);

  Part part;
  Generated& generated = part.generated;
  generated.name = name;
  generated.target = machine.target;
  generated.origin = variants.back().schedule.origin;

  const auto suffix = [&](size_t v) { return place.suffix() + variant_suffix(variants, v); };
  std::vector<std::vector<Halide::Module>> modules(variants.size());
  for (size_t v = 0; v < variants.size(); ++v) {
    Variant& variant = variants[v];
    for (const Stage& stage : variant.program.stages) {
      const std::string function = stage_function_name(name, stage.name + suffix(v));
      modules[v].push_back(lower_stage(stage, function, target));
      variant.scratch_bytes.push_back(scratch_bytes(
          modules[v].back().get_function_by_name(function), stage, variant.program, variant.plan));
    }
  }

  if (!options.explain_only) {
    std::set<std::string> kinds = options.emit;
    kinds.erase("mlir");
    kinds.insert("object");
    const bool sanitized = sanitizer != Sanitizer::kNone;
    for (size_t v = 0; v < variants.size(); ++v) {
      for (size_t i = 0; i < modules[v].size(); ++i) {
        const std::string file = name + "_" + variants[v].program.stages[i].name + suffix(v);
        for (auto& [kind, bytes] : compile_stage(modules[v][i], kinds)) {
          if (kind == "object") {
            part.objects.push_back({file + ".o", clean_object(bytes, name + "_", sanitized)});
            variants[v].object_bytes.push_back(
                static_cast<int64_t>(part.objects.back().bytes.size()));
          } else {
            generated.files[file + extension(kind)] = std::move(bytes);
          }
        }
      }
    }
    part.objects.push_back({name + "_kernel" + place.suffix() + ".o",
                            kernel_object({spec, plan, machine, variants, place})});
    check_object(part.objects.back().bytes, name + "_", sanitized);
    if (place.index == 0) {
      const std::string made_for =
          place.several() ? place.text() : machine.target + " (schedule: " + generated.origin + ")";
      generated.files[name + ".h"] = c_header(plan, variants.back().program, made_for);
      generated.files[name + "-config.cmake"] = cmake_config(name);
      generated.files[name + ".pc"] = pkg_config(name, project_version());
      if (options.emit.count("mlir")) generated.files[name + ".mlir"] = mlir;
    }
  }
  const ManifestInput manifest{spec, plan, machine, variants, std::max(options.threads, 1)};
  generated.manifest = make_manifest(manifest).dump();
  generated.explanation = explain(manifest);
  return part;
}

Generated join_parts(std::vector<Part> parts, const GenerateOptions& options) {
  Generated library = std::move(parts.at(0).generated);
  std::vector<Object> objects;
  std::vector<std::string> manifests = {library.manifest}, explanations = {library.explanation};
  for (size_t i = 0; i < parts.size(); ++i) {
    std::move(parts[i].objects.begin(), parts[i].objects.end(), std::back_inserter(objects));
    if (i == 0) continue;
    Generated& other = parts[i].generated;
    library.target += ", " + other.target;
    if (other.origin != library.origin) library.origin = "of each target";
    library.files.merge(other.files);
    manifests.push_back(other.manifest);
    explanations.push_back(other.explanation);
  }
  int64_t archive_bytes = 0;
  if (!options.explain_only) {
    std::string archive = make_archive(objects);
    archive_bytes = static_cast<int64_t>(archive.size());
    library.files["lib" + library.name + ".a"] = std::move(archive);
  }
  library.manifest = join_manifests(manifests, archive_bytes);
  library.explanation = join_explanations(library.name, explanations);
  if (!options.explain_only) library.files["manifest.json"] = library.manifest;
  return library;
}

Generated make_library(const Spec& spec, const Plan& plan, const Machine& machine,
                       const Schedule& schedule, const Program& program, const std::string& mlir,
                       const GenerateOptions& options) {
  return join_parts({make_part(spec, plan, machine, {{machine.target}},
                               {Variant{plan, schedule, program, {}, {}}}, mlir, options)},
                    options);
}

}  // namespace mha
