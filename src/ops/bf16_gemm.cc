#include "ops/bf16_gemm.h"

#include <algorithm>

#include "core/context_impl.h"
#include "kernels/attention/layout.h"
#include "kernels/rowwise/convert.h"

namespace grouphead::ops::bf16_gemm {
namespace {

using kernels::Bf16Products;
using kernels::ceil_div;
using kernels::kBf16Columns;
using kernels::kBf16Depth;
using kernels::round_up;
using Bits = std::uint16_t;

constexpr std::size_t kForm = PackedWeights::Impl::kForms - 2;
constexpr Index kRows = 64;      // of y in one unit, or of d_w
constexpr Index kColumns = 256;  // of one unit
constexpr Index kStep = 64;      // columns of one product
static_assert(kGradientRows % kBf16Depth == 0 && kColumns % kStep == 0);

void narrow(Context& ctx, const float* from, Index count, Bits* to) {
  kernels::convert_kernels(static_cast<kernels::Level>(ctx.isa())).narrow(from, count, to);
}

// to [padded][to_row] = x [count][width], rounded; zeros behind.
void narrow_rows(Context& ctx, const SpacedRows& x, Index count, Index width, Index padded,
                 Index to_row, Bits* to) {
  for (Index r = 0; r < padded; ++r, to += to_row) {
    if (r < count) narrow(ctx, x.data + r * x.stride, width, to);
    std::fill(to + (r < count ? width : 0), to + to_row, Bits{0});
  }
}

// w in panels [columns / 16][depth / 2][16][2].
void pack(Context& ctx, const Bf16Products& table, const Weights& w, Bits* to) {
  const Index depth = round_up(w.depth, kBf16Depth);
  const bool is_transposed = w.column_stride != 1;
  ctx.impl().parallel_for(ceil_div(w.columns, kStep), [&](Index unit, int slot) {
    const Index column = unit * kStep;
    const Index count = std::min(kStep, w.columns - column);
    auto* const rows = static_cast<Bits*>(
        ctx.impl().scratch(slot, kStep * w.depth * static_cast<Index>(sizeof(Bits))));
    const Index lines = is_transposed ? count : w.depth;
    const Index row = is_transposed ? w.depth : kStep;
    for (Index i = 0; i < lines; ++i) {
      const float* const from = is_transposed ? w.floats() + (column + i) * w.column_stride
                                              : w.floats() + i * w.row_stride + column;
      narrow(ctx, from, is_transposed ? w.depth : count, rows + i * row);
    }
    for (Index c = 0; c < count; c += kBf16Columns) {
      const auto one = is_transposed ? table.pack_transposed : table.pack;
      one(rows + c * (is_transposed ? row : 1), row, w.depth, std::min(kBf16Columns, count - c),
          depth, to + (column + c) * depth);
    }
  });
}

// y = tile + bias or y += tile.
void finish_tile(const float* tile, Index rows, Index columns, const float* bias, Write write,
                 float* y, Index y_row) {
  for (Index r = 0; r < rows; ++r, tile += kStep, y += y_row) {
    for (Index c = 0; c < columns; ++c) {
      const float sum = bias == nullptr ? tile[c] : tile[c] + bias[c];
      y[c] = write == Write::add ? y[c] + sum : sum;
    }
  }
}

}  // namespace

void multiply(Context& ctx, const Bf16Products& table, Index rows, const SpacedRows& x,
              const Weights& w, const Finish& finish, float* y) {
  const Index depth = round_up(w.depth, kBf16Depth);
  const Index bytes = depth * round_up(w.columns, kBf16Columns) * static_cast<Index>(sizeof(Bits));
  const void* const packed = w.packed->impl().get(
      w.pass, kForm, bytes, [&](void* to) { pack(ctx, table, w, static_cast<Bits*>(to)); });
  const auto* const weights = static_cast<const Bits*>(packed);
  const Index across = ceil_div(w.columns, kColumns);
  ctx.impl().parallel_for(across * ceil_div(rows, kRows), [&](Index unit, int slot) {
    const Index first = unit / across * kRows;
    const Index begin = unit % across * kColumns;
    const Index count = std::min(kRows, rows - first);
    const Index padded = round_up(count, kBf16Columns);
    auto* const tile = ctx.impl().scratch<float>(slot, kRows * kStep + kRows * depth / 2);
    auto* const left = reinterpret_cast<Bits*>(tile + kRows * kStep);
    narrow_rows(ctx, {x.data + first * x.stride, x.stride}, count, w.depth, padded, depth, left);
    for (Index c = begin; c < std::min(begin + kColumns, w.columns); c += kStep) {
      const Index width = std::min(kStep, w.columns - c);
      table.multiply({left, depth, kBf16Depth},
                     {weights + c * depth, 2 * kBf16Columns, kBf16Columns * depth}, padded,
                     round_up(width, kBf16Columns), depth, false, tile, kStep);
      finish_tile(tile, count, width, finish.bias == nullptr ? nullptr : finish.bias + c,
                  finish.write, y + first * w.columns + c, w.columns);
    }
  });
}

void add_weight_gradient(Context& ctx, const Bf16Products& table, Index rows, Index depth,
                         Index columns, const float* x, const float* d_y, float* d_w) {
  const Index all_rows = round_up(rows, kBf16Depth);
  const Index tall = round_up(depth, kBf16Columns);
  const Index wide = round_up(columns, kBf16Columns);
  Tensor left = ctx.tensor({all_rows, tall}, Dtype::bf16);   // [rows / 32][tall][32]
  Tensor right = ctx.tensor({wide, all_rows}, Dtype::bf16);  // [wide / 16][rows / 2][16][2]
  auto* const x_columns = static_cast<Bits*>(left.view().raw());
  auto* const d_pairs = static_cast<Bits*>(right.view().raw());
  ctx.impl().parallel_for(all_rows / kBf16Depth, [&](Index unit, int slot) {
    const Index first = unit * kBf16Depth;
    const Index count = std::min(kBf16Depth, rows - first);
    const Index size = kBf16Depth * std::max(tall, wide);
    auto* const narrowed =
        static_cast<Bits*>(ctx.impl().scratch(slot, 2 * size * static_cast<Index>(sizeof(Bits))));
    narrow_rows(ctx, {x + first * depth, depth}, count, depth, kBf16Depth, tall, narrowed);
    table.transpose(narrowed, tall, tall, narrowed + size, x_columns + first * tall);
    narrow_rows(ctx, {d_y + first * columns, columns}, count, columns, kBf16Depth, wide, narrowed);
    for (Index c = 0; c < wide; c += kBf16Columns) {
      table.pack(narrowed + c, wide, kBf16Depth, kBf16Columns, kBf16Depth,
                 d_pairs + c * all_rows + first * kBf16Columns);
    }
  });
  const Index across = ceil_div(columns, kStep);
  ctx.impl().parallel_for(across * ceil_div(depth, kRows), [&](Index unit, int slot) {
    const Index i = unit / across * kRows;
    const Index c = unit % across * kStep;
    auto* const tile = ctx.impl().scratch<float>(slot, kRows * kStep);
    for (Index first = 0; first < rows; first += kGradientRows) {
      table.multiply({x_columns + first * tall + i * kBf16Depth, kBf16Depth, kBf16Depth * tall},
                     {d_pairs + c * all_rows + first * kBf16Columns, 2 * kBf16Columns,
                      kBf16Columns * all_rows},
                     std::min(kRows, tall - i), std::min(kStep, wide - c),
                     std::min(kGradientRows, all_rows - first), false, tile, kStep);
      finish_tile(tile, std::min(kRows, depth - i), std::min(kStep, columns - c), nullptr,
                  Write::add, d_w + i * columns + c, columns);
    }
  });
}

}  // namespace grouphead::ops::bf16_gemm
