// Weights given as arrays: every weight of the kernel once, and no other.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/src/internal.h"

namespace {

// The array must be the weight that `info` describes.
mha_status check_weight(const mha_weight_info& info, const mha_weight_array& array) {
  bool same = array.rank == static_cast<int32_t>(info.rank);
  for (uint32_t i = 0; same && i < info.rank; ++i) same = array.shape[i] == info.shape[i];
  if (!same) {
    const bool possible = array.rank >= 0 && array.rank <= MHA_MAX_RANK;
    char given[128], expected[64];
    mha_internal_shape_text(given, sizeof given, possible ? array.rank : 0, array.shape);
    mha_internal_shape_text(expected, sizeof expected, static_cast<int32_t>(info.rank), info.shape);
    return mha_internal_fail(MHA_INVALID_ARGUMENT,
                             "weight '%s' has shape %s%s; the kernel expects %s", info.name, given,
                             possible ? "" : " (and an impossible rank)", expected);
  }
  const mha_status status =
      mha_internal_check_weight_dtype(&info, array.dtype, MHA_INVALID_ARGUMENT);
  if (status == MHA_OK && array.data == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "weight '%s' was not given: its data is NULL",
                             info.name);
  }
  return status;
}

}  // namespace

extern "C" {

void mha_internal_shape_text(char* text, size_t size, int32_t rank, const int64_t* shape) {
  size_t length = static_cast<size_t>(snprintf(text, size, "["));
  for (int32_t i = 0; i < rank && length < size; ++i) {
    length += static_cast<size_t>(snprintf(text + length, size - length, "%s%lld", i ? ", " : "",
                                           static_cast<long long>(shape[i])));
  }
  if (length < size) snprintf(text + length, size - length, "]");
}

mha_status mha_internal_check_weight_dtype(const mha_weight_info* info, mha_dtype dtype,
                                           mha_status status) {
  if (dtype == MHA_F32 || dtype == MHA_BF16 || dtype == MHA_F16) return MHA_OK;
  return mha_internal_fail(status, "weight '%s' is %s; weights may be F32, BF16 or F16", info->name,
                           mha_dtype_name(dtype));
}

mha_status mha_weights_create(const mha_kernel* library, const mha_weight_array* arrays,
                              size_t count, mha_weights** weights) {
  if (weights == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "weights is NULL");
  *weights = nullptr;
  // Packing is done for the target that runs here, so that a kernel for a better machine is
  // refused now.
  const mha_kernel* kernel;
  mha_status status = mha_internal_choose(library, &kernel);
  if (status != MHA_OK) return status;
  if (arrays == nullptr && count > 0)
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "arrays is NULL");
  if (kernel->weight_count == 0) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "kernel '%s' has no weights", kernel->info.name);
  }
  // In the order of the kernel's table; those not given yet have no data.
  mha::WeightView* sorted =
      static_cast<mha::WeightView*>(calloc(kernel->weight_count, sizeof(mha::WeightView)));
  if (sorted == nullptr)
    return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a list of weights");
  for (size_t i = 0; i < count && status == MHA_OK; ++i) {
    const mha_weight_array& array = arrays[i];
    if (array.name == nullptr) {
      status = mha_internal_fail(MHA_INVALID_ARGUMENT, "arrays[%zu] has no name", i);
      break;
    }
    uint64_t w = 0;
    while (w < kernel->weight_count && strcmp(kernel->weights[w].name, array.name) != 0) ++w;
    if (w == kernel->weight_count) {
      char names[256] = "";
      size_t length = 0;
      for (uint64_t k = 0; k < kernel->weight_count && length < sizeof names; ++k) {
        length += static_cast<size_t>(snprintf(names + length, sizeof names - length, "%s%s",
                                               k ? ", " : "", kernel->weights[k].name));
      }
      status = mha_internal_fail(MHA_INVALID_ARGUMENT, "kernel '%s' has no weight '%s'; it has %s",
                                 kernel->info.name, array.name, names);
    } else if (sorted[w].data != nullptr) {
      status = mha_internal_fail(MHA_INVALID_ARGUMENT, "weight '%s' is given twice", array.name);
    } else {
      const mha_weight_info& info = kernel->weights[w];
      status = check_weight(info, array);
      sorted[w] = {static_cast<const uint8_t*>(array.data), array.dtype,
                   info.rank == 2 ? info.shape[1] : 1, 1};
    }
  }
  for (uint64_t w = 0; w < kernel->weight_count && status == MHA_OK; ++w) {
    if (sorted[w].data == nullptr) {
      status = mha_internal_fail(MHA_INVALID_ARGUMENT, "weight '%s' of kernel '%s' is missing",
                                 kernel->weights[w].name, kernel->info.name);
    }
  }
  if (status == MHA_OK) status = mha_internal_pack(kernel, sorted, weights);
  free(sorted);
  return status;
}

void mha_weights_destroy(mha_weights* weights) {
  if (weights == nullptr) return;
  free(weights->data);
  free(weights->packs);
  free(weights);
}

}  // extern "C"
