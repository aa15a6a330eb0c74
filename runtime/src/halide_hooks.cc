// What compiled stages call: memory and errors. Halide's own runtime is not linked; the generator
// renames halide_X to mha_halide_X, so that a program with its own Halide keeps it to itself.
//
// user_context is the Slot of the thread that runs, so that a task finds its scratch without a
// lookup.
#include <stdio.h>

#include "runtime/src/internal.h"

namespace {

using mha::Failure;
using mha::kGenericError;
using mha::kOutOfMemory;
using mha::Slot;

// Precedes each allocation in a slot's scratch; MHA_SCRATCH_HEADER bytes with what is left unused.
struct Header {
  size_t previous;  // offset of the header below; SIZE_MAX: none
  size_t freed;
};
static_assert(sizeof(Header) <= MHA_SCRATCH_HEADER && MHA_SCRATCH_HEADER % 64 == 0);

Header* header_at(Slot* slot, size_t offset) {
  return reinterpret_cast<Header*>(slot->scratch + offset);
}

int record(void* user_context, int code, const char* text, const char* detail) {
  Slot* slot = static_cast<Slot*>(user_context);
  return slot == nullptr ? code : mha_internal_record(slot->failure, code, text, detail);
}

}  // namespace

extern "C" {

int mha_internal_record(Failure* failure, int code, const char* text, const char* detail) {
  if (code == 0) code = kGenericError;
  int32_t none = 0;
  if (__atomic_compare_exchange_n(&failure->code, &none, code, false, __ATOMIC_RELAXED,
                                  __ATOMIC_RELAXED)) {
    failure->text = text;
    snprintf(failure->detail, sizeof failure->detail, "%s", detail == nullptr ? "" : detail);
  }
  return code;
}

// NULL when the slot is exhausted. Nothing but pointer arithmetic: a call allocates nothing.
void* mha_halide_malloc(void* user_context, size_t bytes) {
  Slot* slot = static_cast<Slot*>(user_context);
  if (slot == nullptr) return nullptr;
  const size_t left = slot->size - slot->top;
  const size_t taken = ((bytes + 63) & ~size_t{63}) + MHA_SCRATCH_HEADER;
  if (bytes > left || taken > left) {
    record(slot, kOutOfMemory, "it needs more scratch memory than was planned", nullptr);
    return nullptr;
  }
  Header* header = header_at(slot, slot->top);
  header->previous = slot->last;
  header->freed = 0;
  slot->last = slot->top;
  slot->top += taken;
  return slot->scratch + slot->last + MHA_SCRATCH_HEADER;
}

// The space comes back when everything above it is free too: stages free in reverse order, or
// nearly so.
void mha_halide_free(void* user_context, void* pointer) {
  Slot* slot = static_cast<Slot*>(user_context);
  if (slot == nullptr || pointer == nullptr) return;
  reinterpret_cast<Header*>(static_cast<uint8_t*>(pointer) - MHA_SCRATCH_HEADER)->freed = 1;
  while (slot->last != SIZE_MAX && header_at(slot, slot->last)->freed) {
    slot->top = slot->last;
    slot->last = header_at(slot, slot->last)->previous;
  }
}

void mha_halide_error(void* user_context, const char* message) {
  record(user_context, kGenericError, "halide_error", message);
}

// The checks that Halide may compile into a stage. The generator leaves them out, so that each of
// these is a bug of ours; the code says which.
#define MHA_HALIDE_ERROR(name, code, detail, ...)                     \
  int mha_halide_error_##name(__VA_ARGS__) {                          \
    return record(user_context, code, "halide_error_" #name, detail); \
  }
#define CONTEXT [[maybe_unused]] void* user_context
#define NAME [[maybe_unused]] const char* name

MHA_HALIDE_ERROR(bounds_inference_call_failed, result, name, CONTEXT, NAME, int result)
MHA_HALIDE_ERROR(extern_stage_failed, result, name, CONTEXT, NAME, int result)
MHA_HALIDE_ERROR(explicit_bounds_too_small, -2, name, CONTEXT, NAME, const char*, int, int, int,
                 int)
MHA_HALIDE_ERROR(bad_type, -3, name, CONTEXT, NAME, uint32_t, uint32_t)
MHA_HALIDE_ERROR(bad_dimensions, -43, name, CONTEXT, NAME, int32_t, int32_t)
MHA_HALIDE_ERROR(access_out_of_bounds, -4, name, CONTEXT, NAME, int, int, int, int, int)
MHA_HALIDE_ERROR(buffer_allocation_too_large, -5, name, CONTEXT, NAME, uint64_t, uint64_t)
MHA_HALIDE_ERROR(buffer_extents_negative, -28, name, CONTEXT, NAME, int, int)
MHA_HALIDE_ERROR(buffer_extents_too_large, -6, name, CONTEXT, NAME, int64_t, int64_t)
MHA_HALIDE_ERROR(constraints_make_required_region_smaller, -7, name, CONTEXT, NAME, int, int, int,
                 int, int)
MHA_HALIDE_ERROR(constraint_violated, -8, name, CONTEXT, NAME, int, const char*, int)
MHA_HALIDE_ERROR(param_too_small_i64, -9, name, CONTEXT, NAME, int64_t, int64_t)
MHA_HALIDE_ERROR(param_too_small_u64, -9, name, CONTEXT, NAME, uint64_t, uint64_t)
MHA_HALIDE_ERROR(param_too_small_f64, -9, name, CONTEXT, NAME, double, double)
MHA_HALIDE_ERROR(param_too_large_i64, -10, name, CONTEXT, NAME, int64_t, int64_t)
MHA_HALIDE_ERROR(param_too_large_u64, -10, name, CONTEXT, NAME, uint64_t, uint64_t)
MHA_HALIDE_ERROR(param_too_large_f64, -10, name, CONTEXT, NAME, double, double)
MHA_HALIDE_ERROR(out_of_memory, kOutOfMemory, nullptr, CONTEXT)
MHA_HALIDE_ERROR(buffer_argument_is_null, -12, name, CONTEXT, NAME)
MHA_HALIDE_ERROR(debug_to_file_failed, -13, name, CONTEXT, NAME, const char*, int)
MHA_HALIDE_ERROR(unaligned_host_ptr, -24, name, CONTEXT, NAME, int)
MHA_HALIDE_ERROR(host_is_null, -34, name, CONTEXT, NAME)
MHA_HALIDE_ERROR(bad_fold, -25, name, CONTEXT, NAME, const char*, const char*)
MHA_HALIDE_ERROR(bad_extern_fold, -35, name, CONTEXT, NAME, int, int, int, int, int)
MHA_HALIDE_ERROR(fold_factor_too_small, -26, name, CONTEXT, NAME, const char*, int, const char*,
                 int)
MHA_HALIDE_ERROR(requirement_failed, -27, name, CONTEXT, NAME, const char*)
MHA_HALIDE_ERROR(specialize_fail, -31, name, CONTEXT, NAME)
MHA_HALIDE_ERROR(no_device_interface, -19, nullptr, CONTEXT)
MHA_HALIDE_ERROR(device_interface_no_device, -36, nullptr, CONTEXT)
MHA_HALIDE_ERROR(host_and_device_dirty, -37, nullptr, CONTEXT)
MHA_HALIDE_ERROR(buffer_is_null, -38, name, CONTEXT, NAME)
MHA_HALIDE_ERROR(device_dirty_with_no_device_support, -44, name, CONTEXT, NAME)
MHA_HALIDE_ERROR(storage_bound_too_small, -45, name, CONTEXT, NAME, const char*, int, int)
MHA_HALIDE_ERROR(device_crop_failed, -41, nullptr, CONTEXT)
MHA_HALIDE_ERROR(split_factor_not_positive, -46, name, CONTEXT, NAME, const char*, const char*,
                 const char*, const char*, int)
MHA_HALIDE_ERROR(vscale_invalid, -47, name, CONTEXT, NAME, int, int)

#undef NAME
#undef CONTEXT
#undef MHA_HALIDE_ERROR

}  // extern "C"
