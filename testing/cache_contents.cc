#include "testing/cache_contents.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace grouphead::testing {
namespace {

constexpr Index kTile = 64;
constexpr Index kPanel = 16;

// One tile of one head.
class Tile {
 public:
  Tile(const ops::CacheSlice& cache, ConstView all, Index b, Index n, Index tile)
      : is_bf16_(all.dtype() == Dtype::bf16),
        bytes_(static_cast<const std::uint8_t*>(all.raw()) +
               ((entry(cache, b) * all.dim(1) + n) * all.dim(2) + place(cache, b, tile)) *
                   all.dim(3) * size_of(all.dtype())) {}

  double key(Index s, Index d, Index D) const {
    const Index dims = is_bf16_ ? 2 : 4;
    const Index words = words_of(D);
    const Index place = ((s / kPanel * words + d / dims) * kPanel + s % kPanel) * dims + d % dims;
    return is_bf16_ ? bf16(place) : bytes_[place] - 128;
  }
  double key_scale(Index d, Index D) const {
    return is_bf16_ ? 1 : f32(4 * kTile * words_of(D) + 4 * d);
  }
  double value(Index s, Index d, Index width) const {
    if (is_bf16_) return bf16((s / 2 * width + d) * 2 + s % 2);
    return static_cast<std::int8_t>(bytes_[s * width + d]);
  }
  double value_scale(Index s, Index width) const {
    return is_bf16_ ? 1 : f32(kTile * width + 4 * s);
  }

 private:
  static Index entry(const ops::CacheSlice& cache, Index b) {
    return cache.slots.has_value() ? 0 : b;
  }
  static Index place(const ops::CacheSlice& cache, Index b, Index tile) {
    if (cache.ring > 0) return tile % cache.ring;
    if (!cache.slots.has_value()) return tile;
    return cache.slots.data<Index>()[b * cache.slots.dim(1) + tile];
  }
  Index words_of(Index D) const { return is_bf16_ ? (D + 1) / 2 : (D + 15) / 16 * 4; }
  double f32(Index at) const {
    float x = 0;
    std::memcpy(&x, bytes_ + at, sizeof x);
    return x;
  }
  double bf16(Index number) const {
    Bf16 x{};
    std::memcpy(&x, bytes_ + 2 * number, sizeof x);
    return to_float(x);
  }

  bool is_bf16_;
  const std::uint8_t* bytes_;
};

}  // namespace

CacheContents cache_contents(const ops::CacheSlice& cache, Index S, Index D, Index Dv) {
  const Index B = cache.slots.has_value() ? cache.slots.dim(0) : cache.keys.dim(0);
  const Index H = cache.keys.dim(1);
  const Index width = (Dv + 15) / 16 * 16;
  CacheContents all{Tensor({B, S, H, D}, Dtype::f64), Tensor({B, S, H, Dv}, Dtype::f64)};
  const bool has_scales = cache.keys.dtype() == Dtype::u8;
  if (has_scales) {
    all.key_scales = Tensor({B, S, H, D}, Dtype::f64);
    all.value_scales = Tensor({B, S, H, Dv}, Dtype::f64);
  }
  for (Index b = 0; b < B; ++b) {
    for (Index s = 0; s < S; ++s) {
      for (Index n = 0; n < H; ++n) {
        const Tile keys(cache, cache.keys, b, n, s / kTile);
        const Tile values(cache, cache.values, b, n, s / kTile);
        const Index row = (b * S + s) * H + n;
        for (Index d = 0; d < D; ++d) {
          const double scale = keys.key_scale(d, D);
          all.k.data<double>()[row * D + d] = scale * keys.key(s % kTile, d, D);
          if (has_scales) all.key_scales.data<double>()[row * D + d] = scale;
        }
        const double scale = values.value_scale(s % kTile, width);
        for (Index d = 0; d < Dv; ++d) {
          all.v.data<double>()[row * Dv + d] = scale * values.value(s % kTile, d, width);
          if (has_scales) all.value_scales.data<double>()[row * Dv + d] = scale;
        }
      }
    }
  }
  return all;
}

Tensor query_rounding(ConstView q, const CacheContents& contents, double scale) {
  const ConstView k = contents.k;
  const Index T = q.dim(1);
  const Index Hq = q.dim(2);
  const Index D = q.dim(3);
  const Index S = k.dim(1);
  const Index H = k.dim(2);
  Tensor rounding({q.dim(0), Hq, T, S}, Dtype::f64);
  std::vector<float> scaled(static_cast<std::size_t>(D));
  for (Index row = 0; row < q.dim(0) * T * Hq; ++row) {
    const float* query = q.data<float>() + row * D;
    const Index b = row / (T * Hq);
    const Index h = row % Hq;
    for (Index s = 0; s < S; ++s) {
      const Index at = ((b * S + s) * H + h / (Hq / H)) * D;
      const double* scales = contents.key_scales.data<double>() + at;
      float most = 0;
      for (Index d = 0; d < D; ++d) {
        float& x = scaled[static_cast<std::size_t>(d)];
        x = query[d] * static_cast<float>(scales[d]);
        most = std::max(most, std::abs(x));
      }
      const float unit = most >= 0x1p-100F ? most / 127.0F : 0.0F;
      const float factor = unit > 0 ? 1 / unit : 0.0F;
      double difference = 0;
      for (Index d = 0; d < D; ++d) {
        if (scales[d] == 0) continue;
        const double number = std::nearbyint(scaled[static_cast<std::size_t>(d)] * factor);
        difference += (number * unit / scales[d] - query[d]) * k.data<double>()[at + d];
      }
      rounding.data<double>()[((b * Hq + h) * T + row / Hq % T) * S + s] = scale * difference;
    }
  }
  return rounding;
}

}  // namespace grouphead::testing
