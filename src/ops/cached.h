#pragma once

// What storing in a cache and attending to it share: the checks of a slice, its tiles as the
// kernels see those of one batch entry.

#include <memory>
#include <span>
#include <string_view>

#include "kernels/attention/cache.h"
#include "ops/attention.h"
#include "ops/attention_problem.h"

namespace grouphead::ops {

inline bool has_tiles(const CacheSlice& cache) noexcept {
  return cache.keys.dtype() == Dtype::bf16 || cache.keys.dtype() == Dtype::u8;
}

/// Positions that an entry has room for; a ring's do not end.
Index capacity_of(const CacheSlice& cache) noexcept;

void check_rank(std::string_view operation, const CacheSlice& cache);
/// The slice for queries or keys x [B, T, H, D], and for values [B, T, H, Dv] of this name.
void check_cache(std::string_view operation, const CacheSlice& cache, const ConstView& x,
                 std::string_view value_operand, const ConstView& values);
void check_fits(std::string_view operation, const CacheSlice& cache, Index begin, Index end);

kernels::CacheFormat format_of(Dtype dtype) noexcept;

inline kernels::TileTable table_of(const CacheSlice& cache, Index b) noexcept {
  kernels::TileTable table;
  if (cache.slots.has_value()) table.slots = cache.slots.data<Index>() + b * cache.slots.stride(0);
  table.ring = cache.ring;
  return table;
}

/// Where entry b of keys or values begins: paged ones lie together.
template <class E>
E* entry_of(const View& x, const CacheSlice& cache, Index b) noexcept {
  const Index bytes = cache.slots.has_value() ? 0 : b * x.stride(0) * size_of(x.dtype());
  return reinterpret_cast<E*>(static_cast<std::byte*>(x.raw()) + bytes);
}

/// Of a cache in f32 or f64.
template <class F>
kernels::PackedHeads<F> packed_of(const CacheSlice& cache, Index b) {
  return {entry_of<F>(cache.keys, cache, b), entry_of<F>(cache.values, cache, b),
          cache.keys.dim(2) * kernels::kPanelKeys, table_of(cache, b)};
}

/// Of one in 16 or 8 bits.
kernels::CacheTiles tiles_of(const CacheSlice& cache, Index b);

/// Values in the Context's memory, which cost no allocation once it is warm.
template <class T>
class ContextArray {
 public:
  ContextArray(Context& ctx, Index count)
      : memory_(ctx.tensor({count * static_cast<Index>(sizeof(T))}, Dtype::u8)),
        values_(reinterpret_cast<T*>(memory_.data<std::uint8_t>()),
                static_cast<std::size_t>(count)) {
    std::uninitialized_value_construct(values_.begin(), values_.end());
  }
  ~ContextArray() { std::destroy(values_.begin(), values_.end()); }
  ContextArray(const ContextArray&) = delete;
  ContextArray& operator=(const ContextArray&) = delete;

  std::span<T> values() noexcept { return values_; }

 private:
  Tensor memory_;
  std::span<T> values_;
};

}  // namespace grouphead::ops
