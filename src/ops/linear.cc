#include "ops/linear.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "core/check.h"
#include "core/context_impl.h"
#include "core/rows.h"
#include "kernels/cpu/bf16.h"
#include "kernels/gemm/narrow.h"
#include "kernels/gemm/reference.h"
#include "kernels/rowwise/rowwise.h"
#include "ops/bf16_gemm.h"
#include "ops/onednn.h"
#include "ops/packed_gemm.h"
#include "ops/packed_weights.h"
#include "ops/weight_parts.h"

namespace grouphead::ops {

PackedWeights::PackedWeights() : impl_(std::make_unique<Impl>()) {}
PackedWeights::~PackedWeights() = default;
void PackedWeights::invalidate() noexcept { impl_->invalidate(); }
void PackedWeights::keep_as(Dtype form) noexcept {
  impl_->kept_as = form;
  impl_->invalidate();
}
Dtype PackedWeights::form() const noexcept { return impl_->kept_as; }

namespace {

using kernels::Matrix;

/// Output tile of one unit of the reference.
constexpr Index kTileRows = 32;
constexpr Index kTileColumns = 256;
/// Multiply-adds below which waking threads costs more than it gains.
constexpr Index kSmallWork = Index{1} << 15;

/// Elements of weights up to which our kernels are faster than a call of oneDNN. A limit on the
/// weights alone: a row's bits must not depend on the number of rows.
constexpr Index kSmallWeights = Index{1} << 13;

struct Sizes {
  Index rows = 0;     // product of the leading axes
  Index depth = 0;    // K
  Index columns = 0;  // N
};

Index rows_of(const ConstView& view) {
  Index rows = 1;
  for (int axis = 0; axis + 1 < view.rank(); ++axis) rows *= view.dim(axis);
  return rows;
}

/// A present, dense operand [..., columns] of the operation's element type.
void require_rows(std::string_view operation, std::string_view operand, const ConstView& view,
                  Dtype dtype) {
  if (!view.has_value() || view.rank() == 0) {
    core::throw_shape_error(operation, operand, "[..., *]",
                            view.has_value() ? view.shape().to_string() : "nothing");
  }
  core::require_dtype(operation, operand, view, dtype);
  core::require_contiguous(operation, operand, view);
}

void require_float(std::string_view operation, std::string_view operand, const ConstView& view) {
  if (view.has_value() && view.dtype() != Dtype::f32 && view.dtype() != Dtype::f64) {
    core::throw_shape_error(operation, operand, "f32 or f64", name_of(view.dtype()));
  }
}

/// Names of the operands of one product, for messages: x [..., K], y [..., N], w of K * N elements.
struct Names {
  std::string_view operation, x, y, w;
};

Sizes check_product(const Names& names, const ConstView& x, const ConstView& w,
                    const ConstView& y) {
  require_float(names.operation, names.x, x);
  if (!core::has_spaced_rows(x)) require_rows(names.operation, names.x, x, x.dtype());
  require_rows(names.operation, names.y, y, x.dtype());
  const Sizes sizes{rows_of(x), x.shape().back(), y.shape().back()};
  if (rows_of(y) != sizes.rows) {
    core::throw_shape_error(names.operation, names.y, std::to_string(sizes.rows) + " rows",
                            y.shape().to_string());
  }
  if (!w.has_value() || w.size() != sizes.depth * sizes.columns) {
    core::throw_shape_error(
        names.operation, names.w,
        "[" + std::to_string(sizes.depth) + ", " + std::to_string(sizes.columns) + "]",
        w.has_value() ? w.shape().to_string() : "nothing");
  }
  return sizes;
}

void require_plain(const Names& names, const ConstView& w, Dtype dtype) {
  core::require_dtype(names.operation, names.w, w, dtype);
  core::require_contiguous(names.operation, names.w, w);
}

/// Weights as somebody else keeps them are a matrix [K, N] that products of f32 read.
void require_lying(const Names& names, const Sizes& sizes, const ConstView& w, Dtype dtype) {
  const bool is_narrow = w.dtype() == Dtype::bf16 || w.dtype() == Dtype::f16;
  if (dtype != Dtype::f32 || (!is_narrow && w.is_contiguous())) {
    return require_plain(names, w, dtype);
  }
  if (!is_narrow) core::require_dtype(names.operation, names.w, w, dtype);
  core::require_shape(names.operation, names.w, w, {sizes.depth, sizes.columns});
  require_weights(names.operation, names.w, w, w.size());
}

/// y = x w, or with Pass::backward the product with w transposed.
Weights weights_of(const Sizes& sizes, const ConstView& w, PackedWeights& packed, Pass pass) {
  const Index row = w.is_contiguous() ? sizes.columns : w.stride(0);
  const Index column = w.is_contiguous() ? 1 : w.stride(1);
  if (pass == Pass::backward) {
    return {w.raw(), sizes.columns, sizes.depth, column, row, &packed, pass, w.dtype()};
  }
  return {w.raw(), sizes.depth, sizes.columns, row, column, &packed, pass, w.dtype()};
}

template <class F>
Matrix<F> row_major(F* data, Index columns) {
  return {data, columns, 1};
}

/// body(row, rows, column, columns, slot) for every tile of an output. Tiles own their elements.
template <class Body>
void for_each_tile(Context& ctx, Index rows, Index columns, Index depth, Body&& body) {
  if (rows == 0 || columns == 0) return;
  const bool small = rows * columns * std::max<Index>(depth, 1) <= kSmallWork;
  const Index tile_rows = small ? rows : kTileRows;
  const Index tile_columns = small ? columns : kTileColumns;
  const Index across = (columns + tile_columns - 1) / tile_columns;
  const Index down = (rows + tile_rows - 1) / tile_rows;
  ctx.impl().parallel_for(across * down, [&](Index unit, int) {
    const Index row = unit / across * tile_rows;
    const Index column = unit % across * tile_columns;
    body(row, std::min(tile_rows, rows - row), column, std::min(tile_columns, columns - column));
  });
}

template <class F>
void forward_reference(Context& ctx, const Sizes& sizes, Matrix<const F> a, Matrix<const F> b,
                       const F* bias, Epilogue epilogue, F* y) {
  const Matrix<F> c = row_major(y, sizes.columns);
  const auto gelu = kernels::rowwise_kernels<F>(kernels::Level::ref).gelu_forward;
  for_each_tile(ctx, sizes.rows, sizes.columns, sizes.depth,
                [&](Index row, Index rows, Index column, Index columns) {
                  const Matrix<F> out = c.block(row, column);
                  kernels::gemm_reference(rows, columns, sizes.depth, a.block(row, 0),
                                          b.block(0, column), false, out);
                  if (bias != nullptr) {
                    kernels::add_bias_reference(rows, columns, bias + column, out);
                  }
                  for (Index r = 0; r < rows && epilogue == Epilogue::gelu; ++r) {
                    gelu(&out.at(r, 0), columns, &out.at(r, 0));
                  }
                });
}

template <class F>
void backward_input_reference(Context& ctx, const Sizes& sizes, const F* d_y, Matrix<const F> w,
                              Write write, F* d_x) {
  const Matrix<const F> a = row_major(d_y, sizes.columns);
  const Matrix<const F> b = w.transposed();
  const Matrix<F> c = row_major(d_x, sizes.depth);
  for_each_tile(ctx, sizes.rows, sizes.depth, sizes.columns,
                [&](Index row, Index rows, Index column, Index columns) {
                  kernels::gemm_reference(rows, columns, sizes.columns, a.block(row, 0),
                                          b.block(0, column), write == Write::add,
                                          c.block(row, column));
                });
}

template <class F>
void backward_weights_reference(Context& ctx, const Sizes& sizes, const F* x, const F* d_y,
                                F* d_w) {
  const Matrix<const F> a = row_major(x, sizes.depth).transposed();
  const Matrix<const F> b = row_major(d_y, sizes.columns);
  const Matrix<F> c = row_major(d_w, sizes.columns);
  for_each_tile(ctx, sizes.depth, sizes.columns, sizes.rows,
                [&](Index row, Index rows, Index column, Index columns) {
                  for (Index first = 0; first < sizes.rows; first += kGradientRows) {
                    kernels::gemm_reference(
                        rows, columns, std::min(kGradientRows, sizes.rows - first),
                        a.block(row, first), b.block(first, column), true, c.block(row, column));
                  }
                });
}

template <class F>
void backward_bias_reference(Context& ctx, const Sizes& sizes, const F* d_y, F* d_bias) {
  const Matrix<const F> a = row_major(d_y, sizes.columns);
  for_each_tile(ctx, 1, sizes.columns, sizes.rows, [&](Index, Index, Index column, Index columns) {
    for (Index first = 0; first < sizes.rows; first += kGradientRows) {
      kernels::add_column_sums_reference(std::min(kGradientRows, sizes.rows - first), columns,
                                         a.block(first, column), d_bias + column);
    }
  });
}

/// to [depth, columns] rounded to what `form` keeps of it.
void round_weights(Dtype form, const Sizes& sizes, float* to) {
  if (form == Dtype::f32) return;
  const auto count = static_cast<std::size_t>(sizes.depth * sizes.columns);
  if (form == Dtype::bf16) {
    std::vector<std::uint16_t> numbers(count);
    kernels::narrow(sizes.depth, sizes.columns, to, numbers.data());
    std::transform(numbers.begin(), numbers.end(), to, kernels::bf16_value);
    return;
  }
  const auto columns = static_cast<std::size_t>(sizes.columns);
  std::vector<std::int8_t> numbers(count);
  std::vector<float> scales(columns);
  kernels::narrow(sizes.depth, sizes.columns, to, numbers.data(), scales.data());
  for (std::size_t i = 0; i < count; ++i) {
    to[i] = static_cast<float>(numbers[i]) * scales[i % columns];
  }
}

/// What the reference multiplies with: w itself, or where it is kept in fewer bits, by us as `form`
/// or by its owner, a copy of f32.
template <class F>
Matrix<const F> reference_weights(const Sizes& sizes, const ConstView& w, PackedWeights& packed,
                                  Pass pass, Dtype form) {
  const bool is_plain = w.is_contiguous();
  if constexpr (std::is_same_v<F, float>) {
    if (w.dtype() != Dtype::f32 || form != Dtype::f32) {
      const Shape shape{sizes.depth, sizes.columns};
      const auto level = static_cast<std::size_t>(Isa::ref);
      const void* const memory =
          packed.impl().get(pass, level, shape.size() * Index{sizeof(float)}, [&](void* to) {
            copy_weights(is_plain ? w.reshaped(shape) : w, View(static_cast<float*>(to), shape));
            round_weights(form, sizes, static_cast<float*>(to));
          });
      return row_major(static_cast<const float*>(memory), sizes.columns);
    }
  }
  return {w.data<F>(), is_plain ? sizes.columns : w.stride(0), is_plain ? 1 : w.stride(1)};
}

/// The kernels of this Context's level; null where the reference computes.
const kernels::GemmKernels* fast_kernels(const Context& ctx, Dtype dtype) {
  if (dtype != Dtype::f32) return nullptr;
  return kernels::gemm_kernels(static_cast<kernels::Level>(ctx.isa()));
}

/// Null where values of the grid are not multiplied in it.
const kernels::Bf16Products* bf16_products(const Context& ctx, Dtype grid) {
  if (grid != Dtype::bf16) return nullptr;
  return kernels::bf16_products(static_cast<kernels::Level>(ctx.isa()));
}

/// A product of f32 by oneDNN where it serves, by our kernels elsewhere and for bf16's values.
void multiply(Context& ctx, const kernels::GemmKernels& table, Index rows, const SpacedRows& x,
              const Weights& w, const Finish& finish, float* y, Dtype grid = Dtype::f32) {
  if (rows == 0 || w.columns == 0) return;
  const auto* const narrow = bf16_products(ctx, grid);
  if (narrow != nullptr && w.depth > 0 && finish.epilogue == Epilogue::none &&
      w.packed->form() == Dtype::f32) {
    return bf16_gemm::multiply(ctx, *narrow, rows, x, w, finish, y);
  }
  const bool is_whole = w.packed == nullptr || w.packed->form() == Dtype::f32;
  const bool for_onednn = is_whole && w.depth * w.columns > kSmallWeights && onednn::usable(ctx);
  if (for_onednn && onednn::multiply(ctx, rows, x, w, finish, y)) return;
  packed_gemm::multiply(ctx, table, rows, x, w, finish, y);
}

/// body(F{}) with F the element type.
template <class Body>
void with_type(Dtype dtype, Body&& body) {
  if (dtype == Dtype::f32) {
    body(float{});
  } else {
    body(double{});
  }
}

}  // namespace

void linear_forward(Context& ctx, ConstView x, ConstView w, PackedWeights& packed, ConstView bias,
                    Epilogue epilogue, View y, Dtype grid) {
  constexpr Names kNames{"linear", "x", "y", "w"};
  const Sizes sizes = check_product(kNames, x, w, y);
  require_lying(kNames, sizes, w, x.dtype());
  if (bias.has_value()) {
    if (bias.size() != sizes.columns) {
      core::throw_shape_error(kNames.operation, "bias", "[" + std::to_string(sizes.columns) + "]",
                              bias.shape().to_string());
    }
    core::require_dtype(kNames.operation, "bias", bias, x.dtype());
    core::require_contiguous(kNames.operation, "bias", bias);
  }
  if (const auto* const table = fast_kernels(ctx, x.dtype())) {
    const float* const first = bias.has_value() ? bias.data<float>() : nullptr;
    multiply(ctx, *table, sizes.rows, {x.data<float>(), core::row_stride(x)},
             weights_of(sizes, w, packed, Pass::forward), {first, epilogue, Write::overwrite},
             y.data<float>(), grid);
    return;
  }
  with_type(x.dtype(), [&](auto type) {
    using F = decltype(type);
    forward_reference<F>(ctx, sizes, row_major(x.data<F>(), core::row_stride(x)),
                         reference_weights<F>(sizes, w, packed, Pass::forward, packed.form()),
                         bias.has_value() ? bias.data<F>() : nullptr, epilogue, y.data<F>());
  });
}

void linear_backward_input(Context& ctx, ConstView d_y, ConstView w, PackedWeights& packed,
                           Write write, View d_x, Dtype grid) {
  require_rows("linear_backward", "d_x", d_x, d_x.dtype());
  constexpr Names kNames{"linear_backward", "d_x", "d_y", "w"};
  const Sizes sizes = check_product(kNames, d_x, w, d_y);
  require_lying(kNames, sizes, w, d_y.dtype());
  if (const auto* const table = fast_kernels(ctx, d_y.dtype())) {
    multiply(ctx, *table, sizes.rows, {d_y.data<float>(), sizes.columns},
             weights_of(sizes, w, packed, Pass::backward), {nullptr, Epilogue::none, write},
             d_x.data<float>(), grid);
    return;
  }
  with_type(d_y.dtype(), [&](auto type) {
    using F = decltype(type);
    backward_input_reference<F>(ctx, sizes, d_y.data<F>(),
                                reference_weights<F>(sizes, w, packed, Pass::backward, Dtype::f32),
                                write, d_x.data<F>());
  });
}

void require_whole_weights(const PackedWeights& packed) {
  if (packed.form() == Dtype::f32) return;
  core::throw_config_error("backward", "weights", "f32, which gradients are taken of",
                           packed.form() == Dtype::u8 ? "int8" : "bf16");
}

void linear_backward_weights(Context& ctx, ConstView x, ConstView d_y, View d_w, View d_bias,
                             Dtype grid) {
  constexpr std::string_view kOperation = "linear_backward";
  require_float(kOperation, "x", x);
  require_rows(kOperation, "x", x, x.dtype());
  require_rows(kOperation, "d_y", d_y, x.dtype());
  const Sizes sizes{rows_of(x), x.shape().back(), d_y.shape().back()};
  if (d_w.has_value()) {
    constexpr Names kNames{kOperation, "x", "d_y", "d_w"};
    check_product(kNames, x, d_w, d_y);
    require_plain(kNames, d_w, x.dtype());
  }
  if (d_bias.has_value()) {
    if (d_bias.size() != sizes.columns) {
      core::throw_shape_error(kOperation, "d_bias", "[" + std::to_string(sizes.columns) + "]",
                              d_bias.shape().to_string());
    }
    core::require_dtype(kOperation, "d_bias", d_bias, x.dtype());
    core::require_contiguous(kOperation, "d_bias", d_bias);
  }
  if (sizes.rows == 0 || sizes.depth == 0 || sizes.columns == 0) d_w = View();
  if (const auto* const table = fast_kernels(ctx, x.dtype())) {
    const float* const d = d_y.data<float>();
    float* const bias = d_bias.has_value() ? d_bias.data<float>() : nullptr;
    const auto* const narrow = bf16_products(ctx, grid);
    if (d_w.has_value() && narrow != nullptr) {
      bf16_gemm::add_weight_gradient(ctx, *narrow, sizes.rows, sizes.depth, sizes.columns,
                                     x.data<float>(), d, d_w.data<float>());
      d_w = View();
    }
    if (d_w.has_value()) {
      packed_gemm::add_weight_gradient(ctx, *table, sizes.rows, sizes.depth, sizes.columns,
                                       x.data<float>(), d, d_w.data<float>(), bias);
    } else if (bias != nullptr) {
      packed_gemm::add_bias_gradient(ctx, *table, sizes.rows, sizes.columns, d, bias);
    }
    return;
  }
  with_type(x.dtype(), [&](auto type) {
    using F = decltype(type);
    if (d_w.has_value()) {
      backward_weights_reference(ctx, sizes, x.data<F>(), d_y.data<F>(), d_w.data<F>());
    }
    if (d_bias.has_value()) {
      backward_bias_reference(ctx, sizes, d_y.data<F>(), d_bias.data<F>());
    }
  });
}

void gemm(Context& ctx, ConstView a, ConstView b, View c) {
  core::require_shape("gemm", "a", a, {-1, -1});
  require_float("gemm", "a", a);
  core::require_contiguous("gemm", "a", a);
  core::require_dense("gemm", "b", b, {a.dim(1), -1}, a.dtype());
  core::require_dense("gemm", "c", c, {a.dim(0), b.dim(1)}, a.dtype());
  const Sizes sizes{a.dim(0), a.dim(1), b.dim(1)};
  if (const auto* const table = fast_kernels(ctx, a.dtype())) {
    const Weights w{b.data<float>(), sizes.depth,  sizes.columns, sizes.columns, 1,
                    nullptr,         Pass::forward};
    if (packed_gemm::reads_in_place(*table, sizes.rows, w)) {
      packed_gemm::multiply_in_place(ctx, *table, sizes.rows, a.data<float>(), w, c.data<float>());
    } else {
      multiply(ctx, *table, sizes.rows, {a.data<float>(), sizes.depth}, w,
               {nullptr, Epilogue::none, Write::overwrite}, c.data<float>());
    }
    return;
  }
  with_type(a.dtype(), [&](auto type) {
    using F = decltype(type);
    forward_reference<F>(ctx, sizes, row_major(a.data<F>(), sizes.depth),
                         row_major(b.data<F>(), sizes.columns), nullptr, Epilogue::none,
                         c.data<F>());
  });
}

}  // namespace grouphead::ops
