#include "grouphead/kv_cache.h"

#include "nn/layer_checks.h"

namespace grouphead {
namespace {

using detail::throw_config_error;

constexpr std::string_view kName = "kv_cache";
constexpr Index kLargest = Index{1} << 48;
constexpr Index kGroup = 16;  // positions side by side in a block of keys

Index rounded_up(Index value) { return (value + kGroup - 1) / kGroup * kGroup; }

KvCacheConfig checked(KvCacheConfig config) {
  nn::require_positive(kName, "num_layers", config.num_layers);
  nn::require_positive(kName, "batch", config.batch);
  nn::require_positive(kName, "num_key_value_heads", config.num_key_value_heads);
  nn::require_positive(kName, "head_dim", config.head_dim);
  nn::require_positive(kName, "capacity", config.capacity);
  for (const Index size : {config.head_dim, config.capacity}) {
    if (size > kLargest) throw_config_error(kName, "size", "at most 2^48", std::to_string(size));
  }
  nn::require_float(kName, config.dtype);
  config.capacity = rounded_up(config.capacity);
  return config;
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

// Zeros, so that the pages are there before the first step and no step reads unset memory.
KvCache::KvCache(Context& ctx, const KvCacheConfig& config)
    : config_(checked(config)),
      keys_(ctx.zeros({config_.num_layers, config_.batch, config_.num_key_value_heads,
                       config_.capacity / kGroup, config_.head_dim, kGroup},
                      config_.dtype)),
      values_(ctx.zeros({config_.num_layers, config_.batch, config_.num_key_value_heads,
                         config_.capacity, rounded_up(config_.head_dim)},
                        config_.dtype)) {}

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

View KvCache::keys(Index layer) { return layer_of(keys_, layer); }
View KvCache::values(Index layer) { return layer_of(values_, layer); }

}  // namespace grouphead
