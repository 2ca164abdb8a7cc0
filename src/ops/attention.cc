#include "ops/attention.h"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "core/check.h"
#include "ops/attention_problem.h"

namespace grouphead {
namespace ops {
namespace {

// q, k and v against each other.
void check_operands(std::string_view operation, const ConstView& q, const ConstView& k,
                    const ConstView& v) {
  core::require_shape(operation, "k", k, {-1, -1, -1, -1});
  check_queries(operation, "q", q, k.dim(2), MayBeBf16::yes);
  check_heads(operation, "k", k, q.dim(0), -1, -1, q.dim(3), q.dtype());
  check_heads(operation, "v", v, q.dim(0), k.dim(1), k.dim(2), -1, q.dtype());
  if (v.dim(3) < 1) core::throw_shape_error(operation, "v", "a head dim of 1 or more", "0");
}

void check_statistics(std::string_view operation, const ConstView& q, const ConstView& statistics) {
  core::require_dense(operation, "statistics", statistics, {2, q.dim(0), q.dim(2), q.dim(1)},
                      wide_dtype(q));
}

template <class F>
void log_sums(const ConstView& statistics, const View& lse) {
  const F* top = statistics.data<F>();
  for (Index i = 0; i < lse.size(); ++i) {
    const double sum = top[lse.size() + i];
    const double value = static_cast<double>(top[i]) * std::log(2.0) + std::log(sum);
    lse.data<F>()[i] = static_cast<F>(value);
  }
}

void forward_checked(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                     const AttentionOptions& options, const View& out, const View& statistics) {
  const auto run = q.dtype() == Dtype::bf16  ? &forward_bf16
                   : q.dtype() == Dtype::f32 ? &forward_wide<float>
                                             : &forward_wide<double>;
  run(ctx, q, k, v, options, out, statistics);
}

void check_gradients(std::string_view operation, const ConstView& q, const ConstView& k,
                     const ConstView& v, const AttentionOptions& options,
                     const AttentionGradients& g) {
  const Dtype dtype = q.dtype();
  const auto check_like = [&](std::string_view name, const View& gradient, const ConstView& x) {
    if (!gradient.has_value()) return;
    check_heads(operation, name, gradient, x.dim(0), x.dim(1), x.dim(2), x.dim(3), dtype);
  };
  check_heads(operation, "d_out", g.d_out, q.dim(0), q.dim(1), q.dim(2), v.dim(3), dtype);
  check_like("d_q", g.d_q, q);
  check_like("d_k", g.d_k, k);
  check_like("d_v", g.d_v, v);
  if (g.d_scores.has_value()) {
    core::require_dense(operation, "d_scores", g.d_scores, {q.dim(0), q.dim(2), q.dim(1), k.dim(1)},
                        wide_dtype(q));
  }
  if (g.d_sinks.has_value()) {
    if (!options.sinks.has_value()) {
      core::throw_shape_error(operation, "d_sinks", "nothing, as there are no sinks",
                              g.d_sinks.shape().to_string());
    }
    core::require_dense(operation, "d_sinks", g.d_sinks, {q.dim(2)}, options.sinks.dtype());
  }
  if (!g.d_bias.has_value()) return;
  const ConstView& bias = options.bias;
  if (!bias.has_value()) {
    core::throw_shape_error(operation, "d_bias", "nothing, as there is no bias",
                            g.d_bias.shape().to_string());
  }
  core::require_dense(operation, "d_bias", g.d_bias,
                      {bias.dim(0), bias.dim(1), bias.dim(2), bias.dim(3)}, bias.dtype());
}

// Gradients and sums are f32; what is wanted in bf16 is rounded at the end.
void backward_bf16(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                   const AttentionOptions& options, const ConstView& out,
                   const ConstView& statistics, const AttentionGradients& g) {
  AttentionGradients wide_g = g;
  std::vector<std::pair<Tensor, View>> narrow;
  for (View AttentionGradients::*gradient :
       {&AttentionGradients::d_q, &AttentionGradients::d_k, &AttentionGradients::d_v,
        &AttentionGradients::d_bias, &AttentionGradients::d_sinks}) {
    const View& wanted = g.*gradient;
    if (!wanted.has_value() || wanted.dtype() != Dtype::bf16) continue;
    wide_g.*gradient = narrow.emplace_back(ctx.tensor(wanted.shape()), wanted).first;
  }
  const WideOptions wide(ctx, options);
  if (bf16_is_native(ctx)) {
    backward_natively(ctx, q, k, v, wide.options(), out, statistics, wide_g);
  } else {
    const auto widened = [&](const ConstView& x) { return converted(ctx, x, Dtype::f32); };
    const Tensor wide_q = widened(q), wide_k = widened(k), wide_v = widened(v);
    const Tensor wide_out = widened(out), d_out = widened(g.d_out);
    wide_g.d_out = d_out;
    backward_wide<float>(ctx, wide_q, wide_k, wide_v, wide.options(), wide_out, statistics, wide_g,
                         SoftmaxOf::these_keys);
  }
  for (const auto& [from, to] : narrow) convert_heads(ctx, from, to);
}

void backward_checked(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                      const AttentionOptions& options, const ConstView& out,
                      const ConstView& statistics, const AttentionGradients& gradients) {
  if (q.dtype() == Dtype::bf16) {
    return backward_bf16(ctx, q, k, v, options, out, statistics, gradients);
  }
  const auto run = q.dtype() == Dtype::f32 ? &backward_wide<float> : &backward_wide<double>;
  run(ctx, q, k, v, options, out, statistics, gradients, SoftmaxOf::these_keys);
}

}  // namespace

void write_lse(const ConstView& statistics, const View& lse) {
  const auto run = lse.dtype() == Dtype::f32 ? &log_sums<float> : &log_sums<double>;
  run(statistics, lse);
}

}  // namespace ops

std::vector<double> alibi_slopes(Index num_heads) {
  core::require_positive("alibi_slopes", "num_heads", num_heads);
  const auto heads = static_cast<std::uint64_t>(num_heads);
  const std::uint64_t whole = std::bit_floor(heads);
  std::vector<double> slopes;
  const auto add = [&](std::uint64_t i, std::uint64_t n) {
    slopes.push_back(std::exp2(-8 * static_cast<double>(i + 1) / static_cast<double>(n)));
  };
  for (std::uint64_t h = 0; h < whole; ++h) add(h, whole);
  for (std::uint64_t h = whole; h < heads; ++h) add(2 * (h - whole), 2 * whole);
  return slopes;
}

void attention(Context& ctx, ConstView q, ConstView k, ConstView v, const AttentionOptions& options,
               View out, const SoftmaxOutputs& softmax) {
  constexpr std::string_view kName = "attention";
  ops::check_operands(kName, q, k, v);
  ops::check_options(kName, options, q, k.dim(1), ops::Keys::given);
  ops::check_heads(kName, "out", out, q.dim(0), q.dim(1), q.dim(2), v.dim(3), q.dtype());
  View statistics = softmax.statistics;
  if (statistics.has_value()) ops::check_statistics(kName, q, statistics);
  if (!softmax.lse.has_value()) {
    return ops::forward_checked(ctx, q, k, v, options, out, statistics);
  }
  const Dtype dtype = ops::wide_dtype(q);
  core::require_dense(kName, "lse", softmax.lse, {q.dim(0), q.dim(2), q.dim(1)}, dtype);
  Tensor own;
  if (!statistics.has_value()) {
    statistics = own = ctx.tensor({2, q.dim(0), q.dim(2), q.dim(1)}, dtype);
  }
  ops::forward_checked(ctx, q, k, v, options, out, statistics);
  ops::write_lse(statistics, softmax.lse);
}

void attention_scores(Context& ctx, ConstView q, ConstView k, const AttentionOptions& options,
                      ConstView statistics, View scores) {
  constexpr std::string_view kName = "attention_scores";
  ops::check_operands(kName, q, k, k);
  ops::check_options(kName, options, q, k.dim(1), ops::Keys::given);
  ops::check_statistics(kName, q, statistics);
  core::require_dense(kName, "scores", scores, {q.dim(0), q.dim(2), q.dim(1), k.dim(1)},
                      ops::wide_dtype(q));
  if (q.dtype() == Dtype::f64) {
    return ops::scores_wide<double>(ctx, q, k, options, statistics, scores);
  }
  if (q.dtype() == Dtype::f32) {
    return ops::scores_wide<float>(ctx, q, k, options, statistics, scores);
  }
  const Tensor wide_q = ops::converted(ctx, q, Dtype::f32);
  const Tensor wide_k = ops::converted(ctx, k, Dtype::f32);
  const ops::WideOptions wide(ctx, options);
  ops::scores_wide<float>(ctx, wide_q, wide_k, wide.options(), statistics, scores);
}

void attention_backward(Context& ctx, ConstView q, ConstView k, ConstView v,
                        const AttentionOptions& options, ConstView out, ConstView statistics,
                        const AttentionGradients& gradients) {
  constexpr std::string_view kName = "attention_backward";
  ops::check_operands(kName, q, k, v);
  ops::check_options(kName, options, q, k.dim(1), ops::Keys::given);
  ops::check_heads(kName, "out", out, q.dim(0), q.dim(1), q.dim(2), v.dim(3), q.dtype());
  ops::check_statistics(kName, q, statistics);
  ops::check_gradients(kName, q, k, v, options, gradients);
  ops::backward_checked(ctx, q, k, v, options, out, statistics, gradients);
}

}  // namespace grouphead
