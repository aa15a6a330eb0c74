#include "generator/emit/object.h"

#include <llvm/ADT/StringMap.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/BinaryFormat/ELF.h>
#include <llvm/ObjCopy/CommonConfig.h>
#include <llvm/ObjCopy/ELF/ELFConfig.h>
#include <llvm/ObjCopy/MultiFormatConfig.h>
#include <llvm/ObjCopy/ObjCopy.h>
#include <llvm/Object/Archive.h>
#include <llvm/Object/ArchiveWriter.h>
#include <llvm/Object/ELFObjectFile.h>
#include <llvm/Object/ObjectFile.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "generator/spec/error.h"

namespace mha {
namespace {

// What a generated library may leave to others: hooks of our runtime, its entry points, libc and
// libm.
constexpr std::array<std::string_view, 38> kNeeds = {"mha_halide_malloc",
                                                     "mha_halide_free",
                                                     "mha_halide_error",
                                                     "mha_run",
                                                     "mha_workspace_size",
                                                     "mha_weights_create",
                                                     "mha_weights_load",
                                                     "mha_append",
                                                     "mha_decode_shared",
                                                     "mha_cache_create",
                                                     "memcpy",
                                                     "memmove",
                                                     "memset",
                                                     "memcmp",
                                                     "expf",
                                                     "exp2f",
                                                     "logf",
                                                     "log2f",
                                                     "powf",
                                                     "sqrtf",
                                                     "fabsf",
                                                     "tanhf",
                                                     "sinf",
                                                     "cosf",
                                                     "fmaf",
                                                     "fminf",
                                                     "fmaxf",
                                                     "floorf",
                                                     "ceilf",
                                                     "roundf",
                                                     "truncf",
                                                     "nearbyintf",
                                                     "rintf",
                                                     "roundevenf",
                                                     "fmodf",
                                                     "exp",
                                                     "log",
                                                     "pow"};

// Hooks that come from Halide's objects under Halide's names.
constexpr std::string_view kHalidePrefix = "halide_";
constexpr std::string_view kOurPrefix = "mha_";

std::string text_of(llvm::Error error) { return llvm::toString(std::move(error)); }

struct OwnedObject {
  std::unique_ptr<llvm::MemoryBuffer> buffer;
  std::unique_ptr<llvm::object::ObjectFile> object;
};

OwnedObject open_object(const std::string& bytes) {
  OwnedObject owned;
  // ELF headers are read in place, so that the copy must be aligned; MemoryBuffer sees to that.
  owned.buffer = llvm::MemoryBuffer::getMemBufferCopy(bytes, "object");
  auto object = llvm::object::ObjectFile::createELFObjectFile(owned.buffer->getMemBufferRef());
  if (!object)
    throw InternalError("cannot read a generated object: " + text_of(object.takeError()));
  owned.object = std::move(*object);
  return owned;
}

struct SymbolName {
  std::string name;
  bool undefined;
};

std::vector<SymbolName> global_symbols(const llvm::object::ObjectFile& object) {
  std::vector<SymbolName> symbols;
  for (const llvm::object::SymbolRef& symbol : object.symbols()) {
    auto flags = symbol.getFlags();
    auto name = symbol.getName();
    if (!flags) throw InternalError("a generated object: " + text_of(flags.takeError()));
    if (!name) throw InternalError("a generated object: " + text_of(name.takeError()));
    const bool undefined = *flags & llvm::object::BasicSymbolRef::SF_Undefined;
    const bool global =
        *flags & (llvm::object::BasicSymbolRef::SF_Global | llvm::object::BasicSymbolRef::SF_Weak);
    if (name->empty() || (!undefined && !global)) continue;
    symbols.push_back({name->str(), undefined});
  }
  return symbols;
}

bool of_sanitizer(std::string_view name) {
  return name.starts_with("__asan_") || name.starts_with("__tsan_") ||
         name.starts_with("__sanitizer_");
}

void check_symbols(const llvm::object::ObjectFile& object, std::string_view prefix,
                   bool sanitized) {
  for (const SymbolName& symbol : global_symbols(object)) {
    const std::string_view name = symbol.name;
    if (sanitized && (of_sanitizer(name) || name.starts_with("asan.") || name.starts_with("tsan.")))
      continue;
    if (symbol.undefined ? std::find(kNeeds.begin(), kNeeds.end(), name) != kNeeds.end() ||
                               name.starts_with(prefix)
                         : name.starts_with(prefix)) {
      continue;
    }
    throw InternalError(
        "a generated object " +
        std::string(symbol.undefined ? "needs the symbol '" : "defines the symbol '") +
        symbol.name + "', which " +
        (symbol.undefined ? "a library must not need" : "lacks the library's prefix"));
  }
}

// objcopy's configuration, of which only the ELF half is ever asked for.
class ElfConfig : public llvm::objcopy::MultiFormatConfig {
 public:
  llvm::objcopy::CommonConfig common;
  llvm::objcopy::ELFConfig elf;

  const llvm::objcopy::CommonConfig& getCommonConfig() const override { return common; }
  llvm::Expected<const llvm::objcopy::ELFConfig&> getELFConfig() const override { return elf; }
  llvm::Expected<const llvm::objcopy::COFFConfig&> getCOFFConfig() const override { return none(); }
  llvm::Expected<const llvm::objcopy::MachOConfig&> getMachOConfig() const override {
    return none();
  }
  llvm::Expected<const llvm::objcopy::WasmConfig&> getWasmConfig() const override { return none(); }
  llvm::Expected<const llvm::objcopy::XCOFFConfig&> getXCOFFConfig() const override {
    return none();
  }

 private:
  static llvm::Error none() {
    return llvm::createStringError(std::errc::not_supported, "ELF objects only");
  }
};

}  // namespace

std::string clean_object(const std::string& bytes, const std::string& prefix, bool sanitized) {
  const OwnedObject owned = open_object(bytes);
  const std::vector<SymbolName> symbols = global_symbols(*owned.object);
  ElfConfig config;
  std::vector<std::string> renamed;
  renamed.reserve(symbols.size());  // the configuration keeps references
  for (const SymbolName& symbol : symbols) {
    if (symbol.undefined && symbol.name.starts_with(kHalidePrefix)) {
      renamed.push_back(std::string(kOurPrefix) + symbol.name);
      config.common.SymbolsToRename[symbol.name] = renamed.back();
    } else if (!symbol.undefined) {
      llvm::objcopy::NameMatcher matcher;
      auto pattern = llvm::objcopy::NameOrPattern::create(
          symbol.name, llvm::objcopy::MatchStyle::Literal, [](llvm::Error error) { return error; });
      if (llvm::Error error = matcher.addMatcher(std::move(pattern))) {
        throw InternalError("symbol '" + symbol.name + "': " + text_of(std::move(error)));
      }
      config.elf.SymbolsToSetVisibility.emplace_back(std::move(matcher), llvm::ELF::STV_HIDDEN);
    }
  }
  config.common.StripDebug = true;

  std::string result;
  llvm::raw_string_ostream out(result);
  if (llvm::Error error = llvm::objcopy::executeObjcopyOnBinary(config, *owned.object, out)) {
    throw InternalError("cannot rewrite a generated object: " + text_of(std::move(error)));
  }
  out.flush();
  check_object(result, prefix, sanitized);
  return result;
}

void check_object(const std::string& bytes, const std::string& prefix, bool sanitized) {
  check_symbols(*open_object(bytes).object, prefix, sanitized);
}

std::string make_archive(const std::vector<Object>& objects) {
  std::vector<llvm::NewArchiveMember> members;
  for (const Object& object : objects) {
    members.emplace_back(llvm::MemoryBufferRef(object.bytes, object.name));
  }
  auto archive = llvm::writeArchiveToBuffer(members, llvm::SymtabWritingMode::NormalSymtab,
                                            llvm::object::Archive::K_GNU, /*Deterministic=*/true,
                                            /*Thin=*/false);
  if (!archive) throw InternalError("cannot make the archive: " + text_of(archive.takeError()));
  return (*archive)->getBuffer().str();
}

}  // namespace mha
