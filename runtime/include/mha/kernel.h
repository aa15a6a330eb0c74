/* What a generated library hands to the runtime: tables of plain data, emitted as constants. Not
 * for users: the layout changes with MHA_KERNEL_ABI.
 *
 * A kernel is a short program: stages, each one ahead-of-time compiled Halide function, called in
 * order on views of the caller's tensors, of packed weights, and of buffers inside the caller's
 * workspace. It may hold that program in several variants, each for a range of query lengths;
 * tensors and packed weights are the same for all. A library for several targets holds a kernel for
 * each, and one that stands for them all. */
#ifndef MHA_KERNEL_H_
#define MHA_KERNEL_H_

#include "mha/mha.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MHA_KERNEL_ABI 5u

/* CPU features that a variant needs (all bits of `cpu_features` must be there). */
enum {
  MHA_CPU_SSE42 = 1u << 0,       /* with popcnt, cx16: x86-64-v2 */
  MHA_CPU_AVX2 = 1u << 1,        /* with fma, f16c, bmi1, bmi2: x86-64-v3 */
  MHA_CPU_AVX512 = 1u << 2,      /* f, bw, cd, dq, vl: x86-64-v4 */
  MHA_CPU_AVX512_BF16 = 1u << 3, /* with vnni, ifma, vbmi, vbmi2, bitalg, vpopcntdq: zen4 */
  MHA_CPU_AVX512_VP2 = 1u << 4,  /* with avx_vnni, vp2intersect: zen5 */
  MHA_CPU_AVX512_FP16 = 1u << 5, /* sapphirerapids, with BF16 */
  MHA_CPU_AMX = 1u << 6          /* tile, int8, bf16 */
};

/* An extent: scale * ceil(round_up(value of symbol, round) / per); MHA_SYMBOL_ONE stands for 1. */
enum {
  MHA_SYMBOL_ONE = 0,
  MHA_SYMBOL_BATCH = 1,
  MHA_SYMBOL_QUERY = 2,
  MHA_SYMBOL_KEY = 3,    /* with a cache at least what the longest sequence has, the new ones too */
  MHA_SYMBOL_ROWS = 4,   /* of a packed batch: sequence_starts[B]; else batch * query_length */
  MHA_SYMBOL_STARTS = 5, /* batch + 1 */
  /* Of mha_decode_shared: keys in the leading whole pages that all sequences share; else 0. Never
   * above what any of them has in the cache before the call. */
  MHA_SYMBOL_SHARED = 6,
  MHA_SYMBOL_NEW_KEYS = 7, /* that the call brings to each sequence; MHA_NEW_KEYS_* */
  /* Scalars only (not extents): the coordinates of the task, and what the task's sequence b says.
   */
  MHA_SYMBOL_TASK0 = 8,
  MHA_SYMBOL_TASK1 = 9,
  MHA_SYMBOL_TASK2 = 10,
  MHA_SYMBOL_TASK3 = 11,
  /* key_lengths[b]; without that tensor all keys of sequence b; with a cache those that it has and
   * the new ones */
  MHA_SYMBOL_SEQUENCE_KEYS = 12,
  /* query_offset: 0; SEQUENCE_KEYS - queries of sequence b; query_offset[b]; with a cache
   * SEQUENCE_CACHED */
  MHA_SYMBOL_SEQUENCE_OFFSET = 13,
  MHA_SYMBOL_SEQUENCE_FIRST_KEY = 14, /* key_starts[b], or 0 */
  MHA_SYMBOL_SEQUENCE_FIRST_ROW = 15, /* sequence_starts[b] of a packed batch, or 0 */
  MHA_SYMBOL_SEQUENCE_QUERIES = 16,   /* rows of sequence b of a packed batch, or Lq */
  /* Of kernels with a cache. */
  MHA_SYMBOL_SEQUENCE_SLOT = 17,     /* row of the page table */
  MHA_SYMBOL_SEQUENCE_CACHED = 18,   /* keys of sequence b before the call */
  MHA_SYMBOL_SEQUENCE_NEW_KEYS = 19, /* that the call brings it */
  MHA_SYMBOL_COUNT = 20
};
typedef struct mha_extent {
  int64_t scale;
  int32_t symbol;
  int32_t round; /* >= 1 */
  int32_t per;   /* 0 stands for 1 */
  int32_t reserved;
} mha_extent;

/* A tensor that the caller passes; axes outermost first. */
enum { MHA_ROLE_INPUT = 0, MHA_ROLE_OUTPUT = 1 };
/* How the runtime checks the values of an index tensor before it computes. */
enum {
  MHA_CHECK_NONE = 0,
  MHA_CHECK_KEYS = 1 /* 0 <= v <= keys of sequence b, with a cache after the call */,
  MHA_CHECK_INT32_OFFSET = 2 /* |v| <= 2^30 */,
  MHA_CHECK_STARTS = 3 /* from 0 up in steps of 0 to Lq; the last is at least 1 */
};
/* flags of a tensor: MHA_REPEATED is allowed; mha_append needs it too; a call that brings no keys
 * leaves it out */
enum { MHA_TENSOR_MAY_REPEAT = 1, MHA_TENSOR_APPENDED = 2, MHA_TENSOR_NEW_KEYS = 4 };
typedef struct mha_tensor_info {
  const char* name;
  uint32_t role;
  uint32_t dtype; /* mha_dtype */
  uint32_t rank;
  uint32_t offset; /* of the mha_tensor in NAME_args */
  uint32_t check;
  uint32_t flags;
  mha_extent axes[MHA_MAX_RANK];
} mha_tensor_info;

/* A weight as the user gives it, and where it lies in a model's file. */
enum {
  MHA_SOURCE_TURNED = 1, /* the file holds the matrix transposed: columns by rows */
  MHA_SOURCE_ROWS = 2    /* the weight is some rows of the (turned, if so) tensor, not all of it */
};
typedef struct mha_weight_info {
  const char* name;         /* "w_q" */
  const char* source_name;  /* name in a model's file, may hold {layer}; NULL: name */
  uint32_t rank;            /* 2 or 1 */
  uint32_t source_flags;    /* MHA_SOURCE_* */
  int64_t shape[2];         /* rows, columns */
  int64_t source_first_row; /* with MHA_SOURCE_ROWS: the first of shape[0] rows */
} mha_weight_info;

/* A packed array, N = rows. Row r = g * row_width + i (i < row_width, g < row_groups) of a part's
 * weight goes to row first_row + g * row_padded + i; column c = g * col_width + i goes to column g
 * * col_padded + i; all is multiplied by scale (in double, rounded once to float). Whatever no part
 * fills is zero. With row_sources group g of the rows is the weight's group row_sources[g], and
 * likewise for columns: groups that no list names are left out.
 *
 * MATRIX: panels [N / panel][K / pair][panel][pair] of `dtype`. BF16 and F16 are rounded to nearest
 * even: what is too large becomes infinite, NaN stays NaN. I8 holds rint(w / s) within +-127, s
 * being the scale of the row.
 * VECTOR: [N] of F32, from weights of rank 1.
 * SCALES: [N] of F32, the scales s of the I8 matrix of the same parts and columns: the largest |w|
 * of the weight's whole row, divided by 127 in float; NaN where the row holds a NaN or an infinity,
 * so that nothing finite comes of it. */
enum { MHA_PACK_MATRIX = 0, MHA_PACK_VECTOR = 1, MHA_PACK_SCALES = 2 };
typedef struct mha_pack_part {
  uint32_t weight; /* index into weights */
  uint32_t reserved;
  int64_t first_row, row_groups, row_width, row_padded;
  double scale;
  const int32_t* row_sources; /* row_groups numbers; NULL: 0, 1, ... */
} mha_pack_part;
typedef struct mha_pack_info {
  uint32_t kind; /* MHA_PACK_* */
  uint32_t panel;
  int64_t rows;    /* N, of a matrix a multiple of panel */
  int64_t columns; /* K after padding, a multiple of pair; 1 for vectors */
  int64_t col_groups, col_width, col_padded;
  const mha_pack_part* parts;
  uint64_t part_count;
  const int32_t* col_sources; /* col_groups numbers; NULL: 0, 1, ... */
  uint32_t dtype;             /* mha_dtype of the elements */
  uint32_t pair;              /* 1, or 2: of BF16 */
} mha_pack_info;

/* The pages of a cache. A pool of keys is [pages][kv_heads][a page of `page` keys], one of values
 * likewise; page is a multiple of 16, and pages start at 64-byte boundaries. What pads widths is 0
 * and stays 0; rows that no sequence has may hold anything. A sequence's key j lies in page
 * table[slot][j / page] at j % page; entries of the table behind a sequence's pages are 0, so that
 * every entry is a page that is there. */
enum {
  MHA_FORM_KEY_PANELS = 0,      /* [page / 16][d_head_padded][16] */
  MHA_FORM_KEY_PAIR_PANELS = 1, /* [page / 16][d_head_padded / 2][16 * 2]: pairs lie along D */
  MHA_FORM_VALUE_ROWS = 2,      /* [page][d_value_padded] */
  MHA_FORM_VALUE_PAIRS = 3      /* [page / 2][d_value_padded * 2]: pairs of keys */
};
enum { MHA_CACHE_PANEL = 16 };
typedef struct mha_cache_info {
  uint32_t dtype; /* F32, BF16 or F16 */
  uint32_t key_form, value_form;
  uint32_t reserved;
  int64_t kv_heads, d_head, d_value;
  int64_t d_head_padded, d_value_padded; /* even for bf16 keys; a multiple of 16 for values */
  int64_t capacity;                      /* keys of a sequence, at most */
  int64_t page;                          /* keys; of a contiguous cache capacity rounded up to 16 */
} mha_cache_info;

/* A dense buffer in the workspace; extents innermost first. Starts are
 * MHA_WORKSPACE_ALIGNMENT-aligned. */
typedef struct mha_buffer_info {
  const char* name;
  uint32_t dtype;
  uint32_t rank;
  mha_extent extents[MHA_MAX_RANK];
} mha_buffer_info;

/* One argument of a stage. For a tensor, axes[i] is the tensor's axis that is the stage's dimension
 * i (dimension 0 innermost), or MHA_AXIS_NONE for a dimension of one element that it lacks. Buffers
 * and packed arrays are passed as they are: a packed matrix has dimensions (panel, K, N / panel), a
 * vector (N). Where the matrix is of pairs, an operand of rank 4 has (pair, panel, K / 2, N /
 * panel), one of rank 3 (panel, K / 2, N / panel) with a pair as one unsigned number of 32 bits,
 * its first element in the low half. A scalar passes a symbol's value as int32. The pools of the
 * call's cache and layer have the dimensions of their form, innermost first, then (kv_heads,
 * pages): 5 for keys, 4 for values. The page table is int32 (pages of a sequence at most, sequences
 * of the cache). SEQUENCES is int32 (8, B), what the scalars say of each sequence of the call:
 * MHA_SEQUENCE_*. Stages that write pools are marked by MHA_STAGE_APPENDS; they write rows
 * SEQUENCE_CACHED to SEQUENCE_CACHED + SEQUENCE_NEW_KEYS of their sequence, whose pages no other
 * sequence has, and are left out where the call brings no keys. */
enum {
  MHA_OPERAND_TENSOR = 0,
  MHA_OPERAND_PACK = 1,
  MHA_OPERAND_BUFFER = 2,
  MHA_OPERAND_SCALAR = 3,
  MHA_OPERAND_CACHE_KEYS = 4,
  MHA_OPERAND_CACHE_VALUES = 5,
  MHA_OPERAND_PAGE_TABLE = 6,
  MHA_OPERAND_SEQUENCES = 7
};
enum {
  MHA_SEQUENCE_SLOT = 0,
  MHA_SEQUENCE_CACHED = 1,
  MHA_SEQUENCE_QUERIES = 2,
  MHA_SEQUENCE_FIRST_ROW = 3,
  MHA_SEQUENCE_KEYS = 4,
  MHA_SEQUENCE_FIRST_KEY = 5,
  MHA_SEQUENCE_NEW_KEYS = 6,
  MHA_SEQUENCE_FIELDS = 8
};
enum { MHA_AXIS_NONE = 255 };
typedef struct mha_operand {
  uint32_t kind;
  uint32_t index; /* of the tensor, pack or buffer; the symbol of a scalar */
  uint32_t rank;  /* of a tensor or a matrix of pairs: dimensions that the stage sees */
  uint8_t axes[8];
} mha_operand;

/* argv[0] points to the user context (void*), the others follow `operands`: a halide_buffer_t* for
 * each buffer-like operand, a pointer to int32_t for a scalar. A stage has no parallel loop of its
 * own: one call computes one task, a point of the stage's grid, and writes only what belongs to
 * that task. The runtime runs the tasks of a stage in any order on all threads, and the stages one
 * after another. */
typedef int (*mha_stage_function)(void** argv);

/* One axis of a grid: ceil(scale * value of symbol / tile) tasks; of SHARED as many as are whole,
 * and where there is none the stage is left out. */
typedef struct mha_grid_axis {
  int64_t scale;
  int32_t symbol; /* ONE, BATCH, QUERY, KEY, ROWS, SHARED or NEW_KEYS */
  int32_t tile;   /* >= 1 */
} mha_grid_axis;
enum { MHA_MAX_GRID = 4 };
/* flags of a stage. Without any it runs in mha_run and mha_decode_shared. */
enum { MHA_STAGE_APPENDS = 1 }; /* in mha_append too */
typedef struct mha_stage {
  const char* name;
  mha_stage_function run;
  const mha_operand* operands;
  uint64_t operand_count;
  /* Tasks; axis 0 runs fastest in the order in which they are handed out. reverse: bit i is set
   * where axis i runs from its end (causal attention starts with its longest rows). batch_axis: the
   * axis that is b, or -1. query_axis: the axis of blocks of a sequence's queries, or -1; blocks
   * that begin behind the last query of their sequence are left out. */
  uint32_t grid_rank;
  uint32_t reverse;
  int32_t batch_axis;
  int32_t query_axis;
  mha_grid_axis grid[MHA_MAX_GRID];
  uint64_t scratch_bytes; /* most bytes that one task holds at a time from halide_malloc, headers
                             included */
  /* The axis of blocks of a sequence's keys, or -1; blocks that begin at or behind SEQUENCE_KEYS of
   * their sequence, or end at or before SHARED, are left out. */
  int32_t key_axis;
  uint32_t flags; /* MHA_STAGE_* */
} mha_stage;

typedef struct mha_length_range {
  int64_t min, max;
} mha_length_range;

/* The stages, and the buffers between them, for calls of up to max_query_length queries (of a
 * packed batch: rows of the longest sequence) and more than the variant before it serves. */
typedef struct mha_variant {
  int64_t max_query_length;
  const char* schedule; /* the parameters, one line a stage */
  const mha_buffer_info* buffers;
  uint64_t buffer_count;
  const mha_stage* stages;
  uint64_t stage_count;
} mha_variant;

/* With a cache, the keys that a call brings to a sequence: one for each of its queries; or that, or
 * none; or as many as new_keys of the kernel allows, or none. */
enum {
  MHA_NEW_KEYS_OF_QUERIES = 0,
  MHA_NEW_KEYS_OF_QUERIES_OR_NONE = 1,
  MHA_NEW_KEYS_OWN = 2 /* never packed */
};

/* Where query 0 stands among the keys. */
enum { MHA_OFFSET_START = 0, MHA_OFFSET_END = 1, MHA_OFFSET_INPUT = 2 };

struct mha_kernel {
  uint32_t abi;         /* MHA_KERNEL_ABI */
  uint32_t struct_size; /* sizeof(mha_kernel) */
  mha_kernel_info info;
  uint64_t cpu_features;
  uint64_t args_size;   /* sizeof(NAME_args) */
  uint32_t self_length; /* Lk is Lq */
  uint32_t offset_kind; /* MHA_OFFSET_* */
  /* Indices into tensors, or -1. */
  int32_t key_lengths_tensor;
  int32_t key_starts_tensor;
  int32_t query_offset_tensor;
  int32_t sequence_starts_tensor; /* given: the batch is packed */
  mha_length_range batch, query_length, key_length;
  const mha_tensor_info* tensors;
  uint64_t tensor_count;
  const mha_weight_info* weights;
  uint64_t weight_count;
  const mha_pack_info* packs;
  uint64_t pack_count;
  const mha_variant*
      variants;           /* by max_query_length, ascending; the last one's is query_length.max */
  uint64_t variant_count; /* at least 1 */
  const mha_cache_info* cache; /* NULL: none */
  mha_length_range new_keys;   /* with MHA_NEW_KEYS_OWN */
  uint32_t new_keys_kind;      /* MHA_NEW_KEYS_* */
  uint32_t reserved;
  /* Of the kernel that stands for several: these, the best first; it has their tensors, weights and
   * cache, but no packs and no variants of its own, and what its info says of the schedule is "".
   * NULL: the kernel is for one target, info.target. */
  const mha_kernel* const* targets;
  uint64_t target_count; /* 0 without targets */
  /* In writable memory, 0 at first: what was chosen when the kernel was first used, 1 + the index
   * into targets, or 1 without them. NULL: it is used as it is, whatever MHA_TARGET says. */
  uint32_t* choice;
};

/* halide_malloc(bytes) inside a stage takes round_up(bytes, 64) + MHA_SCRATCH_HEADER from the
 * thread's scratch, and halide_free gives it back when everything above it is free too. The scratch
 * of a task begins at a 64-byte boundary; 8 bytes before and after an allocation may be read. */
enum { MHA_SCRATCH_HEADER = 64 };

/* What a kernel may have at most, so that a call needs no allocation. */
enum {
  MHA_MAX_TENSORS = 64,
  MHA_MAX_BUFFERS = 32,
  MHA_MAX_OPERANDS = 64,
  MHA_MAX_VARIANTS = 16,
  MHA_MAX_TARGETS = 16
};

/* The MHA_CPU_* bits of this machine, as far as the system lets a process use them. */
uint64_t mha_cpu_features(void);

/* The hooks that the stages' `halide_*` references are renamed to; user_context is argv[0] of the
 * stage. */
void* mha_halide_malloc(void* user_context, size_t bytes);
void mha_halide_free(void* user_context, void* pointer);
void mha_halide_error(void* user_context, const char* message);

#ifdef __cplusplus
}
#endif

#endif /* MHA_KERNEL_H_ */
