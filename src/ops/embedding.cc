#include "ops/embedding.h"

#include <algorithm>
#include <type_traits>

#include "ops/floating.h"
#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

// Columns of one unit of the scatter: four cache lines, so that units share none.
constexpr Index kColumns = 64;

}  // namespace

void embedding_forward(Context& ctx, ConstView tokens, ConstView table, View y) {
  core::require_shape("embedding", "table", table, {-1, -1});
  core::require_contiguous("embedding", "table", table);
  require_elements("embedding", "tokens", tokens, tokens.size(), Dtype::i32);
  const Rows rows = {tokens.size(), table.dim(1)};
  require_indices("embedding", "tokens", tokens, table.dim(0));
  with_floating("embedding", "table", table.dtype(), [&](auto zero) {
    using F = decltype(zero);
    using To = std::conditional_t<sizeof(F) == sizeof(Bf16), float, F>;
    require_elements("embedding", "y", y, rows.count * rows.width, kDtypeOf<To>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        const F* from = table.data<F>() + tokens.data<std::int32_t>()[r] * rows.width;
        To* const to = y.data<To>() + r * rows.width;
        if constexpr (std::is_same_v<F, To>) {
          std::copy_n(from, rows.width, to);
        } else {
          std::transform(from, from + rows.width, to, [](F value) { return to_float(value); });
        }
      }
    });
  });
}

void embedding_backward(Context& ctx, ConstView tokens, ConstView d_y, View d_table) {
  constexpr std::string_view kName = "embedding_backward";
  core::require_shape(kName, "d_table", d_table, {-1, -1});
  core::require_contiguous(kName, "d_table", d_table);
  require_elements(kName, "tokens", tokens, tokens.size(), Dtype::i32);
  require_indices(kName, "tokens", tokens, d_table.dim(0));
  const Rows rows = {tokens.size(), d_table.dim(1)};
  with_float_type(kName, "d_table", d_table, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "d_y", d_y, rows.count * rows.width, kDtypeOf<F>);
    const auto& kernels = rowwise_kernels<F>(ctx);
    for_blocks(ctx, rows.width, kColumns, [&](Index begin, Index end) {
      kernels.embedding_backward(tokens.data<std::int32_t>(), d_y.data<F>() + begin, rows.count,
                                 end - begin, rows.width, d_table.data<F>() + begin);
    });
  });
}

}  // namespace grouphead::ops
