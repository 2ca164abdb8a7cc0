#include "grouphead/dense.h"
#include "nn/layer_checks.h"
#include "nn/projection.h"
#include "ops/elementwise.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "dense";

struct DenseSaved final : Saved {
  Tensor x;
  Tensor pre_activation;  // x kernel + bias; absent for a linear layer
};

}  // namespace

Dense::Dense(const DenseConfig& config) : Layer(config.name, config.dtype), config_(config) {
  nn::require_positive(kLayer, "units", config.units);
}

Dense::~Dense() = default;

void Dense::build(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, projection_ != nullptr);
  const Index width = nn::built_width(kLayer, inputs);
  projection_ = std::make_unique<detail::Projection>(
      Shape{width, config_.units}, 1, detail::ProjectionOptions{.use_bias = config_.use_bias},
      policy(), random);
}

void Dense::apply(Context& ctx, ConstView x, View y) const {
  nn::require_built(kLayer, projection_ != nullptr);
  nn::require_last_axis(kLayer, x, projection_->num_inputs(), dtype());
  const bool gelu = config_.activation == Activation::gelu;
  projection_->forward(ctx, x, gelu ? ops::Epilogue::gelu : ops::Epilogue::none, y);
}

Tensor Dense::operator()(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved) const {
  nn::require_built(kLayer, projection_ != nullptr);
  nn::require_last_axis(kLayer, x, projection_->num_inputs(), dtype());
  Tensor y = ctx.tensor(nn::with_last_axis(x.shape(), config_.units), dtype());
  if (saved == nullptr) {
    apply(ctx, x, y);
    return y;
  }
  auto keep = std::make_unique<DenseSaved>();
  keep->x = x;
  if (config_.activation == Activation::gelu) {
    keep->pre_activation = ctx.tensor(y.shape(), dtype());
    projection_->forward(ctx, x, ops::Epilogue::none, keep->pre_activation);
    ops::gelu_forward(ctx, keep->pre_activation, y);
  } else {
    projection_->forward(ctx, x, ops::Epilogue::none, y);
  }
  *saved = std::move(keep);
  return y;
}

std::vector<Value> Dense::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                  std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  return {Value{(*this)(ctx, in[0].tensor, saved), in[0].mask}};
}

void Dense::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                     std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<DenseSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  if (!kept.pre_activation.has_value()) {
    projection_->backward(ctx, kept.x, d_out[0], d_in[0], grads);
    return;
  }
  Tensor d_pre = ctx.tensor(kept.pre_activation.shape(), dtype());
  ops::gelu_backward(ctx, kept.pre_activation, d_out[0], d_pre);
  projection_->backward(ctx, kept.x, d_pre, d_in[0], grads);
}

void Dense::append_parameters(const std::string& prefix, ParameterList& out) const {
  if (projection_) projection_->append_parameters(prefix, out);
}

}  // namespace grouphead
