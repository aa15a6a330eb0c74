// Weights from the model's row-major matrices into the panels that the kernels read.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/src/float_state.h"
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
  int64_t stride, columns;
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
Source source_of(const mha_kernel* kernel, const mha_pack_info& pack, const mha::WeightView* views,
                 int64_t row) {
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
            view.dtype, view.column_stride, kernel->weights[part.weight].shape[1], part.scale};
  }
  return {nullptr, MHA_F32, 0, 0, 1.0};
}

// Row r of the array, column by column: which column of the source, or -1 for a zero.
int64_t source_column(const mha_pack_info& pack, int64_t column) {
  const int64_t group = column / pack.col_padded, within = column % pack.col_padded;
  if (group >= pack.col_groups || within >= pack.col_width) return -1;
  return source_group(pack.col_sources, group) * pack.col_width + within;
}

// The scale of a row of int8: its largest value becomes 127, whether it is packed or left out. NaN
// where that is not finite.
float row_scale(const Source& row) {
  if (row.data == nullptr) return 0.0f;
  float largest = 0.0f;
  for (int64_t column = 0; column < row.columns; ++column) {
    const float size = __builtin_fabsf(value_at(row, column));
    if (!__builtin_isfinite(size)) return mha::float_of_bits(0x7FC00000u);
    if (size > largest) largest = size;
  }
  return largest / 127.0f;
}

// value / scale to the nearest integer, to even of two. A scale so small that it was rounded leaves
// a quotient above 127; one that vanished, or is NaN, leaves nothing.
int8_t quantised(float value, float scale) {
  if (!(scale > 0.0f)) return 0;
  const float quotient = value / scale;
  const float steps = quotient > 127.0f ? 127.0f : quotient < -127.0f ? -127.0f : quotient;
  constexpr float kInteger = 0x1.8p23f;  // from here on a float has no fraction
  return static_cast<int8_t>((steps + kInteger) - kInteger);
}

void store(uint8_t* out, uint32_t dtype, float value, float scale) {
  if (dtype == MHA_F32) {
    memcpy(out, &value, 4);
  } else if (dtype == MHA_I8) {
    *out = static_cast<uint8_t>(quantised(value, scale));
  } else {
    const uint16_t bits =
        dtype == MHA_BF16 ? mha::bfloat_of_float(value) : mha::half_of_float(value);
    memcpy(out, &bits, 2);
  }
}

// [panel][K / pair][lane][pair]: a panel is read from `panel` rows at once, so that it is written
// front to back.
void pack_matrix(const mha_kernel* kernel, const mha_pack_info& pack, const mha::WeightView* views,
                 uint8_t* packed) {
  const int64_t panel = pack.panel, pair = pack.pair;
  const int64_t bytes = static_cast<int64_t>(mha_internal_dtype_bytes(pack.dtype));
  Source rows[kMaxPanel];
  float scales[kMaxPanel];
  uint8_t* out = packed;
  for (int64_t first = 0; first < pack.rows; first += panel) {
    for (int64_t lane = 0; lane < panel; ++lane) {
      rows[lane] = source_of(kernel, pack, views, first + lane);
      scales[lane] = pack.dtype == MHA_I8 ? row_scale(rows[lane]) : 0.0f;
    }
    for (int64_t column = 0; column < pack.columns; column += pair, out += panel * pair * bytes) {
      for (int64_t k = 0; k < pair; ++k) {
        const int64_t from = source_column(pack, column + k);
        for (int64_t lane = 0; lane < panel; ++lane) {
          const float value = from < 0 ? 0.0f : value_at(rows[lane], from);
          store(out + (lane * pair + k) * bytes, pack.dtype, value, scales[lane]);
        }
      }
    }
  }
}

void pack_array(const mha_kernel* kernel, const mha_pack_info& pack, const mha::WeightView* views,
                uint8_t* packed) {
  if (pack.kind == MHA_PACK_MATRIX) return pack_matrix(kernel, pack, views, packed);
  float* out = reinterpret_cast<float*>(packed);
  for (int64_t row = 0; row < pack.rows; ++row) {
    const Source source = source_of(kernel, pack, views, row);
    out[row] = pack.kind == MHA_PACK_SCALES ? row_scale(source) : value_at(source, 0);
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
  if (pack.rows < 1 || pack.part_count > 0xFFFF || pack.kind > MHA_PACK_SCALES) return false;
  const bool matrix = pack.kind == MHA_PACK_MATRIX, vector = pack.kind == MHA_PACK_VECTOR;
  if (matrix) {
    const bool stored = pack.dtype == MHA_F32 || pack.dtype == MHA_BF16 || pack.dtype == MHA_F16 ||
                        pack.dtype == MHA_I8;
    const bool paired = pack.pair == 1 || (pack.pair == 2 && pack.dtype == MHA_BF16);
    int64_t elements;
    if (!stored || !paired || pack.panel < 1 || pack.panel > kMaxPanel ||
        pack.rows % pack.panel != 0 || pack.columns < 1 || pack.columns % pack.pair != 0 ||
        __builtin_mul_overflow(pack.rows, pack.columns, &elements) ||
        elements > mha::kMaxElements) {
      return false;
    }
  } else if (pack.dtype != MHA_F32 || pack.rows > mha::kMaxElements) {
    return false;
  }
  if (!vector && (pack.col_padded < 1 || pack.col_groups < 1 || pack.col_width < 1 ||
                  pack.col_width > pack.col_padded)) {
    return false;
  }
  for (uint64_t p = 0; p < pack.part_count; ++p) {
    const mha_pack_part& part = pack.parts[p];
    if (part.weight >= kernel->weight_count || part.first_row < 0 || part.row_padded < 1 ||
        part.row_groups < 1 || part.row_width < 1 || part.row_width > part.row_padded) {
      return false;
    }
    const mha_weight_info& info = kernel->weights[part.weight];
    if (info.rank != (vector ? 1u : 2u) ||
        !groups_fit(part.row_sources, part.row_groups, part.row_width, info.shape[0])) {
      return false;
    }
    if (!vector && !groups_fit(pack.col_sources, pack.col_groups, pack.col_width, info.shape[1])) {
      return false;
    }
  }
  return true;
}

size_t packed_bytes(const mha_pack_info& pack) {
  const size_t bytes =
      static_cast<size_t>(pack.rows * (pack.kind == MHA_PACK_MATRIX ? pack.columns : 1)) *
      mha_internal_dtype_bytes(pack.dtype);
  return (bytes + 63) & ~size_t{63};
}

}  // namespace

extern "C" {

mha_status mha_internal_pack(const mha_kernel* kernel, const mha::WeightView* views,
                             mha_weights** result) {
  const mha::FloatState float_state;
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
  uint8_t** packs = static_cast<uint8_t**>(calloc(kernel->pack_count + 1, sizeof(uint8_t*)));
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
  snprintf(weights->packed_for, sizeof weights->packed_for, "kernel '%.48s', target %.40s",
           kernel->info.name, kernel->info.target);
  weights->abi = kernel->abi;
  weights->data = static_cast<uint8_t*>(data);
  weights->bytes = total;
  weights->packs = packs;
  size_t offset = 0;
  for (uint64_t i = 0; i < kernel->pack_count; ++i) {
    packs[i] = weights->data + offset;
    pack_array(kernel, kernel->packs[i], views, packs[i]);
    offset += packed_bytes(kernel->packs[i]);
  }
  *result = weights;
  return MHA_OK;
}

}  // extern "C"
