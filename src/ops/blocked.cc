#include "ops/blocked.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/context_impl.h"
#include "kernels/elementwise.h"
#include "kernels/narrow.h"

namespace grouphead::ops::blocked {
namespace {

using kernels::GemmKernels;
using kernels::Matrix;
using kernels::Panels;

constexpr Index kFloatBytes = sizeof(float);
/// Rows of one unit of a product; a multiple of every level's tile, so only the last tile is short.
constexpr Index kUnitRows = 120;
/// Weights that one unit of a product with few rows reads.
constexpr Index kStripBytes = Index{1} << 19;
/// Rows that do not pay for packing weights that are used once.
constexpr Index kPlainRows = 16;
/// Columns of one unit of a product with such weights (whole panels at every level), and the depths
/// that it takes at a time: as many streams of memory as a processor reads ahead.
constexpr Index kPlainColumns = 1056;
constexpr Index kPlainDepth = 32;
/// Panels that one unit of packing covers.
constexpr Index kPackPanels = 8;
/// Bytes of packed x and d_y that a weight gradient works on at a time: about an L2 cache.
constexpr Index kSharedBytes = Index{1} << 21;
/// Between packed tiles of x, which would else lie a power of two apart and crowd one cache set.
constexpr Index kSkew = 16;
/// Rows of x that one unit of packing covers.
constexpr Index kPackRows = 64;
constexpr Index kBiasColumns = 128;

constexpr Index round_up(Index value, Index unit) { return (value + unit - 1) / unit * unit; }
constexpr Index ceil_div(Index value, Index unit) { return (value + unit - 1) / unit; }

Index packed_floats(const GemmKernels& table, Index depth, Index columns) {
  return depth * round_up(columns, table.panel);
}

/// Packs weights [depth, columns] by groups of panels.
class Packer {
 public:
  Packer(const GemmKernels& table, Index depth, Index columns)
      : table_(table), depth_(depth), columns_(columns), width_(kPackPanels * table.panel) {}

  Index units() const { return ceil_div(columns_, width_); }
  /// sums[column] = the sum of each column of a unit, packed by run().
  void sum(Index unit, const float* packed, float* sums) const {
    const Index end = std::min(columns_, (unit + 1) * width_);
    for (Index column = unit * width_; column < end; column += table_.panel) {
      const Index columns = std::min(table_.panel, end - column);
      std::fill_n(sums + column, columns, 0.0F);
      table_.add_column_sums(depth_, columns, packed + column * depth_, table_.panel,
                             sums + column);
    }
  }
  void run(Index unit, Matrix<const float> from, float* to) const {
    run_to(unit, from, to + unit * width_ * depth_);
  }
  /// The same with `to` the unit's own place.
  void run_to(Index unit, Matrix<const float> from, float* to) const {
    const Index column = unit * width_;
    table_.pack(depth_, std::min(width_, columns_ - column), from.block(0, column), to);
  }

 private:
  const GemmKernels& table_;
  Index depth_, columns_, width_;
};

/// Weights of Element as they are kept: panels, then for 8-bit numbers the scales of their columns.
template <class Element>
class Kept {
 public:
  static constexpr bool kHasScales = std::is_same_v<Element, std::int8_t>;

  Kept(const GemmKernels& table, const Weights& w)
      : table_(table),
        w_(w),
        packer_(table, w.depth, w.columns),
        columns_(round_up(w.columns, table.panel)),
        panel_bytes_(round_up(w.depth * columns_ * Index{sizeof(Element)}, kFloatBytes)) {}

  Index bytes() const { return panel_bytes_ + (kHasScales ? columns_ * kFloatBytes : 0); }

  void fill(Context& ctx, void* memory) const {
    const Matrix<const float> from{w_.data, w_.row_stride, w_.column_stride};
    ctx.impl().parallel_for(packer_.units(), [&](Index unit, int slot) {
      if constexpr (std::is_same_v<Element, float>) {
        packer_.run(unit, from, static_cast<float*>(memory));
      } else {
        narrow_unit(ctx, unit, slot, from, memory);
      }
    });
  }

  Panels<Element> panels(const void* memory) const {
    return {static_cast<const Element*>(memory), w_.depth * table_.panel, table_.panel,
            kHasScales ? scales(const_cast<void*>(memory)) : nullptr};
  }

 private:
  float* scales(void* memory) const {
    return reinterpret_cast<float*>(static_cast<std::byte*>(memory) + panel_bytes_);
  }

  void narrow_unit(Context& ctx, Index unit, int slot, Matrix<const float> from,
                   void* memory) const {
    const Index first = unit * kPackPanels * table_.panel;
    const Index panels = std::min(kPackPanels, (columns_ - first) / table_.panel);
    const Index elements = w_.depth * table_.panel;  // of a panel
    auto* const wide =
        static_cast<float*>(ctx.impl().scratch(slot, panels * elements * kFloatBytes));
    packer_.run_to(unit, from, wide);
    for (Index p = 0; p < panels; ++p) {
      const Index column = first + p * table_.panel;
      Element* const to = static_cast<Element*>(memory) + column * w_.depth;
      if constexpr (kHasScales) {
        kernels::narrow(w_.depth, table_.panel, wide + p * elements, to, scales(memory) + column);
      } else {
        kernels::narrow(w_.depth, table_.panel, wide + p * elements, to);
      }
    }
  }

  const GemmKernels& table_;
  const Weights& w_;
  Packer packer_;
  Index columns_, panel_bytes_;
};

/// Units are blocks of rows; few rows are cut by columns instead.
template <class Element>
void run(Context& ctx, const GemmKernels& table, GemmKernels::Multiply<Element>* multiply,
         Index rows, const float* x, const Weights& w, const Panels<Element>& panels,
         const Finish& finish, float* y) {
  const Index strip =
      rows > kUnitRows
          ? w.columns
          : round_up(ceil_div(kStripBytes / Index{sizeof(Element)}, std::max(w.depth, Index{1})),
                     table.panel);
  const Index across = ceil_div(w.columns, strip);
  const auto level = static_cast<kernels::Level>(ctx.isa());
  const auto& elementwise = kernels::elementwise_kernels<float>(level);
  ctx.impl().parallel_for(across * ceil_div(rows, kUnitRows), [&](Index unit, int) {
    const Index row = unit / across * kUnitRows;
    const Index column = unit % across * strip;
    const Index unit_rows = std::min(kUnitRows, rows - row);
    const Index columns = std::min(strip, w.columns - column);
    const Panels<Element> part{panels.data + column * w.depth, panels.panel_stride,
                               panels.row_stride,
                               panels.scales == nullptr ? nullptr : panels.scales + column};
    float* const to = y + row * w.columns + column;
    multiply(unit_rows, columns, w.depth, {x + row * w.depth, w.depth, 1}, part,
             finish.bias == nullptr ? nullptr : finish.bias + column, finish.write == Write::add,
             to, w.columns);
    if (finish.epilogue == Epilogue::gelu) {
      for (Index r = 0; r < unit_rows; ++r) {
        elementwise.gelu_forward(to + r * w.columns, columns, to + r * w.columns);
      }
    }
  });
}

template <class Element>
void multiply_kept(Context& ctx, const GemmKernels& table, GemmKernels::Multiply<Element>* multiply,
                   Index rows, const float* x, const Weights& w, const Finish& finish, float* y) {
  const Kept<Element> kept(table, w);
  const auto fill = [&](void* to) { kept.fill(ctx, to); };
  if (w.packed != nullptr) {
    const void* const memory =
        w.packed->impl().get(w.pass, static_cast<std::size_t>(ctx.isa()), kept.bytes(), fill);
    run(ctx, table, multiply, rows, x, w, kept.panels(memory), finish, y);
  } else {
    Tensor own = ctx.tensor({kept.bytes()}, Dtype::u8);
    fill(own.view().raw());
    run(ctx, table, multiply, rows, x, w, kept.panels(own.view().raw()), finish, y);
  }
}

}  // namespace

void multiply(Context& ctx, const GemmKernels& table, Index rows, const float* x, const Weights& w,
              const Finish& finish, float* y) {
  switch (w.packed == nullptr ? Dtype::f32 : w.packed->form()) {
    case Dtype::bf16:
      return multiply_kept(ctx, table, table.multiply_bf16, rows, x, w, finish, y);
    case Dtype::u8:
      return multiply_kept(ctx, table, table.multiply_int8, rows, x, w, finish, y);
    default:
      return multiply_kept(ctx, table, table.multiply, rows, x, w, finish, y);
  }
}

bool reads_in_place(const GemmKernels& table, Index rows, const Weights& w) noexcept {
  return w.packed == nullptr && rows <= kPlainRows && w.column_stride == 1 &&
         w.columns % table.vector == 0;
}

void multiply_in_place(Context& ctx, const GemmKernels& table, Index rows, const float* x,
                       const Weights& w, float* y) {
  ctx.impl().parallel_for(ceil_div(w.columns, kPlainColumns), [&](Index unit, int) {
    const Index column = unit * kPlainColumns;
    const Index columns = std::min(kPlainColumns, w.columns - column);
    Index first = 0;
    do {
      const Index depth = std::min(kPlainDepth, w.depth - first);
      table.multiply(rows, columns, depth, {x + first, w.depth, 1},
                     {w.data + first * w.row_stride + column, table.panel, w.row_stride}, nullptr,
                     first > 0, y + column, w.columns);
      first += depth;
    } while (first < w.depth);
  });
}

namespace {

/// d_w += x^T d_y over some blocks of rows. Both operands are packed first, which reads them as
/// they lie; then units own tiles of d_w's rows.
struct WeightGradient {
  Context& ctx;
  const GemmKernels& table;
  Index depth, columns;
  float* d_w;

  Index tiles() const { return ceil_div(depth, table.tile_rows); }
  Index tile_stride(Index rows) const { return rows * table.tile_rows + kSkew; }
  Index x_floats(Index rows) const { return tiles() * tile_stride(rows); }
  Index floats(Index rows) const { return x_floats(rows) + packed_floats(table, rows, columns); }

  /// With `sums` [blocks, columns], those of d_y's columns too.
  void pack(Index blocks, Index rows, const float* x, const float* d_y, float* packed,
            float* sums) const {
    const Packer packer(table, rows, columns);
    const Index x_parts = ceil_div(rows, kPackRows);
    const Index parts = x_parts + packer.units();
    ctx.impl().parallel_for(blocks * parts, [&](Index unit, int) {
      const Index block = unit / parts;
      const Index part = unit % parts;
      float* const to = packed + block * floats(rows);
      if (part < x_parts) {
        const Index row = part * kPackRows;
        table.pack_transposed(std::min(kPackRows, rows - row), depth,
                              x + (block * rows + row) * depth, depth, to + row * table.tile_rows,
                              tile_stride(rows));
      } else {
        const Index panels = part - x_parts;
        packer.run(panels, {d_y + block * rows * columns, columns, 1}, to + x_floats(rows));
        if (sums != nullptr) packer.sum(panels, to + x_floats(rows), sums + block * columns);
      }
    });
  }

  /// Tiles of one unit: several use a panel while it is in cache, and enough units balance.
  Index unit_tiles() const { return std::clamp(tiles() / 8, Index{1}, Index{16}); }

  void multiply(Index blocks, Index rows, const float* packed) const {
    ctx.impl().parallel_for(ceil_div(tiles(), unit_tiles()), [&](Index unit, int) {
      const Index begin = unit * unit_tiles();
      const Index end = std::min(tiles(), begin + unit_tiles());
      for (Index block = 0; block < blocks; ++block) {
        const float* const x = packed + block * floats(rows);
        for (Index column = 0; column < columns; column += table.panel) {
          const Panels<float> panel{x + x_floats(rows) + column * rows, 0, table.panel};
          const Index width = std::min(table.panel, columns - column);
          for (Index tile = begin; tile < end; ++tile) {
            const Index row = tile * table.tile_rows;
            table.multiply(std::min(table.tile_rows, depth - row), width, rows,
                           {x + tile * tile_stride(rows), 1, table.tile_rows}, panel, nullptr, true,
                           d_w + row * columns + column, columns);
          }
        }
      }
    });
  }
};

}  // namespace

void add_weight_gradient(Context& ctx, const GemmKernels& table, Index rows, Index depth,
                         Index columns, const float* x, const float* d_y, float* d_w,
                         float* d_bias) {
  const WeightGradient gradient{ctx, table, depth, columns, d_w};
  const Index block_rows = std::min(rows, kGradientRows);
  const Index block_floats = gradient.floats(block_rows);
  const Index group =
      std::clamp(kSharedBytes / kFloatBytes / block_floats, Index{1}, ceil_div(rows, block_rows));
  Tensor packed = ctx.tensor({group * block_floats});
  float* const to = packed.data<float>();
  Tensor sums_of_blocks;
  if (d_bias != nullptr) sums_of_blocks = ctx.tensor({group, columns});
  float* const sums = d_bias != nullptr ? sums_of_blocks.data<float>() : nullptr;
  for (Index row = 0; row < rows;) {
    const Index whole = std::min(group, (rows - row) / block_rows);
    const Index blocks = std::max(whole, Index{1});
    const Index each = whole > 0 ? block_rows : rows - row;
    gradient.pack(blocks, each, x + row * depth, d_y + row * columns, to, sums);
    for (Index block = 0; d_bias != nullptr && block < blocks; ++block) {
      for (Index i = 0; i < columns; ++i) d_bias[i] += sums[block * columns + i];
    }
    gradient.multiply(blocks, each, to);
    row += blocks * each;
  }
}

void add_bias_gradient(Context& ctx, const GemmKernels& table, Index rows, Index columns,
                       const float* d_y, float* d_bias) {
  ctx.impl().parallel_for(ceil_div(columns, kBiasColumns), [&](Index unit, int) {
    const Index column = unit * kBiasColumns;
    for (Index row = 0; row < rows; row += kGradientRows) {
      table.add_column_sums(std::min(kGradientRows, rows - row),
                            std::min(kBiasColumns, columns - column), d_y + row * columns + column,
                            columns, d_bias + column);
    }
  });
}

}  // namespace grouphead::ops::blocked
