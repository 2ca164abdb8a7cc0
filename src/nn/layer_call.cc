// What Keras's `layer(...)` does around the mathematics: casts, and activity penalties.

#include "grouphead/layers/layer.h"
#include "nn/decoding.h"
#include "nn/layer_checks.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

struct CallSaved final : Saved {
  std::unique_ptr<Saved> inner;
  std::vector<Tensor> penalised;  // outputs whose penalties joined the losses, in arithmetic type
};

/// Keras divides by the size of the first axis, and adds 0 for an empty batch.
double per_row(const Tensor& output) noexcept {
  const Index batch = output.rank() > 0 ? output.dim(0) : 1;
  return batch > 0 ? 1 / static_cast<double>(batch) : 0;
}

}  // namespace

Tensor Layer::received(Context& ctx, const Tensor& tensor) const {
  if (!tensor.has_value() || !ops::is_floating(tensor.dtype())) return tensor;
  const bool is_exact = policy_.compute() == dtype() || tensor.dtype() == policy_.compute();
  if (tensor.dtype() == dtype() && is_exact) return tensor;
  Tensor numbers = ctx.tensor(tensor.shape(), dtype());
  ops::convert_rounded(tensor, policy_.compute(), numbers);
  return numbers;
}

Tensor Layer::widened(Context& ctx, const Tensor& tensor) const {
  if (!tensor.has_value() || !ops::is_floating(tensor.dtype())) return tensor;
  if (tensor.dtype() == dtype()) return tensor;
  Tensor numbers = ctx.tensor(tensor.shape(), dtype());
  ops::convert_rounded(tensor, dtype(), numbers);
  return numbers;
}

Tensor Layer::leaving(Context& ctx, Tensor tensor) const {
  if (!tensor.has_value() || !ops::is_floating(tensor.dtype())) return tensor;
  if (tensor.dtype() == policy_.compute()) return tensor;
  Tensor rounded = ctx.tensor(tensor.shape(), policy_.compute());
  ops::convert_rounded(tensor, policy_.compute(), rounded);
  return rounded;
}

Tensor LayerInput::tensor(Context& ctx) const {
  return view_.has_value() ? nn::copied(ctx, view_) : tensor_;
}

Tensor Layer::operator()(Context& ctx, const LayerInput& x, std::unique_ptr<Saved>* saved) {
  build_once({x.shape()});
  return typed_call(ctx, x, saved);
}

Tensor Layer::operator()(Context& ctx, const LayerInput& x, std::unique_ptr<Saved>* saved) const {
  return typed_call(ctx, x, saved);
}

Tensor Layer::typed_call(Context& ctx, const LayerInput& x, std::unique_ptr<Saved>* saved) const {
  const Value in{x.tensor(ctx), {}};
  return forward(ctx, std::span(&in, 1), Mode{}, saved).at(0).tensor;
}

std::vector<Value> Layer::call(Context& ctx, std::span<const Value> in, const Mode& mode,
                               std::unique_ptr<Saved>* saved) const {
  if (mode.decoding != nullptr) nn::require_decodable(*this, in, mode);
  std::vector<Value> numbers(in.begin(), in.end());
  for (Value& value : numbers) value.tensor = received(ctx, value.tensor);
  std::unique_ptr<CallSaved> keep;
  if (saved != nullptr) keep = std::make_unique<CallSaved>();
  std::vector<Value> out = forward(ctx, numbers, mode, keep ? &keep->inner : nullptr);
  for (Value& value : out) {
    Tensor left = leaving(ctx, value.tensor);
    if (activity_regularizer_ && mode.losses != nullptr && ops::is_floating(left.dtype())) {
      const Tensor seen = received(ctx, left);
      mode.losses->add(activity_regularizer_->value(ctx, seen) * per_row(seen));
      if (keep) keep->penalised.push_back(seen);
    }
    value.tensor = std::move(left);
  }
  if (saved != nullptr) *saved = std::move(keep);
  return out;
}

void Layer::call_backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                          std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<CallSaved>(name_, saved);
  if (kept.penalised.empty()) return backward(ctx, *kept.inner, d_out, d_in, grads);
  std::vector<Tensor> sums(d_out.size());
  std::vector<ConstView> with_penalties(d_out.begin(), d_out.end());
  for (std::size_t i = 0; i < d_out.size() && i < kept.penalised.size(); ++i) {
    const Tensor& output = kept.penalised[i];
    sums[i] = ctx.zeros(output.shape(), dtype());
    if (d_out[i].has_value()) copy(d_out[i], sums[i]);
    activity_regularizer_->add_gradient(ctx, output, per_row(output), sums[i]);
    with_penalties[i] = sums[i];
  }
  backward(ctx, *kept.inner, with_penalties, d_in, grads);
}

void add_weight_penalties(Context& ctx, const ConstParameterList& parameters, LossSink* losses,
                          Grads* grads) {
  for (const auto& [path, parameter] : parameters) {
    const Regularizer& regularizer = parameter->regularizer();
    if (!regularizer || !parameter->trainable()) continue;
    // Keras takes penalties of the variable itself, not of what it is rounded to for computing.
    Tensor widened;
    ConstView value = parameter->value();
    if (value.dtype() != parameter->gradient_dtype()) {
      widened = ctx.tensor(value.shape(), parameter->gradient_dtype());
      ops::convert_rounded(value, widened.dtype(), widened);
      value = std::as_const(widened).view();
    }
    if (losses != nullptr) losses->add(regularizer->value(ctx, value));
    if (grads == nullptr) continue;
    const View sum = grads->of(*parameter);
    if (sum.has_value()) regularizer->add_gradient(ctx, value, 1, sum);
  }
}

}  // namespace grouphead
