#include "nn/quantized_product.h"

#include "ops/byte_product.h"
#include "ops/rowwise.h"

namespace grouphead::nn {

RoundedRows rounded_rows(Context& ctx, const Parameter& kernel, ConstView x) {
  const auto& rule = kernel.quantized()->how().inputs;
  if (!rule || !kernel.rounds_inputs() || !kernel.quantized()->has_scales()) return {.x = x};
  RoundedRows made{.whole = ctx.tensor(x.shape(), x.dtype())};
  made.scales = ctx.tensor({x.shape().back() == 0 ? 0 : x.size() / x.shape().back()}, x.dtype());
  ops::round_rows(ctx, x, *rule, made.whole, made.scales);
  made.x = std::as_const(made.whole).view();
  return made;
}

void quantized_linear(Context& ctx, const RoundedRows& x, const Parameter& w, bool is_transposed,
                      ConstView bias, View y) {
  const QuantizedNumbers& numbers = *w.quantized();
  const ConstView row_scales = x.scales.has_value() ? x.scales.view() : ConstView();
  const bool is_table = numbers.form() == QuantizedNumbers::Form::table;
  if (numbers.has_plain_scales() && is_table == is_transposed) {
    ops::byte_product(ctx, x.x,
                      {.depth = x.x.shape().back(),
                       .columns = y.shape().back(),
                       .is_transposed = is_transposed,
                       .numbers = [&] { return numbers.bytes(); },
                       .packed = &w.packed()},
                      y);
    const ConstView scales = numbers.has_scales() ? numbers.scales().view() : ConstView();
    return ops::unscale(ctx, row_scales, scales, bias, y);
  }
  if (is_transposed) {
    ops::linear_backward_input(ctx, x.x, w.numbers(), w.packed(), ops::Write::overwrite, y);
  } else {
    ops::linear_forward(ctx, x.x, w.numbers().reshaped({x.x.shape().back(), y.shape().back()}),
                        w.packed(), {}, ops::Epilogue::none, y);
  }
  if (row_scales.has_value() || bias.has_value()) ops::unscale(ctx, row_scales, {}, bias, y);
}

void quantized_lookup(Context& ctx, ConstView tokens, const Parameter& table, View y) {
  const Index width = table.shape()[1];
  ops::require_indices("embedding", "tokens", tokens, table.shape()[0]);
  ops::with_float_type("embedding", "y", y, [&](auto zero) {
    using F = decltype(zero);
    ops::for_row_blocks(ctx, {tokens.size(), width}, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        const Index token = tokens.data<std::int32_t>()[r];
        table.quantized()->widen(token * width, width, y.data<F>() + r * width);
      }
    });
  });
}

}  // namespace grouphead::nn
