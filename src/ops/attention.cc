#include "ops/attention.h"

#include "core/check.h"
#include "ops/attention_problem.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionGradients;
using kernels::AttentionKernels;
using kernels::AttentionProblem;

// q, k and v against each other.
void check_operands(std::string_view operation, ConstView q, ConstView k, ConstView v) {
  detail::require_shape(operation, "k", k, {-1, -1, -1, -1});
  check_queries(operation, "q", q, k.dim(2));
  check_heads(operation, "k", k, q.dim(0), -1, -1, q.dim(3), q.dtype());
  check_heads(operation, "v", v, q.dim(0), k.dim(1), k.dim(2), -1, q.dtype());
  if (v.dim(3) < 1) detail::throw_shape_error(operation, "v", "a head dim of 1 or more", "0");
}

void check_lse(std::string_view operation, ConstView q, ConstView lse) {
  detail::require_dense(operation, "lse", lse, {q.dim(0), q.dim(2), q.dim(1)}, q.dtype());
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

template <class F>
void forward(Context& ctx, AttentionProblem<F> p, View out, View lse) {
  p.out = mutable_heads_of<F>(out);
  if (lse.has_value()) p.lse = lse.data<F>();
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index heads = p.B * p.Hkv;
  p.packed.capacity = kernels::round_up(p.S, kernels::kPanelKeys);
  Tensor keys = ctx.tensor({heads, p.packed.capacity, p.D}, kDtypeOf<F>);
  Tensor values = ctx.tensor(
      {heads, p.packed.capacity, kernels::round_up(p.Dv, kernels::kPanelKeys)}, kDtypeOf<F>);
  p.packed.keys = keys.data<F>();
  p.packed.values = values.data<F>();

  // One region for both steps: the rows of a batch entry start as soon as its keys are packed.
  const Index tiles = kernels::pack_tiles(p, Index{0});
  const Index packs = p.B * tiles;
  const Index units_per_batch = p.B == 0 ? 1 : kernels::forward_units(p) / p.B;
  const Index scratch = table.forward_scratch(p);
  Progress packed(ctx, p.B);
  reserve_scratch<F>(ctx, scratch);
  for_units(ctx, packs + kernels::forward_units(p), forward_flops(p), [&](Index unit, int slot) {
    if (unit < packs) {
      table.pack(p, 0, unit);
      packed.add(unit / tiles);
    } else {
      packed.wait_for((unit - packs) / units_per_batch, tiles);
      table.forward(p, unit - packs, ctx.impl().scratch<F>(slot, scratch));
    }
  });
}

template <class F>
void backward(Context& ctx, const AttentionProblem<F>& p, AttentionGradients<F> g) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index heads = p.B * p.Hkv;
  const Index blocks = kernels::gradient_blocks(p);
  Tensor delta = ctx.tensor({p.B, p.Hq, p.T}, kDtypeOf<F>);
  g.delta = delta.data<F>();
  for_units(ctx, heads * blocks, forward_flops(p),
            [&](Index unit, int) { table.gradient_delta(p, g, unit % heads, unit / heads); });

  // d_q is by definition the ascending sum of the tiles' shares, whoever computes them. A tile
  // keeps behind its predecessor block by block: no second buffer, and one order for any number of
  // threads. Heads are the inner axis, so with many heads nobody waits.
  const Index scratch = table.gradient_scratch(p);
  Progress added(ctx, heads * kernels::gradient_tiles(p));
  reserve_scratch<F>(ctx, scratch);
  const Index units = heads * kernels::gradient_tiles(p);
  for_units(ctx, units, 2.5 * forward_flops(p), [&](Index unit, int slot) {
    const Index bn = unit % heads;
    const Index tile = unit / heads;
    F* own = ctx.impl().scratch<F>(slot, scratch);
    table.gradient_begin(p, bn, tile, own);
    for (Index block = 0; block < blocks; ++block) {
      table.gradient_block(p, g, bn, tile, block, own);
      if (tile > 0) added.wait_for(unit - heads, block + 1);
      table.gradient_add(p, g, bn, tile, block, own);
      added.add(unit);
    }
    table.gradient_end(p, g, bn, tile, own);
  });
}

template <class F>
void backward(Context& ctx, const AttentionProblem<F>& problem, ConstView out, ConstView lse,
              ConstView d_out, View d_q, View d_k, View d_v) {
  AttentionProblem<F> p = problem;
  // The backward reads what the forward wrote.
  p.out = {const_cast<F*>(out.data<F>()), out.stride(0), out.stride(1), out.stride(2)};
  p.lse = const_cast<F*>(lse.data<F>());
  AttentionGradients<F> g;
  g.d_out = heads_of<F>(d_out);
  g.d_q = mutable_heads_of<F>(d_q);
  g.d_k = mutable_heads_of<F>(d_k);
  g.d_v = mutable_heads_of<F>(d_v);
  if (p.S == 0) fill_zero(d_q);
  backward(ctx, p, g);
}

}  // namespace

void attention_forward(Context& ctx, ConstView q, ConstView k, ConstView v,
                       const AttentionOptions& options, View out, View lse) {
  constexpr std::string_view kName = "attention_forward";
  check_operands(kName, q, k, v);
  check_heads(kName, "out", out, q.dim(0), q.dim(1), q.dim(2), v.dim(3), q.dtype());
  if (lse.has_value()) check_lse(kName, q, lse);
  if (q.dtype() == Dtype::f32) {
    forward(ctx, problem_of<float>(q, k, v, options), out, lse);
  } else {
    forward(ctx, problem_of<double>(q, k, v, options), out, lse);
  }
}

void attention_backward(Context& ctx, ConstView q, ConstView k, ConstView v, ConstView out,
                        ConstView lse, const AttentionOptions& options,
                        const BackwardOperands& operands) {
  const auto& [d_out, d_scores, d_q, d_k, d_v, d_bias] = operands;
  constexpr std::string_view kName = "attention_backward";
  check_operands(kName, q, k, v);
  const Dtype dtype = q.dtype();
  const Index dv = v.dim(3);
  check_heads(kName, "out", out, q.dim(0), q.dim(1), q.dim(2), dv, dtype);
  check_lse(kName, q, lse);
  check_heads(kName, "d_out", d_out, q.dim(0), q.dim(1), q.dim(2), dv, dtype);
  check_heads(kName, "d_q", d_q, q.dim(0), q.dim(1), q.dim(2), q.dim(3), dtype);
  check_heads(kName, "d_k", d_k, k.dim(0), k.dim(1), k.dim(2), k.dim(3), dtype);
  check_heads(kName, "d_v", d_v, k.dim(0), k.dim(1), k.dim(2), dv, dtype);
  if (dtype == Dtype::f32) {
    backward(ctx, problem_of<float>(q, k, v, options), out, lse, d_out, d_q, d_k, d_v);
  } else {
    backward(ctx, problem_of<double>(q, k, v, options), out, lse, d_out, d_q, d_k, d_v);
  }
}

}  // namespace grouphead::ops
