// Where the rows of a sequence lie in the pages of a cache.
//
// A page never cuts a panel of 16 keys, so that the page of a panel is looked up once for all of
// its lanes. Entries of the page table are within the pool; the clamp keeps a table that something
// has written over from leading out of it.
#include "generator/pipeline/precision.h"
#include "generator/pipeline/stages.h"

namespace mha {

using Halide::Expr;

HeadSource cache_source(const CacheInfo& info, bool keys, const Halide::ImageParam& table) {
  const std::string name = keys ? "key_cache" : "value_cache";
  HeadSource source;
  source.input = Halide::ImageParam(halide_type(info.dtype), keys ? 5 : 4, name);
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

// A place in a page, and the page's number in the pool.
struct InPage {
  Expr place, page;
};

// Of unit `unit` of the sequence, `units` of them to a page.
InPage in_page(const HeadSource& source, const Expr& unit, int units, const Expr& slot,
               const Expr& pages) {
  const CacheRows& cache = *source.cache;
  const bool whole = cache.info.pages_per_sequence() == 1;
  Expr count =
      pages.defined() ? pages : Expr(source.input.dim(source.input.dimensions() - 1).extent());
  Expr page = cache.table(whole ? Expr(0) : unit / units, slot);
  return {whole ? unit : unit % units, Halide::clamp(page, 0, count - 1)};
}

InPage panel_in_page(const HeadSource& source, const Expr& panel, const Expr& slot,
                     const Expr& pages) {
  const int panels = static_cast<int>(source.cache->info.page) / kCachePanel;
  return in_page(source, panel, panels, slot, pages);
}

}  // namespace

std::vector<Expr> cache_panel_place(const HeadSource& source, const Expr& width, const Expr& panel,
                                    const Expr& lane, const Expr& head, const Expr& slot,
                                    const Expr& pages) {
  if (source.cache->info.pairs())
    return cache_width_pair(source, width % 2, width / 2, panel, lane, head, slot, pages);
  const InPage at = panel_in_page(source, panel, slot, pages);
  return {lane, width, at.place, head, at.page};
}

std::vector<Expr> cache_width_pair(const HeadSource& source, const Expr& half, const Expr& pair,
                                   const Expr& panel, const Expr& lane, const Expr& head,
                                   const Expr& slot, const Expr& pages) {
  const InPage at = panel_in_page(source, panel, slot, pages);
  return {lane * 2 + half, pair, at.place, head, at.page};
}

std::vector<Expr> cache_key_pair(const HeadSource& source, const Expr& width, const Expr& half,
                                 const Expr& pair, const Expr& head, const Expr& slot,
                                 const Expr& pages) {
  const int pairs = static_cast<int>(source.cache->info.page) / 2;
  const InPage at = in_page(source, pair, pairs, slot, pages);
  return {width * 2 + half, at.place, head, at.page};
}

std::vector<Expr> cache_place(const HeadSource& source, const Expr& width, const Expr& key,
                              const Expr& head, const Expr& slot, const Expr& pages) {
  const CacheRows& cache = *source.cache;
  if (cache.keys) {
    return cache_panel_place(source, width, key / kCachePanel, key % kCachePanel, head, slot,
                             pages);
  }
  if (cache.info.pairs()) return cache_key_pair(source, width, key % 2, key / 2, head, slot, pages);
  const InPage at = in_page(source, key, static_cast<int>(cache.info.page), slot, pages);
  return {width, at.place, head, at.page};
}

}  // namespace mha
