#include "grouphead/files/kv_cache_file.h"

#include <cstring>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "ops/kv_cache_access.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;

using ops::CachePart;
using ops::KvCacheAccess;

constexpr const char* kFormat = "grouphead kv cache 1";
constexpr Index kTile = 64;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

Index tiles_of(Index length) { return (length + kTile - 1) / kTile; }

std::string name_of_part(Index sequence, const char* part) {
  return std::to_string(sequence) + "." + part;
}

// All layers of one sequence's keys or values: [L, Hkv, tiles, elements of a tile].
Shape part_shape(const KvCache& cache, CachePart part, Index tiles) {
  const KvCacheConfig& c = cache.config();
  const Index elements = KvCacheAccess::tile_bytes(cache, part) / size_of(c.dtype);
  return {c.num_layers, c.num_key_value_heads, tiles, elements};
}

// visit(bytes of a tile in x, layer, head, tile) for a tensor of part_shape().
template <class Visit>
void for_tiles(ConstView x, Index first, const Visit& visit) {
  Index i = 0;
  for (Index layer = 0; layer < x.dim(0); ++layer) {
    for (Index head = 0; head < x.dim(1); ++head) {
      for (Index t = 0; t < x.dim(2); ++t) {
        visit(i++ * x.dim(3) * size_of(x.dtype()), layer, head, first + t);
      }
    }
  }
}

Tensor part_of(const KvCache& cache, CachePart part, Index sequence) {
  const Index length = cache.length(sequence);
  const Index first = KvCacheAccess::kept(cache)[at(sequence)] / kTile;
  Tensor x = Tensor::zeros(part_shape(cache, part, tiles_of(length) - first), cache.config().dtype);
  auto* bytes = static_cast<std::byte*>(x.view().raw());
  for_tiles(x, first, [&](Index offset, Index layer, Index head, Index tile) {
    std::memcpy(bytes + offset, KvCacheAccess::tile(cache, part, layer, sequence, head, tile),
                at(KvCacheAccess::used_bytes(cache, part, tile, length)));
  });
  return x;
}

Tensor row_of(std::span<const Index> numbers) {
  return Tensor::from({static_cast<Index>(numbers.size())}, numbers);
}

std::map<std::string, std::string> metadata_of(const KvCacheConfig& c) {
  return {{"format", kFormat},
          {"dtype", std::string(name_of(c.dtype))},
          {"num_layers", std::to_string(c.num_layers)},
          {"batch", std::to_string(c.batch)},
          {"num_key_value_heads", std::to_string(c.num_key_value_heads)},
          {"head_dim", std::to_string(c.head_dim)},
          {"value_dim", std::to_string(c.value_dim)}};
}

// A file that is open, compared with the cache that it is for.
class CacheFile {
 public:
  CacheFile(const fs::path& file, const KvCache& cache)
      : file_(file.string()), cache_(cache), stored_(io::open_safetensors(file)) {
    for (const auto& [key, expected] : metadata_of(cache.config())) {
      const auto found = stored_.metadata.find(key);
      const bool is_there = found != stored_.metadata.end();
      if (is_there && found->second == expected) continue;
      refuse(key, expected, is_there ? found->second : "none");
    }
    const Index batch = cache.config().batch;
    lengths_ = tensor("lengths", Dtype::i64, {batch});
    kept_ = tensor("kept", Dtype::i64, {batch});
    for (Index b = 0; b < batch; ++b) sequences_.push_back(read_sequence(b));
    check_blocks();
  }

  struct Sequence {
    Index length, first;  // first: the file's first tile
    Index first_kept;     // the first that the cache takes
    Tensor keys, values, exact, exact_tile;
  };
  const std::vector<Sequence>& sequences() const noexcept { return sequences_; }

 private:
  [[noreturn]] void refuse(const std::string& what, const std::string& expected,
                           const std::string& got) const {
    throw IoError("[load_kv_cache] " + file_ + ": " + what + ": expected " + expected + ", got " +
                  got);
  }

  Tensor tensor(const std::string& name, Dtype dtype, const Shape& shape) const {
    const Tensor x = stored_.read(name);
    if (x.dtype() == dtype && x.shape() == shape) return x;
    refuse(name, std::string(name_of(dtype)) + " " + shape.to_string(),
           std::string(name_of(x.dtype())) + " " + x.shape().to_string());
  }

  Sequence read_sequence(Index b) const {
    const KvCacheConfig& c = cache_.config();
    const Index length = lengths_.data<Index>()[b];
    const Index kept = kept_.data<Index>()[b];
    if (length < 0 || length > cache_.capacity()) {
      refuse("lengths", "0 .. " + std::to_string(cache_.capacity()), std::to_string(length));
    }
    if (kept < 0 || kept > length || kept % kTile != 0) {
      refuse("kept", "a multiple of 64 up to " + std::to_string(length), std::to_string(kept));
    }
    Sequence s{};
    s.length = length;
    s.first = kept / kTile;
    try {
      s.first_kept = KvCacheAccess::first_tile("load_kv_cache", cache_, length, kept);
    } catch (const ShapeError& error) {
      throw IoError("[load_kv_cache] " + file_ + ": " + error.what());
    }
    const Index tiles = tiles_of(length) - s.first;
    s.keys = tensor(name_of_part(b, "keys"), c.dtype, part_shape(cache_, CachePart::keys, tiles));
    s.values =
        tensor(name_of_part(b, "values"), c.dtype, part_shape(cache_, CachePart::values, tiles));
    if (c.dtype != Dtype::u8) return s;
    s.exact = tensor(name_of_part(b, "exact_keys"), Dtype::f32,
                     {c.num_layers, c.num_key_value_heads, kTile, c.head_dim});
    s.exact_tile = tensor(name_of_part(b, "exact_tile"), Dtype::i64, {c.num_layers});
    return s;
  }

  void check_blocks() const {
    const Index blocks = cache_.config().num_blocks;
    Index wanted = 0;
    for (const Sequence& s : sequences_) wanted += tiles_of(s.length);
    if (blocks > 0 && wanted > blocks) {
      refuse("lengths", "at most " + std::to_string(blocks) + " blocks", std::to_string(wanted));
    }
  }

  std::string file_;
  const KvCache& cache_;
  io::StoredTensors stored_;
  Tensor lengths_, kept_;
  std::vector<Sequence> sequences_;
};

void put_part(const Tensor& x, KvCache& cache, CachePart part, Index b,
              const CacheFile::Sequence& s) {
  const auto* bytes = static_cast<const std::byte*>(x.view().raw());
  for_tiles(x, s.first, [&](Index offset, Index layer, Index head, Index tile) {
    if (tile < s.first_kept) return;
    std::memcpy(KvCacheAccess::tile(cache, part, layer, b, head, tile), bytes + offset,
                at(KvCacheAccess::used_bytes(cache, part, tile, s.length)));
  });
}

void put_exact_keys(KvCache& cache, Index b, const CacheFile::Sequence& s) {
  if (!s.exact.has_value()) return;
  const Index count = s.exact.size() / s.exact.dim(0);
  for (Index layer = 0; layer < s.exact.dim(0); ++layer) {
    std::memcpy(KvCacheAccess::exact_keys(cache, layer, b), s.exact.data<float>() + layer * count,
                at(count) * sizeof(float));
    *KvCacheAccess::exact_tile(cache, layer, b) = s.exact_tile.data<Index>()[layer];
  }
}

}  // namespace

void save_kv_cache(const KvCache& cache, const fs::path& file) {
  const KvCacheConfig& c = cache.config();
  io::Safetensors contents{metadata_of(c), {}};
  contents.tensors["lengths"] = row_of(cache.lengths());
  contents.tensors["kept"] = row_of(KvCacheAccess::kept(cache));
  for (Index b = 0; b < c.batch; ++b) {
    contents.tensors[name_of_part(b, "keys")] = part_of(cache, CachePart::keys, b);
    contents.tensors[name_of_part(b, "values")] = part_of(cache, CachePart::values, b);
    if (c.dtype != Dtype::u8) continue;
    Tensor exact({c.num_layers, c.num_key_value_heads, kTile, c.head_dim});
    Tensor exact_tile({c.num_layers}, Dtype::i64);
    const Index count = exact.size() / c.num_layers;
    for (Index layer = 0; layer < c.num_layers; ++layer) {
      auto& held = const_cast<KvCache&>(cache);
      std::memcpy(exact.data<float>() + layer * count, KvCacheAccess::exact_keys(held, layer, b),
                  at(count) * sizeof(float));
      exact_tile.data<Index>()[layer] = *KvCacheAccess::exact_tile(held, layer, b);
    }
    contents.tensors[name_of_part(b, "exact_keys")] = exact;
    contents.tensors[name_of_part(b, "exact_tile")] = exact_tile;
  }
  io::write_safetensors(file, contents);
}

void load_kv_cache(const fs::path& file, KvCache& cache) {
  const CacheFile stored(file, cache);
  for (Index b = 0; b < cache.config().batch; ++b) KvCacheAccess::replace(cache, b, 0, 0);
  for (Index b = 0; b < cache.config().batch; ++b) {
    const CacheFile::Sequence& s = stored.sequences()[at(b)];
    KvCacheAccess::replace(cache, b, s.length, s.first_kept);
    put_part(s.keys, cache, CachePart::keys, b, s);
    put_part(s.values, cache, CachePart::values, b, s);
    put_exact_keys(cache, b, s);
  }
}

}  // namespace grouphead
