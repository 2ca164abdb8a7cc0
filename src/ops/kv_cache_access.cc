#include "ops/kv_cache_access.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/check.h"
#include "kernels/attention/layout.h"
#include "ops/block_table.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "kv_cache";
constexpr Index kTile = kernels::kPackKeys;
constexpr Index kGroup = kernels::kPanelKeys;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// One layer of [L, ...].
View layer_of(Tensor& all, Index layer) {
  if (layer < 0 || layer >= all.dim(0)) {
    core::throw_shape_error(kName, "layer", "0 .. " + std::to_string(all.dim(0) - 1),
                            std::to_string(layer));
  }
  const View view = all;
  const Shape shape(std::span<const Index>(view.shape().begin() + 1, view.shape().end()));
  return {static_cast<std::byte*>(view.raw()) + layer * view.stride(0) * size_of(view.dtype()),
          view.dtype(), shape};
}

// Head `head` of one sequence, or of all blocks.
std::byte* head_of(Tensor& x, Index layer, Index entry, Index head) {
  const View view = x;
  const Index elements = layer * view.stride(0) + entry * view.stride(1) + head * view.stride(2);
  return static_cast<std::byte*>(view.raw()) + elements * size_of(view.dtype());
}

// Refuses a source whose sequences have another form.
void check_alike(const KvCacheConfig& source, const KvCacheConfig& to) {
  const auto check = [](std::string_view name, Index expected, Index got) {
    if (expected == got) return;
    core::throw_shape_error(kName, "source", std::string(name) + " " + std::to_string(expected),
                            std::to_string(got));
  };
  check("num_layers", to.num_layers, source.num_layers);
  check("num_key_value_heads", to.num_key_value_heads, source.num_key_value_heads);
  check("head_dim", to.head_dim, source.head_dim);
  check("value_dim", to.value_dim, source.value_dim);
  if (source.dtype != to.dtype) {
    core::throw_shape_error(kName, "source", name_of(to.dtype), name_of(source.dtype));
  }
}

// Refuses to give a sequence so many blocks in place of those that it has.
void check_blocks(const BlockTable& blocks, Index sequence, Index wanted) {
  Index room = blocks.num_free();
  for (Index t = 0; t < blocks.count(sequence); ++t) room += blocks.is_shared(sequence, t) ? 0 : 1;
  if (wanted <= room) return;
  core::throw_shape_error(kName, "cache", std::to_string(wanted) + " free blocks",
                          std::to_string(room));
}

}  // namespace

Index ring_tiles(const KvCacheConfig& config) noexcept {
  return config.window == 0 ? 0 : kernels::ceil_div(config.window, kTile) + 1;
}

Index first_seen(const KvCacheConfig& config, Index next) noexcept {
  return config.window == 0 ? 0 : std::max(Index{0}, next - config.window + 1);
}

Index stored_positions(const KvCacheConfig& config) noexcept {
  if (config.num_blocks > 0) return config.num_blocks * kTile;
  return config.window > 0 ? ring_tiles(config) * kTile : config.capacity;
}

bool has_tiles(const KvCacheConfig& config) noexcept {
  return config.dtype == Dtype::bf16 || config.dtype == Dtype::u8;
}

ops::CacheSlice KvCacheAccess::slice(KvCache& cache, Index layer) {
  ops::CacheSlice slice{layer_of(cache.keys_, layer), layer_of(cache.values_, layer)};
  if (cache.exact_keys_.has_value()) {
    slice.exact = layer_of(cache.exact_keys_, layer);
    slice.exact_tile = layer_of(cache.exact_tile_, layer);
  }
  if (cache.blocks_) slice.slots = cache.blocks_->slots();
  slice.ring = ring_tiles(cache.config_);
  return slice;
}

void KvCacheAccess::make_room(std::string_view operation, KvCache& cache, ops::PerEntry counts) {
  if (!cache.blocks_) return;
  BlockTable& blocks = *cache.blocks_;
  Index wanted = 0;
  for (Index b = 0; b < cache.config_.batch; ++b) {
    const Index begin = cache.lengths_[at(b)];
    wanted += blocks.blocks_wanted(b, begin, begin + counts[b]);
  }
  if (wanted > blocks.num_free()) {
    core::throw_shape_error(operation, "cache", std::to_string(wanted) + " free blocks",
                            std::to_string(blocks.num_free()));
  }
  for (Index b = 0; b < cache.config_.batch; ++b) {
    const Index begin = cache.lengths_[at(b)];
    const Index end = begin + counts[b];
    if (blocks.must_copy(b, begin, end)) {
      const Index shared = blocks.replace(b, begin / kTile);
      copy_block(cache, shared, blocks.block(b, begin / kTile));
    }
    blocks.extend(b, end);
  }
}

void KvCacheAccess::copy_block(KvCache& cache, Index from, Index to) {
  const Index heads = cache.config_.num_key_value_heads;
  for (const CachePart part : {CachePart::keys, CachePart::values}) {
    const Index bytes = tile_bytes(cache, part);
    Tensor& x = part == CachePart::keys ? cache.keys_ : cache.values_;
    for (Index i = 0; i < cache.config_.num_layers * heads; ++i) {
      std::byte* head = head_of(x, i / heads, 0, i % heads);
      std::memcpy(head + to * bytes, head + from * bytes, at(bytes));
    }
  }
}

void KvCacheAccess::note_stored(KvCache& cache, Index sequence, Index end) noexcept {
  const Index ring = ring_tiles(cache.config_);
  if (ring == 0) return;
  Index& kept = cache.kept_[at(sequence)];
  kept = std::max(kept, (kernels::ceil_div(end, kTile) - ring) * kTile);
}

Index KvCacheAccess::piece_end(const KvCache& cache, Index begin, Index end) noexcept {
  const Index ring = ring_tiles(cache.config_);
  if (ring == 0) return end;
  return std::min(end, (first_seen(cache.config_, begin) / kTile + ring) * kTile);
}

Index KvCacheAccess::tile_bytes(const KvCache& cache, CachePart part) noexcept {
  const ConstView x = part == CachePart::keys ? cache.keys_ : cache.values_;
  const Index head = x.stride(2) * size_of(x.dtype());
  return head / (stored_positions(cache.config_) / kGroup) * (kTile / kGroup);
}

Index KvCacheAccess::used_bytes(const KvCache& cache, CachePart part, Index tile,
                                Index length) noexcept {
  const Index all = tile_bytes(cache, part);
  if (has_tiles(cache.config_)) return all;
  const Index groups = kernels::ceil_div(std::min(kTile, length - tile * kTile), kGroup);
  return all / (kTile / kGroup) * groups;
}

std::byte* KvCacheAccess::tile(KvCache& cache, CachePart part, Index layer, Index sequence,
                               Index head, Index tile) {
  const Index ring = ring_tiles(cache.config_);
  Index place = ring > 0 ? tile % ring : tile;
  if (cache.blocks_) place = cache.blocks_->block(sequence, tile);
  Tensor& x = part == CachePart::keys ? cache.keys_ : cache.values_;
  return head_of(x, layer, cache.blocks_ ? 0 : sequence, head) + place * tile_bytes(cache, part);
}

const std::byte* KvCacheAccess::tile(const KvCache& cache, CachePart part, Index layer,
                                     Index sequence, Index head, Index tile) {
  return KvCacheAccess::tile(const_cast<KvCache&>(cache), part, layer, sequence, head, tile);
}

float* KvCacheAccess::exact_keys(KvCache& cache, Index layer, Index sequence) {
  if (!cache.exact_keys_.has_value()) return nullptr;
  return reinterpret_cast<float*>(head_of(cache.exact_keys_, layer, sequence, 0));
}

Index* KvCacheAccess::exact_tile(KvCache& cache, Index layer, Index sequence) {
  if (!cache.exact_tile_.has_value()) return nullptr;
  return cache.exact_tile_.data<Index>() + layer * cache.config_.batch + sequence;
}

Index KvCacheAccess::first_tile(std::string_view operation, const KvCache& cache, Index length,
                                Index kept) {
  if (length > cache.capacity()) {
    core::throw_shape_error(operation, "length", "at most " + std::to_string(cache.capacity()),
                            std::to_string(length));
  }
  if (length > 0 && kept > first_seen(cache.config_, length)) {
    core::throw_shape_error(
        operation, "sequence",
        "positions from " + std::to_string(first_seen(cache.config_, length)) + " on",
        "from " + std::to_string(kept) + " on, which a ring kept");
  }
  const Index ring = ring_tiles(cache.config_);
  return std::max(kept / kTile, ring > 0 ? kernels::ceil_div(length, kTile) - ring : Index{0});
}

void KvCacheAccess::replace(KvCache& cache, Index sequence, Index length, Index first_tile) {
  if (cache.blocks_) {
    cache.blocks_->shrink(sequence, 0);
    cache.blocks_->extend(sequence, length);
  }
  cache.lengths_[at(sequence)] = length;
  cache.kept_[at(sequence)] = first_tile * kTile;
}

void KvCacheAccess::copy_sequence(const KvCache& source, Index from, KvCache& cache, Index to) {
  check_alike(source.config_, cache.config_);
  const Index length = source.lengths_[at(from)];
  const Index tiles = kernels::ceil_div(length, kTile);
  const bool shares = &source == &cache && cache.blocks_ != nullptr;
  if (shares) {
    cache.blocks_->shrink(to, 0);
    cache.blocks_->share(from, to, tiles);
    cache.lengths_[at(to)] = length;
  }
  if (cache.blocks_ && !shares) check_blocks(*cache.blocks_, to, tiles);
  const Index first = shares ? tiles : first_tile(kName, cache, length, source.kept_[at(from)]);
  if (!shares) replace(cache, to, length, first);
  const Index heads = cache.config_.num_key_value_heads;
  for (Index layer = 0; layer < cache.config_.num_layers; ++layer) {
    for (const CachePart part : {CachePart::keys, CachePart::values}) {
      for (Index i = 0; i < heads * (tiles - first); ++i) {
        const Index n = i % heads, t = first + i / heads;
        std::memcpy(tile(cache, part, layer, to, n, t), tile(source, part, layer, from, n, t),
                    at(used_bytes(cache, part, t, length)));
      }
    }
    if (!cache.exact_keys_.has_value()) continue;
    auto& origin = const_cast<KvCache&>(source);
    std::memcpy(exact_keys(cache, layer, to), exact_keys(origin, layer, from),
                at(heads * kTile * cache.config_.head_dim) * sizeof(float));
    *exact_tile(cache, layer, to) = *exact_tile(origin, layer, from);
  }
}

}  // namespace grouphead::ops
