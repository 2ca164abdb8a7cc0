#include "grouphead/core/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "core/check.h"
#include "kernels/attention/layout.h"
#include "ops/block_table.h"
#include "ops/kv_cache_access.h"

namespace grouphead {
namespace {

using core::throw_config_error;
using core::throw_shape_error;
using ops::has_tiles;
using ops::stored_positions;

constexpr std::string_view kName = "kv_cache";
constexpr Index kLargest = Index{1} << 48;
constexpr Index kGroup = kernels::kPanelKeys;  // positions side by side in a block of keys
constexpr Index kTile = kernels::kPackKeys;
static_assert(kTile == ops::BlockTable::kPositions);

KvCacheConfig checked(KvCacheConfig config) {
  if (config.value_dim == 0) config.value_dim = config.head_dim;
  const bool is_ring = config.window != 0;
  const bool is_paged = config.num_blocks != 0;
  if (is_ring) config.capacity = kLargest;
  if (is_paged && (config.capacity == 0 || config.capacity / kTile >= config.num_blocks)) {
    config.capacity = config.num_blocks * kTile;
  }
  const std::pair<std::string_view, Index> sizes[] = {
      {"num_layers", config.num_layers},
      {"batch", config.batch},
      {"num_key_value_heads", config.num_key_value_heads},
      {"head_dim", config.head_dim},
      {"value_dim", config.value_dim},
      {"capacity", config.capacity},
      {"window", is_ring ? config.window : 1},
      {"num_blocks", is_paged ? config.num_blocks : 1}};
  for (const auto& [name, size] : sizes) core::require_positive(kName, name, size);
  for (const Index size :
       {config.head_dim, config.value_dim, config.capacity, config.window, config.num_blocks}) {
    if (size > kLargest) throw_config_error(kName, "size", "at most 2^48", std::to_string(size));
  }
  if (is_ring && is_paged) {
    throw_config_error(kName, "num_blocks", "0 with a window", std::to_string(config.num_blocks));
  }
  if (!has_tiles(config) && config.dtype != Dtype::f32 && config.dtype != Dtype::f64) {
    throw_config_error(kName, "dtype", "f32, f64, bf16 or u8", name_of(config.dtype));
  }
  const Index unit = has_tiles(config) || is_paged ? kTile : kGroup;
  config.capacity = kernels::round_up(config.capacity, unit);
  return config;
}

// Entries of the memory.
Index stored_entries(const KvCacheConfig& config) {
  return config.num_blocks > 0 ? 1 : config.batch;
}

// [L, entries, Hkv, ...]
Shape layers_of(const KvCacheConfig& config, Index entries, std::initializer_list<Index> rest) {
  std::vector<Index> dims{config.num_layers, entries, config.num_key_value_heads};
  dims.insert(dims.end(), rest.begin(), rest.end());
  return Shape(dims);
}

Shape key_shape(const KvCacheConfig& config) {
  const Index positions = stored_positions(config);
  const Index entries = stored_entries(config);
  if (!has_tiles(config)) {
    return layers_of(config, entries, {positions / kGroup, config.head_dim, kGroup});
  }
  const auto bytes = ops::cache_tile_bytes(config.dtype, config.head_dim, config.value_dim);
  return layers_of(config, entries, {positions / kTile, bytes.keys / size_of(config.dtype)});
}

Shape value_shape(const KvCacheConfig& config) {
  const Index positions = stored_positions(config);
  const Index entries = stored_entries(config);
  if (!has_tiles(config)) {
    return layers_of(config, entries, {positions, kernels::round_up(config.value_dim, kGroup)});
  }
  const auto bytes = ops::cache_tile_bytes(config.dtype, config.head_dim, config.value_dim);
  return layers_of(config, entries, {positions / kTile, bytes.values / size_of(config.dtype)});
}

// Zeros, so that the pages are there before the first step and no step reads unset memory.
Tensor zeros_for(Context& ctx, const KvCacheConfig& config, const Shape& shape) {
  try {
    return ctx.zeros(shape, config.dtype);
  } catch (const std::bad_alloc&) {
    throw Error("[kv_cache] capacity: expected memory for " +
                std::to_string(stored_positions(config)) + " positions, " +
                std::to_string(shape.size() * size_of(config.dtype)) + " bytes at once, got less");
  }
}

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

void check_sequence(const KvCacheConfig& config, Index sequence) {
  if (sequence >= 0 && sequence < config.batch) return;
  throw_shape_error(kName, "sequence", "0 .. " + std::to_string(config.batch - 1),
                    std::to_string(sequence));
}

}  // namespace

KvCache::KvCache(Context& ctx, const KvCacheConfig& config)
    : config_(checked(config)),
      lengths_(at(config_.batch), 0),
      kept_(at(config_.batch), 0),
      keys_(zeros_for(ctx, config_, key_shape(config_))),
      values_(zeros_for(ctx, config_, value_shape(config_))) {
  if (config_.num_blocks > 0) {
    blocks_ = std::make_unique<ops::BlockTable>(config_.batch, config_.capacity / kTile,
                                                config_.num_blocks);
  }
  if (config_.dtype != Dtype::u8) return;
  exact_keys_ = ctx.zeros(layers_of(config_, config_.batch, {kTile, config_.head_dim}));
  exact_tile_ = ctx.zeros({config_.num_layers, config_.batch}, Dtype::i64);
}

KvCache::~KvCache() = default;
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;

Index KvCache::length() const noexcept {
  return lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
}

Index KvCache::length(Index sequence) const {
  check_sequence(config_, sequence);
  return lengths_[at(sequence)];
}

Index KvCache::num_free_blocks() const noexcept { return blocks_ ? blocks_->num_free() : 0; }

Index KvCache::bytes() const noexcept {
  return keys_.bytes() + values_.bytes() + exact_keys_.bytes() + exact_tile_.bytes();
}

void KvCache::reserve(Context& ctx, Index wanted) {
  if (wanted <= capacity()) return;
  if (blocks_) {
    throw_config_error(kName, "capacity", "at most " + std::to_string(capacity()) + ", as paged",
                       std::to_string(wanted));
  }
  KvCacheConfig larger = config_;
  larger.capacity = wanted;
  larger = checked(larger);
  const Index group = has_tiles(config_) ? kTile : kGroup;
  Tensor keys = zeros_for(ctx, larger, key_shape(larger));
  Tensor values = zeros_for(ctx, larger, value_shape(larger));
  for (const auto& [from, to] : {std::pair{&keys_, &keys}, std::pair{&values_, &values}}) {
    // [L, B, Hkv, blocks or positions, ...] as rows of one head's bytes.
    const Index heads = config_.num_layers * config_.batch * config_.num_key_value_heads;
    const Index positions = from->dim(3) == capacity() ? 1 : group;
    const Index used = kernels::round_up(length(), group) / positions;
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

// Refuses to cut a sequence of `now` positions, of which a ring lacks the first `kept`.
void KvCache::check_truncation(Index sequence, Index length) const {
  const Index now = lengths_[at(sequence)];
  const Index kept = kept_[at(sequence)];
  if (length < 0 || length > now) {
    throw_shape_error(kName, "length", "0 .. " + std::to_string(now), std::to_string(length));
  }
  if (length == 0 || length == now || ops::first_seen(config_, length) >= kept) return;
  throw_shape_error(kName, "length",
                    "0, or " + std::to_string(kept + config_.window - 1) + " .. " +
                        std::to_string(now) + ", whose window the ring still has",
                    std::to_string(length));
}

void KvCache::truncate(Index length) {
  if (length < 0 || length > this->length()) {
    throw_shape_error(kName, "length", "0 .. " + std::to_string(this->length()),
                      std::to_string(length));
  }
  const auto of = [&](Index b) { return std::min(length, lengths_[at(b)]); };
  for (Index b = 0; b < config_.batch; ++b) check_truncation(b, of(b));
  for (Index b = 0; b < config_.batch; ++b) truncate(b, of(b));
}

void KvCache::truncate(Index sequence, Index length) {
  check_sequence(config_, sequence);
  check_truncation(sequence, length);
  if (length == 0) kept_[at(sequence)] = 0;
  lengths_[at(sequence)] = length;
  if (blocks_) blocks_->shrink(sequence, kernels::ceil_div(length, kTile));
}

// Positions that a sequence can be advanced by.
Index KvCache::room(Index sequence) const noexcept {
  const Index end = blocks_ ? blocks_->count(sequence) * kTile : capacity();
  return end - lengths_[at(sequence)];
}

void KvCache::check_advance(Index sequence, Index count) const {
  if (count >= 0 && count <= room(sequence)) return;
  throw_shape_error(kName, "new positions", "at most " + std::to_string(room(sequence)),
                    std::to_string(count));
}

void KvCache::advance(Index count) {
  for (Index b = 0; b < config_.batch; ++b) check_advance(b, count);
  for (Index& length : lengths_) length += count;
}

void KvCache::advance(std::span<const Index> counts) {
  if (counts.size() != lengths_.size()) {
    throw_shape_error(kName, "counts", std::to_string(lengths_.size()) + " numbers",
                      std::to_string(counts.size()));
  }
  for (Index b = 0; b < config_.batch; ++b) check_advance(b, counts[at(b)]);
  for (Index b = 0; b < config_.batch; ++b) lengths_[at(b)] += counts[at(b)];
}

void KvCache::advance(std::span<const SequenceRows> rows) {
  for (const SequenceRows& of : rows) {
    check_sequence(config_, of.sequence);
    check_advance(of.sequence, of.count);
  }
  for (const SequenceRows& of : rows) lengths_[at(of.sequence)] += of.count;
}

void KvCache::fork(Index from, Index to) { fork(*this, from, to); }

void KvCache::fork(const KvCache& source, Index from, Index to) {
  check_sequence(source.config_, from);
  check_sequence(config_, to);
  if (&source == this && from == to) return;
  ops::KvCacheAccess::copy_sequence(source, from, *this, to);
}

ops::CacheSlice ops::slice_of(KvCache& cache, Index layer) {
  return ops::KvCacheAccess::slice(cache, layer);
}

}  // namespace grouphead
