#include "nn/float8.h"

#include <cmath>

#include "core/check.h"
#include "ops/arithmetic.h"
#include "ops/convert.h"
#include "ops/float8.h"

namespace grouphead::nn {
namespace {

enum Variable : std::size_t { kInputs = 0, kKernel = 2, kGradients = 4 };

constexpr float kMostOfE4m3 = 448;
constexpr float kMostOfE5m2 = 57344;

/// The greatest |x|; NaN where there is one.
float greatest(ConstView x) {
  const auto among = [&](const auto* first) {
    const Index count = x.size();
    float most = 0;
    for (Index i = 0; i < count; ++i) {
      const float one = std::abs(static_cast<float>(first[i]));
      most = one > most || std::isnan(one) ? one : most;
    }
    return most;
  };
  return x.dtype() == Dtype::f64 ? among(x.data<double>()) : among(x.data<float>());
}

/// Source: keras.quantizers.compute_float8_scale.
Tensor next_scale(const Parameter& scale, const Parameter& history, float most) {
  const float amax = greatest(history.value());
  float factor = 1 / *scale.value().data<float>();
  if (amax > 0 && std::isfinite(amax)) factor = most / amax;
  Tensor next({}, Dtype::f32);
  *next.data<float>() = 1 / factor;
  return next;
}

/// Source: keras.quantizers.compute_float8_amax_history.
Tensor next_history(const Parameter& history, ConstView x) {
  const auto* const old = history.value().data<float>();
  const Index length = history.shape().size();
  Tensor next(history.shape(), Dtype::f32);
  auto* const made = next.data<float>();
  made[0] = greatest(x);
  for (Index i = 1; i < length; ++i) made[i] = old[(i + 1) % length];
  return next;
}

Tensor rounded(Context& ctx, ConstView x, const Parameter& scale, ops::Float8Kind kind) {
  Tensor y = ctx.tensor(x.shape(), x.dtype());
  ops::round_to_float8(ctx, x, *scale.value().data<float>(), kind, y);
  return y;
}

}  // namespace

std::unique_ptr<Float8> Float8::of(const std::optional<Quantization>& how,
                                   const DtypePolicy& policy, bool trainable) {
  if (!how || how->mode != QuantizationMode::float8) return nullptr;
  return std::make_unique<Float8>(how->amax_history_length, policy, trainable);
}

Float8::Float8(Index history_length, const DtypePolicy& policy, bool trainable)
    : rounds_bias_(policy.compute() == Dtype::f32) {
  core::require_positive("float8", "amax_history_length", history_length);
  const char* const names[] = {"inputs_scale",       "inputs_amax_history",
                               "kernel_scale",       "kernel_amax_history",
                               "outputs_grad_scale", "outputs_grad_amax_history"};
  for (std::size_t i = 0; i < variables_.size(); ++i) {
    const bool is_scale = i % 2 == 0;
    variables_[i] = std::make_unique<Parameter>(
        names[i], is_scale ? Shape{} : Shape{history_length}, DtypePolicy(),
        ParameterOptions{.trainable = trainable, .is_overwritten = true});
    if (is_scale) *variables_[i]->edit().data<float>() = 1;
  }
}

Tensor Float8::rounded_inputs(Context& ctx, ConstView x) const {
  return rounded(ctx, x, *variables_[kInputs], ops::Float8Kind::e4m3);
}
std::unique_ptr<Parameter> Float8::rounded_kernel(Context& ctx, const Parameter& kernel) const {
  auto made = std::make_unique<Parameter>(kernel.name(), kernel.shape(), kernel.gradient_dtype());
  copy(rounded(ctx, kernel.numbers(), *variables_[kKernel], ops::Float8Kind::e4m3), made->edit());
  return made;
}
Tensor Float8::rounded_gradient(Context& ctx, ConstView d_y) const {
  return rounded(ctx, d_y, *variables_[kGradients], ops::Float8Kind::e5m2);
}

void Float8::add_next(ConstView x, const Parameter& kernel, ConstView d_y, Grads& grads) const {
  const std::pair<Variable, ConstView> operands[] = {
      {kInputs, x}, {kKernel, kernel.numbers()}, {kGradients, d_y}};
  for (const auto& [first, numbers] : operands) {
    const Parameter& scale = *variables_[first];
    const Parameter& history = *variables_[first + 1];
    if (!scale.is_overwritten()) continue;
    const float most = first == kGradients ? kMostOfE5m2 : kMostOfE4m3;
    grads.add_next(scale, next_scale(scale, history, most));
    grads.add_next(history, next_history(history, numbers));
  }
}

Tensor Float8::rounded_bias(Context& ctx, const Parameter* bias) const {
  if (bias == nullptr) return {};
  const ConstView numbers = bias->numbers();
  Tensor made = ctx.tensor(numbers.shape(), numbers.dtype());
  ops::convert_rounded(numbers, rounds_bias_ ? Dtype::bf16 : numbers.dtype(), made);
  return made;
}

void Float8::add_bias_gradient(Context& ctx, View of_call, View d_bias) const {
  if (rounds_bias_) ops::convert_rounded(of_call, Dtype::bf16, of_call);
  ops::add(ctx, d_bias, of_call, d_bias);
}

void Float8::append_parameters(const std::string& prefix, ParameterList& out) const {
  for (const auto& variable : variables_)
    out.push_back({prefix + variable->name(), variable.get()});
}

}  // namespace grouphead::nn
