// From lengths to sizes: what a call with these lengths needs, without overflow.
#include "runtime/src/internal.h"

namespace {

using mha::Layout;
using mha::Lengths;

constexpr const char* kLengthNames[] = {"", "batch", "query_length", "key_length", "",
                                        "", "",      "new_keys"};

// bytes rounded up to the workspace's alignment; false on overflow.
bool align(size_t* bytes) {
  if (__builtin_add_overflow(*bytes, size_t{MHA_WORKSPACE_ALIGNMENT - 1}, bytes)) return false;
  *bytes &= ~size_t{MHA_WORKSPACE_ALIGNMENT - 1};
  return true;
}

mha_status resolve(const mha_kernel* kernel, int symbol, int64_t given,
                   const mha_length_range& range, Lengths* lengths) {
  const int64_t value = given == 0 ? range.max : given;
  if (value < range.min || value > range.max) {
    if (range.min == range.max) {
      return mha_internal_fail(MHA_OUT_OF_RANGE, "%s is %lld; kernel '%s' was generated for %lld",
                               kLengthNames[symbol], static_cast<long long>(value),
                               kernel->info.name, static_cast<long long>(range.max));
    }
    return mha_internal_fail(MHA_OUT_OF_RANGE,
                             "%s is %lld; kernel '%s' was generated for %lld to %lld",
                             kLengthNames[symbol], static_cast<long long>(value), kernel->info.name,
                             static_cast<long long>(range.min), static_cast<long long>(range.max));
  }
  lengths->symbol[symbol] = value;
  return MHA_OK;
}

// The keys that the call brings to each sequence of a cache.
mha_status resolve_new_keys(const mha_kernel* kernel, int64_t given, bool most, Lengths* lengths) {
  int64_t* value = &lengths->symbol[MHA_SYMBOL_NEW_KEYS];
  const int64_t queries = lengths->symbol[MHA_SYMBOL_QUERY];
  if (kernel->new_keys_kind == MHA_NEW_KEYS_OWN) {
    *value = 0;
    if (given == 0 && !most) return MHA_OK;
    return resolve(kernel, MHA_SYMBOL_NEW_KEYS, given, kernel->new_keys, lengths);
  }
  const bool none = kernel->new_keys_kind == MHA_NEW_KEYS_OF_QUERIES_OR_NONE && !most;
  *value = given == 0 && none ? 0 : queries;
  if (given == 0 || given == queries) return MHA_OK;
  return mha_internal_fail(
      MHA_OUT_OF_RANGE,
      "new_keys is %lld and query_length %lld; kernel '%s' takes one key for each query%s",
      static_cast<long long>(given), static_cast<long long>(queries), kernel->info.name,
      kernel->new_keys_kind == MHA_NEW_KEYS_OF_QUERIES_OR_NONE ? ", or none: 0"
                                                               : ": leave new_keys 0");
}

// The layout of one variant by itself.
mha_status lay_out(const mha_kernel* kernel, const mha_variant* variant, const Lengths* lengths,
                   int32_t threads, Layout* layout) {
  layout->total = 0;
  size_t total = 0;
  bool fits = true;
  for (uint64_t i = 0; i < variant->buffer_count && fits; ++i) {
    const mha_buffer_info& info = variant->buffers[i];
    layout->buffer_offsets[i] = total;
    int64_t elements = 1;
    for (uint32_t axis = 0; axis < info.rank && axis < MHA_MAX_RANK; ++axis) {
      const int64_t extent = mha_internal_extent(&info.extents[axis], lengths);
      if (extent < 0 || __builtin_mul_overflow(elements, extent, &elements))
        elements = mha::kMaxElements + 1;
      if (elements > mha::kMaxElements) {
        return mha_internal_fail(
            MHA_OUT_OF_RANGE,
            "with batch %lld, query_length %lld and key_length %lld the internal buffer "
            "'%s' of kernel '%s' would have 2^31 elements or more",
            static_cast<long long>(lengths->symbol[MHA_SYMBOL_BATCH]),
            static_cast<long long>(lengths->symbol[MHA_SYMBOL_QUERY]),
            static_cast<long long>(lengths->symbol[MHA_SYMBOL_KEY]), info.name, kernel->info.name);
      }
    }
    const size_t bytes = static_cast<size_t>(elements) * mha_internal_dtype_bytes(info.dtype);
    fits = !__builtin_add_overflow(total, bytes, &total) && align(&total);
  }
  size_t scratch = 0;
  for (uint64_t i = 0; i < variant->stage_count; ++i) {
    if (variant->stages[i].scratch_bytes > scratch) scratch = variant->stages[i].scratch_bytes;
  }
  fits = fits && align(&scratch);
  size_t stride = 0, slots = 0;
  fits = fits &&
         !__builtin_add_overflow(scratch, size_t{mha::kSlotHead + mha::kSlotTail}, &stride) &&
         !__builtin_mul_overflow(stride, static_cast<size_t>(threads), &slots);
  layout->slots_offset = total;
  layout->slot_stride = stride;
  layout->scratch_bytes = scratch;
  fits = fits && !__builtin_add_overflow(total, slots, &layout->total);
  if (!fits) {
    return mha_internal_fail(
        MHA_OUT_OF_RANGE, "the workspace of kernel '%s' for %d threads exceeds the address space",
        kernel->info.name, threads);
  }
  return MHA_OK;
}

// The largest lengths, none above these, of calls of up to `queries` queries.
void shorten(const mha_kernel* kernel, int64_t queries, Lengths* lengths) {
  int64_t* symbol = lengths->symbol;
  if (symbol[MHA_SYMBOL_QUERY] > queries) symbol[MHA_SYMBOL_QUERY] = queries;
  if (kernel->self_length) symbol[MHA_SYMBOL_KEY] = symbol[MHA_SYMBOL_QUERY];
  if (kernel->new_keys_kind != MHA_NEW_KEYS_OWN && symbol[MHA_SYMBOL_NEW_KEYS] > queries)
    symbol[MHA_SYMBOL_NEW_KEYS] = queries;
  int64_t rows;
  if (!__builtin_mul_overflow(symbol[MHA_SYMBOL_BATCH], symbol[MHA_SYMBOL_QUERY], &rows) &&
      symbol[MHA_SYMBOL_ROWS] > rows) {
    symbol[MHA_SYMBOL_ROWS] = rows;
  }
}

}  // namespace

extern "C" {

size_t mha_internal_dtype_bytes(uint32_t dtype) {
  switch (dtype) {
    case MHA_F32:
      return 4;
    case MHA_BF16:
      return 2;
    case MHA_F16:
      return 2;
    case MHA_I32:
      return 4;
    case MHA_I64:
      return 8;
    case MHA_U8:
      return 1;
    case MHA_BOOL:
      return 1;
    case MHA_I8:
      return 1;
    default:
      return 0;
  }
}

mha_status mha_internal_lengths(const mha_kernel* kernel, const void* args, bool starts_required,
                                bool most_keys, Lengths* lengths) {
  *lengths = {};
  if (args == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "args is NULL");
  const mha_call* call = static_cast<const mha_call*>(args);
  if (call->size != kernel->args_size) {
    return mha_internal_fail(
        MHA_INVALID_ARGUMENT, "args.size is %zu: set it to sizeof(%s_args), which is %llu",
        call->size, kernel->info.name, static_cast<unsigned long long>(kernel->args_size));
  }
  lengths->symbol[MHA_SYMBOL_ONE] = 1;
  mha_status status = resolve(kernel, MHA_SYMBOL_BATCH, call->batch, kernel->batch, lengths);
  if (status != MHA_OK) return status;
  status = resolve(kernel, MHA_SYMBOL_QUERY, call->query_length, kernel->query_length, lengths);
  if (status != MHA_OK) return status;
  lengths->symbol[MHA_SYMBOL_STARTS] = lengths->symbol[MHA_SYMBOL_BATCH] + 1;
  if (kernel->sequence_starts_tensor >= 0) {
    status = mha_internal_check_starts(kernel, call, starts_required, lengths);
    if (status != MHA_OK) return status;
  } else if (__builtin_mul_overflow(lengths->symbol[MHA_SYMBOL_BATCH],
                                    lengths->symbol[MHA_SYMBOL_QUERY],
                                    &lengths->symbol[MHA_SYMBOL_ROWS])) {
    lengths->symbol[MHA_SYMBOL_ROWS] = INT64_MAX;  // no array has so many
  }
  if (kernel->cache != nullptr) {
    status = resolve_new_keys(kernel, call->new_keys, most_keys, lengths);
    if (status != MHA_OK) return status;
  } else if (call->new_keys != 0) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT,
                             "the spec of kernel '%s' has no kv_cache; leave new_keys 0",
                             kernel->info.name);
  }
  if (!kernel->self_length) {
    return resolve(kernel, MHA_SYMBOL_KEY, call->key_length, kernel->key_length, lengths);
  }
  const int64_t queries = lengths->symbol[MHA_SYMBOL_QUERY];
  if (call->key_length != 0 && call->key_length != queries) {
    return mha_internal_fail(
        MHA_OUT_OF_RANGE,
        "key_length is %lld and query_length %lld; in kernel '%s' they are one length: "
        "leave key_length 0",
        static_cast<long long>(call->key_length), static_cast<long long>(queries),
        kernel->info.name);
  }
  lengths->symbol[MHA_SYMBOL_KEY] = queries;
  return MHA_OK;
}

int64_t mha_internal_extent(const mha_extent* extent, const Lengths* lengths) {
  const bool known = extent->symbol <= MHA_SYMBOL_STARTS || extent->symbol == MHA_SYMBOL_NEW_KEYS;
  if (extent->symbol < MHA_SYMBOL_ONE || !known) return -1;
  int64_t value = lengths->symbol[extent->symbol];
  if (extent->round > 1) {
    if (__builtin_add_overflow(value, int64_t{extent->round} - 1, &value)) return -1;
    value -= value % extent->round;
  }
  if (extent->per > 1) value = value / extent->per + (value % extent->per != 0);
  if (__builtin_mul_overflow(value, extent->scale, &value)) return -1;
  return value;
}

const mha_variant* mha_internal_variant(const mha_kernel* kernel, int64_t query_length) {
  const uint64_t count = kernel->variant_count;
  if (count == 0 || count > MHA_MAX_VARIANTS) return nullptr;
  for (const mha_variant* v = kernel->variants; v != kernel->variants + count; ++v) {
    if (query_length <= v->max_query_length) return v;
  }
  return nullptr;
}

mha_status mha_internal_no_variant(const mha_kernel* kernel, int64_t query_length) {
  return mha_internal_fail(MHA_INTERNAL,
                           "no variant of kernel '%s' serves query_length %lld: please report this",
                           kernel->info.name, static_cast<long long>(query_length));
}

mha_status mha_internal_layout(const mha_kernel* kernel, const mha_variant* variant,
                               const Lengths* lengths, int32_t threads, Layout* layout) {
  mha_status status = lay_out(kernel, variant, lengths, threads, layout);
  for (const mha_variant* v = kernel->variants; status == MHA_OK && v != variant; ++v) {
    Lengths shorter = *lengths;
    shorten(kernel, v->max_query_length, &shorter);
    Layout other;
    status = lay_out(kernel, v, &shorter, threads, &other);
    if (other.total > layout->total) layout->total = other.total;
  }
  return status;
}

mha_status mha_workspace_size(const mha_kernel* library, const void* args, int32_t threads,
                              size_t* bytes) {
  if (bytes == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "bytes is NULL");
  *bytes = 0;
  const mha_kernel* kernel;
  mha_status status = mha_internal_choose_any(library, &kernel);
  if (status != MHA_OK) return status;
  if (threads < 1 || threads > mha::kMaxThreads) {
    return mha_internal_fail(MHA_OUT_OF_RANGE,
                             "threads is %d; it may be 1 to %d (mha_context_threads says it)",
                             threads, static_cast<int>(mha::kMaxThreads));
  }
  Lengths lengths;
  status = mha_internal_lengths(kernel, args, false, true, &lengths);
  if (status != MHA_OK) return status;
  const int64_t queries = lengths.symbol[MHA_SYMBOL_QUERY];
  const mha_variant* variant = mha_internal_variant(kernel, queries);
  if (variant == nullptr) return mha_internal_no_variant(kernel, queries);
  Layout layout;
  status = mha_internal_layout(kernel, variant, &lengths, threads, &layout);
  if (status == MHA_OK) *bytes = layout.total;
  return status;
}

mha_status mha_kernel_variant(const mha_kernel* library, int64_t query_length,
                              mha_variant_info* info) {
  if (info == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "info is NULL");
  *info = {};
  const mha_kernel* kernel;
  mha_status status = mha_internal_choose_any(library, &kernel);
  if (status != MHA_OK) return status;
  Lengths lengths;
  status = resolve(kernel, MHA_SYMBOL_QUERY, query_length, kernel->query_length, &lengths);
  if (status != MHA_OK) return status;
  const int64_t queries = lengths.symbol[MHA_SYMBOL_QUERY];
  const mha_variant* variant = mha_internal_variant(kernel, queries);
  if (variant == nullptr) return mha_internal_no_variant(kernel, queries);
  info->index = static_cast<uint32_t>(variant - kernel->variants);
  info->count = static_cast<uint32_t>(kernel->variant_count);
  info->min_query_length =
      info->index == 0 ? kernel->query_length.min : variant[-1].max_query_length + 1;
  info->max_query_length = variant->max_query_length;
  info->schedule = variant->schedule;
  return MHA_OK;
}

}  // extern "C"
