#include "ops/packed_gemm.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/context_impl.h"
#include "kernels/gemm/narrow.h"
#include "kernels/rowwise/rowwise.h"
#include "ops/weight_parts.h"

namespace grouphead::ops::packed_gemm {
namespace {

using kernels::GemmKernels;
using kernels::Matrix;
using kernels::Panels;

constexpr Index kFloatBytes = sizeof(float);
/// Rows of one unit of a product; a multiple of every level's tile, so only the last tile is short.
constexpr Index kUnitRows = 120;
/// Weights that one unit of a product with few rows reads at most, about; and the fewest that pay
/// for waking another thread.
constexpr Index kStripBytes = Index{1} << 19;
constexpr Index kLeastStripBytes = Index{1} << 16;
/// Rows that do not pay for packing weights that are used once.
constexpr Index kPlainRows = 16;
/// Columns of one unit of a product with such weights (whole panels at every level), and the depths
/// that it takes at a time: as many streams of memory as a processor reads ahead.
constexpr Index kPlainColumns = 1056;
constexpr Index kPlainDepth = 32;
/// Panels that one unit of packing covers.
constexpr Index kPackPanels = 8;
/// Rows and columns of d_w that one unit of a weight gradient owns at most: what it packs for 512
/// rows of x and d_y, 1.6 MB, is about an L2 cache. Fewer would be packed more often (384 columns:
/// 4 % of a language model's training step).
constexpr Index kUnitWeightRows = 256;
constexpr Index kUnitWeightColumns = 528;
/// Units for each thread that end together though their number is no multiple of the threads'.
constexpr Index kUnitsPerThread = 3;
/// Between packed tiles of x, which would else lie a power of two apart and crowd one cache set.
constexpr Index kSkew = 16;
constexpr Index kBiasColumns = 128;

constexpr Index round_up(Index value, Index unit) { return (value + unit - 1) / unit * unit; }
constexpr Index ceil_div(Index value, Index unit) { return (value + unit - 1) / unit; }

/// Packs weights [depth, columns] by groups of panels.
class Packer {
 public:
  Packer(const GemmKernels& table, kernels::Level level, const Weights& w)
      : table_(table),
        level_(level),
        depth_(w.depth),
        columns_(w.columns),
        width_(kPackPanels * table.panel),
        parts_(w, width_) {}

  Index units() const { return ceil_div(columns_, width_); }
  Index scratch_bytes() const { return parts_.scratch_bytes(); }
  void run(Index unit, void* scratch, float* to) const {
    run_to(unit, scratch, to + unit * width_ * depth_);
  }
  /// The same with `to` the unit's own place.
  void run_to(Index unit, void* scratch, float* to) const {
    const Index column = unit * width_;
    const Index count = std::min(width_, columns_ - column);
    const WeightColumns from = parts_.part(level_, column, count, scratch);
    table_.pack(depth_, count, {from.data, from.row_stride, from.column_stride}, to);
  }

 private:
  const GemmKernels& table_;
  kernels::Level level_;
  Index depth_, columns_, width_;
  WeightParts parts_;
};

/// Weights of Element as they are kept: panels, then for 8-bit numbers the scales of their columns.
template <class Element>
class Kept {
 public:
  static constexpr bool kHasScales = std::is_same_v<Element, std::int8_t>;

  Kept(const GemmKernels& table, kernels::Level level, const Weights& w)
      : table_(table),
        w_(w),
        packer_(table, level, w),
        columns_(round_up(w.columns, table.panel)),
        panel_bytes_(round_up(w.depth * columns_ * Index{sizeof(Element)}, kFloatBytes)) {}

  Index bytes() const { return panel_bytes_ + (kHasScales ? columns_ * kFloatBytes : 0); }

  void fill(Context& ctx, void* memory) const {
    ctx.impl().parallel_for(packer_.units(), [&](Index unit, int slot) {
      if constexpr (std::is_same_v<Element, float>) {
        packer_.run(unit, ctx.impl().scratch(slot, packer_.scratch_bytes()),
                    static_cast<float*>(memory));
      } else {
        narrow_unit(ctx, unit, slot, memory);
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

  void narrow_unit(Context& ctx, Index unit, int slot, void* memory) const {
    const Index first = unit * kPackPanels * table_.panel;
    const Index panels = std::min(kPackPanels, (columns_ - first) / table_.panel);
    const Index elements = w_.depth * table_.panel;  // of a panel
    auto* const wide = static_cast<float*>(
        ctx.impl().scratch(slot, panels * elements * kFloatBytes + packer_.scratch_bytes()));
    packer_.run_to(unit, wide + panels * elements, wide);
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

/// Panels in strips of the same number, or one more: as many strips for each thread, so that all
/// threads end together.
class Strips {
 public:
  Strips(Index columns, Index panel, Index panel_bytes, Index threads)
      : columns_(columns), panel_(panel), panels_(ceil_div(columns, panel)) {
    const Index bytes = panels_ * panel_bytes;
    const Index most = std::max(bytes / kLeastStripBytes, Index{1});
    count_ = std::min({round_up(bytes / kStripBytes + 1, threads), most, panels_});
  }
  explicit Strips(Index columns) : columns_(columns), panel_(columns), panels_(1), count_(1) {}

  Index count() const { return count_; }
  /// The first column of a strip, of the last one's successor the end.
  Index begin(Index strip) const { return std::min(columns_, strip * panels_ / count_ * panel_); }

 private:
  Index columns_, panel_, panels_, count_;
};

/// Units are blocks of rows; few rows are cut by columns instead.
template <class Element>
void run(Context& ctx, const GemmKernels& table, Index rows, const SpacedRows& x, const Weights& w,
         const Panels<Element>& panels, const Finish& finish, float* y) {
  auto* const multiply = kernels::multiply_of<Element>(table);
  const Strips strips = rows > kUnitRows ? Strips(w.columns)
                                         : Strips(w.columns, table.panel,
                                                  table.panel * w.depth * Index{sizeof(Element)},
                                                  ctx.impl().num_threads());
  const Index across = strips.count();
  const auto level = static_cast<kernels::Level>(ctx.isa());
  const auto& elementwise = kernels::rowwise_kernels<float>(level);
  ctx.impl().parallel_for(across * ceil_div(rows, kUnitRows), [&](Index unit, int) {
    const Index row = unit / across * kUnitRows;
    const Index column = strips.begin(unit % across);
    const Index unit_rows = std::min(kUnitRows, rows - row);
    const Index columns = strips.begin(unit % across + 1) - column;
    const Panels<Element> part{
        panels.data + column * w.depth, panels.panel_stride, panels.row_stride,
        panels.scales == nullptr ? nullptr : panels.scales + column, rows <= table.tile_rows};
    float* const to = y + row * w.columns + column;
    multiply(unit_rows, columns, w.depth, {x.data + row * x.stride, x.stride, 1}, part,
             finish.bias == nullptr ? nullptr : finish.bias + column, finish.write == Write::add,
             to, w.columns);
    if (finish.epilogue == Epilogue::gelu) {
      for (Index r = 0; r < unit_rows; ++r) {
        elementwise.gelu_forward(to + r * w.columns, columns, to + r * w.columns);
      }
    }
  });
}

/// The panels that w.packed keeps.
template <class Element>
Panels<Element> panels_of(Context& ctx, const GemmKernels& table, const Weights& w) {
  const Kept<Element> kept(table, static_cast<kernels::Level>(ctx.isa()), w);
  return kept.panels(w.packed->impl().get(w.pass, static_cast<std::size_t>(ctx.isa()), kept.bytes(),
                                          [&](void* to) { kept.fill(ctx, to); }));
}

}  // namespace

AnyPanels kept_panels(Context& ctx, const GemmKernels& table, const Weights& w) {
  switch (w.packed->form()) {
    case Dtype::bf16:
      return panels_of<std::uint16_t>(ctx, table, w);
    case Dtype::u8:
      return panels_of<std::int8_t>(ctx, table, w);
    default:
      return panels_of<float>(ctx, table, w);
  }
}

void multiply(Context& ctx, const GemmKernels& table, Index rows, const SpacedRows& x,
              const Weights& w, const Finish& finish, float* y) {
  if (w.packed == nullptr) {
    const Kept<float> kept(table, static_cast<kernels::Level>(ctx.isa()), w);
    Tensor own = ctx.tensor({kept.bytes()}, Dtype::u8);
    kept.fill(ctx, own.view().raw());
    return run(ctx, table, rows, x, w, kept.panels(own.view().raw()), finish, y);
  }
  std::visit([&](const auto& panels) { run(ctx, table, rows, x, w, panels, finish, y); },
             kept_panels(ctx, table, w));
}

namespace {

/// Panels of the numbers as they are; columns after the last are zero.
void pack_bytes(Context& ctx, const GemmKernels& table, const ByteWeights& w, std::int8_t* to) {
  const Tensor numbers = w.numbers();
  const auto* const first = reinterpret_cast<const std::int8_t*>(numbers.data<std::uint8_t>());
  const Matrix<const std::int8_t> from = w.is_transposed
                                             ? Matrix<const std::int8_t>{first, 1, w.depth}
                                             : Matrix<const std::int8_t>{first, w.columns, 1};
  ctx.impl().parallel_for(ceil_div(w.columns, table.panel), [&](Index unit, int) {
    const Index column = unit * table.panel;
    const Index width = std::min(table.panel, w.columns - column);
    std::int8_t* row = to + column * w.depth;
    for (Index d = 0; d < w.depth; ++d, row += table.panel) {
      for (Index c = 0; c < width; ++c) row[c] = from.at(d, column + c);
      std::fill(row + width, row + table.panel, std::int8_t{0});
    }
  });
}

}  // namespace

void multiply(Context& ctx, const GemmKernels& table, Index rows, const float* x,
              const ByteWeights& w, float* y) {
  const Pass pass = w.is_transposed ? Pass::backward : Pass::forward;
  const Index bytes = w.depth * round_up(w.columns, table.panel);
  const void* const memory = w.packed->impl().get(
      pass, static_cast<std::size_t>(ctx.isa()), bytes,
      [&](void* to) { pack_bytes(ctx, table, w, static_cast<std::int8_t*>(to)); });
  const Weights sizes{nullptr, w.depth, w.columns, w.columns, 1, w.packed, pass};
  const Panels<std::int8_t> panels{static_cast<const std::int8_t*>(memory), w.depth * table.panel,
                                   table.panel};
  run(ctx, table, rows, {x, w.depth}, sizes, panels, {nullptr, Epilogue::none, Write::overwrite},
      y);
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
                     {w.floats() + first * w.row_stride + column, table.panel, w.row_stride},
                     nullptr, first > 0, y + column, w.columns);
      first += depth;
    } while (first < w.depth);
  });
}

namespace {

/// d_w += x^T d_y and d_bias += column sums of d_y. A unit owns a part of d_w and packs what it
/// multiplies, block by block of rows, into its thread's memory: nobody waits, and nothing goes
/// from one core's cache to another's.
class WeightGradient {
 public:
  WeightGradient(const GemmKernels& table, Index rows, Index depth, Index columns, int threads)
      : table_(table),
        rows_(rows),
        depth_(depth),
        columns_(columns),
        unit_rows_(round_up(std::min(depth, kUnitWeightRows), table.tile_rows)),
        // Few rows of x take less time than reading d_w: long runs of memory, if threads allow.
        unit_columns_(round_up(rows <= kPlainRows ? columns : std::min(columns, kUnitWeightColumns),
                               table.panel)) {
    while (units() % threads != 0 && units() < kUnitsPerThread * threads) {
      const bool halves_rows = unit_rows_ > 4 * table.tile_rows;
      const bool halves_columns = unit_columns_ > 2 * table.panel;
      if (!halves_rows && !halves_columns) break;
      if (halves_rows && (!halves_columns || unit_rows_ >= std::min(columns, unit_columns_))) {
        unit_rows_ = round_up(unit_rows_ / 2, table.tile_rows);
      } else {
        unit_columns_ = round_up(unit_columns_ / 2, table.panel);
      }
    }
  }

  Index units() const { return ceil_div(depth_, unit_rows_) * across(); }
  Index floats() const { return x_floats() + block_rows() * unit_columns_; }

  void add(Index unit, const float* x, const float* d_y, float* d_w, float* d_bias,
           float* memory) const {
    const Index first = unit / across() * unit_rows_;
    const Index column = unit % across() * unit_columns_;
    const Index count = std::min(unit_rows_, depth_ - first);
    const Index width = std::min(unit_columns_, columns_ - column);
    float* const panels = memory + x_floats();
    for (Index row = 0; row < rows_; row += kGradientRows) {
      const Index rows = std::min(kGradientRows, rows_ - row);
      table_.pack_transposed(rows, count, x + row * depth_ + first, depth_, memory, tile_stride());
      table_.pack(rows, width, {d_y + row * columns_ + column, columns_, 1}, panels);
      if (first == 0 && d_bias != nullptr) add_sums(rows, width, panels, d_bias + column);
      for (Index r = 0; r < count; r += table_.tile_rows) {
        const float* const tile = memory + r / table_.tile_rows * tile_stride();
        table_.multiply(std::min(table_.tile_rows, count - r), width, rows,
                        {tile, 1, table_.tile_rows}, {panels, rows * table_.panel, table_.panel},
                        nullptr, true, d_w + (first + r) * columns_ + column, columns_);
      }
    }
  }

 private:
  Index across() const { return ceil_div(columns_, unit_columns_); }
  Index block_rows() const { return std::min(rows_, kGradientRows); }
  Index tile_stride() const { return block_rows() * table_.tile_rows + kSkew; }
  Index x_floats() const { return unit_rows_ / table_.tile_rows * tile_stride(); }
  void add_sums(Index rows, Index width, const float* panels, float* sums) const {
    for (Index column = 0; column < width; column += table_.panel) {
      table_.add_column_sums(rows, std::min(table_.panel, width - column), panels + column * rows,
                             table_.panel, sums + column);
    }
  }

  const GemmKernels& table_;
  Index rows_, depth_, columns_;
  Index unit_rows_, unit_columns_;  // of d_w
};

}  // namespace

void add_weight_gradient(Context& ctx, const GemmKernels& table, Index rows, Index depth,
                         Index columns, const float* x, const float* d_y, float* d_w,
                         float* d_bias) {
  const WeightGradient gradient(table, rows, depth, columns, ctx.num_threads());
  ctx.impl().parallel_for(gradient.units(), [&](Index unit, int slot) {
    gradient.add(unit, x, d_y, d_w, d_bias, ctx.impl().scratch<float>(slot, gradient.floats()));
  });
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

}  // namespace grouphead::ops::packed_gemm
