#include "kernels/cpu/limits.h"

#if defined(__x86_64__)
#include "kernels/cpu/amx.h"
#endif

namespace grouphead::kernels {
namespace {

#if defined(__x86_64__)

constexpr int kChains = 16;
constexpr int kRepeats = 8;
constexpr std::int64_t kFlopsPerInstruction = 64;  // 16 sums of two products

__attribute__((target("avx512f,avx512bf16"))) float multiply_pairs(std::int64_t laps) noexcept {
  __m512 chain[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) chain[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 half = _mm512_set1_ps(0.5F);
  const __m512bh factor = _mm512_cvtne2ps_pbh(half, half);
  for (std::int64_t lap = 0; lap < laps; ++lap) {
#pragma GCC unroll 8
    for (int r = 0; r < kRepeats; ++r) {
#pragma GCC unroll 16
      for (int i = 0; i < kChains; ++i) chain[i] = _mm512_dpbf16_ps(chain[i], factor, factor);
    }
  }
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) chain[0] = _mm512_add_ps(chain[0], chain[i]);
  float lanes[16];
  _mm512_storeu_ps(lanes, chain[0]);
  float total = 0;
  for (const float lane : lanes) total += lane;
  return total;
}

constexpr MultiplyAddLimit kPairs = {kFlopsPerInstruction * kChains * kRepeats, multiply_pairs};

constexpr int kTileChains = 4;
constexpr std::int64_t kTileRepeats = 32;
constexpr std::int64_t kFlopsPerTile = 2 * 16 * 16 * 32;

// The sum of the first tile; tiles 0 to 3 are chains, 4 and 5 factors.
__attribute__((target("avx512f,amx-tile,amx-bf16"))) float multiply_tiles(
    std::int64_t laps) noexcept {
  const AmxTiles tiles;
  std::uint16_t factors[16 * 32];
  for (std::uint16_t& factor : factors) factor = 0x3F00;  // 0.5
  before_tile_loads();
  _tile_loadd(4, factors, 64);
  _tile_loadd(5, factors, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t lap = 0; lap < kTileRepeats * laps; ++lap) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  float sums[16 * 16];
  _tile_stored(0, sums, 64);
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

constexpr MultiplyAddLimit kTiles = {kFlopsPerTile * kTileChains * kTileRepeats, multiply_tiles};

#endif

}  // namespace

const MultiplyAddLimit* bf16_limit([[maybe_unused]] Level level) noexcept {
#if defined(__x86_64__)
  if (!enter_level(level)) return nullptr;
  if (level == Level::avx3_bf16) return &kPairs;
  if (level == Level::avx3_amx) return &kTiles;
#endif
  return nullptr;
}

}  // namespace grouphead::kernels
