#include <algorithm>
#include <type_traits>

#include "kernels/cpu/level.h"
#include "kernels/cpu/targets.h"
#include "kernels/gemm/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/simd.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/tile-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {
namespace {

/// A tile's sums, kTileRows x kVectors vectors, leave room for a row of b and an element of a. With
/// 32 registers 8 x 3 were faster than 12 x 2 and 6 x 4 (Sapphire Rapids: 8 %).
constexpr int kVectors = HWY_TARGET == HWY_AVX3 ? 3 : GROUPHEAD_HAS_32_REGISTERS ? 4 : 2;
constexpr int kTileRows = HWY_TARGET == HWY_AVX3 ? 8 : 6;
constexpr Index kPanel = kVectors * kLanes;
/// Depth of one sum: a tile's rows of a and a panel's rows of b stay in L1 and L2.
constexpr Index kDepthBlock = 512;
/// Depths that pack_transposed() takes at a time: as many lines as any L1 has ways.
constexpr Index kPackDepths = 8;

/// Panels that a single row takes side by side: sums enough to keep the multipliers busy. With 16
/// lanes reading binds in f32, and one stream of memory is read fastest.
template <class Element>
constexpr int kSide = HWY_TARGET != HWY_AVX3           ? 4
                      : std::is_same_v<Element, float> ? 1
                                                       : 3;

/// What happens to a finished sum.
struct Target {
  const float* scales;  // of the tile's first column, or null
  const float* bias;    // likewise
  bool add;
  float* c;
  Index c_stride;
  Index columns;  // of the tile, at most kPanel
};

template <int kN>
HWY_NOINLINE void store_part(const Target& t, int row, const Vector* row_sums) {
  HWY_ALIGN float sums[kN * kLanes];
  for (int n = 0; n < kN; ++n) hn::Store(row_sums[n], kFloats, sums + n * kLanes);
  float* const c = t.c + row * t.c_stride;
  for (Index j = 0; j < t.columns; ++j) {
    const float scaled = t.scales == nullptr ? sums[j] : sums[j] * t.scales[j];
    const float sum = t.bias == nullptr ? scaled : scaled + t.bias[j];
    c[j] = t.add ? c[j] + sum : sum;
  }
}

template <int kN>
HWY_INLINE void store_row(const Target& t, int row, Vector* sums) {
  if (t.columns < kN * kLanes) return store_part<kN>(t, row, sums);
  float* const c = t.c + row * t.c_stride;
  for (int n = 0; t.scales != nullptr && n < kN; ++n) {
    sums[n] = hn::Mul(sums[n], hn::LoadU(kFloats, t.scales + n * kLanes));
  }
  for (int n = 0; t.bias != nullptr && n < kN; ++n) {
    sums[n] = hn::Add(sums[n], hn::LoadU(kFloats, t.bias + n * kLanes));
  }
  for (int n = 0; t.add && n < kN; ++n) {
    sums[n] = hn::Add(hn::LoadU(kFloats, c + n * kLanes), sums[n]);
  }
  for (int n = 0; n < kN; ++n) hn::StoreU(sums[n], kFloats, c + n * kLanes);
}

/// Depths between two calls of prefetch_rows().
constexpr Index kAheadDepths = 16;

/// Elements between what is read of a panel and what is asked for: half a page, more than the
/// processor reads ahead by itself. 0: asking does not help.
template <class Element>
Index read_ahead() noexcept {
  return prefetch_helps() ? 2048 / static_cast<Index>(sizeof(Element)) : 0;
}

/// Asks for the memory of some rows of a panel.
template <class Element>
HWY_INLINE void prefetch_rows(const Element* from, Index elements) {
  constexpr Index kLine = 64 / sizeof(Element);
  for (Index i = 0; i < elements; i += kLine) hwy::Prefetch(from + i);
}

/// Sums of kRows rows times the first kN vectors of a panel over `depth`. kAhead: asks for the
/// panel's memory ahead.
template <class Element, int kRows, int kN, bool kAhead>
void tile(Index depth, Matrix<const float> a, const Element* b, Index b_stride,
          const Target& target) {
  Tile<kRows, kN> products;
  products.clear();
  for (int r = 0; r < kRows; ++r) {
    for (int n = 0; n < kN; ++n) hwy::Prefetch(target.c + r * target.c_stride + n * kLanes);
  }
  if constexpr (kAhead) {
    const Index ahead = read_ahead<Element>();
    for (Index d = 0; d < depth; d += kAheadDepths) {
      const Index count = depth - d < kAheadDepths ? depth - d : kAheadDepths;
      const Element* const from = b + d * b_stride;
      prefetch_rows(from + ahead, count * b_stride);
      products.run(a.data + d * a.column_stride, a.row_stride, a.column_stride, from, InRow(),
                   b_stride, count);
    }
  } else {
    products.run(a.data, a.row_stride, a.column_stride, b, InRow(), b_stride, depth);
  }
  for (int r = 0; r < kRows; ++r) store_row<kN>(target, r, products.sums[r]);
}

/// The same sums of one row and kPanels whole panels. Inlined, its sums left the registers.
template <class Element, int kPanels>
HWY_NOINLINE void row_of_tiles(Index depth, Matrix<const float> a, Panels<Element> b,
                               Target target) {
  // A single stream the processor reads ahead by itself.
  const Index ahead = kSide<Element> > 1 && b.in_memory ? read_ahead<Element>() : 0;
  Vector sums[kPanels][kVectors];
  for (auto& panel : sums) {
    for (Vector& sum : panel) sum = hn::Zero(kFloats);
  }
  for (Index d = 0; d < depth; ++d) {
    const Vector left = hn::Set(kFloats, a.data[d * a.column_stride]);
    HWY_UNROLL(4)
    for (int i = 0; i < kPanels; ++i) {
      const Element* const from = b.data + i * b.panel_stride + d * b.row_stride;
      if (ahead != 0) prefetch_rows(from + ahead, kPanel);
      HWY_UNROLL(3)
      for (int n = 0; n < kVectors; ++n) {
        sums[i][n] = hn::MulAdd(left, widened(from + n * kLanes), sums[i][n]);
      }
    }
  }
  for (auto& panel : sums) {
    store_row<kVectors>(target, 0, panel);
    target.c += kPanel;
    if (target.bias != nullptr) target.bias += kPanel;
    if (target.scales != nullptr) target.scales += kPanel;
  }
}

template <class Element>
using RowFunction = void (*)(Index, Matrix<const float>, Panels<Element>, Target);

/// Of `panels` panels, at least one.
template <class Element, int kPanels>
constexpr RowFunction<Element> row_of(Index panels) {
  if constexpr (kPanels > 1) {
    if (panels < kPanels) return row_of<Element, kPanels - 1>(panels);
  }
  return row_of_tiles<Element, kPanels>;
}

template <class Element>
using TileFunction = void (*)(Index, Matrix<const float>, const Element*, Index, const Target&);

/// Of `rows` rows and `vectors` vectors, at least one.
template <class Element, int kRows, int kN, bool kAhead>
constexpr TileFunction<Element> tile_of(Index rows, Index vectors) {
  if constexpr (kN > 1) {
    if (vectors < kN) return tile_of<Element, kRows, kN - 1, kAhead>(rows, vectors);
  }
  if constexpr (kRows > 1) {
    if (rows < kRows) return tile_of<Element, kRows - 1, kN, kAhead>(rows, vectors);
  }
  return tile<Element, kRows, kN, kAhead>;
}

const float* at_column(const float* row, Index column) {
  return row == nullptr ? nullptr : row + column;
}

/// One depth block of a product.
template <class Element>
void multiply_block(Index rows, Index columns, Index depth, Matrix<const float> a,
                    Panels<Element> b, const Target& all) {
  const Index whole = rows / kTileRows * kTileRows;
  const bool ahead = b.in_memory && read_ahead<Element>() != 0;
  const auto tile_for = ahead ? tile_of<Element, kTileRows, kVectors, true>
                              : tile_of<Element, kTileRows, kVectors, false>;
  Target target = all;
  for (Index column = 0; column < columns;) {
    const Element* const panel = b.data + column / kPanel * b.panel_stride;
    target.scales = at_column(all.scales, column);
    target.bias = at_column(all.bias, column);
    target.columns = columns - column < kPanel ? columns - column : kPanel;
    target.c = all.c + column;
    if (rows == 1 && columns - column >= kPanel) {
      const Index panels = std::min<Index>((columns - column) / kPanel, kSide<Element>);
      row_of<Element, kSide<Element>>(panels)(
          depth, a, {panel, b.panel_stride, b.row_stride, nullptr, b.in_memory}, target);
      column += panels * kPanel;
      continue;
    }
    const Index vectors = (target.columns + kLanes - 1) / kLanes;
    const TileFunction<Element> full = tile_for(kTileRows, vectors);
    for (Index row = 0; row < whole; row += kTileRows) {
      full(depth, a.block(row, 0), panel, b.row_stride, target);
      target.c += kTileRows * target.c_stride;
    }
    if (whole < rows) {
      tile_for(rows - whole, vectors)(depth, a.block(whole, 0), panel, b.row_stride, target);
    }
    column += kPanel;
  }
}

template <class Element>
void multiply(Index rows, Index columns, Index depth, Matrix<const float> a, Panels<Element> b,
              const float* bias, bool add, float* c, Index c_stride) noexcept {
  Index first = 0;
  do {
    const Index block = depth - first < kDepthBlock ? depth - first : kDepthBlock;
    const Panels<Element> part{b.data + first * b.row_stride, b.panel_stride, b.row_stride, nullptr,
                               b.in_memory};
    multiply_block(rows, columns, block, a.block(0, first), part,
                   {b.scales, first == 0 ? bias : nullptr, add || first > 0, c, c_stride, kPanel});
    first += block;
  } while (first < depth);
}

/// Row by row, so that memory is read in long runs.
void pack(Index depth, Index columns, Matrix<const float> b, float* panels) noexcept {
  const Index whole = b.column_stride == 1 ? columns / kPanel * kPanel : 0;
  for (Index d = 0; d < depth; ++d, panels += kPanel) {
    const Matrix<const float> from = b.block(d, 0);
    float* to = panels;
    for (Index column = 0; column < whole; column += kPanel, to += depth * kPanel) {
      for (Index n = 0; n < kPanel; n += kLanes) {
        hn::StoreU(hn::LoadU(kFloats, from.data + column + n), kFloats, to + n);
      }
    }
    for (Index column = whole; column < columns; column += kPanel, to += depth * kPanel) {
      for (Index j = 0; j < kPanel; ++j) {
        to[j] = column + j < columns ? from.at(0, column + j) : 0.0F;
      }
    }
  }
}

/// A tile's row of one depth.
HWY_INLINE void copy_tile_row(const float* from, float* to) {
  constexpr int kWidth = kTileRows == 8 ? 8 : 2;
  const hn::FixedTag<float, kWidth> few;
  for (int r = 0; r < kTileRows; r += kWidth) hn::StoreU(hn::LoadU(few, from + r), few, to + r);
}

/// Some depths of one tile after the other: runs of memory are long on both sides.
void pack_transposed(Index depth, Index rows, const float* a, Index a_stride, float* tiles,
                     Index tile_stride) noexcept {
  for (Index first = 0; first < depth; first += kPackDepths) {
    const Index depths = depth - first < kPackDepths ? depth - first : kPackDepths;
    const float* const block = a + first * a_stride;
    float* to = tiles + first * kTileRows;
    for (Index row = 0; row < rows; row += kTileRows, to += tile_stride) {
      if (row + kTileRows <= rows) {
        for (Index d = 0; d < depths; ++d) {
          copy_tile_row(block + d * a_stride + row, to + d * kTileRows);
        }
        continue;
      }
      for (Index d = 0; d < depths; ++d) {
        for (Index r = 0; row + r < rows; ++r) {
          to[d * kTileRows + r] = block[d * a_stride + row + r];
        }
      }
    }
  }
}

/// Column sums of kVectors vectors side by side: wide, so that memory is read by whole runs.
template <int kVectors>
void add_vector_sums(Index rows, const float* a, Index a_stride, float* sums) {
  Vector strip[kVectors];
  for (int i = 0; i < kVectors; ++i) strip[i] = hn::Zero(kFloats);
  for (Index r = 0; r < rows; ++r, a += a_stride) {
    HWY_UNROLL(8)
    for (int i = 0; i < kVectors; ++i)
      strip[i] = hn::Add(strip[i], hn::LoadU(kFloats, a + i * kLanes));
  }
  for (int i = 0; i < kVectors; ++i) {
    float* const to = sums + i * kLanes;
    hn::StoreU(hn::Add(hn::LoadU(kFloats, to), strip[i]), kFloats, to);
  }
}

void add_column_sums(Index rows, Index columns, const float* a, Index a_stride,
                     float* sums) noexcept {
  Index column = 0;
  for (; column + 8 * kLanes <= columns; column += 8 * kLanes) {
    add_vector_sums<8>(rows, a + column, a_stride, sums + column);
  }
  for (; column + kLanes <= columns; column += kLanes) {
    add_vector_sums<1>(rows, a + column, a_stride, sums + column);
  }
  add_column_sums_reference(rows, columns - column, Matrix<const float>{a + column, a_stride, 1},
                            sums + column);
}

}  // namespace

const GemmKernels* gemm_table() noexcept {
  static constexpr GemmKernels kTable{kPanel,
                                      kLanes,
                                      kTileRows,
                                      pack,
                                      pack_transposed,
                                      multiply<float>,
                                      multiply<std::uint16_t>,
                                      multiply<std::int8_t>,
                                      add_column_sums};
  return &kTable;
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace grouphead::kernels {

const GemmKernels* gemm_kernels(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, gemm_table, nullptr)
}

}  // namespace grouphead::kernels
#endif
