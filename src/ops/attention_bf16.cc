#include "kernels/attention/bf16.h"
#include "kernels/rowwise/convert.h"
#include "ops/attention_packed.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionProblem;

constexpr Index kUnit = 4096;      // elements that one unit converts, or one row
constexpr double kCostOfMove = 2;  // converting one takes as long as so many flops

// to = from in the other type, a run of `count` elements.
void convert_run(const kernels::ConvertKernels& table, ConstView from, Index source, Index count,
                 View to, Index target) {
  if (to.dtype() == Dtype::f32) {
    table.widen(static_cast<const std::uint16_t*>(from.raw()) + source, count,
                to.data<float>() + target);
  } else {
    table.narrow(from.data<float>() + source, count,
                 static_cast<std::uint16_t*>(to.raw()) + target);
  }
}

// A tensor's bits as the kernels take them.
kernels::Heads<const std::uint16_t> bits_of(ConstView x) {
  return {static_cast<const std::uint16_t*>(x.raw()), x.stride(0), x.stride(1), x.stride(2)};
}

const kernels::Bf16Kernels* native_kernels(Context& ctx) noexcept {
  return kernels::bf16_kernels(static_cast<kernels::Level>(ctx.isa()));
}

// One sequence, of its own queries and keys.
void forward_natively(Context& ctx, const Sequence& s, ConstView q, ConstView k, ConstView v,
                      View out, View statistics) {
  AttentionProblem<float> p;
  p.whole = s.whole;
  p.B = q.dim(0), p.T = q.dim(1), p.Hq = q.dim(2), p.D = q.dim(3);
  p.S = k.dim(1), p.Hkv = k.dim(2), p.Dv = v.dim(3);
  set_options(s.options, p);
  if (statistics.has_value()) set_statistics(statistics, p);
  const Tensor fully_masked = note_fully_masked_queries(ctx, s.options, p);
  const kernels::Bf16Kernels& table = *native_kernels(ctx);
  kernels::Bf16Operands o;
  o.q = bits_of(q), o.k = bits_of(k), o.v = bits_of(v);
  o.out = {static_cast<std::uint16_t*>(out.raw()), out.stride(0), out.stride(1), out.stride(2)};
  o.key_row = table.key_row(p), o.value_row = table.value_row(p);
  o.packed.capacity = kernels::round_up(p.S, kernels::kPackKeys);
  const Index heads = p.B * p.Hkv;
  Tensor keys = ctx.tensor({heads, o.packed.capacity, o.key_row}, Dtype::bf16);
  Tensor values = ctx.tensor({heads, o.packed.capacity, o.value_row}, Dtype::bf16);
  o.packed.keys = static_cast<std::uint16_t*>(keys.view().raw());
  o.packed.values = static_cast<std::uint16_t*>(values.view().raw());
  const Index scratch = table.forward_scratch(p);
  reserve_scratch<float>(ctx, scratch);
  for_packed_units<float>(
      ctx, std::span(&p, 1),
      [&](const AttentionProblem<float>&, Index unit) { table.pack(p, o, unit); },
      [&](const AttentionProblem<float>&, Index unit, int slot) {
        table.forward(p, o, unit, ctx.impl().scratch<float>(slot, scratch));
      });
}

}  // namespace

void convert_heads(Context& ctx, ConstView from, View to) {
  const auto& table = kernels::convert_kernels(static_cast<kernels::Level>(ctx.isa()));
  const double cost = kCostOfMove * static_cast<double>(to.size());
  if (from.is_contiguous() && to.is_contiguous()) {
    for_units(ctx, kernels::ceil_div(to.size(), kUnit), cost, [&](Index unit, int) {
      const Index begin = unit * kUnit;
      convert_run(table, from, begin, std::min(kUnit, to.size() - begin), to, begin);
    });
    return;
  }
  const Index T = to.dim(1);
  for_units(ctx, to.dim(0) * T, cost, [&](Index bt, int) {
    const auto place = [&](ConstView x, Index h) {
      return bt / T * x.stride(0) + bt % T * x.stride(1) + h * x.stride(2);
    };
    for (Index h = 0; h < to.dim(2); ++h) {
      convert_run(table, from, place(from, h), to.dim(3), to, place(to, h));
    }
  });
}

Tensor converted(Context& ctx, ConstView x, Dtype dtype) {
  Tensor result = ctx.tensor(x.shape(), dtype);
  if (x.rank() == 4 && (x.dim(3) == 1 || x.stride(3) == 1)) {
    convert_heads(ctx, x, result);
    return result;
  }
  Tensor dense = ctx.tensor(x.shape(), x.dtype());
  copy(x, dense);
  convert_heads(ctx, dense, result);
  return result;
}

WideOptions::WideOptions(Context& ctx, const AttentionOptions& options) : options_(options) {
  const auto widen = [&](ConstView& x, Tensor& memory) {
    if (x.has_value() && x.dtype() == Dtype::bf16) x = memory = converted(ctx, x, Dtype::f32);
  };
  widen(options_.bias, bias_);
  widen(options_.sinks, sinks_);
  widen(options_.alibi_slopes, slopes_);
}

bool bf16_is_native(Context& ctx, const AttentionOptions& options) noexcept {
  const kernels::Bf16Kernels* const table = native_kernels(ctx);
  if (table == nullptr || options.scale.value_or(1) <= 0) return false;
  if (options.softcap || options.alibi_slopes.has_value() || options.sinks.has_value()) {
    return false;
  }
  if (table->take_options) return true;
  const bool hides = options.window_left || options.window_right || options.mask.has_value() ||
                     options.key_mask.has_value() || options.query_mask.has_value();
  const bool adds = options.bias.has_value() || options.dropout_rate != 0;
  // A causal row sees nothing only by an offset.
  const bool is_fully_masked =
      options.masked_rows == MaskedRows::uniform && options.causal_offset < 0;
  return !hides && !adds && !is_fully_masked;
}

void forward_bf16(Context& ctx, ConstView q, ConstView k, ConstView v,
                  const AttentionOptions& options, View out, View statistics) {
  const WideOptions wide(ctx, options);
  if (bf16_is_native(ctx, options)) {
    if (has_sequences(options)) {
      fill_zero(out);
      if (statistics.has_value()) fill_zero(statistics);
    }
    for (Index n = 0; n < num_sequences(options, q); ++n) {
      const Sequence s = sequence_of(wide.options(), q, k.dim(1), n);
      forward_natively(ctx, s, s.queries(q), s.keys(k), s.keys(v), s.queries(out), statistics);
    }
    return;
  }
  const Tensor wide_q = converted(ctx, q, Dtype::f32);
  const Tensor wide_k = converted(ctx, k, Dtype::f32);
  const Tensor wide_v = converted(ctx, v, Dtype::f32);
  Tensor result = ctx.tensor(out.shape());
  forward_wide<float>(ctx, wide_q, wide_k, wide_v, wide.options(), result, statistics);
  convert_heads(ctx, result, out);
}

void attention_on_bf16_grid(Context& ctx, ConstView q, ConstView k, ConstView v,
                            const AttentionOptions& options, View out) {
  if (!bf16_is_native(ctx, options)) return attention(ctx, q, k, v, options, out);
  const Tensor narrow_q = converted(ctx, q, Dtype::bf16);
  const Tensor narrow_k = converted(ctx, k, Dtype::bf16);
  const Tensor narrow_v = converted(ctx, v, Dtype::bf16);
  Tensor result = ctx.tensor(out.shape(), Dtype::bf16);
  attention(ctx, narrow_q, narrow_k, narrow_v, options, result);
  convert_heads(ctx, result, out);
}

}  // namespace grouphead::ops
