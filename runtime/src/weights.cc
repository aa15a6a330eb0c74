// Weights given as arrays: every weight of the kernel once, and no other.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/src/internal.h"

extern "C" {

mha_status mha_weights_create(const mha_kernel* kernel, const mha_weight_array* arrays,
                              size_t count, mha_weights** weights) {
  if (weights == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "weights is NULL");
  *weights = nullptr;
  // Packing is done for the variant that runs here, so that a kernel for a better machine is
  // refused now.
  mha_status status = mha_kernel_check(kernel);
  if (status != MHA_OK) return status;
  if (arrays == nullptr && count > 0)
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "arrays is NULL");
  if (kernel->weight_count == 0) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "kernel '%s' has no weights", kernel->info.name);
  }
  // In the order of the kernel's table.
  mha_weight_array* sorted =
      static_cast<mha_weight_array*>(calloc(kernel->weight_count, sizeof(mha_weight_array)));
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
    } else if (sorted[w].name != nullptr) {
      status = mha_internal_fail(MHA_INVALID_ARGUMENT, "weight '%s' is given twice", array.name);
    } else {
      status = mha_internal_check_weight(&kernel->weights[w], &array, MHA_INVALID_ARGUMENT);
      sorted[w] = array;
    }
  }
  for (uint64_t w = 0; w < kernel->weight_count && status == MHA_OK; ++w) {
    if (sorted[w].name == nullptr) {
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
