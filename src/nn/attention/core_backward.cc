#include "grouphead/parallel/ring_attention.h"
#include "nn/attention/saved_state.h"
#include "nn/layer_checks.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/rope.h"

namespace grouphead::nn {

void AttentionCore::add_penalty_gradient(Context& ctx, const SavedState& kept, ConstView x,
                                         View d_x) const {
  if (!kept.is_penalised) return;
  settings_.activity_regularizer->add_gradient(ctx, x, kept.penalty_scale(), d_x);
}

void AttentionCore::backward(Context& ctx, Saved& saved, ConstView d_output, ConstView d_scores,
                             const AttentionGradientViews& d_in, Grads& grads) const {
  auto& kept = nn::saved_as<SavedState>(settings_.layer, saved);
  if (!d_output.has_value() && !d_scores.has_value() && !kept.is_penalised) return;
  Tensor d_heads = backward_output(ctx, kept, d_output, grads);
  if (gate_) d_heads = backward_gate(ctx, kept, d_heads, d_in.d_query, grads);
  backward_heads(ctx, kept, d_heads, d_scores, d_in, grads);
}

// y = gated W_o + b_o; the gradient of `gated`
Tensor AttentionCore::backward_output(Context& ctx, const SavedState& kept, ConstView d_output,
                                      Grads& grads) const {
  Tensor with_penalty;
  if (kept.is_penalised) {
    with_penalty = ctx.zeros(kept.y.shape(), dtype());
    if (d_output.has_value()) copy(d_output.reshaped(kept.y.shape()), with_penalty);
    add_penalty_gradient(ctx, kept, kept.y, with_penalty);
    d_output = with_penalty;
  }
  if (!d_output.has_value()) return ctx.zeros(kept.gated.shape(), dtype());
  Tensor d_gated = ctx.tensor(kept.gated.shape(), dtype());
  output_->backward(ctx, kept.gated, d_output, ops::Write::overwrite, d_gated, grads);
  return d_gated;
}

// gated = out gate, gate = sigmoid(query W_g + b_g); the gradient of `out`
Tensor AttentionCore::backward_gate(Context& ctx, const SavedState& kept, const Tensor& d_gated,
                                    View d_query, Grads& grads) const {
  const Tensor& gate = kept.heads.gate;
  Tensor d_gate = ctx.tensor(gate.shape(), dtype());
  ops::binary_forward(ctx, ops::Binary::multiply, d_gated, kept.out, d_gate);
  add_penalty_gradient(ctx, kept, gate, d_gate);
  ops::activation_backward(ctx, Activation::sigmoid, kept.heads.gate_argument, d_gate, d_gate);
  gate_->backward(ctx, kept.call.query.view(), d_gate, ops::Write::add, d_query, grads);
  ops::binary_forward(ctx, ops::Binary::multiply, d_gated, gate, d_gate);
  return d_gate;
}

void AttentionCore::attend_backward(Context& ctx, const SavedState& kept,
                                    const AttentionGradients& gradients) const {
  const auto& [q, k, v, gate_argument, gate] = kept.heads;
  if (kept.sequence != nullptr) {
    return ring_attention_backward(ctx, *kept.sequence, q, k, v, kept.options, kept.out,
                                   kept.statistics, gradients);
  }
  kept.attention.backward(ctx, q, k, v, kept.options, kept.out, kept.statistics, gradients);
}

// out = attention(q, k, v), of the rotated projections
void AttentionCore::backward_heads(Context& ctx, SavedState& kept, const Tensor& d_out,
                                   ConstView d_scores, const AttentionGradientViews& d_in,
                                   Grads& grads) const {
  const auto& [q, k, v, gate_argument, gate] = kept.heads;
  Tensor d_q = ctx.tensor(q.shape(), dtype());
  Tensor d_k = ctx.tensor(k.shape(), dtype());
  Tensor d_v = ctx.tensor(v.shape(), dtype());
  Tensor d_bias, d_sinks;
  View sinks = sinks_ ? grads.of(*sinks_) : View();
  if (sinks.has_value()) d_sinks = ctx.tensor(sinks.shape(), dtype());
  if (d_in.d_bias.has_value()) d_bias = ctx.tensor(kept.call.attention_bias.shape(), dtype());
  attend_backward(ctx, kept,
                  {.d_out = d_out,
                   .d_scores = d_scores,
                   .d_q = d_q,
                   .d_k = d_k,
                   .d_v = d_v,
                   .d_bias = d_bias,
                   .d_sinks = d_sinks});
  if (d_sinks.has_value()) ops::add(ctx, sinks, d_sinks, sinks);
  if (d_bias.has_value()) ops::add(ctx, d_in.d_bias, d_bias, d_in.d_bias);
  if (rope_tables_) {
    const ops::RopeTable table = rotations(std::max(d_q.dim(1), d_k.dim(1)), kept.sequence);
    ops::rope(ctx, table, 0, ops::Direction::backward, d_q);
    ops::rope(ctx, table, 0, ops::Direction::backward, d_k);
  }
  const bool is_rotated = kept.plain_q.has_value();
  add_penalty_gradient(ctx, kept, is_rotated ? kept.plain_q : q, d_q);
  add_penalty_gradient(ctx, kept, is_rotated ? kept.plain_k : k, d_k);
  add_penalty_gradient(ctx, kept, v, d_v);
  if (query_norm_) {
    query_norm_->backward(ctx, *kept.query_norm, d_q, ops::Write::overwrite, d_q, grads);
    key_norm_->backward(ctx, *kept.key_norm, d_k, ops::Write::overwrite, d_k, grads);
  }
  query_->backward(ctx, kept.call.query.view(), d_q, ops::Write::add, d_in.d_query, grads);
  key_->backward(ctx, kept.call.key.view(), d_k, ops::Write::add, d_in.d_key, grads);
  value_->backward(ctx, kept.call.value.view(), d_v, ops::Write::add, d_in.d_value, grads);
}

}  // namespace grouphead::nn
