// Where the rows of a sequence lie in the pages of a cache.
//
// A page never cuts a panel of 16 keys, so that the page of a panel is looked up once for all of
// its lanes. Entries of the page table are within the pool; the clamp keeps a table that something
// has written over from leading out of it.
#include "generator/pipeline/stages.h"

namespace mha {

using Halide::Expr;

HeadSource cache_source(const CacheInfo& info, bool keys, const Halide::ImageParam& table) {
  const std::string name = keys ? "key_cache" : "value_cache";
  const Halide::Type type = info.dtype == Dtype::kBF16  ? Halide::BFloat(16)
                            : info.dtype == Dtype::kF16 ? Halide::Float(16)
                                                        : Halide::Float(32);
  HeadSource source;
  source.input = Halide::ImageParam(type, keys ? 5 : 4, name);
  source.operand = {keys ? Operand::kCacheKeys : Operand::kCacheValues, 0, {}};
  source.cache = CacheRows{info, keys, table};
  // A page is dense and its size is known.
  const int pair = info.pairs() ? 2 : 1, page = static_cast<int>(info.page);
  const int heads = static_cast<int>(info.kv_heads);
  std::vector<int> extents;
  if (keys) {
    extents = {kCachePanel * pair, static_cast<int>(info.d_head_padded) / pair, page / kCachePanel,
               heads};
  } else {
    extents = {static_cast<int>(info.d_value_padded) * pair, page / pair, heads};
  }
  int stride = 1;
  for (size_t i = 0; i < extents.size(); ++i) {
    source.input.dim(static_cast<int>(i)).set_bounds(0, extents[i]).set_stride(stride);
    stride *= extents[i];
  }
  source.input.dim(static_cast<int>(extents.size())).set_stride(stride).set_min(0);
  source.input.set_host_alignment(64);
  return source;
}

namespace {

// The page of the pool that holds unit `unit` of the sequence, `units` of them to a page.
Expr page_of(const HeadSource& source, const Expr& unit, int units, const Expr& slot,
             const Expr& pages) {
  const CacheRows& cache = *source.cache;
  const bool whole = cache.info.pages_per_sequence() == 1;
  Expr page = cache.table(whole ? Expr(0) : unit / units, slot);
  return Halide::clamp(page, 0, pages - 1);
}

Expr pages_of(const HeadSource& source, const Expr& given) {
  return given.defined() ? given : source.input.dim(source.input.dimensions() - 1).extent();
}

}  // namespace

std::vector<Expr> cache_panel_place(const HeadSource& source, const Expr& width, const Expr& panel,
                                    const Expr& lane, const Expr& head, const Expr& slot,
                                    const Expr& pages) {
  const CacheInfo& info = source.cache->info;
  const int panels = static_cast<int>(info.page) / kCachePanel;
  const bool whole = info.pages_per_sequence() == 1;
  Expr page = page_of(source, panel, panels, slot, pages_of(source, pages));
  Expr place = whole ? panel : panel % panels;
  if (!info.pairs()) return {lane, width, place, head, page};
  return {lane * 2 + width % 2, width / 2, place, head, page};
}

std::vector<Expr> cache_place(const HeadSource& source, const Expr& width, const Expr& key,
                              const Expr& head, const Expr& slot, const Expr& pages) {
  const CacheRows& cache = *source.cache;
  if (cache.keys) {
    return cache_panel_place(source, width, key / kCachePanel, key % kCachePanel, head, slot,
                             pages);
  }
  const int keys = static_cast<int>(cache.info.page);
  const bool whole = cache.info.pages_per_sequence() == 1;
  Expr page = page_of(source, key, keys, slot, pages_of(source, pages));
  Expr place = whole ? key : key % keys;
  if (!cache.info.pairs()) return {width, place, head, page};
  return {width * 2 + place % 2, place / 2, head, page};
}

}  // namespace mha
