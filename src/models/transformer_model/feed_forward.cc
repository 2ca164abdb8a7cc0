#include "models/transformer_model/feed_forward.h"

#include "nn/layer_checks.h"
#include "ops/activation.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/gated_unit.h"

namespace grouphead::models {

struct FeedForward::SavedState final : Saved {
  Tensor x;
  Tensor up;         // up(x)
  Tensor gate;       // gate(x)
  Tensor activated;  // act(gate(x)), where no clamp takes its place
  Tensor inner;      // what down() read
};

FeedForward::FeedForward(const FeedForwardConfig& config, Index hidden_size,
                         const DtypePolicy& policy, RandomStream& random)
    : config_(config), grid_(policy.compute()) {
  const auto make = [&](Index inputs, Index outputs) {
    nn::ProjectionOptions options;
    options.use_bias = config.use_bias;
    return std::make_unique<nn::Projection>(Shape{inputs, outputs}, 1, options, policy, random);
  };
  if (config.gated) gate_ = make(hidden_size, config.width);
  up_ = make(hidden_size, config.width);
  down_ = make(config.width, hidden_size);
}

void FeedForward::append_parameters(const std::string& prefix, ParameterList& out) {
  if (gate_) gate_->append_parameters(prefix + "gate/", out);
  up_->append_parameters(prefix + "up/", out);
  down_->append_parameters(prefix + "down/", out);
}

Tensor FeedForward::projected(Context& ctx, const nn::Projection& projection, const Tensor& x,
                              ops::Epilogue epilogue) const {
  Tensor y = ctx.tensor(nn::with_last_axis(x.shape(), projection.num_outputs()), x.dtype());
  projection.forward(ctx, x, epilogue, y);
  ops::round_to(ctx, grid_, y);
  return y;
}

// What down() reads.
Tensor FeedForward::inner(Context& ctx, const Tensor& x, SavedState* keep) const {
  const bool is_fused =
      keep == nullptr && !gate_ && config_.activation == Activation::gelu && grid_ == x.dtype();
  Tensor up = projected(ctx, *up_, x, is_fused ? ops::Epilogue::gelu : ops::Epilogue::none);
  if (is_fused) return up;
  Tensor gate = gate_ ? projected(ctx, *gate_, x, ops::Epilogue::none) : Tensor();
  Tensor result = ctx.tensor(up.shape(), up.dtype());
  Tensor activated;
  if (!gate_) {
    ops::activation_forward(ctx, config_.activation, up, result);
  } else if (config_.clamp_limit) {
    ops::clamped_swiglu_forward(ctx, {config_.clamp_alpha, *config_.clamp_limit}, gate, up, result);
  } else {
    activated = ctx.tensor(gate.shape(), gate.dtype());
    ops::activation_forward(ctx, config_.activation, gate, activated);
    ops::round_to(ctx, grid_, activated);
    ops::binary_forward(ctx, ops::Binary::multiply, activated, up, result);
  }
  ops::round_to(ctx, grid_, result);
  if (keep != nullptr) {
    keep->up = std::move(up);
    keep->gate = std::move(gate);
    keep->activated = std::move(activated);
    keep->inner = result;
  }
  return result;
}

Tensor FeedForward::forward(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved) const {
  if (saved == nullptr) {
    return projected(ctx, *down_, inner(ctx, x, nullptr), ops::Epilogue::none);
  }
  auto keep = std::make_unique<SavedState>();
  keep->x = x;
  Tensor y = projected(ctx, *down_, inner(ctx, x, keep.get()), ops::Epilogue::none);
  *saved = std::move(keep);
  return y;
}

void FeedForward::backward(Context& ctx, Saved& saved, ConstView d_y, ops::Write write, View d_x,
                           Grads& grads) const {
  auto& kept = nn::saved_as<SavedState>("feed_forward", saved);
  Tensor d_inner = ctx.tensor(kept.inner.shape(), kept.inner.dtype());
  down_->backward(ctx, kept.inner, d_y, ops::Write::overwrite, d_inner, grads);
  if (!gate_) {
    ops::activation_backward(ctx, config_.activation, kept.up, d_inner, d_inner);
    up_->backward(ctx, kept.x, d_inner, write, d_x, grads);
    return;
  }
  Tensor d_gate = ctx.tensor(kept.gate.shape(), kept.gate.dtype());
  if (config_.clamp_limit) {
    ops::clamped_swiglu_backward(ctx, {config_.clamp_alpha, *config_.clamp_limit}, kept.gate,
                                 kept.up, d_inner, d_gate, d_inner);
  } else {
    ops::binary_forward(ctx, ops::Binary::multiply, d_inner, kept.up, d_gate);
    ops::activation_backward(ctx, config_.activation, kept.gate, d_gate, d_gate);
    ops::binary_forward(ctx, ops::Binary::multiply, d_inner, kept.activated, d_inner);
  }
  up_->backward(ctx, kept.x, d_inner, write, d_x, grads);
  gate_->backward(ctx, kept.x, d_gate, ops::Write::add, d_x, grads);
}

}  // namespace grouphead::models
