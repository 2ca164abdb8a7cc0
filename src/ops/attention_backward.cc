#include <cmath>
#include <numbers>
#include <vector>

#include "core/check.h"
#include "ops/attention_bits.h"
#include "ops/attention_packed.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionKernels;
using kernels::AttentionProblem;

// The blocks of rows that the backward of each tile of keys walks: those that causality and window
// let see any of it, so the cost grows with the window; and those with a query that attends to all
// keys because it sees none.
template <class F>
class BackwardBlocks {
 public:
  BackwardBlocks() = default;
  /// `alike`: of all heads the same blocks.
  BackwardBlocks(Context& ctx, const AttentionProblem<F>& p, bool alike)
      : blocks_(kernels::gradient_blocks(p)), head_stride_(alike ? 0 : blocks_) {
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
  void for_each(const AttentionProblem<F>& p, Index bn, Index tile, const Body& body) const {
    const auto [begin, end] = kernels::gradient_blocks_of_tile(p, tile);
    if (!attends_to_all_.has_value()) {
      for (Index block = begin; block < end; ++block) {
        body(block, tile == kernels::gradient_tiles_of_block(p, block).begin);
      }
      return;
    }
    const std::uint8_t* all = attends_to_all_.data<std::uint8_t>() + bn * head_stride_;
    for (Index block = 0; block < blocks_; ++block) {
      if (all[block] != 0) {
        body(block, tile == 0);
      } else if (begin <= block && block < end) {
        body(block, tile == kernels::gradient_tiles_of_block(p, block).begin);
      }
    }
  }

 private:
  Index blocks_ = 0, head_stride_ = 0;
  Tensor attends_to_all_;
};

// The backward of one sequence.
template <class F>
struct SequenceBackward {
  AttentionProblem<F> p;
  kernels::AttentionGradients<F> g;
  kernels::Bf16Operands bits;  // of bf16 alone
  Tensor fully_masked;
  BackwardBlocks<F> blocks;
  Index first_unit = 0;

  Index heads() const noexcept { return p.B * p.Hkv; }
};

// The steps of a backward on operands of one type: those of AttentionKernels.
template <class F>
struct WideSteps {
  using Backward = SequenceBackward<F>;
  const AttentionKernels<F>& table;

  Index scratch(const Backward& e) const { return table.gradient_scratch(e.p); }
  void delta(const Backward& e, Index bn, Index block) const {
    table.gradient_delta(e.p, e.g, bn, block);
  }
  void begin(const Backward& e, Index bn, Index tile, F* own) const {
    table.gradient_begin(e.p, bn, tile, own);
  }
  void block(const Backward& e, Index bn, Index tile, Index block, F* own) const {
    table.gradient_block(e.p, e.g, bn, tile, block, own);
  }
  void end(const Backward& e, Index bn, Index tile, F* own) const {
    table.gradient_end(e.p, e.g, bn, tile, own);
  }
};

struct Bf16Steps {
  using Backward = SequenceBackward<float>;
  const kernels::Bf16Kernels& table;

  Index scratch(const Backward& e) const { return table.gradient_scratch(e.p); }
  void delta(const Backward& e, Index bn, Index block) const {
    table.gradient_delta(e.p, e.g, e.bits, bn, block);
  }
  void begin(const Backward& e, Index bn, Index tile, float* own) const {
    table.gradient_begin(e.p, e.bits, bn, tile, own);
  }
  void block(const Backward& e, Index bn, Index tile, Index block, float* own) const {
    table.gradient_block(e.p, e.g, e.bits, bn, tile, block, own);
  }
  void end(const Backward& e, Index bn, Index tile, float* own) const {
    table.gradient_end(e.p, e.g, bn, tile, own);
  }
};

template <class F>
double total_flops(std::span<const SequenceBackward<F>> sequences) {
  double flops = 0;
  for (const auto& e : sequences) flops += forward_flops(e.p);
  return flops;
}

// delta = sum_d out d_out
template <class F, class Steps>
void gradient_delta(Context& ctx, std::span<SequenceBackward<F>> sequences, const Steps& steps) {
  const auto units = [](const auto& e) { return e.heads() * kernels::gradient_blocks(e.p); };
  for_entry_units(
      ctx, sequences, total_flops<F>(sequences), units,
      [&](const auto& e, Index unit, int) { steps.delta(e, unit % e.heads(), unit / e.heads()); });
}

// Adds sum_j prob d_score to delta, of queries and keys that are as wide as it.
template <class F>
void add_score_delta(Context& ctx, std::span<const SequenceBackward<F>> sequences) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  std::vector<AttentionProblem<F>> problems;
  Index scratch = 0;
  for (const auto& e : sequences) {
    problems.push_back(e.p);
    problems.back().v.data = nullptr;
    scratch = std::max(scratch, table.scores_scratch(e.p));
  }
  reserve_scratch<F>(ctx, scratch);
  with_packed<F>(ctx, problems, [&](const AttentionProblem<F>& p, Index unit, int slot) {
    const auto& e = sequences[static_cast<std::size_t>(&p - problems.data())];
    table.gradient_scores(p, e.g, unit, ctx.impl().scratch<F>(slot, scratch));
  });
}

// The gradients of some sequences, of which delta is there. With a gradient of the bias, which
// sequences may share, of one alone.
template <class F, class Steps>
void backward(Context& ctx, std::span<SequenceBackward<F>> sequences, const Steps& steps) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const bool has_bias = sequences.front().g.d_bias.data != nullptr;
  Index scratch = 0;
  Index units = 0;
  const auto units_of = [](const auto& e) { return e.heads() * kernels::gradient_tiles(e.p); };
  for (auto& e : sequences) {
    e.blocks = BackwardBlocks<F>(ctx, e.p, has_bias);
    scratch = std::max(scratch, steps.scratch(e));
    units += units_of(e);
  }
  // d_q is by definition the ascending sum of the tiles' shares, whoever computes them. A tile
  // keeps behind its predecessor block by block: no second buffer, and one order for any number of
  // threads. A counter holds the block that its unit adds next. Heads are the inner axis, so with
  // many heads nobody waits. A bias that heads or batch entries share gets its gradient from one
  // head after the other in the same way.
  Progress added(ctx, units);
  Progress added_bias(ctx, has_bias ? units : 0);
  reserve_scratch<F>(ctx, scratch);
  const double flops = 2.5 * total_flops<F>(sequences);
  for_entry_units(ctx, sequences, flops, units_of, [&](const auto& e, Index unit, int slot) {
    const Index heads = e.heads();
    const Index bn = unit % heads;
    const Index tile = unit / heads;
    const Index counter = e.first_unit + unit;
    F* own = ctx.impl().scratch<F>(slot, scratch);
    steps.begin(e, bn, tile, own);
    e.blocks.for_each(e.p, bn, tile, [&](Index block, bool is_first) {
      steps.block(e, bn, tile, block, own);
      if (!is_first) added.wait_for(counter - heads, block + 1);
      table.gradient_add(e.p, e.g, bn, block, is_first, own);
      added.reach(counter, block + 1);
      if (!has_bias) return;
      if (bn > 0) added_bias.wait_for(counter - 1, block + 1);
      table.gradient_add_bias(e.p, e.g, bn, tile, block, own);
      added_bias.reach(counter, block + 1);
    });
    steps.end(e, bn, tile, own);
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

  BackwardMemory(Context& ctx, const ConstView& q, const AttentionOptions& options)
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

  UnwantedGradients(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                    AttentionGradients& g) {
    const auto fill_in = [&](View& wanted, Tensor& memory, const ConstView& x) {
      if (!wanted.has_value()) wanted = memory = ctx.tensor(x.shape(), wide_dtype(x));
    };
    fill_in(g.d_q, d_q, q);
    fill_in(g.d_k, d_k, k);
    fill_in(g.d_v, d_v, v);
  }
};

// The sequences of a call: set(sequence, its gradients as the user wants them, its backward) tells
// the operands.
template <class F, class Set>
std::vector<SequenceBackward<F>> sequences_of(Context& ctx, const ConstView& q, const ConstView& k,
                                              const ConstView& v, const AttentionOptions& options,
                                              const ConstView& statistics,
                                              const AttentionGradients& g, BackwardMemory& memory,
                                              const Set& set) {
  std::vector<SequenceBackward<F>> sequences;
  const Index count = num_sequences(options, q);
  sequences.reserve(static_cast<std::size_t>(count));
  for (Index n = 0; n < count; ++n) {
    const Sequence s = sequence_of(options, q, k.dim(1), n);
    AttentionGradients part = g;
    part.d_out = s.queries(g.d_out);
    part.d_q = s.queries(g.d_q), part.d_k = s.keys(g.d_k), part.d_v = s.keys(g.d_v);
    if (g.d_bias.has_value()) part.d_bias = s.grid(g.d_bias);
    SequenceBackward<F>& e = sequences.emplace_back();
    e.p = sizes_of<F>(s, q, k, v);
    set_statistics(statistics, e.p);
    e.fully_masked = note_fully_masked_queries(ctx, s.options(), e.p);
    e.g = gradients_of(e.p, part, memory);
    set(s, part, e);
  }
  return sequences;
}

// All of a backward in the steps of one type of operands; `set` as for sequences_of().
template <class F, class Steps, class Set>
void run_backward(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                  const AttentionOptions& options, const ConstView& statistics,
                  const AttentionGradients& wanted, const Steps& steps, const Set& set) {
  AttentionGradients g = wanted;
  const UnwantedGradients unwanted(ctx, q, k, v, g);
  BackwardMemory memory(ctx, q, options);
  if (g.d_bias.has_value()) fill_zero(g.d_bias);
  zero_queries_of_none(options, g.d_q, 1);
  zero_keys_of_none(options, g.d_k);
  zero_keys_of_none(options, g.d_v);
  auto sequences = sequences_of<F>(ctx, q, k, v, options, statistics, g, memory, set);
  const std::span<SequenceBackward<F>> all(sequences);
  gradient_delta<F>(ctx, all, steps);
  if (g.d_scores.has_value()) add_score_delta<F>(ctx, all);
  if (g.d_bias.has_value()) {
    for (auto& e : all) backward<F>(ctx, {&e, 1}, steps);
  } else if (!all.empty()) {
    backward<F>(ctx, all, steps);
  }
  if (!options.sinks.has_value()) return;
  double* sums = memory.d_sinks.data<double>();
  for (const auto& e : all) add_sink_gradient(e.p, memory.delta.data<F>(), sums);
  if (!g.d_sinks.has_value()) return;
  for (Index h = 0; h < q.dim(2); ++h) g.d_sinks.data<F>()[h] = static_cast<F>(sums[h]);
}

}  // namespace

template <class F>
void backward_wide(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                   const AttentionOptions& options, const ConstView& out,
                   const ConstView& statistics, const AttentionGradients& wanted,
                   SoftmaxOf softmax) {
  run_backward<F>(ctx, q, k, v, options, statistics, wanted, WideSteps<F>{kernels_of<F>(ctx)},
                  [&](const Sequence& s, const AttentionGradients& part, SequenceBackward<F>& e) {
                    set_operands(s, q, k, v, e.p);
                    const auto [data, batch, time, head] = heads_of<F>(s.queries(out));
                    e.p.out = {const_cast<F*>(data), batch, time, head};  // what the forward wrote
                    e.p.is_part = softmax == SoftmaxOf::more_keys;
                    e.g.d_out = heads_of<F>(part.d_out);
                  });
}

void backward_natively(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                       const AttentionOptions& options, const ConstView& out,
                       const ConstView& statistics, const AttentionGradients& wanted) {
  Tensor wide_q, wide_k;  // for the probabilities that meet d_scores
  if (wanted.d_scores.has_value()) {
    wide_q = converted(ctx, q, Dtype::f32), wide_k = converted(ctx, k, Dtype::f32);
  }
  run_backward<float>(
      ctx, q, k, v, options, statistics, wanted, Bf16Steps{*bf16_kernels_of(ctx)},
      [&](const Sequence& s, const AttentionGradients& part, SequenceBackward<float>& e) {
        e.bits = bf16_operands(s, q, k, v, out);
        e.bits.d_out = bits_of(part.d_out);
        if (wide_q.has_value()) set_operands(s, wide_q, wide_k, wide_k, e.p);
      });
}

template void backward_wide<float>(Context&, const ConstView&, const ConstView&, const ConstView&,
                                   const AttentionOptions&, const ConstView&, const ConstView&,
                                   const AttentionGradients&, SoftmaxOf);
template void backward_wide<double>(Context&, const ConstView&, const ConstView&, const ConstView&,
                                    const AttentionOptions&, const ConstView&, const ConstView&,
                                    const AttentionGradients&, SoftmaxOf);

}  // namespace grouphead::ops
