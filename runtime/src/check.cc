// The checks of a call's arguments. All of them come before the first byte is written.
#include "runtime/src/cache.h"

namespace {

using mha::Lengths;
using mha::TensorView;

struct Span {
  const uint8_t* begin;
  const uint8_t* end;
  const char* name;
};

const char* axis_letters(const mha_extent& extent) {
  switch (extent.symbol) {
    case MHA_SYMBOL_BATCH:
      return " (batch)";
    case MHA_SYMBOL_QUERY:
      return " (query_length)";
    case MHA_SYMBOL_KEY:
      return " (key_length)";
    case MHA_SYMBOL_ROWS:
      return " (sequence_starts[batch])";
    case MHA_SYMBOL_STARTS:
      return " (batch + 1)";
    case MHA_SYMBOL_NEW_KEYS:
      return " (new_keys)";
    default:
      return "";
  }
}

// The elements from the first to the last of a tensor, gaps included.
int64_t span_of(const TensorView& view, uint32_t rank) {
  int64_t last = 0;
  for (uint32_t axis = 0; axis < rank; ++axis)
    last += (view.extents[axis] - 1) * view.strides[axis];
  return last + 1;
}

// Whether no two indices of the tensor name the same element. Axes are taken from the smallest
// stride up; each must step over all that the smaller ones reach.
bool strides_are_disjoint(const TensorView& view, uint32_t rank) {
  int64_t reach = 0;
  uint32_t taken = 0;
  for (uint32_t round = 0; round < rank; ++round) {
    uint32_t best = rank;
    for (uint32_t axis = 0; axis < rank; ++axis) {
      if (taken >> axis & 1) continue;
      if (best == rank || view.strides[axis] < view.strides[best]) best = axis;
    }
    taken |= 1u << best;
    if (view.extents[best] == 1) continue;
    if (view.strides[best] <= reach) return false;
    reach += (view.extents[best] - 1) * view.strides[best];
  }
  return true;
}

// Before anything is read of it.
mha_status check_flags(const mha_tensor_info& info, const mha_tensor& tensor) {
  const bool may_repeat = (info.flags & MHA_TENSOR_MAY_REPEAT) != 0;
  const uint32_t known = MHA_STRIDED | (may_repeat ? uint32_t{MHA_REPEATED} : 0u);
  if ((tensor.flags & ~known) == 0 && tensor.memory == MHA_MEMORY_HOST) return MHA_OK;
  return mha_internal_fail(
      MHA_INVALID_ARGUMENT,
      "%s '%s': flags 0x%x and memory %u; known are MHA_STRIDED%s and MHA_MEMORY_HOST "
      "(was the struct zeroed before it was filled?)",
      info.role == MHA_ROLE_OUTPUT ? "output" : "input", info.name, tensor.flags, tensor.memory,
      may_repeat ? ", MHA_REPEATED" : "");
}

mha_status check_strides(const mha_tensor_info& info, const mha_tensor& tensor, TensorView* view) {
  const uint32_t rank = info.rank;
  const bool strided = (tensor.flags & MHA_STRIDED) != 0;
  int64_t elements = 1;
  for (uint32_t i = rank; i-- > 0;) {
    // Dense; with MHA_STRIDED the innermost axis alone, and those of one element, where any stride
    // is right. Axes that repeat make no tensor large.
    view->strides[i] = elements;
    if (strided) continue;
    if (__builtin_mul_overflow(elements, view->extents[i], &elements))
      elements = mha::kMaxElements + 1;
    if (elements > mha::kMaxElements) {
      return mha_internal_fail(MHA_OUT_OF_RANGE, "tensor '%s' would have 2^31 elements or more",
                               info.name);
    }
  }
  const bool repeated = (tensor.flags & MHA_REPEATED) != 0;
  if (repeated && !strided) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT,
                             "tensor '%s': MHA_REPEATED needs MHA_STRIDED and strides", info.name);
  }
  if (!strided) return MHA_OK;
  if (repeated) view->strides[rank - 1] = 0;
  int64_t last = rank == 0 || repeated ? 0 : view->extents[rank - 1] - 1;
  for (uint32_t i = 0; i + 1 < rank; ++i) {
    if (view->extents[i] == 1) continue;
    const int64_t stride = tensor.strides[i];
    if (stride < 0) {
      return mha_internal_fail(
          MHA_INVALID_ARGUMENT,
          "tensor '%s': the stride of axis %u%s is %lld; strides may not be negative", info.name, i,
          axis_letters(info.axes[i]), static_cast<long long>(stride));
    }
    int64_t step;
    if (__builtin_mul_overflow(stride, view->extents[i] - 1, &step) ||
        __builtin_add_overflow(last, step, &last) || last >= mha::kMaxElements) {
      return mha_internal_fail(
          MHA_OUT_OF_RANGE,
          "tensor '%s': the stride %lld of axis %u%s with its extent %lld reaches 2^31 "
          "elements or more",
          info.name, static_cast<long long>(stride), i, axis_letters(info.axes[i]),
          static_cast<long long>(view->extents[i]));
    }
    view->strides[i] = stride;
  }
  if (info.role == MHA_ROLE_OUTPUT && !strides_are_disjoint(*view, rank)) {
    return mha_internal_fail(MHA_OVERLAP,
                             "output '%s': with these strides some of its elements share memory",
                             info.name);
  }
  return MHA_OK;
}

bool meet(const Span& a, const Span& b) { return a.begin < b.end && b.begin < a.end; }

}  // namespace

extern "C" {

const mha_tensor* mha_internal_tensor(const mha_kernel* kernel, const mha_call* call,
                                      uint64_t index) {
  return reinterpret_cast<const mha_tensor*>(reinterpret_cast<const uint8_t*>(call) +
                                             kernel->tensors[index].offset);
}

mha_status mha_internal_check_starts(const mha_kernel* kernel, const mha_call* call, bool required,
                                     Lengths* lengths) {
  const int64_t batch = lengths->symbol[MHA_SYMBOL_BATCH];
  const int64_t longest = lengths->symbol[MHA_SYMBOL_QUERY];
  const uint64_t index = static_cast<uint64_t>(kernel->sequence_starts_tensor);
  if (index >= kernel->tensor_count || kernel->tensors[index].check != MHA_CHECK_STARTS ||
      kernel->tensors[index].dtype != MHA_I32) {
    return mha_internal_fail(MHA_INTERNAL,
                             "sequence_starts of kernel '%s' makes no sense: please report this",
                             kernel->info.name);
  }
  const mha_tensor& tensor = *mha_internal_tensor(kernel, call, index);
  const void* data = tensor.data;
  if (data == nullptr && !required) {
    // At most 2^31 each, so that the product fits.
    lengths->symbol[MHA_SYMBOL_ROWS] = batch * longest;
    return MHA_OK;
  }
  if (data == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT,
                             "input 'sequence_starts' was not given: its data is NULL");
  }
  const mha_status known = check_flags(kernel->tensors[index], tensor);
  if (known != MHA_OK) return known;
  if (reinterpret_cast<uintptr_t>(data) % sizeof(int32_t) != 0) {
    return mha_internal_fail(MHA_MISALIGNED,
                             "input 'sequence_starts' is at %p, which is no multiple of its "
                             "element's %zu bytes",
                             data, sizeof(int32_t));
  }
  const int32_t* starts = static_cast<const int32_t*>(data);
  if (starts[0] != 0) {
    return mha_internal_fail(MHA_OUT_OF_RANGE, "sequence_starts[0] is %d; it must be 0", starts[0]);
  }
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t length = int64_t{starts[b + 1]} - starts[b];
    if (length >= 0 && length <= longest) continue;
    return mha_internal_fail(
        MHA_OUT_OF_RANGE,
        "sequence_starts[%lld] is %d and sequence_starts[%lld] is %d: sequence "
        "%lld has %lld rows; it may have 0 to query_length, %lld",
        static_cast<long long>(b), starts[b], static_cast<long long>(b + 1), starts[b + 1],
        static_cast<long long>(b), static_cast<long long>(length), static_cast<long long>(longest));
  }
  if (starts[batch] < 1) {
    return mha_internal_fail(MHA_OUT_OF_RANGE,
                             "sequence_starts[%lld] is 0: a packed batch needs at least one row",
                             static_cast<long long>(batch));
  }
  lengths->symbol[MHA_SYMBOL_ROWS] = starts[batch];
  return MHA_OK;
}

mha_status mha_internal_check_tensors(const mha_kernel* kernel, const mha_call* call,
                                      mha::Entry entry, const Lengths* lengths, TensorView* views) {
  for (uint64_t i = 0; i < kernel->tensor_count; ++i) {
    const mha_tensor_info& info = kernel->tensors[i];
    const mha_tensor& tensor = *mha_internal_tensor(kernel, call, i);
    TensorView& view = views[i];
    view = {};
    if (entry == mha::kAppend && (info.flags & MHA_TENSOR_APPENDED) == 0) continue;
    const bool brought = lengths->symbol[MHA_SYMBOL_NEW_KEYS] > 0;
    if ((info.flags & MHA_TENSOR_NEW_KEYS) != 0 && !brought) continue;
    const char* what = info.role == MHA_ROLE_OUTPUT ? "output" : "input";
    if (tensor.data == nullptr) {
      return mha_internal_fail(MHA_INVALID_ARGUMENT, "%s '%s' was not given: its data is NULL",
                               what, info.name);
    }
    const mha_status known = check_flags(info, tensor);
    if (known != MHA_OK) return known;
    const size_t element = mha_internal_dtype_bytes(info.dtype);
    if (element == 0 || info.rank > MHA_MAX_RANK) {
      return mha_internal_fail(
          MHA_INTERNAL, "tensor '%s' of kernel '%s' has dtype %u and rank %u: please report this",
          info.name, kernel->info.name, info.dtype, info.rank);
    }
    view.data = static_cast<uint8_t*>(tensor.data);
    if (reinterpret_cast<uintptr_t>(view.data) % element != 0) {
      return mha_internal_fail(MHA_MISALIGNED,
                               "%s '%s' is at %p, which is no multiple of its element's %zu bytes",
                               what, info.name, tensor.data, element);
    }
    for (uint32_t axis = 0; axis < info.rank; ++axis) {
      view.extents[axis] = mha_internal_extent(&info.axes[axis], lengths);
      if (view.extents[axis] < 1) {
        return mha_internal_fail(MHA_OUT_OF_RANGE, "tensor '%s': axis %u%s has no valid extent",
                                 info.name, axis, axis_letters(info.axes[axis]));
      }
    }
    const mha_status status = check_strides(info, tensor, &view);
    if (status != MHA_OK) return status;
  }
  return MHA_OK;
}

mha_status mha_internal_check_overlap(const mha_kernel* kernel, const mha_call* call,
                                      const Lengths* lengths, const TensorView* views,
                                      size_t workspace_bytes) {
  // What is written (outputs and the workspace) may touch nothing else; inputs may share what they
  // like.
  Span spans[MHA_MAX_TENSORS + 4];
  bool written[MHA_MAX_TENSORS + 4];
  uint64_t count = 0;
  const auto add = [&](const void* begin, size_t bytes, const char* name, bool is_written) {
    const uint8_t* first = static_cast<const uint8_t*>(begin);
    spans[count] = {first, first + bytes, name};
    written[count++] = is_written;
  };
  for (uint64_t i = 0; i < kernel->tensor_count; ++i) {
    const mha_tensor_info& info = kernel->tensors[i];
    if (views[i].data == nullptr) continue;
    add(views[i].data,
        static_cast<size_t>(span_of(views[i], info.rank)) * mha_internal_dtype_bytes(info.dtype),
        info.name, info.role == MHA_ROLE_OUTPUT);
  }
  add(call->workspace, workspace_bytes, "workspace", true);
  add(call, kernel->args_size, "args", false);
  if (call->sequences != nullptr) {
    add(call->sequences, static_cast<size_t>(lengths->symbol[MHA_SYMBOL_BATCH]) * sizeof(int32_t),
        "sequences", false);
  }
  if (call->weights != nullptr) add(call->weights->data, call->weights->bytes, "weights", false);
  for (uint64_t i = 0; i < count; ++i) {
    if (!written[i]) continue;
    for (uint64_t j = 0; j < count; ++j) {
      if (j == i || (written[j] && j < i) || !meet(spans[i], spans[j])) continue;
      return mha_internal_fail(MHA_OVERLAP, "'%s' [%p, %p) overlaps '%s' [%p, %p)", spans[i].name,
                               static_cast<const void*>(spans[i].begin),
                               static_cast<const void*>(spans[i].end), spans[j].name,
                               static_cast<const void*>(spans[j].begin),
                               static_cast<const void*>(spans[j].end));
    }
  }
  return MHA_OK;
}

mha_status mha_internal_check_values(const mha_kernel* kernel, const mha_call* call,
                                     const Lengths* lengths, const TensorView* views) {
  // The stages' scalars are read from these, so that they must be checked ones.
  const auto usable = [&](int32_t tensor, uint32_t check) {
    return tensor < 0 || (static_cast<uint64_t>(tensor) < kernel->tensor_count &&
                          kernel->tensors[tensor].check == check &&
                          (views[tensor].data == nullptr ||
                           views[tensor].extents[0] == lengths->symbol[MHA_SYMBOL_BATCH]));
  };
  if (!usable(kernel->key_lengths_tensor, MHA_CHECK_KEYS) ||
      !usable(kernel->key_starts_tensor, MHA_CHECK_KEYS) ||
      !usable(kernel->query_offset_tensor, MHA_CHECK_INT32_OFFSET)) {
    return mha_internal_fail(MHA_INTERNAL,
                             "the index tensors of kernel '%s' make no sense: please report this",
                             kernel->info.name);
  }
  const int32_t* starts =
      kernel->sequence_starts_tensor < 0 || kernel->cache != nullptr
          ? nullptr
          : reinterpret_cast<const int32_t*>(views[kernel->sequence_starts_tensor].data);
  for (uint64_t t = 0; t < kernel->tensor_count; ++t) {
    const mha_tensor_info& info = kernel->tensors[t];
    if (info.check == MHA_CHECK_NONE || info.check == MHA_CHECK_STARTS) continue;
    if (views[t].data == nullptr) continue;
    if (info.dtype != MHA_I32 || info.rank != 1 || info.check > MHA_CHECK_INT32_OFFSET) {
      return mha_internal_fail(MHA_INTERNAL,
                               "tensor '%s' of kernel '%s' has check %u: please report this",
                               info.name, kernel->info.name, info.check);
    }
    const bool of_keys = info.check == MHA_CHECK_KEYS;
    const int64_t low = of_keys ? 0 : -mha::kFarthestOffset;
    const int32_t* values = reinterpret_cast<const int32_t*>(views[t].data);
    for (int64_t i = 0; i < views[t].extents[0]; ++i) {
      int64_t high = of_keys ? lengths->symbol[MHA_SYMBOL_KEY] : mha::kFarthestOffset;
      if (of_keys && starts != nullptr) high = starts[i + 1] - starts[i];
      if (of_keys && kernel->cache != nullptr) high = call->cache->rows[i].keys;
      if (values[i] >= low && values[i] <= high) continue;
      return mha_internal_fail(MHA_OUT_OF_RANGE, "%s[%lld] is %d; it may be %lld to %lld",
                               info.name, static_cast<long long>(i), values[i],
                               static_cast<long long>(low), static_cast<long long>(high));
    }
  }
  return MHA_OK;
}

}  // extern "C"
