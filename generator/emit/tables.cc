#include "generator/emit/tables.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/CodeGen.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Target/TargetOptions.h>

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "generator/emit/table_rows.h"
#include "generator/emit/version.h"
#include "generator/spec/error.h"
#include "generator/spec/parse.h"
#include "mha/kernel.h"

namespace mha {
namespace {

constexpr char kTriple[] = "x86_64-unknown-linux-gnu";

static_assert(int{MHA_SYMBOL_STARTS} == int(Symbol::kStarts) &&
              int{MHA_SYMBOL_TASK0} == int(Symbol::kTask0) &&
              int{MHA_SYMBOL_SEQUENCE_OFFSET} == int(Symbol::kSequenceOffset) &&
              int{MHA_SYMBOL_SEQUENCE_QUERIES} == int(Symbol::kSequenceQueries) &&
              int{MHA_SYMBOL_SHARED} == int(Symbol::kShared) &&
              int{MHA_SYMBOL_NEW_KEYS} == int(Symbol::kNewKeys) &&
              int{MHA_SYMBOL_SEQUENCE_CACHED} == int(Symbol::kSequenceCached) &&
              int{MHA_SYMBOL_SEQUENCE_NEW_KEYS} == int(Symbol::kSequenceNewKeys));
mha_extent extent_of(const Extent& extent) {
  return {extent.scale, static_cast<int32_t>(extent.symbol), extent.round, extent.per, 0};
}

uint32_t dtype_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32:
      return MHA_F32;
    case Dtype::kBF16:
      return MHA_BF16;
    case Dtype::kF16:
      return MHA_F16;
    case Dtype::kInt8:
      return MHA_I8;
    case Dtype::kI32:
      return MHA_I32;
    case Dtype::kBool:
      return MHA_BOOL;
  }
  throw InternalError("a dtype that the tables do not know");
}

void require(bool holds, const std::string& what) {
  if (!holds) throw InternalError(what);
}

class Builder {
 public:
  explicit Builder(const KernelDescription& kernel)
      : kernel_(kernel),
        program_(kernel.variants.back().program),
        name_(kernel.plan.name),
        suffix_(kernel.place.suffix()),
        module_(name_ + "_kernel" + suffix_, context_) {
    module_.setSourceFileName(name_ + "_kernel" + suffix_);
    module_.setTargetTriple(kTriple);
    module_.setPICLevel(llvm::PICLevel::BigPIC);
  }

  std::string object() {
    make_kernel();
    if (global_ != nullptr) make_entry_points();
    return compile();
  }

 private:
  llvm::PointerType* pointer_type() { return llvm::PointerType::getUnqual(context_); }
  llvm::Constant* null() { return llvm::ConstantPointerNull::get(pointer_type()); }

  llvm::Constant* string(const std::string& text) {
    llvm::Constant*& known = strings_[text];
    if (known) return known;
    llvm::Constant* bytes = llvm::ConstantDataArray::getString(context_, text);
    auto* global = new llvm::GlobalVariable(module_, bytes->getType(), /*isConstant=*/true,
                                            llvm::GlobalValue::PrivateLinkage, bytes, "text");
    global->setUnnamedAddr(llvm::GlobalValue::UnnamedAddr::Global);
    global->setAlignment(llvm::Align(1));
    return known = global;
  }

  template <typename T>
  llvm::Constant* table(const Rows<T>& rows, const char* what) {
    if (rows.size() == 0) return null();
    llvm::Constant* value = rows.constant(context_);
    auto* global = new llvm::GlobalVariable(module_, value->getType(), /*isConstant=*/true,
                                            llvm::GlobalValue::PrivateLinkage, value, what);
    global->setAlignment(llvm::Align(alignof(T)));
    return global;
  }

  Rows<mha_tensor_info> tensors() {
    const auto& from = program_.tensors;
    require(from.size() <= MHA_MAX_TENSORS, "more tensors than the runtime takes");
    Rows<mha_tensor_info> rows(from.size());
    for (size_t i = 0; i < from.size(); ++i) {
      require(from[i].axes.size() >= 1 && from[i].axes.size() <= MHA_MAX_RANK,
              "tensor '" + from[i].name + "': the rank is not in [1, " +
                  std::to_string(MHA_MAX_RANK) + "]");
      rows.point(i, offsetof(mha_tensor_info, name), string(from[i].name));
      rows[i].role = from[i].output ? MHA_ROLE_OUTPUT : MHA_ROLE_INPUT;
      rows[i].dtype = dtype_of(from[i].dtype);
      rows[i].rank = static_cast<uint32_t>(from[i].axes.size());
      rows[i].offset = static_cast<uint32_t>(sizeof(mha_call) + i * sizeof(mha_tensor));
      static_assert(int{MHA_CHECK_KEYS} == int(ValueCheck::kKeys) &&
                    int{MHA_CHECK_INT32_OFFSET} == int(ValueCheck::kInt32Offset) &&
                    int{MHA_CHECK_STARTS} == int(ValueCheck::kStarts));
      rows[i].flags = (from[i].may_repeat ? uint32_t{MHA_TENSOR_MAY_REPEAT} : 0u) |
                      (appended(i) ? uint32_t{MHA_TENSOR_APPENDED} : 0u) |
                      (from[i].of_new_keys ? uint32_t{MHA_TENSOR_NEW_KEYS} : 0u);
      rows[i].check = static_cast<uint32_t>(from[i].check);
      for (size_t a = 0; a < from[i].axes.size(); ++a) rows[i].axes[a] = extent_of(from[i].axes[a]);
    }
    return rows;
  }

  // Whether appending to the cache reads the tensor, in any variant.
  bool appended(size_t tensor) const {
    for (const Variant& variant : kernel_.variants) {
      for (const Stage& stage : variant.program.stages) {
        if (!stage.appends) continue;
        for (const Operand& operand : stage.operands) {
          if (operand.kind == Operand::kTensor && operand.index == static_cast<int>(tensor))
            return true;
        }
      }
    }
    return program_.cache && program_.tensors[tensor].check == ValueCheck::kStarts;
  }

  Rows<mha_cache_info> cache() {
    if (!program_.cache) return Rows<mha_cache_info>(0);
    const CacheInfo& from = *program_.cache;
    Rows<mha_cache_info> rows(1);
    rows[0].dtype = dtype_of(from.dtype);
    rows[0].key_form = from.pairs() ? MHA_FORM_KEY_PAIR_PANELS : MHA_FORM_KEY_PANELS;
    rows[0].value_form = from.pairs() ? MHA_FORM_VALUE_PAIRS : MHA_FORM_VALUE_ROWS;
    rows[0].kv_heads = from.kv_heads;
    rows[0].d_head = from.d_head;
    rows[0].d_value = from.d_value;
    rows[0].d_head_padded = from.d_head_padded;
    rows[0].d_value_padded = from.d_value_padded;
    rows[0].capacity = from.capacity;
    rows[0].page = from.page;
    return rows;
  }

  Rows<mha_weight_info> weights() {
    const auto& from = program_.weights;
    Rows<mha_weight_info> rows(from.size());
    for (size_t i = 0; i < from.size(); ++i) {
      require(from[i].shape.size() == 1 || from[i].shape.size() == 2,
              "weight '" + from[i].name + "' is neither a matrix nor a vector");
      rows.point(i, offsetof(mha_weight_info, name), string(from[i].name));
      const auto source = kernel_.spec.weights_from.find(from[i].name);
      if (source != kernel_.spec.weights_from.end()) {
        rows.point(i, offsetof(mha_weight_info, source_name), string(source->second.name));
        rows[i].source_flags = (source->second.transpose ? MHA_SOURCE_TURNED : 0) |
                               (source->second.rows ? MHA_SOURCE_ROWS : 0);
        if (source->second.rows) rows[i].source_first_row = source->second.rows->min;
      }
      rows[i].rank = static_cast<uint32_t>(from[i].shape.size());
      for (size_t a = 0; a < from[i].shape.size(); ++a) rows[i].shape[a] = from[i].shape[a];
    }
    return rows;
  }

  llvm::Constant* numbers(const std::vector<int64_t>& from) {
    Rows<int32_t> rows(from.size());
    for (size_t i = 0; i < from.size(); ++i) rows[i] = static_cast<int32_t>(from[i]);
    return table(rows, "numbers");
  }

  Rows<mha_pack_info> packs() {
    const auto& from = program_.packs;
    Rows<mha_pack_info> rows(from.size());
    for (size_t i = 0; i < from.size(); ++i) {
      Rows<mha_pack_part> parts(from[i].parts.size());
      for (size_t p = 0; p < parts.size(); ++p) {
        const PackPart& part = from[i].parts[p];
        require(part.weight >= 0 && part.weight < static_cast<int>(program_.weights.size()),
                "a packed array names a weight that is not there");
        parts[p].weight = static_cast<uint32_t>(part.weight);
        parts[p].first_row = part.first_row;
        parts[p].row_groups = part.row_groups;
        parts[p].row_width = part.row_width;
        parts[p].row_padded = part.row_padded;
        parts[p].scale = part.scale;
        parts.point(p, offsetof(mha_pack_part, row_sources), numbers(part.row_sources));
      }
      static_assert(int{MHA_PACK_MATRIX} == int(PackKind::kMatrix) &&
                    int{MHA_PACK_VECTOR} == int(PackKind::kVector) &&
                    int{MHA_PACK_SCALES} == int(PackKind::kScales));
      rows[i].kind = static_cast<uint32_t>(from[i].kind);
      rows[i].dtype = dtype_of(from[i].dtype);
      rows[i].pair = static_cast<uint32_t>(from[i].pair);
      rows[i].panel = static_cast<uint32_t>(from[i].panel);
      rows[i].rows = from[i].rows;
      rows[i].columns = from[i].columns;
      rows[i].col_groups = from[i].col_groups;
      rows[i].col_width = from[i].col_width;
      rows[i].col_padded = from[i].col_padded;
      rows.point(i, offsetof(mha_pack_info, parts), table(parts, "parts"));
      rows[i].part_count = parts.size();
      rows.point(i, offsetof(mha_pack_info, col_sources), numbers(from[i].col_sources));
    }
    return rows;
  }

  Rows<mha_buffer_info> buffers(const Program& program) {
    const auto& from = program.buffers;
    require(from.size() <= MHA_MAX_BUFFERS, "more buffers than the runtime takes");
    Rows<mha_buffer_info> rows(from.size());
    for (size_t i = 0; i < from.size(); ++i) {
      require(from[i].extents.size() <= MHA_MAX_RANK,
              "buffer '" + from[i].name + "' has too many dimensions");
      rows.point(i, offsetof(mha_buffer_info, name), string(from[i].name));
      rows[i].dtype = dtype_of(from[i].dtype);
      rows[i].rank = static_cast<uint32_t>(from[i].extents.size());
      for (size_t d = 0; d < from[i].extents.size(); ++d) {
        rows[i].extents[d] = extent_of(from[i].extents[d]);
      }
    }
    return rows;
  }

  Rows<mha_operand> operands(const Stage& stage, const Program& program) {
    require(stage.operands.size() <= MHA_MAX_OPERANDS,
            "stage '" + stage.name + "' has more operands than the runtime takes");
    Rows<mha_operand> rows(stage.operands.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      const Operand& from = stage.operands[i];
      const size_t count = from.kind == Operand::kTensor   ? program.tensors.size()
                           : from.kind == Operand::kPack   ? program.packs.size()
                           : from.kind == Operand::kBuffer ? program.buffers.size()
                           : from.kind == Operand::kScalar ? size_t{MHA_SYMBOL_COUNT}
                                                           : size_t{program.cache ? 1u : 0u};
      require(from.index >= 0 && static_cast<size_t>(from.index) < count,
              "stage '" + stage.name + "': an operand names what is not there");
      require(from.axes.size() <= sizeof rows[i].axes,
              "stage '" + stage.name + "': an operand has too many axes");
      static_assert(int{Operand::kTensor} == MHA_OPERAND_TENSOR &&
                    int{Operand::kPack} == MHA_OPERAND_PACK &&
                    int{Operand::kBuffer} == MHA_OPERAND_BUFFER &&
                    int{Operand::kScalar} == MHA_OPERAND_SCALAR &&
                    int{Operand::kCacheKeys} == MHA_OPERAND_CACHE_KEYS &&
                    int{Operand::kCacheValues} == MHA_OPERAND_CACHE_VALUES &&
                    int{Operand::kPageTable} == MHA_OPERAND_PAGE_TABLE &&
                    int{Operand::kSequences} == MHA_OPERAND_SEQUENCES);
      static_assert(kCachePanel == MHA_CACHE_PANEL);
      rows[i].kind = from.kind;
      rows[i].index = static_cast<uint32_t>(from.index);
      rows[i].rank = static_cast<uint32_t>(from.axes.size());
      static_assert(int{MHA_AXIS_NONE} == kNoAxis);
      for (size_t a = 0; a < from.axes.size(); ++a)
        rows[i].axes[a] = static_cast<uint8_t>(from.axes[a]);
    }
    return rows;
  }

  Rows<mha_stage> stages(const Variant& variant, const std::string& suffix) {
    const auto& from = variant.program.stages;
    Rows<mha_stage> rows(from.size());
    auto* type = llvm::FunctionType::get(llvm::Type::getInt32Ty(context_), {pointer_type()}, false);
    for (size_t i = 0; i < from.size(); ++i) {
      const Stage& stage = from[i];
      require(stage.grid.size() <= MHA_MAX_GRID,
              "stage '" + stage.name + "' has too many grid axes");
      auto* run =
          llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage,
                                 stage_wrapper_name(name_, stage.name + suffix_ + suffix), module_);
      run->setVisibility(llvm::GlobalValue::HiddenVisibility);
      rows.point(i, offsetof(mha_stage, name), string(stage.name));
      rows.point(i, offsetof(mha_stage, run), run);
      rows.point(i, offsetof(mha_stage, operands),
                 table(operands(stage, variant.program), "operands"));
      rows[i].operand_count = stage.operands.size();
      rows[i].grid_rank = static_cast<uint32_t>(stage.grid.size());
      rows[i].reverse = stage.reverse_axis < 0 ? 0 : 1u << stage.reverse_axis;
      rows[i].batch_axis = stage.batch_axis;
      rows[i].query_axis = stage.query_axis;
      rows[i].key_axis = stage.key_axis;
      rows[i].flags = stage.appends ? uint32_t{MHA_STAGE_APPENDS} : 0u;
      for (size_t a = 0; a < stage.grid.size(); ++a) {
        rows[i].grid[a] = {stage.grid[a].scale, static_cast<int32_t>(stage.grid[a].symbol),
                           stage.grid[a].tile};
      }
      rows[i].scratch_bytes = static_cast<uint64_t>(variant.scratch_bytes.at(i));
    }
    return rows;
  }

  Rows<mha_variant> variants() {
    const std::vector<Variant>& from = kernel_.variants;
    require(from.size() >= 1 && from.size() <= MHA_MAX_VARIANTS &&
                from.back().plan.query_length.max == kernel_.plan.query_length.max,
            "the variants do not serve what the kernel is for");
    Rows<mha_variant> rows(from.size());
    for (size_t i = 0; i < from.size(); ++i) {
      rows[i].max_query_length = from[i].plan.query_length.max;
      require(i == 0 || rows[i - 1].max_query_length < rows[i].max_query_length,
              "the variants do not stand in the order of their lengths");
      rows.point(i, offsetof(mha_variant, schedule), string(from[i].schedule.text()));
      const auto list = [&](size_t offset, uint64_t& count, const auto& table_rows,
                            const char* what) {
        rows.point(i, offset, table(table_rows, what));
        count = table_rows.size();
      };
      list(offsetof(mha_variant, buffers), rows[i].buffer_count, buffers(from[i].program),
           "buffers");
      list(offsetof(mha_variant, stages), rows[i].stage_count,
           stages(from[i], variant_suffix(from, i)), "stages");
    }
    return rows;
  }

  int32_t tensor_index(const std::string& name) const {
    const auto& tensors = program_.tensors;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].name == name) return static_cast<int32_t>(i);
    }
    return -1;
  }

  void make_kernel() {
    const Plan& plan = kernel_.plan;
    Rows<mha_kernel> rows(1);
    mha_kernel& kernel = rows[0];
    kernel.abi = MHA_KERNEL_ABI;
    kernel.struct_size = sizeof(mha_kernel);
    const auto info = [&](size_t offset, const std::string& text) {
      rows.point(0, offsetof(mha_kernel, info) + offset, string(text));
    };
    info(offsetof(mha_kernel_info, name), name_);
    info(offsetof(mha_kernel_info, spec), spec_to_json(kernel_.spec));
    info(offsetof(mha_kernel_info, target), kernel_.machine.target);
    info(offsetof(mha_kernel_info, schedule), schedules_text(kernel_.variants));
    info(offsetof(mha_kernel_info, schedule_origin), kernel_.variants.back().schedule.origin);
    info(offsetof(mha_kernel_info, generator), generator_version());
    kernel.cpu_features = kernel_.machine.cpu_features;
    kernel.args_size = sizeof(mha_call) + program_.tensors.size() * sizeof(mha_tensor);
    kernel.self_length = plan.self_length;
    static_assert(int{MHA_OFFSET_START} == int(QueryOffset::kStart) &&
                  int{MHA_OFFSET_END} == int(QueryOffset::kEnd) &&
                  int{MHA_OFFSET_INPUT} == int(QueryOffset::kInput));
    kernel.offset_kind = static_cast<uint32_t>(plan.attention.query_offset);
    kernel.key_lengths_tensor = tensor_index("key_lengths");
    kernel.key_starts_tensor = tensor_index("key_starts");
    kernel.sequence_starts_tensor = tensor_index("sequence_starts");
    kernel.query_offset_tensor = tensor_index("query_offset");
    kernel.batch = {plan.batch.min, plan.batch.max};
    kernel.query_length = {plan.query_length.min, plan.query_length.max};
    kernel.key_length = {plan.key_length.min, plan.key_length.max};
    static_assert(int{MHA_NEW_KEYS_OF_QUERIES} == int(Plan::NewKeys::kOfQueries) &&
                  int{MHA_NEW_KEYS_OF_QUERIES_OR_NONE} == int(Plan::NewKeys::kOfQueriesOrNone) &&
                  int{MHA_NEW_KEYS_OWN} == int(Plan::NewKeys::kOwn));
    kernel.new_keys_kind = static_cast<uint32_t>(plan.new_keys);
    if (plan.has_own_keys()) kernel.new_keys = {plan.new_key_length.min, plan.new_key_length.max};
    const auto list = [&](size_t offset, uint64_t& count, const auto& from, const char* what) {
      rows.point(0, offset, table(from, what));
      count = from.size();
    };
    list(offsetof(mha_kernel, tensors), kernel.tensor_count, tensors(), "tensors");
    list(offsetof(mha_kernel, weights), kernel.weight_count, weights(), "weights");
    list(offsetof(mha_kernel, packs), kernel.pack_count, packs(), "packs");
    list(offsetof(mha_kernel, variants), kernel.variant_count, variants(), "variants");
    rows.point(0, offsetof(mha_kernel, cache), table(cache(), "cache"));
    if (!kernel_.place.several()) {
      rows.point(0, offsetof(mha_kernel, choice), choice());
      global_ = publish(rows, name_ + "_kernel", llvm::GlobalValue::DefaultVisibility);
      return;
    }
    llvm::GlobalVariable* own =
        publish(rows, name_ + "_kernel" + suffix_, llvm::GlobalValue::HiddenVisibility);
    if (kernel_.place.index == 0) make_front(std::move(rows), own);
  }

  // The kernel that stands for those of all targets: `rows` is the best one's, `own`.
  void make_front(Rows<mha_kernel> rows, llvm::GlobalVariable* own) {
    const size_t count = kernel_.place.targets.size();
    require(count <= MHA_MAX_TARGETS, "more targets than the runtime takes");
    Rows<const mha_kernel*> list(count);
    for (size_t i = 0; i < count; ++i) {
      llvm::GlobalVariable* target = own;
      if (i > 0) {
        target = new llvm::GlobalVariable(module_, own->getValueType(), /*isConstant=*/true,
                                          llvm::GlobalValue::ExternalLinkage, nullptr,
                                          name_ + "_kernel" + kernel_.place.suffix(i));
        target->setVisibility(llvm::GlobalValue::HiddenVisibility);
      }
      list.point(i, 0, target);
    }
    const auto info = [&](size_t offset, const std::string& text) {
      rows.point(0, offsetof(mha_kernel, info) + offset, string(text));
    };
    info(offsetof(mha_kernel_info, target), kernel_.place.text());
    info(offsetof(mha_kernel_info, schedule), "");
    info(offsetof(mha_kernel_info, schedule_origin), "");
    rows[0].cpu_features = 0;
    rows[0].pack_count = 0;
    rows[0].variant_count = 0;
    rows.point(0, offsetof(mha_kernel, packs), null());
    rows.point(0, offsetof(mha_kernel, variants), null());
    rows.point(0, offsetof(mha_kernel, targets), table(list, "targets"));
    rows[0].target_count = count;
    rows.point(0, offsetof(mha_kernel, choice), choice());
    global_ = publish(rows, name_ + "_kernel", llvm::GlobalValue::DefaultVisibility);
  }

  llvm::Constant* choice() {
    llvm::Type* i32 = llvm::Type::getInt32Ty(context_);
    return new llvm::GlobalVariable(module_, i32, /*isConstant=*/false,
                                    llvm::GlobalValue::PrivateLinkage,
                                    llvm::ConstantInt::get(i32, 0), "choice");
  }

  llvm::GlobalVariable* publish(const Rows<mha_kernel>& rows, const std::string& symbol,
                                llvm::GlobalValue::VisibilityTypes visibility) {
    llvm::Constant* value = rows.constant(context_);
    auto* global = new llvm::GlobalVariable(module_, value->getType(), /*isConstant=*/true,
                                            llvm::GlobalValue::ExternalLinkage, value, symbol);
    global->setAlignment(llvm::Align(alignof(mha_kernel)));
    global->setVisibility(visibility);
    return global;
  }

  // NAME_<suffix>(arguments) { return mha_<suffix>(&NAME_kernel, arguments); }, or another function
  // of the runtime's.
  void make_entry_point(const std::string& suffix, std::vector<llvm::Type*> parameters,
                        std::string target = "") {
    if (target.empty()) target = suffix;
    llvm::Type* status = llvm::Type::getInt32Ty(context_);
    auto* function =
        llvm::Function::Create(llvm::FunctionType::get(status, parameters, false),
                               llvm::GlobalValue::ExternalLinkage, name_ + "_" + suffix, module_);
    std::vector<llvm::Value*> arguments;
    for (llvm::Argument& argument : function->args()) arguments.push_back(&argument);
    arguments.insert(arguments.begin(), global_);
    parameters.insert(parameters.begin(), pointer_type());
    llvm::FunctionCallee callee = module_.getOrInsertFunction(
        "mha_" + target, llvm::FunctionType::get(status, parameters, false));
    for (llvm::Function* f : {function, llvm::cast<llvm::Function>(callee.getCallee())}) {
      f->addFnAttr(llvm::Attribute::NoUnwind);
    }
    llvm::IRBuilder<> builder(llvm::BasicBlock::Create(context_, "", function));
    llvm::CallInst* call = builder.CreateCall(callee, arguments);
    call->setTailCall();
    builder.CreateRet(call);
  }

  void make_entry_points() {
    llvm::Type* pointer = pointer_type();
    llvm::Type* i32 = llvm::Type::getInt32Ty(context_);
    llvm::Type* i64 = llvm::Type::getInt64Ty(context_);
    make_entry_point("run", {pointer, pointer});                  // (context, args)
    make_entry_point("workspace_size", {pointer, i32, pointer});  // (args, threads, bytes)
    if (program_.cache) {
      make_entry_point("append", {pointer, pointer});
      make_entry_point("decode", {pointer, pointer}, "run");
      make_entry_point("decode_shared", {pointer, pointer});
      make_entry_point("cache_create", {pointer, pointer});  // (options, cache)
    }
    if (program_.weights.empty()) return;
    make_entry_point("weights_create", {pointer, i64, pointer});  // (arrays, count, weights)
    make_entry_point("weights_load", {pointer, i32, pointer});    // (path, layer, weights)
  }

  std::string compile() {
    static const bool initialised = [] {
      LLVMInitializeX86TargetInfo();
      LLVMInitializeX86Target();
      LLVMInitializeX86TargetMC();
      LLVMInitializeX86AsmPrinter();
      return true;
    }();
    (void)initialised;
    std::string problem;
    const llvm::Target* target = llvm::TargetRegistry::lookupTarget(kTriple, problem);
    require(target != nullptr, "LLVM has no x86-64 back end: " + problem);
    const std::unique_ptr<llvm::TargetMachine> machine(
        target->createTargetMachine(kTriple, "x86-64", "", llvm::TargetOptions(), llvm::Reloc::PIC_,
                                    std::nullopt, llvm::CodeGenOptLevel::Default));
    module_.setDataLayout(machine->createDataLayout());
    require(!llvm::verifyModule(module_, &llvm::errs()), "the kernel's tables are malformed");
    llvm::SmallVector<char, 0> bytes;
    llvm::raw_svector_ostream out(bytes);
    llvm::legacy::PassManager passes;
    require(!machine->addPassesToEmitFile(passes, out, nullptr, llvm::CodeGenFileType::ObjectFile),
            "LLVM cannot write objects");
    passes.run(module_);
    return std::string(bytes.data(), bytes.size());
  }

  const KernelDescription& kernel_;
  const Program& program_;  // of any variant: what they share is read from it
  const std::string name_, suffix_;
  llvm::LLVMContext context_;
  llvm::Module module_;
  llvm::GlobalVariable* global_ = nullptr;  // NAME_kernel, if this object defines it
  std::map<std::string, llvm::Constant*> strings_;
};

}  // namespace

std::string stage_function_name(const std::string& kernel, const std::string& stage) {
  return kernel + "_stage_" + stage;
}

std::string stage_wrapper_name(const std::string& kernel, const std::string& stage) {
  return stage_function_name(kernel, stage) + "_argv";
}

std::string kernel_object(const KernelDescription& kernel) { return Builder(kernel).object(); }

}  // namespace mha
