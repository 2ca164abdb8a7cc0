#include "ops/byte_product.h"

#include <cstring>

#include "core/check.h"
#include "kernels/gemm/gemm.h"
#include "kernels/rowwise/whole.h"
#include "ops/packed_gemm.h"
#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kProduct = "byte_product";

/// The weights as they lie, kept for the reference.
const std::int8_t* dense(const ByteWeights& w) {
  const Index bytes = w.depth * w.columns;
  const auto form = static_cast<std::size_t>(Isa::ref);
  const Pass pass = w.is_transposed ? Pass::backward : Pass::forward;
  return static_cast<const std::int8_t*>(w.packed->impl().get(pass, form, bytes, [&](void* to) {
    const Tensor numbers = w.numbers();
    std::memcpy(to, numbers.data<std::uint8_t>(), static_cast<std::size_t>(bytes));
  }));
}

template <class F>
void multiply_reference(Context& ctx, Index rows, const F* x, const ByteWeights& w, F* y) {
  const std::int8_t* const numbers = dense(w);
  const kernels::Matrix<const std::int8_t> b =
      w.is_transposed ? kernels::Matrix<const std::int8_t>{numbers, 1, w.depth}
                      : kernels::Matrix<const std::int8_t>{numbers, w.columns, 1};
  for_row_blocks(ctx, {rows, w.columns}, [&](Index begin, Index end) {
    kernels::byte_gemm_reference<F>(end - begin, w.columns, w.depth,
                                    {x + begin * w.depth, w.depth, 1}, b,
                                    {y + begin * w.columns, w.columns, 1});
  });
}

}  // namespace

void round_rows(Context& ctx, ConstView x, const InputRounding& rule, View whole, View scales) {
  constexpr std::string_view kName = "round_rows";
  const Rows rows = rows_of(kName, "x", x);
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "whole", whole, x.size(), kDtypeOf<F>);
    require_elements(kName, "scales", scales, rows.count, kDtypeOf<F>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        scales.data<F>()[r] =
            kernels::round_row(rows.width, x.data<F>() + r * rows.width, static_cast<F>(rule.least),
                               static_cast<F>(rule.most), static_cast<F>(rule.epsilon),
                               whole.data<F>() + r * rows.width);
      }
    });
  });
}

void byte_product(Context& ctx, ConstView x, const ByteWeights& w, View y) {
  const Index rows = w.columns == 0 ? 0 : y.size() / w.columns;
  with_float_type(kProduct, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kProduct, "x", x, rows * w.depth, kDtypeOf<F>);
    require_elements(kProduct, "y", y, rows * w.columns, kDtypeOf<F>);
    if (rows == 0) return;
    if constexpr (std::is_same_v<F, float>) {
      if (const auto* table = kernels::gemm_kernels(static_cast<kernels::Level>(ctx.isa()))) {
        return packed_gemm::multiply(ctx, *table, rows, x.data<float>(), w, y.data<float>());
      }
    }
    multiply_reference(ctx, rows, x.data<F>(), w, y.data<F>());
  });
}

void unscale(Context& ctx, ConstView row_scales, ConstView column_scales, ConstView bias, View y) {
  constexpr std::string_view kName = "unscale";
  const Rows rows = rows_of(kName, "y", y);
  with_float_type(kName, "y", y, [&](auto zero) {
    using F = decltype(zero);
    const auto array = [&](const char* name, const ConstView& view, Index count) -> const F* {
      if (!view.has_value()) return nullptr;
      require_elements(kName, name, view, count, kDtypeOf<F>);
      return view.data<F>();
    };
    const F* const of_rows = array("row_scales", row_scales, rows.count);
    const F* const of_columns = array("column_scales", column_scales, rows.width);
    const F* const added = array("bias", bias, rows.width);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        kernels::unscale_row(rows.width, of_rows == nullptr ? F{1} : of_rows[r], of_columns, added,
                             y.data<F>() + r * rows.width);
      }
    });
  });
}

}  // namespace grouphead::ops
