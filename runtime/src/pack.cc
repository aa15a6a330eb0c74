// Weights from the model's row-major matrices into the panels that the kernels read.
#include <stdlib.h>
#include <string.h>

#include "runtime/src/floats.h"
#include "runtime/src/internal.h"

namespace {

constexpr int64_t kMaxPanel = 256;

// Arrays from files may lie at any address, hence the copies.
float element(const uint8_t* data, mha_dtype dtype, int64_t index) {
  if (dtype == MHA_F32) {
    float value;
    memcpy(&value, data + index * 4, 4);
    return value;
  }
  uint16_t bits;
  memcpy(&bits, data + index * 2, 2);
  return dtype == MHA_BF16 ? mha::float_of_bfloat(bits) : mha::float_of_half(bits);
}

// A row of a packed array: where its numbers come from. data NULL: zeros.
struct Source {
  const uint8_t* data;
  mha_dtype dtype;
  int64_t stride;
  double scale;
};

float value_at(const Source& source, int64_t column) {
  if (source.data == nullptr) return 0.0f;
  const float value = element(source.data, source.dtype, column * source.stride);
  // Scaled by exactly 1 a number keeps its bits, also a signalling NaN its payload.
  return source.scale == 1.0 ? value
                             : static_cast<float>(static_cast<double>(value) * source.scale);
}

int64_t source_group(const int32_t* sources, int64_t group) {
  return sources == nullptr ? group : sources[group];
}

// Which row of which weight goes to row `row` of the packed array.
Source source_of(const mha_pack_info& pack, const mha::WeightView* views, int64_t row) {
  for (uint64_t p = 0; p < pack.part_count; ++p) {
    const mha_pack_part& part = pack.parts[p];
    if (row < part.first_row) continue;
    const int64_t group = (row - part.first_row) / part.row_padded;
    const int64_t within = (row - part.first_row) % part.row_padded;
    if (group >= part.row_groups || within >= part.row_width) continue;
    const mha::WeightView& view = views[part.weight];
    const int64_t row_of_weight = source_group(part.row_sources, group) * part.row_width + within;
    const int64_t from = row_of_weight * view.row_stride;
    return {view.data + static_cast<size_t>(from) * mha_internal_dtype_bytes(view.dtype),
            view.dtype, view.column_stride, part.scale};
  }
  return {nullptr, MHA_F32, 0, 1.0};
}

// dst[panel][column][lane]: a panel is read from `panel` rows at once, so that it is written front
// to back.
void pack_array(const mha_pack_info& pack, const mha::WeightView* views, float* packed) {
  const int64_t panel = pack.vector ? 1 : pack.panel;
  const int64_t columns = pack.vector ? 1 : pack.columns;
  Source rows[kMaxPanel];
  for (int64_t first = 0; first < pack.rows; first += panel) {
    for (int64_t lane = 0; lane < panel; ++lane) rows[lane] = source_of(pack, views, first + lane);
    float* out = packed + first * columns;
    if (pack.vector) {
      *out = value_at(rows[0], 0);
      continue;
    }
    for (int64_t column = 0; column < columns; ++column, out += panel) {
      const int64_t group = column / pack.col_padded;
      const int64_t within = column % pack.col_padded;
      if (group >= pack.col_groups || within >= pack.col_width) {
        memset(out, 0, static_cast<size_t>(panel) * sizeof(float));
        continue;
      }
      const int64_t from = source_group(pack.col_sources, group) * pack.col_width + within;
      for (int64_t lane = 0; lane < panel; ++lane) out[lane] = value_at(rows[lane], from);
    }
  }
}

// Whether `groups` groups of `width` elements, those that `sources` names, lie within `size`.
bool groups_fit(const int32_t* sources, int64_t groups, int64_t width, int64_t size) {
  if (sources == nullptr) {
    int64_t end;
    return !__builtin_mul_overflow(groups, width, &end) && end <= size;
  }
  for (int64_t group = 0; group < groups; ++group) {
    int64_t end;
    if (sources[group] < 0 || __builtin_mul_overflow(int64_t{sources[group]} + 1, width, &end) ||
        end > size) {
      return false;
    }
  }
  return true;
}

// The generator's tables must not lead outside the arrays.
bool makes_sense(const mha_kernel* kernel, const mha_pack_info& pack) {
  if (pack.rows < 1 || pack.part_count > 0xFFFF) return false;
  if (!pack.vector) {
    int64_t elements;
    if (pack.panel < 1 || pack.panel > kMaxPanel || pack.rows % pack.panel != 0 ||
        pack.columns < 1 || pack.col_padded < 1 || pack.col_groups < 1 || pack.col_width < 1 ||
        pack.col_width > pack.col_padded ||
        __builtin_mul_overflow(pack.rows, pack.columns, &elements) ||
        elements > mha::kMaxElements) {
      return false;
    }
  }
  for (uint64_t p = 0; p < pack.part_count; ++p) {
    const mha_pack_part& part = pack.parts[p];
    if (part.weight >= kernel->weight_count || part.first_row < 0 || part.row_padded < 1 ||
        part.row_groups < 1 || part.row_width < 1 || part.row_width > part.row_padded) {
      return false;
    }
    const mha_weight_info& info = kernel->weights[part.weight];
    if (info.rank != (pack.vector ? 1u : 2u) ||
        !groups_fit(part.row_sources, part.row_groups, part.row_width, info.shape[0])) {
      return false;
    }
    if (!pack.vector &&
        !groups_fit(pack.col_sources, pack.col_groups, pack.col_width, info.shape[1])) {
      return false;
    }
  }
  return true;
}

size_t packed_bytes(const mha_pack_info& pack) {
  const size_t bytes =
      static_cast<size_t>(pack.rows * (pack.vector ? 1 : pack.columns)) * sizeof(float);
  return (bytes + 63) & ~size_t{63};
}

}  // namespace

extern "C" {

mha_status mha_internal_pack(const mha_kernel* kernel, const mha::WeightView* views,
                             mha_weights** result) {
  size_t total = 0;
  for (uint64_t i = 0; i < kernel->pack_count; ++i) {
    if (!makes_sense(kernel, kernel->packs[i])) {
      return mha_internal_fail(
          MHA_INTERNAL, "packed array %llu of kernel '%s' makes no sense: please report this",
          static_cast<unsigned long long>(i), kernel->info.name);
    }
    if (__builtin_add_overflow(total, packed_bytes(kernel->packs[i]), &total)) total = SIZE_MAX;
  }
  mha_weights* weights = static_cast<mha_weights*>(calloc(1, sizeof(mha_weights)));
  float** packs = static_cast<float**>(calloc(kernel->pack_count + 1, sizeof(float*)));
  void* data = nullptr;
  if (weights == nullptr || packs == nullptr ||
      posix_memalign(&data, 64, total == 0 ? 64 : total) != 0) {
    free(weights);
    free(packs);
    return mha_internal_fail(MHA_OUT_OF_MEMORY,
                             "no memory for the packed weights of kernel '%s' (%zu bytes)",
                             kernel->info.name, total);
  }
  weights->kernel = kernel;
  weights->abi = kernel->abi;
  weights->data = static_cast<uint8_t*>(data);
  weights->bytes = total;
  weights->packs = packs;
  size_t offset = 0;
  for (uint64_t i = 0; i < kernel->pack_count; ++i) {
    packs[i] = reinterpret_cast<float*>(weights->data + offset);
    pack_array(kernel->packs[i], views, packs[i]);
    offset += packed_bytes(kernel->packs[i]);
  }
  *result = weights;
  return MHA_OK;
}

}  // extern "C"
