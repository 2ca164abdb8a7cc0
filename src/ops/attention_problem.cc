#include "ops/attention_problem.h"

#include <cstring>
#include <string>

#include "core/check.h"
#include "core/number_text.h"
#include "ops/attention_sequences.h"
#include "ops/keep_rule.h"

namespace grouphead::ops {

using core::throw_shape_error;
using kernels::AttentionProblem;
using kernels::Grid;

namespace {

using Bytes = Grid<const std::uint8_t>;

bool is_byte(Dtype dtype) { return dtype == Dtype::boolean || dtype == Dtype::u8; }

// [B or 1, Hq or 1, T or 1, S or 1]
void check_grid(std::string_view operation, std::string_view operand, const ConstView& x,
                const ConstView& q, Index num_keys) {
  const Index full[4] = {q.dim(0), q.dim(2), q.dim(1), num_keys};
  bool fits = x.rank() == 4;
  for (int axis = 0; fits && axis < 4; ++axis) {
    fits = x.dim(axis) == 1 || x.dim(axis) == full[axis];
  }
  if (fits) return;
  throw_shape_error(operation, operand, Shape(full).to_string() + " or 1 in place of any of these",
                    x.shape().to_string());
}

template <class F>
bool is_fully_masked(const AttentionProblem<F>& p, Index b, Index h, Index t) noexcept {
  const Index limit = p.limit_at(t);
  for (Index s = p.begin_at(t); s < limit; ++s) {
    bool seen = true;
    for (Index i = 0; seen && i < p.num_masks; ++i) {
      seen = p.masks[i].row(b, h, t)[s * p.masks[i].key] != 0;
    }
    if (seen) return false;
  }
  return true;
}

// softcap, slopes and sinks
void check_logit_options(std::string_view operation, const AttentionOptions& options,
                         const ConstView& q) {
  if (options.softcap && !(*options.softcap > 0 && std::isfinite(*options.softcap))) {
    core::throw_config_error(operation, "softcap", "a positive number",
                             core::number_text(*options.softcap));
  }
  const auto check_per_head = [&](std::string_view operand, const ConstView& x) {
    if (!x.has_value()) return;
    const bool is_wide = q.dtype() == Dtype::bf16 && x.dtype() == Dtype::f32;
    core::require_dense(operation, operand, x, {q.dim(2)}, is_wide ? Dtype::f32 : q.dtype());
  };
  check_per_head("alibi_slopes", options.alibi_slopes);
  check_per_head("sinks", options.sinks);
  if (options.sinks.has_value() && options.masked_rows == MaskedRows::uniform) {
    core::throw_config_error(operation, "masked_rows", "zeros, as there are sinks", "uniform");
  }
}

}  // namespace

void check_heads(std::string_view operation, std::string_view operand, const ConstView& x, Index b,
                 Index t, Index h, Index d, Dtype dtype) {
  core::require_shape(operation, operand, x, {b, t, h, d});
  core::require_dtype(operation, operand, x, dtype);
  if (x.dim(3) > 1 && x.stride(3) != 1) {
    throw_shape_error(operation, operand, "a contiguous last axis",
                      "stride " + std::to_string(x.stride(3)));
  }
}

void check_queries(std::string_view operation, std::string_view operand, const ConstView& q,
                   Index num_key_value_heads, MayBeBf16 may_be_bf16) {
  core::require_shape(operation, operand, q, {-1, -1, -1, -1});
  const bool takes_bf16 = may_be_bf16 == MayBeBf16::yes;
  if (q.dtype() != Dtype::f32 && q.dtype() != Dtype::f64 &&
      !(takes_bf16 && q.dtype() == Dtype::bf16)) {
    throw_shape_error(operation, operand, takes_bf16 ? "f32, f64 or bf16" : "f32 or f64",
                      name_of(q.dtype()));
  }
  check_heads(operation, operand, q, -1, -1, -1, -1, q.dtype());
  if (q.dim(3) < 1) throw_shape_error(operation, operand, "a head dim of 1 or more", "0");
  if (num_key_value_heads < 1 || q.dim(2) < 1 || q.dim(2) % num_key_value_heads != 0) {
    throw_shape_error(operation, operand,
                      "heads in a multiple of " + std::to_string(num_key_value_heads),
                      std::to_string(q.dim(2)));
  }
}

void check_options(std::string_view operation, const AttentionOptions& options, const ConstView& q,
                   Index num_keys, Keys keys) {
  check_logit_options(operation, options, q);
  check_sequences(operation, options, q, num_keys, keys);
  const auto require_bytes = [&](std::string_view operand, const ConstView& x) {
    if (!is_byte(x.dtype())) {
      throw_shape_error(operation, operand, "bool or u8", name_of(x.dtype()));
    }
  };
  if (options.masked_rows != MaskedRows::zeros && options.masked_rows != MaskedRows::uniform) {
    core::throw_config_error(operation, "masked_rows", "zeros or uniform", "keras");
  }
  if (!(options.dropout_rate >= 0 && options.dropout_rate <= 1)) {
    core::throw_config_error(operation, "dropout_rate", "0 <= rate <= 1",
                             core::number_text(options.dropout_rate));
  }
  if (options.mask.has_value()) {
    check_grid(operation, "mask", options.mask, q, num_keys);
    require_bytes("mask", options.mask);
  }
  if (options.key_mask.has_value()) {
    core::require_shape(operation, "key_mask", options.key_mask, {q.dim(0), num_keys});
    require_bytes("key_mask", options.key_mask);
  }
  if (options.query_mask.has_value()) {
    core::require_shape(operation, "query_mask", options.query_mask, {q.dim(0), q.dim(1)});
    require_bytes("query_mask", options.query_mask);
  }
  if (options.bias.has_value()) {
    check_grid(operation, "bias", options.bias, q, num_keys);
    const bool is_wide = q.dtype() == Dtype::bf16 && options.bias.dtype() == Dtype::f32;
    if (!is_wide) core::require_dtype(operation, "bias", options.bias, q.dtype());
  }
}

template <class F>
void set_options(const AttentionOptions& options, AttentionProblem<F>& p) {
  p.scale = static_cast<F>(options.scale.value_or(1 / std::sqrt(static_cast<double>(p.D))));
  p.causal = options.causal;
  p.causal_offset = clamped_offset(options.causal_offset);
  if (options.window_left) p.window_left = clamped_offset(*options.window_left);
  if (options.window_right) p.window_right = clamped_offset(*options.window_right);
  if (options.mask.has_value()) p.masks[p.num_masks++] = grid_of<std::uint8_t>(options.mask);
  if (options.key_mask.has_value()) {
    const ConstView& x = options.key_mask;
    const auto* data = static_cast<const std::uint8_t*>(x.raw());
    p.masks[p.num_masks++] = {data, x.stride(0), 0, 0, x.stride(1)};
  }
  if (options.query_mask.has_value()) {
    const ConstView& x = options.query_mask;
    const auto* data = static_cast<const std::uint8_t*>(x.raw());
    p.masks[p.num_masks++] = {data, x.stride(0), 0, x.stride(1), 0};
  }
  if (options.bias.has_value()) p.bias = grid_of<F>(options.bias);
  p.softcap = static_cast<F>(options.softcap.value_or(0));
  if (options.alibi_slopes.has_value()) p.slopes = options.alibi_slopes.data<F>();
  if (options.sinks.has_value()) p.sinks = options.sinks.data<F>();
  if (options.dropout_rate == 0) return;
  const double rate = options.dropout_rate;
  p.dropout.active = true;
  p.dropout.scale = static_cast<F>(rate < 1 ? 1 / (1 - rate) : 0);
  p.dropout.rule = keep_rule(rate, options.draw);
}

template <class F>
Tensor note_fully_masked_queries(Context& ctx, const AttentionOptions& options,
                                 AttentionProblem<F>& p) {
  const bool hides = p.causal || p.has_window() || p.num_masks > 0;
  if (options.masked_rows != MaskedRows::uniform || !hides || p.S == 0) return {};
  const auto varies = [&](Index Grid<const std::uint8_t>::*axis) {
    return std::any_of(p.masks, p.masks + p.num_masks,
                       [&](const Bytes& mask) { return mask.*axis != 0; });
  };
  const Index B = varies(&Bytes::batch) ? p.B : 1;
  const Index H = varies(&Bytes::head) ? p.Hq : 1;
  Tensor note = ctx.tensor({B, H, p.T}, Dtype::u8);
  auto* fully_masked = note.data<std::uint8_t>();
  constexpr Index kQueries = 64;
  const Index blocks = kernels::ceil_div(p.T, kQueries);
  for_units(ctx, B * H * blocks, static_cast<double>(B * H * p.T * p.S), [&](Index unit, int) {
    const Index bh = unit / blocks;
    const Index begin = unit % blocks * kQueries;
    for (Index t = begin; t < std::min(begin + kQueries, p.T); ++t) {
      fully_masked[bh * p.T + t] = is_fully_masked(p, bh / H, bh % H, t) ? 1 : 0;
    }
  });
  if (note.size() == 0 ||
      std::memchr(fully_masked, 1, static_cast<std::size_t>(note.size())) == nullptr) {
    return {};
  }
  p.fully_masked = {fully_masked, B == 1 ? 0 : H * p.T, H == 1 ? 0 : p.T, 1, 0};
  return note;
}

template void set_options<float>(const AttentionOptions&, AttentionProblem<float>&);
template void set_options<double>(const AttentionOptions&, AttentionProblem<double>&);
template Tensor note_fully_masked_queries<float>(Context&, const AttentionOptions&,
                                                 AttentionProblem<float>&);
template Tensor note_fully_masked_queries<double>(Context&, const AttentionOptions&,
                                                  AttentionProblem<double>&);

}  // namespace grouphead::ops
