#include "ops/attention.h"

#include <cmath>
#include <limits>

#include "core/check.h"
#include "ops/attention_problem.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionGradients;
using kernels::AttentionKernels;
using kernels::AttentionProblem;

// q, k and v against each other.
void check_operands(std::string_view operation, ConstView q, ConstView k, ConstView v,
                    MayBeBf16 may_be_bf16 = MayBeBf16::no) {
  detail::require_shape(operation, "k", k, {-1, -1, -1, -1});
  check_queries(operation, "q", q, k.dim(2), may_be_bf16);
  check_heads(operation, "k", k, q.dim(0), -1, -1, q.dim(3), q.dtype());
  check_heads(operation, "v", v, q.dim(0), k.dim(1), k.dim(2), -1, q.dtype());
  if (v.dim(3) < 1) detail::throw_shape_error(operation, "v", "a head dim of 1 or more", "0");
}

void check_softmax(std::string_view operation, ConstView q, ConstView softmax) {
  detail::require_dense(operation, "softmax", softmax, {2, q.dim(0), q.dim(2), q.dim(1)},
                        q.dtype() == Dtype::bf16 ? Dtype::f32 : q.dtype());
}

// The kernels read it or write it.
template <class F>
void set_softmax(ConstView softmax, AttentionProblem<F>& p) {
  p.tops = const_cast<F*>(softmax.data<F>());
  p.sums = p.tops + p.B * p.Hq * p.T;
}

template <class F>
AttentionProblem<F> problem_of(ConstView q, ConstView k, ConstView v,
                               const AttentionOptions& options) {
  AttentionProblem<F> p;
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
             View softmax) {
  p.out = mutable_heads_of<F>(out);
  if (softmax.has_value()) set_softmax(softmax, p);
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
void gradient_delta(Context& ctx, AttentionProblem<F> p, const AttentionGradients<F>& g) {
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
void backward(Context& ctx, const AttentionProblem<F>& p, AttentionGradients<F> g) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index heads = p.B * p.Hkv;
  Tensor delta = ctx.tensor({p.B, p.Hq, p.T}, kDtypeOf<F>);
  g.delta = delta.data<F>();
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

template <class F>
void backward(Context& ctx, AttentionProblem<F> p, ConstView out, ConstView softmax,
              const AttentionOptions& options, const BackwardOperands& operands) {
  // The backward reads what the forward wrote.
  p.out = {const_cast<F*>(out.data<F>()), out.stride(0), out.stride(1), out.stride(2)};
  set_softmax(softmax, p);
  const Tensor fully_masked = note_fully_masked_queries(ctx, options, p);
  AttentionGradients<F> g;
  g.d_out = heads_of<F>(operands.d_out);
  g.d_q = mutable_heads_of<F>(operands.d_q);
  g.d_k = mutable_heads_of<F>(operands.d_k);
  g.d_v = mutable_heads_of<F>(operands.d_v);
  if (operands.d_scores.has_value()) g.d_scores = operands.d_scores.data<F>();
  if (operands.d_bias.has_value()) {
    fill_zero(operands.d_bias);
    if (operands.d_bias.dim(3) > 1) {
      const auto grid = grid_of<F>(operands.d_bias);
      g.d_bias = {operands.d_bias.data<F>(), grid.batch, grid.head, grid.time, grid.key};
    }
  }
  if (p.S == 0) fill_zero(operands.d_q);
  backward(ctx, p, g);
}

}  // namespace

void attention_forward(Context& ctx, ConstView q, ConstView k, ConstView v,
                       const AttentionOptions& options, View out, View softmax) {
  constexpr std::string_view kName = "attention_forward";
  check_operands(kName, q, k, v, MayBeBf16::yes);
  check_options(kName, options, q, k.dim(1));
  check_heads(kName, "out", out, q.dim(0), q.dim(1), q.dim(2), v.dim(3), q.dtype());
  if (softmax.has_value()) check_softmax(kName, q, softmax);
  if (q.dtype() == Dtype::bf16) {
    forward_bf16(ctx, q, k, v, options, out, softmax);
  } else if (q.dtype() == Dtype::f32 && options.on_bf16_grid && bf16_is_native(ctx, options)) {
    forward_on_bf16_grid(ctx, q, k, v, options, out, softmax);
  } else if (q.dtype() == Dtype::f32) {
    forward(ctx, problem_of<float>(q, k, v, options), options, out, softmax);
  } else {
    forward(ctx, problem_of<double>(q, k, v, options), options, out, softmax);
  }
}

void attention_lse(ConstView softmax, View lse) {
  constexpr std::string_view kName = "attention_lse";
  detail::require_shape(kName, "softmax", softmax, {2, -1, -1, -1});
  detail::require_dense(kName, "lse", lse, {softmax.dim(1), softmax.dim(2), softmax.dim(3)},
                        softmax.dtype());
  const auto run = [&](auto zero) {
    using F = decltype(zero);
    const F* top = softmax.data<F>();
    for (Index i = 0; i < lse.size(); ++i) {
      const double sum = top[lse.size() + i];
      const double value = static_cast<double>(top[i]) * std::log(2.0) + std::log(sum);
      lse.data<F>()[i] = sum == 0 ? std::numeric_limits<F>::infinity() : static_cast<F>(value);
    }
  };
  lse.dtype() == Dtype::f32 ? run(0.0F) : run(0.0);
}

void attention_scores(Context& ctx, ConstView q, ConstView k, ConstView softmax,
                      const AttentionOptions& options, View result) {
  constexpr std::string_view kName = "attention_scores";
  check_operands(kName, q, k, k);
  check_options(kName, options, q, k.dim(1));
  check_softmax(kName, q, softmax);
  detail::require_dense(kName, "scores", result, {q.dim(0), q.dim(2), q.dim(1), k.dim(1)},
                        q.dtype());
  const auto run = [&](auto zero) {
    using F = decltype(zero);
    AttentionProblem<F> p = problem_of<F>(q, k, k, options);
    p.v.data = nullptr;
    set_softmax(softmax, p);
    p.scores = result.data<F>();
    scores(ctx, p, options);
  };
  q.dtype() == Dtype::f32 ? run(0.0F) : run(0.0);
}

void attention_backward(Context& ctx, ConstView q, ConstView k, ConstView v, ConstView out,
                        ConstView softmax, const AttentionOptions& options,
                        const BackwardOperands& operands) {
  constexpr std::string_view kName = "attention_backward";
  check_operands(kName, q, k, v);
  check_options(kName, options, q, k.dim(1));
  const Dtype dtype = q.dtype();
  const Index dv = v.dim(3);
  check_heads(kName, "out", out, q.dim(0), q.dim(1), q.dim(2), dv, dtype);
  check_softmax(kName, q, softmax);
  check_heads(kName, "d_out", operands.d_out, q.dim(0), q.dim(1), q.dim(2), dv, dtype);
  check_heads(kName, "d_q", operands.d_q, q.dim(0), q.dim(1), q.dim(2), q.dim(3), dtype);
  check_heads(kName, "d_k", operands.d_k, k.dim(0), k.dim(1), k.dim(2), k.dim(3), dtype);
  check_heads(kName, "d_v", operands.d_v, k.dim(0), k.dim(1), k.dim(2), dv, dtype);
  if (operands.d_scores.has_value()) {
    detail::require_dense(kName, "d_scores", operands.d_scores,
                          {q.dim(0), q.dim(2), q.dim(1), k.dim(1)}, dtype);
  }
  if (operands.d_bias.has_value()) {
    if (!options.bias.has_value()) {
      detail::throw_shape_error(kName, "d_bias", "nothing, as there is no bias",
                                operands.d_bias.shape().to_string());
    }
    const ConstView& bias = options.bias;
    detail::require_dense(kName, "d_bias", operands.d_bias,
                          {bias.dim(0), bias.dim(1), bias.dim(2), bias.dim(3)}, dtype);
  }
  if (dtype == Dtype::f32) {
    backward(ctx, problem_of<float>(q, k, v, options), out, softmax, options, operands);
  } else {
    backward(ctx, problem_of<double>(q, k, v, options), out, softmax, options, operands);
  }
}

}  // namespace grouphead::ops
