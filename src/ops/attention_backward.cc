#include <cmath>
#include <numbers>

#include "core/check.h"
#include "ops/attention_bits.h"
#include "ops/attention_packed.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionKernels;
using kernels::AttentionProblem;

// Adds sum_j prob d_score to delta, of queries and keys that are as wide as it.
template <class F>
void add_score_delta(Context& ctx, AttentionProblem<F> p, const kernels::AttentionGradients<F>& g) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index scratch = table.scores_scratch(p);
  reserve_scratch<F>(ctx, scratch);
  p.v.data = nullptr;
  with_packed<F>(ctx, std::span(&p, 1), [&](const AttentionProblem<F>& own, Index unit, int slot) {
    table.gradient_scores(own, g, unit, ctx.impl().scratch<F>(slot, scratch));
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

// The steps of a backward on operands of one type: those of AttentionKernels.
template <class F>
struct WideSteps {
  const AttentionKernels<F>& table;
  const AttentionProblem<F>& p;
  const kernels::AttentionGradients<F>& g;

  Index scratch() const { return table.gradient_scratch(p); }
  void delta(Index bn, Index block) const { table.gradient_delta(p, g, bn, block); }
  void begin(Index bn, Index tile, F* own) const { table.gradient_begin(p, bn, tile, own); }
  void block(Index bn, Index tile, Index block, F* own) const {
    table.gradient_block(p, g, bn, tile, block, own);
  }
  void end(Index bn, Index tile, F* own) const { table.gradient_end(p, g, bn, tile, own); }
};

struct Bf16Steps {
  const kernels::Bf16Kernels& table;
  const AttentionProblem<float>& p;
  const kernels::Bf16Operands& o;
  const kernels::AttentionGradients<float>& g;

  Index scratch() const { return table.gradient_scratch(p); }
  void delta(Index bn, Index block) const { table.gradient_delta(p, g, o, bn, block); }
  void begin(Index bn, Index tile, float* own) const { table.gradient_begin(p, o, bn, tile, own); }
  void block(Index bn, Index tile, Index block, float* own) const {
    table.gradient_block(p, g, o, bn, tile, block, own);
  }
  void end(Index bn, Index tile, float* own) const { table.gradient_end(p, g, bn, tile, own); }
};

// delta = sum_d out d_out
template <class F, class Steps>
void gradient_delta(Context& ctx, const AttentionProblem<F>& p, const Steps& steps) {
  const Index heads = p.B * p.Hkv;
  for_units(ctx, heads * kernels::gradient_blocks(p), forward_flops(p),
            [&](Index unit, int) { steps.delta(unit % heads, unit / heads); });
}

// The gradients of one sequence, of which delta is there.
template <class F, class Steps>
void backward(Context& ctx, const AttentionProblem<F>& p, const kernels::AttentionGradients<F>& g,
              const Steps& steps) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index heads = p.B * p.Hkv;
  // d_q is by definition the ascending sum of the tiles' shares, whoever computes them. A tile
  // keeps behind its predecessor block by block: no second buffer, and one order for any number of
  // threads. A counter holds the block that its unit adds next. Heads are the inner axis, so with
  // many heads nobody waits. A bias that heads or batch entries share gets its gradient from one
  // head after the other in the same way.
  const Index scratch = steps.scratch();
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
    steps.begin(bn, tile, own);
    blocks.for_each(bn, tile, [&](Index block, bool is_first) {
      steps.block(bn, tile, block, own);
      if (!is_first) added.wait_for(unit - heads, block + 1);
      table.gradient_add(p, g, bn, block, is_first, own);
      added.reach(unit, block + 1);
      if (!has_bias) return;
      if (bn > 0) added_bias.wait_for(unit - 1, block + 1);
      table.gradient_add_bias(p, g, bn, tile, block, own);
      added_bias.reach(unit, block + 1);
    });
    steps.end(bn, tile, own);
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
      : delta(ctx.tensor({q.dim(0), q.dim(2), q.dim(1)}, wide_dtype(q))) {
    if (options.sinks.has_value()) d_sinks = ctx.zeros({q.dim(2)}, Dtype::f64);
  }
};

// What the kernels write, of one sequence.
template <class F>
kernels::AttentionGradients<F> gradients_of(const AttentionProblem<F>& p,
                                            const AttentionGradients& operands,
                                            BackwardMemory& memory) {
  kernels::AttentionGradients<F> g;
  g.delta = memory.delta.data<F>();
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
  return g;
}

// Memory for gradients that are not wanted: the kernels write all of them.
struct UnwantedGradients {
  Tensor d_q{}, d_k{}, d_v{};

  UnwantedGradients(Context& ctx, ConstView q, ConstView k, ConstView v, AttentionGradients& g) {
    const auto fill_in = [&](View& wanted, Tensor& memory, ConstView x) {
      if (!wanted.has_value()) wanted = memory = ctx.tensor(x.shape(), wide_dtype(x));
    };
    fill_in(g.d_q, d_q, q);
    fill_in(g.d_k, d_k, k);
    fill_in(g.d_v, d_v, v);
  }
};

// run(sequence, its problem, its gradients as the kernels write them, and as the user wants them)
// for each sequence of a call.
template <class F, class Run>
void for_sequences(Context& ctx, ConstView q, ConstView k, ConstView v,
                   const AttentionOptions& options, ConstView statistics,
                   const AttentionGradients& wanted, const Run& run) {
  AttentionGradients g = wanted;
  const UnwantedGradients unwanted(ctx, q, k, v, g);
  BackwardMemory memory(ctx, q, options);
  if (g.d_bias.has_value()) fill_zero(g.d_bias);
  if (has_sequences(options)) {
    for (const View& gradient : {g.d_q, g.d_k, g.d_v}) fill_zero(gradient);
  }
  for (Index n = 0; n < num_sequences(options, q); ++n) {
    const Sequence s = sequence_of(options, q, k.dim(1), n);
    AttentionGradients part = g;
    part.d_out = s.queries(g.d_out);
    part.d_q = s.queries(g.d_q), part.d_k = s.keys(g.d_k), part.d_v = s.keys(g.d_v);
    if (g.d_bias.has_value()) part.d_bias = s.grid(g.d_bias);
    AttentionProblem<F> p = sizes_of<F>(s, q, k, v);
    set_statistics(statistics, p);
    const Tensor fully_masked = note_fully_masked_queries(ctx, s.options, p);
    run(s, p, gradients_of(p, part, memory), part);
    if (p.sinks != nullptr) {
      add_sink_gradient(p, memory.delta.data<F>(), memory.d_sinks.data<double>());
    }
  }
  if (!g.d_sinks.has_value()) return;
  const double* sums = memory.d_sinks.data<double>();
  for (Index h = 0; h < q.dim(2); ++h) g.d_sinks.data<F>()[h] = static_cast<F>(sums[h]);
}

}  // namespace

template <class F>
void backward_wide(Context& ctx, ConstView q, ConstView k, ConstView v,
                   const AttentionOptions& options, ConstView out, ConstView statistics,
                   const AttentionGradients& wanted) {
  const auto run = [&](const Sequence& s, AttentionProblem<F>& p, kernels::AttentionGradients<F> g,
                       const AttentionGradients& part) {
    set_operands(s, q, k, v, p);
    const auto [data, batch, time, head] = heads_of<F>(s.queries(out));
    p.out = {const_cast<F*>(data), batch, time, head};  // it reads what the forward wrote
    g.d_out = heads_of<F>(part.d_out);
    const WideSteps<F> steps{kernels_of<F>(ctx), p, g};
    gradient_delta(ctx, p, steps);
    if (g.d_scores != nullptr) add_score_delta(ctx, p, g);
    backward(ctx, p, g, steps);
  };
  for_sequences<F>(ctx, q, k, v, options, statistics, wanted, run);
}

void backward_natively(Context& ctx, ConstView q, ConstView k, ConstView v,
                       const AttentionOptions& options, ConstView out, ConstView statistics,
                       const AttentionGradients& wanted) {
  Tensor wide_q, wide_k;  // for the probabilities that meet d_scores
  if (wanted.d_scores.has_value()) {
    wide_q = converted(ctx, q, Dtype::f32), wide_k = converted(ctx, k, Dtype::f32);
  }
  const auto run = [&](const Sequence& s, AttentionProblem<float>& p,
                       const kernels::AttentionGradients<float>& g,
                       const AttentionGradients& part) {
    kernels::Bf16Operands o = bf16_operands(s, q, k, v, out);
    o.d_out = bits_of(part.d_out);
    const Bf16Steps steps{*bf16_kernels_of(ctx), p, o, g};
    gradient_delta(ctx, p, steps);
    if (g.d_scores != nullptr) {
      set_operands(s, wide_q, wide_k, wide_k, p);
      add_score_delta(ctx, p, g);
    }
    backward(ctx, p, g, steps);
  };
  for_sequences<float>(ctx, q, k, v, options, statistics, wanted, run);
}

template void backward_wide<float>(Context&, ConstView, ConstView, ConstView,
                                   const AttentionOptions&, ConstView, ConstView,
                                   const AttentionGradients&);
template void backward_wide<double>(Context&, ConstView, ConstView, ConstView,
                                    const AttentionOptions&, ConstView, ConstView,
                                    const AttentionGradients&);

}  // namespace grouphead::ops
