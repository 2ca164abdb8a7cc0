#include "grouphead/core/kv_cache.h"

#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "core/check.h"
#include "kernels/attention/layout.h"
#include "ops/attention.h"

namespace grouphead {
namespace {

using detail::throw_config_error;

constexpr std::string_view kName = "kv_cache";
constexpr Index kLargest = Index{1} << 48;
constexpr Index kGroup = kernels::kPanelKeys;  // positions side by side in a block of keys
constexpr Index kTile = kernels::kPackKeys;    // positions of a tile of fewer bits

bool has_tiles(Dtype dtype) { return dtype == Dtype::bf16 || dtype == Dtype::u8; }

KvCacheConfig checked(KvCacheConfig config) {
  detail::require_positive(kName, "num_layers", config.num_layers);
  detail::require_positive(kName, "batch", config.batch);
  detail::require_positive(kName, "num_key_value_heads", config.num_key_value_heads);
  detail::require_positive(kName, "head_dim", config.head_dim);
  detail::require_positive(kName, "capacity", config.capacity);
  for (const Index size : {config.head_dim, config.capacity}) {
    if (size > kLargest) throw_config_error(kName, "size", "at most 2^48", std::to_string(size));
  }
  if (!has_tiles(config.dtype) && config.dtype != Dtype::f32 && config.dtype != Dtype::f64) {
    throw_config_error(kName, "dtype", "f32, f64, bf16 or u8", name_of(config.dtype));
  }
  config.capacity = kernels::round_up(config.capacity, has_tiles(config.dtype) ? kTile : kGroup);
  return config;
}

// [L, B, Hkv, ...]
Shape layers_of(const KvCacheConfig& config, std::initializer_list<Index> rest) {
  std::vector<Index> dims{config.num_layers, config.batch, config.num_key_value_heads};
  dims.insert(dims.end(), rest.begin(), rest.end());
  return Shape(dims);
}

Shape key_shape(const KvCacheConfig& config) {
  if (!has_tiles(config.dtype)) {
    return layers_of(config, {config.capacity / kGroup, config.head_dim, kGroup});
  }
  const auto bytes = ops::cache_tile_bytes(config.dtype, config.head_dim, config.head_dim);
  return layers_of(config, {config.capacity / kTile, bytes.keys / size_of(config.dtype)});
}

Shape value_shape(const KvCacheConfig& config) {
  if (!has_tiles(config.dtype)) {
    return layers_of(config, {config.capacity, kernels::round_up(config.head_dim, kGroup)});
  }
  const auto bytes = ops::cache_tile_bytes(config.dtype, config.head_dim, config.head_dim);
  return layers_of(config, {config.capacity / kTile, bytes.values / size_of(config.dtype)});
}

// Zeros, so that the pages are there before the first step and no step reads unset memory.
Tensor zeros_for(Context& ctx, const KvCacheConfig& config, const Shape& shape) {
  try {
    return ctx.zeros(shape, config.dtype);
  } catch (const std::bad_alloc&) {
    throw Error("[kv_cache] capacity: expected memory for " + std::to_string(config.capacity) +
                " positions, " + std::to_string(shape.size() * size_of(config.dtype)) +
                " bytes at once, got less");
  }
}

// One layer of [L, ...].
View layer_of(Tensor& all, Index layer) {
  if (layer < 0 || layer >= all.dim(0)) {
    detail::throw_shape_error(kName, "layer", "0 .. " + std::to_string(all.dim(0) - 1),
                              std::to_string(layer));
  }
  const View view = all;
  const Shape shape(std::span<const Index>(view.shape().begin() + 1, view.shape().end()));
  return {static_cast<std::byte*>(view.raw()) + layer * view.stride(0) * size_of(view.dtype()),
          view.dtype(), shape};
}

}  // namespace

KvCache::KvCache(Context& ctx, const KvCacheConfig& config)
    : config_(checked(config)),
      keys_(zeros_for(ctx, config_, key_shape(config_))),
      values_(zeros_for(ctx, config_, value_shape(config_))) {
  if (config_.dtype != Dtype::u8) return;
  exact_keys_ = ctx.zeros(layers_of(config_, {kTile, config_.head_dim}));
  exact_tile_ = ctx.zeros({config_.num_layers, 1}, Dtype::i64);
}

void KvCache::reserve(Context& ctx, Index wanted) {
  if (wanted <= capacity()) return;
  KvCacheConfig larger = config_;
  larger.capacity = wanted;
  larger = checked(larger);
  const Index group = has_tiles(config_.dtype) ? kTile : kGroup;
  Tensor keys = zeros_for(ctx, larger, key_shape(larger));
  Tensor values = zeros_for(ctx, larger, value_shape(larger));
  for (const auto& [from, to] : {std::pair{&keys_, &keys}, std::pair{&values_, &values}}) {
    // [L, B, Hkv, blocks or positions, ...] as rows of one head's bytes.
    const Index heads = config_.num_layers * config_.batch * config_.num_key_value_heads;
    const Index positions = from->dim(3) == capacity() ? 1 : group;
    const Index used = kernels::round_up(length_, group) / positions;
    const Index row = from->size() / (heads * from->dim(3)) * size_of(config_.dtype);
    const auto* source = static_cast<const std::byte*>(from->view().raw());
    auto* target = static_cast<std::byte*>(to->view().raw());
    for (Index head = 0; head < heads; ++head) {
      std::memcpy(target + head * to->dim(3) * row, source + head * from->dim(3) * row,
                  static_cast<std::size_t>(used * row));
    }
  }
  keys_ = std::move(keys);
  values_ = std::move(values);
  config_ = larger;
}

void KvCache::truncate(Index length) {
  if (length < 0 || length > length_) {
    detail::throw_shape_error(kName, "length", "0 .. " + std::to_string(length_),
                              std::to_string(length));
  }
  length_ = length;
}

void KvCache::advance(Index count) {
  const Index room = capacity() - length_;
  if (count < 0 || count > room) {
    detail::throw_shape_error(kName, "new positions", "at most " + std::to_string(room),
                              std::to_string(count));
  }
  length_ += count;
}

namespace detail {

/// What the kernels see of a KvCache.
struct KvCacheAccess {
  static ops::CacheSlice slice(KvCache& cache, Index layer) {
    const bool is_exact = cache.exact_keys_.has_value();
    return {layer_of(cache.keys_, layer), layer_of(cache.values_, layer),
            is_exact ? layer_of(cache.exact_keys_, layer) : View(),
            is_exact ? layer_of(cache.exact_tile_, layer) : View()};
  }
};

}  // namespace detail

ops::CacheSlice ops::slice_of(KvCache& cache, Index layer) {
  return detail::KvCacheAccess::slice(cache, layer);
}

Index KvCache::bytes() const noexcept {
  return keys_.bytes() + values_.bytes() + exact_keys_.bytes() + exact_tile_.bytes();
}

}  // namespace grouphead
