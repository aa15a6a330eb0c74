#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llvm/BinaryFormat/ELF.h>
#include <llvm/Object/Archive.h>
#include <llvm/Object/ELFObjectFile.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <tuple>

#include "generator/emit/child.h"
#include "generator/emit/cost.h"
#include "generator/emit/manifest.h"
#include "generator/emit/object.h"
#include "generator/spec/parse.h"
#include "mha/kernel.h"
#include "tests/emit/handmade.h"

namespace mha {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A folder that goes away with the test.
class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "mha_emit_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

void write_files(const std::string& folder, const Generated& generated) {
  for (const auto& [name, bytes] : generated.files) write(folder + "/" + name, bytes);
}

// Standard output of a shell command; its exit status must be 0.
std::string shell(const std::string& command) {
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string text;
  char piece[4096];
  while (size_t n = std::fread(piece, 1, sizeof piece, pipe)) text.append(piece, n);
  EXPECT_EQ(pclose(pipe), 0) << command << "\n" << text;
  return text;
}

// Builds `source` with the library NAME of `folder`, then `more`, then the runtime; returns the
// program's path.
std::string build(const std::string& folder, const std::string& name, const std::string& source,
                  const std::string& more) {
  const std::string program = folder + "/program";
  shell("cc -std=c11 -Wall -Wextra -Werror -I" MHA_RUNTIME_INCLUDE " -I" + folder + " -o " +
        program + " " + source + " " + folder + "/lib" + name + ".a " + more +
        " " MHA_RUNTIME_ARCHIVE " -lm -lpthread -ldl");
  return program;
}

struct Symbol {
  std::string member, name;
  bool undefined, hidden;
};

std::vector<Symbol> symbols_of(const std::string& archive_bytes) {
  std::vector<Symbol> symbols;
  auto archive = llvm::object::Archive::create(llvm::MemoryBufferRef(archive_bytes, "archive"));
  EXPECT_TRUE(!!archive);
  llvm::Error error = llvm::Error::success();
  for (const auto& child : (*archive)->children(error)) {
    auto binary = child.getAsBinary();
    EXPECT_TRUE(!!binary);
    const auto& object = llvm::cast<llvm::object::ELFObjectFileBase>(**binary);
    for (const llvm::object::ELFSymbolRef symbol : object.symbols()) {
      if (symbol.getBinding() == llvm::ELF::STB_LOCAL) continue;
      const uint32_t flags = llvm::cantFail(symbol.getFlags());
      symbols.push_back({llvm::cantFail(child.getName()).str(),
                         llvm::cantFail(symbol.getName()).str(),
                         (flags & llvm::object::BasicSymbolRef::SF_Undefined) != 0,
                         symbol.getOther() == llvm::ELF::STV_HIDDEN});
    }
  }
  EXPECT_FALSE(!!error);
  return symbols;
}

Spec config(const std::string& name) { return load_spec(MHA_CONFIGS "/" + name + ".yaml"); }

// --- objects and archives ---

TEST(Library, HasItsFiles) {
  const Generated made = generate_handmade("handmade", "host");
  std::vector<std::string> names;
  for (const auto& [name, bytes] : made.files) names.push_back(name);
  EXPECT_THAT(names,
              testing::UnorderedElementsAre("libhandmade.a", "handmade.h", "handmade-config.cmake",
                                            "handmade.pc", "manifest.json"));
  EXPECT_EQ(made.files.at("manifest.json"), made.manifest);
}

TEST(Library, DefinesOnlySymbolsWithItsPrefix) {
  const Generated made = generate_handmade("handmade", "host");
  std::set<std::string> defined;
  for (const Symbol& symbol : symbols_of(made.files.at("libhandmade.a"))) {
    if (symbol.undefined) {
      EXPECT_TRUE(symbol.name.starts_with("mha_") || symbol.name.starts_with("handmade_"))
          << symbol.name;
      continue;
    }
    EXPECT_THAT(symbol.name, StartsWith("handmade_"));
    // Stages are nobody's business but the table's.
    EXPECT_EQ(symbol.hidden, symbol.name.starts_with("handmade_stage_")) << symbol.name;
    defined.insert(symbol.name);
  }
  EXPECT_THAT(defined,
              testing::IsSupersetOf({"handmade_kernel", "handmade_run", "handmade_workspace_size",
                                     "handmade_stage_double_argv"}));
  // No weights, so no entry points for them.
  EXPECT_EQ(defined.count("handmade_weights_create"), 0u);
}

TEST(Library, TakesMemoryFromTheRuntime) {
  bool malloc_seen = false;
  for (const Symbol& symbol :
       symbols_of(generate_handmade("handmade", "host").files.at("libhandmade.a"))) {
    malloc_seen = malloc_seen || symbol.name == "mha_halide_malloc";
    EXPECT_FALSE(symbol.name.starts_with("halide_")) << symbol.name;
  }
  EXPECT_TRUE(malloc_seen);
}

TEST(Library, RefusesForeignSymbols) {
  try {
    generate_handmade("handmade", "host", {}, Flaw::kForeignCall);
    FAIL() << "no exception";
  } catch (const InternalError& error) {
    EXPECT_THAT(error.what(), HasSubstr("mha_test_foreign_call"));
  }
}

TEST(Library, RefusesParallelLoops) {
  try {
    generate_handmade("handmade", "host", {}, Flaw::kParallelLoop);
    FAIL() << "no exception";
  } catch (const InternalError& error) {
    EXPECT_THAT(error.what(), HasSubstr("parallel"));
    EXPECT_THAT(error.what(), HasSubstr("'double'"));
  }
}

TEST(Library, RefusesAllocationsWithoutBound) {
  try {
    generate_handmade("handmade", "host", {}, Flaw::kUnboundedAllocation);
    FAIL() << "no exception";
  } catch (const InternalError& error) {
    EXPECT_THAT(error.what(), HasSubstr("found no bound of the allocation 'more"));
    EXPECT_THAT(error.what(), HasSubstr("'double'"));
  }
}

TEST(Library, LinksAndRuns) {
  Folder folder;
  write_files(folder.path(), generate_handmade("handmade", "host"));
  shell(build(folder.path(), "handmade", MHA_SOURCE "/tests/emit/handmade_main.c", ""));
}

TEST(Library, TwoInOneProgram) {
  Folder folder;
  write_files(folder.path(), generate_handmade("handmade", "host"));
  write_files(folder.path(), generate_handmade("other", "host"));
  write(folder / "two.c",
        "#include <handmade.h>\n#include <other.h>\n#include <mha/kernel.h>\n"
        "int main(void) { return &handmade_kernel == &other_kernel; }\n");
  shell(build(folder.path(), "handmade", folder / "two.c", folder / "libother.a"));
}

// The generated code itself is instrumented: it, not the program around it, writes past the end.
TEST(Library, AddressSanitizerSeesIntoStages) {
  Folder folder;
  GenerateOptions options;
  options.sanitizer = "address";
  write_files(folder.path(), generate_handmade("handmade", "host", options));
  const std::string source = MHA_SOURCE "/tests/emit/sanitizer_main.c";
  shell(build(folder.path(), "handmade", source, "-DSHORT=0 -fsanitize=address"));
  const std::string program =
      build(folder.path(), "handmade", source, "-DSHORT=4 -fsanitize=address");
  const std::string report = shell("! " + program);
  EXPECT_THAT(report, HasSubstr("heap-buffer-overflow"));
  EXPECT_THAT(report, HasSubstr("in handmade_stage_double"));
}

TEST(Library, ThreadSanitizerLinksAndRuns) {
  Folder folder;
  GenerateOptions options;
  options.sanitizer = "thread";
  const Generated made = generate_handmade("handmade", "host", options);
  write_files(folder.path(), made);
  bool instrumented = false;
  for (const Symbol& symbol : symbols_of(made.files.at("libhandmade.a"))) {
    instrumented = instrumented || symbol.name.starts_with("__tsan_");
  }
  EXPECT_TRUE(instrumented);
  shell(build(folder.path(), "handmade", MHA_SOURCE "/tests/emit/sanitizer_main.c",
              "-DSHORT=0 -fsanitize=thread"));
}

TEST(Library, CodeKeepsToItsTarget) {
  struct Case {
    std::string target, has, lacks;
  };
  // Registers that the code must, and must not, use. The stage is vectorised for 4 lanes, so that
  // wide registers come in through the instructions alone.
  for (const Case& c : {Case{"x86-64-v2", "xmm", "vaddps"}, Case{"x86-64-v3", "vaddps", "zmm"}}) {
    GenerateOptions options;
    options.emit = {"asm", "stmt", "llvm"};
    const Generated made = generate_handmade("handmade", c.target, options);
    EXPECT_EQ(made.target, c.target);
    const std::string& assembly = made.files.at("handmade_double.s");
    EXPECT_THAT(assembly, HasSubstr(c.has)) << c.target;
    EXPECT_EQ(assembly.find(c.lacks), std::string::npos) << c.target;
    EXPECT_EQ(made.files.count("handmade_double.stmt"), 1u);
    EXPECT_EQ(made.files.count("handmade_double.ll"), 1u);
  }
}

TEST(Library, EveryNamedTargetCompiles) {
  for (const std::string& target : named_targets()) {
    const Generated made = generate_handmade("handmade", target);
    EXPECT_EQ(made.target, target);
    EXPECT_GT(made.files.at("libhandmade.a").size(), 1000u);
  }
}

TEST(Object, RefusesNonsense) {
  EXPECT_THROW(clean_object("not an object", "x_", false), InternalError);
}

// --- same inputs, same bytes ---

TEST(Determinism, TwiceAndAfterAnother) {
  const Spec block = config("tiny_block");
  GenerateOptions options;
  options.emit = {"asm", "mlir", "stmt"};
  const Generated first = generate(block, options);
  generate(config("tiny_attention"), options);
  const Generated second = generate(block, options);
  EXPECT_EQ(first.files.size(), second.files.size());
  for (const auto& [name, bytes] : first.files) EXPECT_TRUE(bytes == second.files.at(name)) << name;
}

TEST(Determinism, WhereverTheConfigLies) {
  Folder folder;
  fs::copy_file(MHA_CONFIGS "/tiny_attention.yaml", folder / "renamed.yaml");
  const Generated here = generate(config("tiny_attention"), {});
  const Generated there = generate(load_spec(folder / "renamed.yaml"), {});
  EXPECT_TRUE(here.files == there.files);
  for (const auto& [name, bytes] : there.files) {
    EXPECT_EQ(bytes.find(folder.path()), std::string::npos) << name;
    EXPECT_EQ(bytes.find(MHA_SOURCE), std::string::npos) << name;
  }
}

// --- the files around the archive ---

TEST(Header, CompilesAsCAndCpp) {
  Folder folder;
  for (const char* name : {"tiny_block", "padded_keys", "causal_end"}) {
    write_files(folder.path(), generate(config(name), {}));
    const std::string include =
        std::string("#include <") + name + ".h>\n#include <" + name + ".h>\n";
    write(folder / "use.c",
          include + "int main(void) { return sizeof(" + name + "_args) == 0; }\n");
    const std::string flags =
        " -Wall -Wextra -Werror -pedantic -fsyntax-only -I" MHA_RUNTIME_INCLUDE " -I" +
        folder.path() + " ";
    shell("cc -std=c11" + flags + (folder / "use.c"));
    shell("c++ -std=c++11 -x c++" + flags + (folder / "use.c"));
  }
}

TEST(Header, SaysShapes) {
  const std::string header = generate_handmade("handmade", "host").files.at("handmade.h");
  EXPECT_THAT(header, HasSubstr("mha_tensor query; /* input float, [B, Lq, 4, 8] */"));
  EXPECT_THAT(header, HasSubstr("batch B in [1, 2]"));
  EXPECT_THAT(header, HasSubstr("keys Lk = Lq"));
  // Of a name in other letters it is another file, and has another guard.
  EXPECT_THAT(header, HasSubstr("#ifndef MHA_GENERATED_handmade_H_"));
  const std::string block = generate(config("tiny_block"), {}).files.at("tiny_block.h");
  EXPECT_THAT(block, HasSubstr("tiny_block_weights_load("));
}

TEST(PkgConfig, IsRelocatable) {
  Folder folder;
  write_files(folder.path(), generate_handmade("handmade", "host"));
  write(folder / "mha.pc", "Name: mha\nDescription: stand-in\nVersion: 0\nLibs: -lmha\n");
  fs::create_directory(folder / "moved");
  fs::rename(folder / "handmade.pc", folder / "moved/handmade.pc");
  const std::string flags = shell("PKG_CONFIG_PATH=" + (folder / "moved") + ":" + folder.path() +
                                  " pkg-config --cflags --libs handmade");
  EXPECT_THAT(flags, HasSubstr("-I" + (folder / "moved")));
  EXPECT_THAT(flags, testing::ContainsRegex("-lhandmade.*-lmha"));
}

TEST(Manifest, PredictsTheWorkspaceAndTheArchive) {
  for (const char* name : {"tiny_block", "padded_keys", "runtime_lengths"}) {
    GenerateOptions options;
    options.threads = 3;
    const Generated made = generate(config(name), options);
    const auto footprint = nlohmann::json::parse(made.manifest).at("footprint");
    EXPECT_EQ(footprint.at("archive_bytes").get<size_t>(),
              made.files.at(std::string("lib") + name + ".a").size());
    Folder folder;
    write_files(folder.path(), made);
    const std::string program =
        build(folder.path(), name, MHA_SOURCE "/tests/emit/workspace_main.c",
              std::string("-DNAME=") + name + " -DTHREADS=3 -DHEADER='<" + name + ".h>'");
    EXPECT_EQ(std::stoll(shell(program)), footprint.at("workspace_bytes").get<int64_t>()) << name;
  }
}

TEST(Manifest, CountsBlocks) {
  Handmade made = handmade("handmade");
  made.plan.query_length = {256, 256};
  BlockCount full = count_blocks(made.plan, 64, 128, 8);
  EXPECT_EQ(full.hidden, 0);
  EXPECT_EQ(full.full, 8);
  made.plan.attention.right = 0;
  // Rows of 64 queries; columns of 128 keys: m h / m h / f m / f m, and the second row of each pair
  // ends where the block of keys does.
  const BlockCount causal = count_blocks(made.plan, 64, 128, 8);
  EXPECT_EQ(causal.hidden, 2);
  EXPECT_EQ(causal.partial, 4);
  EXPECT_EQ(causal.full, 2);
  // Blocks that do not line up: m m h h / f m m m / f f f m.
  const BlockCount crooked = count_blocks(made.plan, 100, 64, 8);
  EXPECT_EQ(crooked.hidden, 2);
  EXPECT_EQ(crooked.partial, 6);
  EXPECT_EQ(crooked.full, 4);
}

// The blocks of the kernel, looked at one by one.
BlockCount count_by_hand(const Plan& plan, int64_t query_block, int64_t key_block,
                         int64_t key_tile) {
  const Lengths lengths = largest_lengths(plan);
  const Range& keys = plan.self_length ? plan.query_length : plan.key_length;
  const bool end_masks = plan.attention.key_lengths || !keys.fixed() || lengths.key % key_tile != 0;
  const int64_t offset =
      plan.attention.query_offset == QueryOffset::kStart ? 0 : lengths.key - lengths.query;
  BlockCount count{query_block, key_block};
  for (int64_t q = 0; q < lengths.query; q += query_block) {
    for (int64_t k = 0; k < lengths.key; k += key_block) {
      bool any = false, all = true;
      for (int64_t i = q; i < std::min(q + query_block, lengths.query); ++i) {
        for (int64_t j = k; j < k + key_block; ++j) {
          if (j >= lengths.key && !end_masks) continue;
          const bool sees = j < lengths.key &&
                            (!plan.attention.right || j <= i + offset + *plan.attention.right) &&
                            (!plan.attention.left || j >= i + offset - *plan.attention.left);
          any = any || sees;
          all = all && sees;
        }
      }
      ++(!any ? count.hidden : all ? count.full : count.partial);
    }
  }
  return count;
}

TEST(Manifest, CountsBlocksOfEveryShape) {
  Handmade made = handmade("handmade");
  Plan& plan = made.plan;
  plan.self_length = false;
  for (const QueryOffset offset : {QueryOffset::kStart, QueryOffset::kEnd}) {
    for (int variant = 0; variant < 32; ++variant) {
      for (int64_t queries = 1; queries <= 21; queries += 4) {
        for (int64_t keys = 1; keys <= 26; ++keys) {
          plan.attention.left = plan.attention.right = std::nullopt;
          if (variant & 1) plan.attention.right = variant & 8 ? 3 : 0;
          if (variant & 16) plan.attention.left = 6;
          plan.attention.key_lengths = variant & 2;
          plan.attention.query_offset = offset;
          plan.query_length = {queries, queries};
          plan.key_length = {variant & 4 ? 1 : keys, keys};
          const BlockCount want = count_by_hand(plan, 5, 8, 4), got = count_blocks(plan, 5, 8, 4);
          EXPECT_EQ(std::tie(got.hidden, got.partial, got.full),
                    std::tie(want.hidden, want.partial, want.full))
              << "variant " << variant << ", " << queries << " queries, " << keys << " keys";
          const Lengths lengths{1, queries, keys};
          EXPECT_EQ(visible_pairs(plan, lengths), count_by_hand(plan, 1, 1, 1).full)
              << queries << " " << keys;
        }
      }
    }
  }
}

TEST(Manifest, CountsLongCallsAtOnce) {
  Handmade made = handmade("handmade");
  Plan& plan = made.plan;
  constexpr int64_t kLength = (int64_t{1} << 31) - 1;
  plan.query_length = {1, kLength};
  plan.self_length = true;
  EXPECT_EQ(count_blocks(plan, 1, 1, 1).full, kLength * kLength);
  plan.attention.right = 0;
  EXPECT_EQ(visible_pairs(plan, {1, kLength, kLength}), kLength * (kLength + 1) / 2);
  const BlockCount blocks = count_blocks(plan, 64, 512, 8);
  constexpr int64_t kQueryBlocks = int64_t{1} << 25, kKeyBlocks = int64_t{1} << 22;
  EXPECT_EQ(blocks.hidden + blocks.partial + blocks.full, kQueryBlocks * kKeyBlocks);
  // On the diagonal, every query block cuts one block of keys.
  EXPECT_EQ(blocks.partial, kQueryBlocks);
}

TEST(Cost, CountsVisibleWorkOnly) {
  Handmade made = handmade("handmade");
  const Lengths lengths{2, 64, 64};
  // 2 FLOPs x B x H x pairs x (D + Dv)
  EXPECT_EQ(call_flops(made.plan, lengths), 2 * 2 * 4 * (64 * 64) * 16);
  made.plan.attention.right = 0;
  EXPECT_EQ(call_flops(made.plan, lengths), 2 * 2 * 4 * (64 * 65 / 2) * 16);
  // Bottom right, with fewer queries: each sees all keys before it.
  made.plan.self_length = false;
  made.plan.attention.query_offset = QueryOffset::kEnd;
  EXPECT_EQ(visible_pairs(made.plan, {1, 2, 10}), 9 + 10);
  // More queries than keys: the first see nothing.
  EXPECT_EQ(visible_pairs(made.plan, {1, 10, 2}), 1 + 2);
  EXPECT_EQ(call_bytes(made.plan, {1, 2, 10}), 4 * (2 * 4 * 16 + 10 * 4 * 16));
}

// What a mask rule hides is no work, as far as the config alone says what it hides.
TEST(Cost, CountsWhatAMaskRuleShows) {
  Handmade made = handmade("handmade");
  ExpressionError error;
  const auto rule = [&](const char* text) { return parse_expression(text, {}, &error); };
  made.plan.attention.mask_rule = rule("k <= q and (q - k < 10 or k < 4)");
  // Rows 0 to 9 see all before them, row q after that 10 and those of 4 that are not among them.
  int64_t pairs = 0;
  for (int64_t q = 0; q < 64; ++q) pairs += q < 10 ? q + 1 : 10 + std::min<int64_t>(q - 9, 4);
  EXPECT_EQ(visible_pairs(made.plan, {2, 64, 64}), pairs);
  EXPECT_EQ(call_flops(made.plan, {2, 64, 64}), 2 * 2 * 4 * pairs * 16);
  made.plan.attention.left = 3;  // within the rule
  EXPECT_EQ(visible_pairs(made.plan, {2, 64, 64}), 64 * 4 - 6);
  made.plan.attention.left = std::nullopt;
  // Heads 0 and 1 of 4 see half of the keys.
  made.plan.attention.mask_rule = rule("h > 1 or k % 2 == 0");
  EXPECT_EQ(call_flops(made.plan, {2, 64, 64}), 2 * 2 * (2 * 64 * 64 + 2 * 64 * 32) * 16);
  EXPECT_EQ(visible_pairs(made.plan, {2, 64, 64}), 64 * 48);
  // Too many to look at: rows stand for others.
  made.plan.attention.mask_rule = rule("(q + k) % 3 == 0");
  const auto many = static_cast<double>(visible_pairs(made.plan, {1, 1 << 15, 1 << 15}));
  EXPECT_NEAR(many / (1 << 30), 1.0 / 3, 1e-3);
}

TEST(Cost, OfTheLargestLengthsDoesNotWrapAround) {
  Handmade made = handmade("handmade");
  made.plan.self_length = false;
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  EXPECT_EQ(visible_pairs(made.plan, {1, kMost, kMost}), kMost * kMost);
  // H (D + Dv) = 4 * 16 more of them are beyond 64 bits.
  EXPECT_EQ(call_flops(made.plan, {1, kMost, kMost}), std::numeric_limits<int64_t>::max());
  made.plan.attention.right = 0;
  EXPECT_EQ(visible_pairs(made.plan, {1, kMost, kMost}), kMost * (kMost + 1) / 2);
  made.plan.attention.right = kMost;
  EXPECT_EQ(visible_pairs(made.plan, {1, kMost, kMost}), kMost * kMost);
  made.plan.attention.left = kMost;
  EXPECT_EQ(visible_pairs(made.plan, {1, kMost, kMost}), kMost * kMost);
}

TEST(Explain, CompilesNothing) {
  GenerateOptions options;
  options.explain_only = true;
  const Generated made = generate(config("causal_end"), options);
  EXPECT_TRUE(made.files.empty());
  EXPECT_THAT(made.explanation, HasSubstr("schedule (default)"));
  EXPECT_THAT(made.explanation, HasSubstr("causal: "));
  EXPECT_THAT(made.explanation, HasSubstr("workspace"));
}

TEST(Explain, CountsTheMaskedEndOfTheKeys) {
  GenerateOptions options;
  options.explain_only = true;
  Spec spec = config("tiny_attention");
  // One block of keys, longer than 7, with a tile that does not divide 7.
  spec.query_length = {1, 1};
  spec.key_length_given = true;
  for (const Range keys : {Range{7, 7}, Range{1, 7}}) {
    spec.key_length = keys;
    EXPECT_THAT(generate(spec, options).explanation,
                AllOf(HasSubstr("0 skipped, 1 masked, 0 without mask cost"),
                      HasSubstr("the end of the keys cuts through a block")));
  }
}

// --- records ---

TEST(Records, LieBesideTheConfigThenBesideTheProgram) {
  Folder folder;
  const std::string config = folder / "config.yaml";
  const std::string shipped =
      (fs::read_symlink("/proc/self/exe").parent_path().parent_path() / "share/mha/records")
          .string();
  EXPECT_THAT(record_directories(config, ""), testing::ElementsAre(shipped));
  fs::create_directory(folder / "mha-records");
  EXPECT_THAT(record_directories(config, ""),
              testing::ElementsAre(folder / "mha-records", shipped));
  EXPECT_THAT(record_directories(config, folder.path()), testing::ElementsAre(folder.path()));
  EXPECT_THROW(record_directories(config, folder / "none"), UserError);
}

// --- targets ---

TEST(Target, HostIsANamedTargetThatTheRuntimeAccepts) {
  const Machine machine = host_machine();
  EXPECT_TRUE(named_machine(machine.target).has_value());
  EXPECT_EQ(machine.cpu_features & ~mha_cpu_features(), 0u);
  EXPECT_GE(machine.l2_bytes, machine.l1d_bytes);
}

TEST(Target, HostIsTheBestThatFits) {
  for (const std::string& target : named_targets()) {
    const Machine machine = *named_machine(target);
    if ((machine.cpu_features & ~mha_cpu_features()) != 0) continue;
    EXPECT_GE(__builtin_popcountll(host_machine().cpu_features),
              __builtin_popcountll(machine.cpu_features))
        << target;
  }
}

TEST(Options, UnknownOnesAreTheUsers) {
  const Spec spec = config("tiny_attention");
  const auto message = [&](const std::function<void(GenerateOptions&)>& change) -> std::string {
    GenerateOptions options;
    change(options);
    try {
      generate(spec, options);
    } catch (const UserError& error) {
      return error.what();
    }
    return "no exception";
  };
  EXPECT_THAT(message([](GenerateOptions& o) { o.targets = {"zen9"}; }), HasSubstr("zen5"));
  EXPECT_THAT(message([](GenerateOptions& o) { o.emit = {"ptx"}; }), HasSubstr("ptx"));
  EXPECT_THAT(message([](GenerateOptions& o) { o.schedules_dir = "/nonexistent"; }),
              HasSubstr("/nonexistent"));
  EXPECT_THAT(message([](GenerateOptions& o) { o.sanitizer = "memory"; }), HasSubstr("memory"));
}

TEST(Options, TargetsOfTheConfigPointIntoIt) {
  Folder folder;
  const std::string head =
      "version: 1\nname: t\nop: attention\nheads: 1\nd_head: 8\nquery_length: 4\n";
  write(folder / "two.yaml", head + "targets: [zen4, arm64]\n");
  const ParseResult parsed = parse_spec_file(folder / "two.yaml");
  ASSERT_TRUE(parsed.spec.has_value());
  try {
    generate(*parsed.spec, {});
    FAIL() << "no exception";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("two.yaml:7:"));
  }
}

// --- the child process ---

template <typename Error>
std::string failure_of(const std::function<Generated()>& work) {
  try {
    run_in_child(work);
  } catch (const Error& error) {
    return error.what();
  }
  return "no exception";
}

TEST(Child, FailuresKeepTheirKind) {
  EXPECT_EQ(failure_of<ConfigError>([]() -> Generated { throw ConfigError("a"); }), "a");
  EXPECT_EQ(failure_of<UserError>([]() -> Generated { throw UserError("b"); }), "b");
  EXPECT_EQ(failure_of<SystemError>([]() -> Generated { throw SystemError("c"); }), "c");
  EXPECT_EQ(failure_of<InternalError>([]() -> Generated { throw InternalError("d"); }), "d");
  EXPECT_EQ(failure_of<InternalError>([]() -> Generated { throw std::runtime_error("e"); }), "e");
  EXPECT_EQ(failure_of<SystemError>([]() -> Generated { throw std::bad_alloc(); }),
            "out of memory");
}

TEST(Child, DeathIsReported) {
  EXPECT_THAT(failure_of<InternalError>([]() -> Generated {
                signal(SIGSEGV, SIG_DFL);  // a sanitizer would turn it into an exit
                raise(SIGSEGV);
                return {};
              }),
              HasSubstr("signal 11"));
  EXPECT_THAT(failure_of<SystemError>([]() -> Generated {
                raise(SIGKILL);
                return {};
              }),
              HasSubstr("signal 9"));
  EXPECT_THAT(failure_of<InternalError>([]() -> Generated { _exit(0); }),
              HasSubstr("without a result"));
}

TEST(Child, CarriesAnyBytes) {
  Generated made;
  made.name = std::string("\0\xff\n", 3);
  made.files["big"] = std::string(1 << 20, '\x80');
  const Generated back = run_in_child([&] { return made; });
  EXPECT_EQ(back.name, made.name);
  EXPECT_TRUE(back.files == made.files);
}

}  // namespace
}  // namespace mha
