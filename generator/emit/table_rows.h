// Tables of an object, row by row.
#ifndef MHA_GENERATOR_EMIT_TABLE_ROWS_H_
#define MHA_GENERATOR_EMIT_TABLE_ROWS_H_

#include <llvm/IR/Constants.h>
#include <llvm/IR/LLVMContext.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <type_traits>
#include <vector>

namespace mha {

// The tables are the runtime's own structs, filled in here and copied byte by byte with their
// pointers made symbolic, so that a change of kernel.h reaches the generated objects by itself.
// That wants generator and generated code to lay out a struct alike:
static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8 &&
                  __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "the generator runs on 64-bit little-endian machines only");

// An array of one of kernel.h's structs on its way into the object.
template <typename T>
class Rows {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // Padding between fields is zero too: same inputs, same bytes.
  explicit Rows(size_t count) : bytes_(count * sizeof(T)) {}

  size_t size() const { return bytes_.size() / sizeof(T); }
  T& operator[](size_t i) { return reinterpret_cast<T*>(bytes_.data())[i]; }
  // The pointer at `offset` bytes into row i will be that of `target`.
  void point(size_t i, size_t offset, llvm::Constant* target) {
    pointers_[i * sizeof(T) + offset] = target;
  }

  llvm::Constant* constant(llvm::LLVMContext& context) const {
    std::vector<llvm::Constant*> pieces;
    size_t done = 0;
    const auto copy_until = [&](size_t end) {
      if (end == done) return;
      pieces.push_back(llvm::ConstantDataArray::get(
          context, llvm::ArrayRef<uint8_t>(bytes_.data() + done, end - done)));
      done = end;
    };
    for (const auto& [offset, target] : pointers_) {
      copy_until(offset);
      pieces.push_back(target);
      done += sizeof(void*);
    }
    copy_until(bytes_.size());
    return llvm::ConstantStruct::getAnon(context, pieces, /*Packed=*/true);
  }

 private:
  std::vector<uint8_t> bytes_;
  std::map<size_t, llvm::Constant*> pointers_;
};

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_TABLE_ROWS_H_
