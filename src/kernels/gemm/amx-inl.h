// Products of bf16 values by AMX: the multiply of Bf16Products, of attention too.
// Included for the target AVX3 alone.

#if defined(GROUPHEAD_KERNELS_GEMM_AMX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_GEMM_AMX_INL_H_
#undef GROUPHEAD_KERNELS_GEMM_AMX_INL_H_
#else
#define GROUPHEAD_KERNELS_GEMM_AMX_INL_H_
#endif

#include "kernels/cpu/amx.h"
#include "kernels/gemm/bf16-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,amx-tile,amx-bf16")
namespace grouphead::kernels::HWY_NAMESPACE {

constexpr Index kAmxTile = 16;  // rows or columns of a tile of sums

// See Bf16Products. `a` and `b` in tiles of 16 x 32 and 32 x 16, four products at a time.
static HWY_NOINLINE void multiply_by_tiles(const Bf16Left& a, const Bf16Right& b, Index rows,
                                           Index columns, Index depth, bool add, float* c,
                                           Index c_row) noexcept {
  const Index a_bytes = static_cast<Index>(sizeof(U16)) * a.row;
  const Index b_bytes = static_cast<Index>(sizeof(U16)) * b.step;
  const Index c_bytes = static_cast<Index>(sizeof(float)) * c_row;
  before_tile_loads();
  for (Index x = 0; x < columns; x += 2 * kAmxTile) {
    const bool is_wide = x + kAmxTile < columns;
    for (Index i = 0; i < rows; i += 2 * kAmxTile) {
      const bool is_tall = i + kAmxTile < rows;
      float* const to = c + i * c_row + x;
      float* const below = to + (is_tall ? kAmxTile * c_row : 0);
      if (add) {
        _tile_loadd(0, to, c_bytes);
        _tile_loadd(1, to + (is_wide ? kAmxTile : 0), c_bytes);
        _tile_loadd(2, below, c_bytes);
        _tile_loadd(3, below + (is_wide ? kAmxTile : 0), c_bytes);
      } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      }
      for (Index k = 0; k < depth; k += kBf16Lanes) {
        const U16* const left = a.data + i * a.row + k / kBf16Lanes * a.block;
        const U16* const right = b.data + k / 2 * b.step + x / kAmxTile * b.panel;
        _tile_loadd(4, left, a_bytes);
        _tile_loadd(6, right, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        if (is_wide) {
          _tile_loadd(7, right + b.panel, b_bytes);
          _tile_dpbf16ps(1, 4, 7);
        }
        if (!is_tall) continue;
        _tile_loadd(5, left + kAmxTile * a.row, a_bytes);
        _tile_dpbf16ps(2, 5, 6);
        if (is_wide) _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, to, c_bytes);
      if (is_wide) _tile_stored(1, to + kAmxTile, c_bytes);
      if (is_tall) _tile_stored(2, below, c_bytes);
      if (is_tall && is_wide) _tile_stored(3, below + kAmxTile, c_bytes);
    }
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif
