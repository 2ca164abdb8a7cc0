#include "nn/float8.h"

#include "core/check.h"
#include "ops/convert.h"
#include "ops/float8.h"

namespace grouphead::nn {
namespace {

enum Variable : std::size_t { kInputs = 0, kKernel = 2, kGradients = 4 };

Tensor rounded(Context& ctx, ConstView x, const Parameter& scale, ops::Float8Kind kind) {
  Tensor y = ctx.tensor(x.shape(), x.dtype());
  ops::round_to_float8(ctx, x, *scale.value().data<float>(), kind, y);
  return y;
}

}  // namespace

std::unique_ptr<Float8> Float8::of(const std::optional<Quantization>& how,
                                   const DtypePolicy& policy) {
  if (!how || how->mode != QuantizationMode::float8) return nullptr;
  return std::make_unique<Float8>(how->amax_history_length, policy);
}

Float8::Float8(Index history_length, const DtypePolicy& policy)
    : rounds_bias_(policy.compute() == Dtype::f32) {
  core::require_positive("float8", "amax_history_length", history_length);
  const char* const names[] = {"inputs_scale",       "inputs_amax_history",
                               "kernel_scale",       "kernel_amax_history",
                               "outputs_grad_scale", "outputs_grad_amax_history"};
  for (std::size_t i = 0; i < variables_.size(); ++i) {
    const bool is_scale = i % 2 == 0;
    variables_[i] = std::make_unique<Parameter>(
        names[i], is_scale ? Shape{} : Shape{history_length}, DtypePolicy(),
        ParameterOptions{.trainable = false, .is_state = true});
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

Tensor Float8::rounded_bias(Context& ctx, const Parameter* bias) const {
  if (bias == nullptr) return {};
  const ConstView numbers = bias->numbers();
  Tensor made = ctx.tensor(numbers.shape(), numbers.dtype());
  ops::convert_rounded(numbers, rounds_bias_ ? Dtype::bf16 : numbers.dtype(), made);
  return made;
}

void Float8::append_parameters(const std::string& prefix, ParameterList& out) const {
  for (const auto& variable : variables_)
    out.push_back({prefix + variable->name(), variable.get()});
}

}  // namespace grouphead::nn
