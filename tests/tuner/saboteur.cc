// What a bad candidate does. Linked into a measuring program with --wrap=mha_run: from the call
// that $MHA_SABOTAGE="KIND CALL SEED" says on, each call does the kind of damage.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mha/kernel.h"
#include "mha/mha.h"

extern "C" mha_status __real_mha_run(const mha_kernel* kernel, mha_context* context,
                                     const void* args);

namespace {

volatile unsigned char sink;

struct Operand {
  unsigned char* data;
  size_t bytes;
  bool output;
};

Operand operand(const mha_kernel* kernel, const void* args, unsigned seed, bool outputs_only) {
  const auto* call = static_cast<const mha_call*>(args);
  for (;; ++seed) {
    const mha_tensor_info& info = kernel->tensors[seed % kernel->tensor_count];
    const bool output = info.role == MHA_ROLE_OUTPUT;
    if (outputs_only && !output) continue;
    size_t bytes = 4;
    for (uint32_t axis = 0; axis < info.rank; ++axis) {
      const mha_extent& extent = info.axes[axis];
      bytes *= static_cast<size_t>(extent.scale);
      if (extent.symbol == MHA_SYMBOL_BATCH) bytes *= static_cast<size_t>(call->batch);
      if (extent.symbol == MHA_SYMBOL_QUERY) bytes *= static_cast<size_t>(call->query_length);
      if (extent.symbol == MHA_SYMBOL_KEY) bytes *= static_cast<size_t>(call->key_length);
    }
    const auto* tensor =
        reinterpret_cast<const mha_tensor*>(static_cast<const char*>(args) + info.offset);
    return {static_cast<unsigned char*>(tensor->data), bytes, output};
  }
}

[[gnu::noinline]] unsigned overflow(unsigned depth) {
  if (depth == ~0U) return 0;
  volatile unsigned char frame[4096];
  frame[depth % sizeof frame] = 1;
  return overflow(depth + 1) + frame[0];
}

void eat_memory() {
  for (;;) {
    auto* piece = static_cast<unsigned char*>(malloc(size_t{8} << 20));
    memset(piece, 1, size_t{8} << 20);  // also where there is none left
    sink = piece[100];
  }
}

void damage(const char* kind, const mha_kernel* kernel, const void* args, unsigned seed) {
  const auto is = [&](const char* name) { return strcmp(kind, name) == 0; };
  if (is("wrong")) {
    const Operand output = operand(kernel, args, seed, true);
    reinterpret_cast<float*>(output.data)[seed % (output.bytes / 4)] += 0.5F;
  } else if (is("nan")) {
    const Operand output = operand(kernel, args, seed, true);
    memset(output.data + seed % (output.bytes / 4) * 4, 0xFF, 4);
  } else if (is("read_past") || is("write_past")) {
    const Operand any = operand(kernel, args, seed, false);
    unsigned char* at = any.data + any.bytes + seed % 4096;
    if (is("read_past")) sink = *at;
    if (is("write_past")) *at = 1;
  } else if (is("read_before") || is("write_before")) {
    const Operand any = operand(kernel, args, seed, false);
    unsigned char* at = any.data - 1 - seed % 4096;
    if (is("read_before")) sink = *at;
    if (is("write_before")) *at = 1;
  } else if (is("write_input")) {
    for (;; ++seed) {
      const Operand any = operand(kernel, args, seed, false);
      if (any.output) continue;
      any.data[seed % any.bytes] ^= 1;
      break;
    }
  } else if (is("ill")) {
    __builtin_trap();
  } else if (is("abort")) {
    abort();
  } else if (is("null")) {
    *static_cast<volatile int*>(nullptr) = 1;
  } else if (is("exit")) {
    exit(3);
  } else if (is("exit_well")) {
    _exit(0);
  } else if (is("kill")) {
    raise(SIGTERM);
  } else if (is("overflow")) {
    sink = static_cast<unsigned char>(overflow(0));
  } else if (is("spin")) {
    for (;;) sink = 1;
  } else if (is("sleep")) {
    for (;;) pause();
  } else if (is("memory")) {
    eat_memory();
  } else if (is("print")) {
    printf("ok 1 0 1e9 1e-9\n");  // must not be taken for an answer
    fflush(stdout);
  }
}

}  // namespace

extern "C" mha_status __wrap_mha_run(const mha_kernel* kernel, mha_context* context,
                                     const void* args) {
  static char kind[32];
  static int first = 0, calls = 0;
  static unsigned seed = 0;
  if (calls == 0) {
    const char* text = getenv("MHA_SABOTAGE");
    if (text == nullptr || sscanf(text, "%31s %d %u", kind, &first, &seed) != 3) first = 1 << 30;
  }
  const mha_status status = __real_mha_run(kernel, context, args);
  if (++calls >= first) damage(kind, kernel, args, seed);
  return status;
}
