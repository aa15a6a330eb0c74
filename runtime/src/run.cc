// A call: check the arguments, lay out the workspace, run the stages in order.
#include "runtime/src/call.h"

namespace {

using mha::Call;

mha_status check_weights(const mha_kernel* kernel, const mha_weights* weights) {
  if (kernel->weight_count == 0 && weights != nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT,
                             "kernel '%s' has no weights; leave args.weights NULL",
                             kernel->info.name);
  }
  if (kernel->weight_count == 0) return MHA_OK;
  if (weights == nullptr) {
    return mha_internal_fail(
        MHA_INVALID_ARGUMENT, "args.weights is NULL; kernel '%s' has %llu weights",
        kernel->info.name, static_cast<unsigned long long>(kernel->weight_count));
  }
  if (weights->kernel != kernel || weights->abi != kernel->abi) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT,
                             "args.weights were packed for another kernel or target, which is %s; "
                             "this call runs kernel '%s', target %s",
                             weights->packed_for, kernel->info.name, kernel->info.target);
  }
  return MHA_OK;
}

mha_status check_workspace(const mha_kernel* kernel, const mha_call* call, size_t needed,
                           int32_t threads) {
  if (call->workspace == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT,
                             "args.workspace is NULL; kernel '%s' needs %zu bytes",
                             kernel->info.name, needed);
  }
  if (reinterpret_cast<uintptr_t>(call->workspace) % MHA_WORKSPACE_ALIGNMENT != 0) {
    return mha_internal_fail(MHA_MISALIGNED, "args.workspace is at %p, which is no multiple of %d",
                             call->workspace, MHA_WORKSPACE_ALIGNMENT);
  }
  if (call->workspace_size < needed) {
    return mha_internal_fail(
        MHA_WORKSPACE_TOO_SMALL,
        "args.workspace_size is %zu; kernel '%s' needs %zu bytes at these lengths with a "
        "context of %d threads",
        call->workspace_size, kernel->info.name, needed, threads);
  }
  return MHA_OK;
}

// All that is checked before anything is written, but for what the cache has room for.
mha_status check_call(Call* call) {
  const mha_kernel* kernel = call->kernel;
  mha_status status = check_weights(kernel, call->args->weights);
  if (status == MHA_OK) {
    status =
        mha_internal_check_tensors(kernel, call->args, call->entry, &call->lengths, call->views);
  }
  if (status != MHA_OK) return status;
  const int64_t queries = call->lengths.symbol[MHA_SYMBOL_QUERY];
  const int32_t threads = call->context->threads;
  call->variant = mha_internal_variant(kernel, queries);
  if (call->variant == nullptr) return mha_internal_no_variant(kernel, queries);
  status = mha_internal_layout(kernel, call->variant, &call->lengths, threads, &call->layout);
  if (status == MHA_OK) status = check_workspace(kernel, call->args, call->layout.total, threads);
  if (status == MHA_OK) {
    status = mha_internal_check_overlap(kernel, call->args, &call->lengths, call->views,
                                        call->layout.total);
  }
  if (status == MHA_OK)
    status = mha_internal_check_values(kernel, call->args, &call->lengths, call->views);
  return status;
}

mha_status run_stages(Call* call) {
  for (uint64_t s = 0; s < call->variant->stage_count; ++s) {
    const mha_stage& stage = call->variant->stages[s];
    const bool appends = (stage.flags & MHA_STAGE_APPENDS) != 0;
    if (call->entry == mha::kAppend && !appends) continue;
    if (appends && call->lengths.symbol[MHA_SYMBOL_NEW_KEYS] == 0) continue;
    const mha_status status = mha_internal_run_stage(call, &stage);
    if (status != MHA_OK) return status;
  }
  return MHA_OK;
}

// The same between acquiring the call's cache and releasing it.
mha_status run_with_cache(Call* call) {
  const int64_t batch = call->lengths.symbol[MHA_SYMBOL_BATCH];
  mha_status status = mha_internal_cache_begin(call->kernel, call->args,
                                               call->entry == mha::kDecodeShared, &call->lengths);
  if (status != MHA_OK) return status;
  call->cache = call->args->cache;
  status = check_call(call);
  for (int64_t b = 0; status == MHA_OK && b < batch; ++b) {
    mha::SequenceRow* row = &call->cache->rows[b];
    mha_internal_set_visible(call, b, &row->keys, &row->first_key);
  }
  if (status == MHA_OK) {
    status = mha_internal_cache_prepare(call->cache, call->args->layer, call->cache->rows, batch);
  }
  if (status == MHA_OK) status = run_stages(call);
  mha_internal_cache_end(call->args, batch, status == MHA_OK);
  return status;
}

mha_status run_call(const mha_kernel* library, mha_context* context, const void* args,
                    mha::Entry entry) {
  const mha_kernel* kernel;
  mha_status status = mha_internal_choose(library, &kernel);
  if (status != MHA_OK) return status;
  if (context == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "context is NULL");
  Call call;
  call.kernel = kernel;
  call.args = static_cast<const mha_call*>(args);
  call.context = context;
  call.entry = entry;
  call.cache = nullptr;
  call.failure.code = 0;
  status = mha_internal_lengths(kernel, args, true, entry == mha::kAppend, &call.lengths);
  if (status != MHA_OK) return status;
  if (kernel->cache != nullptr) return run_with_cache(&call);
  if (entry != mha::kRun || call.args->cache != nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "the spec of kernel '%s' has no kv_cache%s",
                             kernel->info.name,
                             entry == mha::kRun ? "; leave args.cache NULL" : "");
  }
  status = check_call(&call);
  return status == MHA_OK ? run_stages(&call) : status;
}

}  // namespace

extern "C" {

mha_status mha_run(const mha_kernel* kernel, mha_context* context, const void* args) {
  return run_call(kernel, context, args, mha::kRun);
}

mha_status mha_append(const mha_kernel* kernel, mha_context* context, const void* args) {
  return run_call(kernel, context, args, mha::kAppend);
}

mha_status mha_decode_shared(const mha_kernel* kernel, mha_context* context, const void* args) {
  return run_call(kernel, context, args, mha::kDecodeShared);
}

}  // extern "C"
