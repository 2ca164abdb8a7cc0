#include "ops/attention.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "core/check.h"
#include "ops/attention_sequences.h"

namespace grouphead {
namespace ops {
namespace {

using kernels::AttentionKernels;
using kernels::AttentionProblem;

// q, k and v against each other.
void check_operands(std::string_view operation, ConstView q, ConstView k, ConstView v) {
  detail::require_shape(operation, "k", k, {-1, -1, -1, -1});
  check_queries(operation, "q", q, k.dim(2), MayBeBf16::yes);
  check_heads(operation, "k", k, q.dim(0), -1, -1, q.dim(3), q.dtype());
  check_heads(operation, "v", v, q.dim(0), k.dim(1), k.dim(2), -1, q.dtype());
  if (v.dim(3) < 1) detail::throw_shape_error(operation, "v", "a head dim of 1 or more", "0");
}

// Of statistics, lse and scores.
Dtype wide_dtype(ConstView q) { return q.dtype() == Dtype::bf16 ? Dtype::f32 : q.dtype(); }

void check_statistics(std::string_view operation, ConstView q, ConstView statistics) {
  detail::require_dense(operation, "statistics", statistics, {2, q.dim(0), q.dim(2), q.dim(1)},
                        wide_dtype(q));
}

template <class F>
AttentionProblem<F> problem_of(ConstView q, ConstView k, ConstView v,
                               const AttentionOptions& options, const kernels::CallPlace& whole) {
  AttentionProblem<F> p;
  p.whole = whole;
  p.B = q.dim(0), p.T = q.dim(1), p.Hq = q.dim(2), p.D = q.dim(3);
  p.S = k.dim(1), p.Hkv = k.dim(2), p.Dv = v.dim(3);
  p.q = heads_of<F>(q), p.k = heads_of<F>(k), p.v = heads_of<F>(v);
  set_options(options, p);
  return p;
}

// The keys of all heads packed, and their values if p.v has any; as long as the tensors live.
template <class F>
struct Packed {
  Tensor keys, values;

  Packed(Context& ctx, AttentionProblem<F>& p) {
    p.packed.capacity = kernels::round_up(p.S, kernels::kPanelKeys);
    keys = ctx.tensor({p.B * p.Hkv, p.packed.capacity, p.D}, kDtypeOf<F>);
    p.packed.keys = keys.template data<F>();
    if (p.v.data == nullptr) return;
    const Index width = kernels::round_up(p.Dv, kernels::kPanelKeys);
    values = ctx.tensor({p.B * p.Hkv, p.packed.capacity, width}, kDtypeOf<F>);
    p.packed.values = values.template data<F>();
  }
};

// body(unit, slot) for every forward_units(), of packed keys and values.
template <class F, class Body>
void with_packed(Context& ctx, AttentionProblem<F>& p, const Body& body) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Packed<F> memory(ctx, p);
  for_packed_units(
      ctx, p, [&](Index unit) { table.pack(p, 0, unit); }, body);
}

template <class F>
void forward(Context& ctx, AttentionProblem<F> p, const AttentionOptions& options, View out,
             View statistics) {
  p.out = mutable_heads_of<F>(out);
  if (statistics.has_value()) set_statistics(statistics, p);
  const Tensor fully_masked = note_fully_masked_queries(ctx, options, p);
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index scratch = table.forward_scratch(p);
  reserve_scratch<F>(ctx, scratch);
  with_packed(ctx, p, [&](Index unit, int slot) {
    table.forward(p, unit, ctx.impl().scratch<F>(slot, scratch));
  });
}

// Probabilities into p.scores.
template <class F>
void scores(Context& ctx, AttentionProblem<F> p, const AttentionOptions& options) {
  const Tensor fully_masked = note_fully_masked_queries(ctx, options, p);
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index scratch = table.scores_scratch(p);
  reserve_scratch<F>(ctx, scratch);
  with_packed(ctx, p, [&](Index unit, int slot) {
    table.scores(p, unit, ctx.impl().scratch<F>(slot, scratch));
  });
}

// delta = sum_d out d_out + sum_j prob d_score
template <class F>
void gradient_delta(Context& ctx, AttentionProblem<F> p, const kernels::AttentionGradients<F>& g) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index heads = p.B * p.Hkv;
  for_units(ctx, heads * kernels::gradient_blocks(p), forward_flops(p),
            [&](Index unit, int) { table.gradient_delta(p, g, unit % heads, unit / heads); });
  if (g.d_scores == nullptr) return;
  const Index scratch = table.scores_scratch(p);
  reserve_scratch<F>(ctx, scratch);
  p.v.data = nullptr;
  with_packed(ctx, p, [&](Index unit, int slot) {
    table.gradient_scores(p, g, unit, ctx.impl().scratch<F>(slot, scratch));
  });
}

// The blocks of rows that the backward of each tile of keys walks: those that causality and window
// let see any of it, so the cost grows with the window; and those with a query that attends to all
// keys because it sees none.
template <class F>
class BackwardBlocks {
 public:
  /// `alike`: of all heads the same blocks.
  BackwardBlocks(Context& ctx, const AttentionProblem<F>& p, bool alike)
      : p_(p), blocks_(kernels::gradient_blocks(p)), head_stride_(alike ? 0 : blocks_) {
    if (p.fully_masked.data == nullptr) return;
    attends_to_all_ = ctx.zeros({alike ? 1 : p.B * p.Hkv, blocks_}, Dtype::u8);
    for (Index bn = 0; bn < p.B * p.Hkv; ++bn) {
      std::uint8_t* row = attends_to_all_.data<std::uint8_t>() + bn * head_stride_;
      for (Index r = 0; r < p.rows(); ++r) {
        if (*p.grid_row(p.fully_masked, bn / p.Hkv, bn % p.Hkv, r) == 0) continue;
        row[r / kernels::kGradientRows] = 1;
      }
    }
  }
  /// body(block, whether no tile before walks it), ascending.
  template <class Body>
  void for_each(Index bn, Index tile, const Body& body) const {
    const auto [begin, end] = kernels::gradient_blocks_of_tile(p_, tile);
    if (!attends_to_all_.has_value()) {
      for (Index block = begin; block < end; ++block) {
        body(block, tile == kernels::gradient_tiles_of_block(p_, block).begin);
      }
      return;
    }
    const std::uint8_t* all = attends_to_all_.data<std::uint8_t>() + bn * head_stride_;
    for (Index block = 0; block < blocks_; ++block) {
      if (all[block] != 0) {
        body(block, tile == 0);
      } else if (begin <= block && block < end) {
        body(block, tile == kernels::gradient_tiles_of_block(p_, block).begin);
      }
    }
  }

 private:
  const AttentionProblem<F>& p_;
  Index blocks_, head_stride_;
  Tensor attends_to_all_;
};

template <class F>
void backward(Context& ctx, const AttentionProblem<F>& p, const kernels::AttentionGradients<F>& g) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index heads = p.B * p.Hkv;
  gradient_delta(ctx, p, g);

  // d_q is by definition the ascending sum of the tiles' shares, whoever computes them. A tile
  // keeps behind its predecessor block by block: no second buffer, and one order for any number of
  // threads. A counter holds the block that its unit adds next. Heads are the inner axis, so with
  // many heads nobody waits. A bias that heads or batch entries share gets its gradient from one
  // head after the other in the same way.
  const Index scratch = table.gradient_scratch(p);
  const Index units = heads * kernels::gradient_tiles(p);
  const bool has_bias = g.d_bias.data != nullptr;
  const BackwardBlocks<F> blocks(ctx, p, has_bias);
  Progress added(ctx, units);
  Progress added_bias(ctx, has_bias ? units : 0);
  reserve_scratch<F>(ctx, scratch);
  for_units(ctx, units, 2.5 * forward_flops(p), [&](Index unit, int slot) {
    const Index bn = unit % heads;
    const Index tile = unit / heads;
    F* own = ctx.impl().scratch<F>(slot, scratch);
    table.gradient_begin(p, bn, tile, own);
    blocks.for_each(bn, tile, [&](Index block, bool is_first) {
      table.gradient_block(p, g, bn, tile, block, own);
      if (!is_first) added.wait_for(unit - heads, block + 1);
      table.gradient_add(p, g, bn, block, is_first, own);
      added.reach(unit, block + 1);
      if (!has_bias) return;
      if (bn > 0) added_bias.wait_for(unit - 1, block + 1);
      table.gradient_add_bias(p, g, bn, tile, block, own);
      added_bias.reach(unit, block + 1);
    });
    table.gradient_end(p, g, bn, tile, own);
  });
}

// d_sink -= its probability times sum_j prob d_prob, of each query; a sink has no value.
template <class F>
void add_sink_gradient(const AttentionProblem<F>& p, const F* delta, double* d_sinks) {
  for (Index b = 0; b < p.B; ++b) {
    for (Index h = 0; h < p.Hq; ++h) {
      const double sink = static_cast<double>(p.sinks[h]) * std::numbers::log2e;
      for (Index t = 0; t < p.T; ++t) {
        const Index place = p.place(b, h, t);
        if (p.sums[place] == 0) continue;
        const double prob = std::exp2(sink - static_cast<double>(p.tops[place])) /
                            static_cast<double>(p.sums[place]);
        d_sinks[h] -= prob * static_cast<double>(delta[place]);
      }
    }
  }
}

/// What the parts of a backward share: [B, Hq, T] for the kernels, and the sums for the sinks.
struct BackwardMemory {
  Tensor delta, d_sinks;

  BackwardMemory(Context& ctx, ConstView q, const AttentionOptions& options)
      : delta(ctx.tensor({q.dim(0), q.dim(2), q.dim(1)},
                         q.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32)) {
    if (options.sinks.has_value()) d_sinks = ctx.zeros({q.dim(2)}, Dtype::f64);
  }
};

template <class F>
void backward(Context& ctx, AttentionProblem<F> p, ConstView out, ConstView statistics,
              const AttentionOptions& options, const AttentionGradients& operands,
              BackwardMemory& memory) {
  // The backward reads what the forward wrote.
  p.out = {const_cast<F*>(out.data<F>()), out.stride(0), out.stride(1), out.stride(2)};
  set_statistics(statistics, p);
  const Tensor fully_masked = note_fully_masked_queries(ctx, options, p);
  kernels::AttentionGradients<F> g;
  g.delta = memory.delta.data<F>();
  g.d_out = heads_of<F>(operands.d_out);
  g.d_q = mutable_heads_of<F>(operands.d_q);
  g.d_k = mutable_heads_of<F>(operands.d_k);
  g.d_v = mutable_heads_of<F>(operands.d_v);
  if (operands.d_scores.has_value()) g.d_scores = operands.d_scores.data<F>();
  // Without sinks, one number for all keys changes no softmax.
  if (operands.d_bias.has_value() && (operands.d_bias.dim(3) > 1 || p.sinks != nullptr)) {
    const auto grid = grid_of<F>(operands.d_bias);
    g.d_bias = {operands.d_bias.data<F>(), grid.batch, grid.head, grid.time, grid.key};
  }
  if (p.S == 0) fill_zero(operands.d_q);
  backward(ctx, p, g);
  if (p.sinks != nullptr) add_sink_gradient(p, g.delta, memory.d_sinks.data<double>());
}

// lse from what the forward noted.
template <class F>
void log_sums(ConstView statistics, View lse) {
  const F* top = statistics.data<F>();
  for (Index i = 0; i < lse.size(); ++i) {
    const double sum = top[lse.size() + i];
    const double value = static_cast<double>(top[i]) * std::log(2.0) + std::log(sum);
    lse.data<F>()[i] = static_cast<F>(value);
  }
}

void forward_part(Context& ctx, ConstView q, ConstView k, ConstView v,
                  const AttentionOptions& options, const kernels::CallPlace& whole, View out,
                  View statistics) {
  if (q.dtype() == Dtype::bf16) {
    forward_bf16(ctx, q, k, v, options, whole, out, statistics);
  } else if (q.dtype() == Dtype::f32) {
    forward_f32(ctx, q, k, v, options, whole, out, statistics);
  } else {
    forward(ctx, problem_of<double>(q, k, v, options, whole), options, out, statistics);
  }
}

void forward_checked(Context& ctx, ConstView q, ConstView k, ConstView v,
                     const AttentionOptions& options, View out, View statistics) {
  if (!has_sequences(options)) return forward_part(ctx, q, k, v, options, {}, out, statistics);
  fill_zero(out);
  if (statistics.has_value()) fill_zero(statistics);
  for (Index n = 0; n < num_sequences(options, q); ++n) {
    const Sequence s = sequence_of(options, q, k.dim(1), n);
    forward_part(ctx, s.queries(q), s.keys(k), s.keys(v), s.options, s.whole, s.queries(out),
                 statistics);
  }
}

template <class F>
void scores_part(Context& ctx, ConstView q, ConstView k, const AttentionOptions& options,
                 const kernels::CallPlace& whole, ConstView statistics, View result) {
  AttentionProblem<F> p = problem_of<F>(q, k, k, options, whole);
  p.v.data = nullptr;
  set_statistics(statistics, p);
  p.scores = result.data<F>();
  scores(ctx, p, options);
}

template <class F>
void scores_checked(Context& ctx, ConstView q, ConstView k, const AttentionOptions& options,
                    ConstView statistics, View result) {
  if (!has_sequences(options)) {
    return scores_part<F>(ctx, q, k, options, {}, statistics, result);
  }
  fill_zero(result);
  for (Index n = 0; n < num_sequences(options, q); ++n) {
    const Sequence s = sequence_of(options, q, k.dim(1), n);
    scores_part<F>(ctx, s.queries(q), s.keys(k), s.options, s.whole, statistics, result);
  }
}

void check_gradients(std::string_view operation, ConstView q, ConstView k, ConstView v,
                     const AttentionOptions& options, const AttentionGradients& g) {
  const Dtype dtype = q.dtype();
  const auto check_like = [&](std::string_view name, View gradient, ConstView x) {
    if (!gradient.has_value()) return;
    check_heads(operation, name, gradient, x.dim(0), x.dim(1), x.dim(2), x.dim(3), dtype);
  };
  check_heads(operation, "d_out", g.d_out, q.dim(0), q.dim(1), q.dim(2), v.dim(3), dtype);
  check_like("d_q", g.d_q, q);
  check_like("d_k", g.d_k, k);
  check_like("d_v", g.d_v, v);
  if (g.d_scores.has_value()) {
    detail::require_dense(operation, "d_scores", g.d_scores,
                          {q.dim(0), q.dim(2), q.dim(1), k.dim(1)}, wide_dtype(q));
  }
  if (g.d_sinks.has_value()) {
    if (!options.sinks.has_value()) {
      detail::throw_shape_error(operation, "d_sinks", "nothing, as there are no sinks",
                                g.d_sinks.shape().to_string());
    }
    detail::require_dense(operation, "d_sinks", g.d_sinks, {q.dim(2)}, options.sinks.dtype());
  }
  if (!g.d_bias.has_value()) return;
  const ConstView& bias = options.bias;
  if (!bias.has_value()) {
    detail::throw_shape_error(operation, "d_bias", "nothing, as there is no bias",
                              g.d_bias.shape().to_string());
  }
  detail::require_dense(operation, "d_bias", g.d_bias,
                        {bias.dim(0), bias.dim(1), bias.dim(2), bias.dim(3)}, bias.dtype());
}

// Memory for gradients that are not wanted: the kernels write all of them.
struct UnwantedGradients {
  Tensor d_q{}, d_k{}, d_v{};

  UnwantedGradients(Context& ctx, ConstView q, ConstView k, ConstView v, AttentionGradients& g) {
    const auto fill_in = [&](View& wanted, Tensor& memory, ConstView x) {
      if (!wanted.has_value()) wanted = memory = ctx.tensor(x.shape(), x.dtype());
    };
    fill_in(g.d_q, d_q, q);
    fill_in(g.d_k, d_k, k);
    fill_in(g.d_v, d_v, v);
  }
};

template <class F>
void backward_wide(Context& ctx, ConstView q, ConstView k, ConstView v,
                   const AttentionOptions& options, ConstView out, ConstView statistics,
                   const AttentionGradients& wanted) {
  AttentionGradients g = wanted;
  const UnwantedGradients unwanted(ctx, q, k, v, g);
  BackwardMemory memory(ctx, q, options);
  if (g.d_bias.has_value()) fill_zero(g.d_bias);
  if (!has_sequences(options)) {
    backward(ctx, problem_of<F>(q, k, v, options, {}), out, statistics, options, g, memory);
  } else {
    for (const View& gradient : {g.d_q, g.d_k, g.d_v}) fill_zero(gradient);
    for (Index n = 0; n < num_sequences(options, q); ++n) {
      const Sequence s = sequence_of(options, q, k.dim(1), n);
      AttentionGradients part = g;
      part.d_out = s.queries(g.d_out);
      part.d_q = s.queries(g.d_q), part.d_k = s.keys(g.d_k), part.d_v = s.keys(g.d_v);
      if (g.d_bias.has_value()) part.d_bias = s.grid(g.d_bias);
      backward(ctx, problem_of<F>(s.queries(q), s.keys(k), s.keys(v), s.options, s.whole),
               s.queries(out), statistics, s.options, part, memory);
    }
  }
  if (!g.d_sinks.has_value()) return;
  const double* sums = memory.d_sinks.data<double>();
  for (Index h = 0; h < q.dim(2); ++h) g.d_sinks.data<F>()[h] = static_cast<F>(sums[h]);
}

// In f32, from copies.
void backward_bf16(Context& ctx, ConstView q, ConstView k, ConstView v,
                   const AttentionOptions& options, ConstView out, ConstView statistics,
                   const AttentionGradients& g) {
  const auto wide = [&](ConstView x) { return converted(ctx, x, Dtype::f32); };
  const Tensor wide_q = wide(q), wide_k = wide(k), wide_v = wide(v), wide_out = wide(out);
  const Tensor d_out = wide(g.d_out);
  const WideOptions wide_options(ctx, options);
  // A wide gradient for each narrow one that is wanted.
  AttentionGradients wide_g = g;
  wide_g.d_out = d_out;
  std::vector<std::pair<Tensor, View>> narrow;
  for (View AttentionGradients::*gradient :
       {&AttentionGradients::d_q, &AttentionGradients::d_k, &AttentionGradients::d_v,
        &AttentionGradients::d_bias, &AttentionGradients::d_sinks}) {
    const View& wanted = g.*gradient;
    if (!wanted.has_value() || wanted.dtype() != Dtype::bf16) continue;
    wide_g.*gradient = narrow.emplace_back(ctx.tensor(wanted.shape()), wanted).first;
  }
  backward_wide<float>(ctx, wide_q, wide_k, wide_v, wide_options.options(), wide_out, statistics,
                       wide_g);
  for (const auto& [from, to] : narrow) convert_heads(ctx, from, to);
}

void backward_checked(Context& ctx, ConstView q, ConstView k, ConstView v,
                      const AttentionOptions& options, ConstView out, ConstView statistics,
                      const AttentionGradients& gradients) {
  const auto run = q.dtype() == Dtype::bf16  ? &backward_bf16
                   : q.dtype() == Dtype::f32 ? &backward_wide<float>
                                             : &backward_wide<double>;
  run(ctx, q, k, v, options, out, statistics, gradients);
}

}  // namespace

void forward_f32(Context& ctx, ConstView q, ConstView k, ConstView v,
                 const AttentionOptions& options, const kernels::CallPlace& whole, View out,
                 View statistics) {
  forward(ctx, problem_of<float>(q, k, v, options, whole), options, out, statistics);
}

}  // namespace ops

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
  detail::require_dense(kName, "lse", softmax.lse, {q.dim(0), q.dim(2), q.dim(1)}, dtype);
  Tensor own;
  if (!statistics.has_value()) {
    statistics = own = ctx.tensor({2, q.dim(0), q.dim(2), q.dim(1)}, dtype);
  }
  ops::forward_checked(ctx, q, k, v, options, out, statistics);
  dtype == Dtype::f32 ? ops::log_sums<float>(statistics, softmax.lse)
                      : ops::log_sums<double>(statistics, softmax.lse);
}

void attention_scores(Context& ctx, ConstView q, ConstView k, const AttentionOptions& options,
                      ConstView statistics, View scores) {
  constexpr std::string_view kName = "attention_scores";
  ops::check_operands(kName, q, k, k);
  ops::check_options(kName, options, q, k.dim(1), ops::Keys::given);
  ops::check_statistics(kName, q, statistics);
  detail::require_dense(kName, "scores", scores, {q.dim(0), q.dim(2), q.dim(1), k.dim(1)},
                        ops::wide_dtype(q));
  if (q.dtype() == Dtype::f64) {
    return ops::scores_checked<double>(ctx, q, k, options, statistics, scores);
  }
  if (q.dtype() == Dtype::f32) {
    return ops::scores_checked<float>(ctx, q, k, options, statistics, scores);
  }
  const Tensor wide_q = ops::converted(ctx, q, Dtype::f32);
  const Tensor wide_k = ops::converted(ctx, k, Dtype::f32);
  const ops::WideOptions wide(ctx, options);
  ops::scores_checked<float>(ctx, wide_q, wide_k, wide.options(), statistics, scores);
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
