#include <cmath>

#include "grouphead/initializers.h"
#include "grouphead/normalization.h"
#include "nn/layer_checks.h"
#include "ops/elementwise.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "layer_normalization";

struct LayerNormalizationSaved final : Saved {
  Tensor x;
  Tensor mean;  // [rows]
  Tensor rstd;  // [rows]
};

}  // namespace

LayerNormalization::LayerNormalization(const LayerNormalizationConfig& config)
    : Layer(config.name, config.dtype), config_(config) {
  if (!(config.epsilon >= 0)) {
    detail::throw_config_error(kLayer, "epsilon", "0 or more", std::to_string(config.epsilon));
  }
}

void LayerNormalization::build(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, gamma_ != nullptr);
  const Index width = nn::built_width(kLayer, inputs);
  gamma_ = std::make_unique<Parameter>("gamma", Shape{width}, policy());
  beta_ = std::make_unique<Parameter>("beta", Shape{width}, policy());
  const Initializer gains = config_.random_gains
                                ? initializers::random_uniform(-std::sqrt(3.0), std::sqrt(3.0))
                                : initializers::ones();
  gains->fill(gamma_->edit(), fans_of(gamma_->shape()), random);
}

Tensor LayerNormalization::operator()(Context& ctx, const Tensor& x,
                                      std::unique_ptr<Saved>* saved) const {
  nn::require_built(kLayer, gamma_ != nullptr);
  nn::require_last_axis(kLayer, x, gamma_->shape()[0], dtype());
  Tensor y = ctx.tensor(x.shape(), dtype());
  if (saved == nullptr) {
    ops::layer_norm_forward(ctx, x, gamma_->numbers(), beta_->numbers(), config_.epsilon, y, {},
                            {});
    return y;
  }
  auto keep = std::make_unique<LayerNormalizationSaved>();
  const Index rows = x.size() / gamma_->shape()[0];
  keep->x = x;
  keep->mean = ctx.tensor({rows}, dtype());
  keep->rstd = ctx.tensor({rows}, dtype());
  ops::layer_norm_forward(ctx, x, gamma_->numbers(), beta_->numbers(), config_.epsilon, y,
                          keep->mean, keep->rstd);
  *saved = std::move(keep);
  return y;
}

std::vector<Value> LayerNormalization::forward(Context& ctx, std::span<const Value> in,
                                               const Mode& /*mode*/,
                                               std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  return {Value{(*this)(ctx, in[0].tensor, saved), in[0].mask}};
}

void LayerNormalization::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                  std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<LayerNormalizationSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  Tensor unused;
  View d_x = d_in[0];
  if (!d_x.has_value()) {
    unused = ctx.zeros(kept.x.shape(), dtype());
    d_x = unused;
  }
  ops::layer_norm_backward(ctx, kept.x, gamma_->numbers(), kept.mean, kept.rstd, d_out[0],
                           ops::Write::add, d_x, grads.of(*gamma_), grads.of(*beta_));
}

void LayerNormalization::append_parameters(const std::string& prefix, ParameterList& out) const {
  if (!gamma_) return;
  out.push_back({prefix + "gamma", gamma_.get()});
  out.push_back({prefix + "beta", beta_.get()});
}

}  // namespace grouphead
