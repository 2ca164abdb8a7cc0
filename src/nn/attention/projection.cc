#include "nn/attention/projection.h"

#include "core/rows.h"
#include "nn/loading_scope.h"
#include "nn/quantization_plan.h"
#include "nn/quantized_layout.h"
#include "nn/quantized_product.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

// Contiguous, or rows of so many columns that are evenly spaced.
ConstView as_matrix(ConstView x, Index columns) {
  return x.is_contiguous() ? x.reshaped({x.size() / columns, columns}) : core::as_rows(x);
}
/// What is rounded has none.
ConstView without_gaps(Context& ctx, ConstView x, Tensor& together) {
  if (x.is_contiguous()) return x;
  together = ctx.tensor(x.shape(), x.dtype());
  ops::copy_elements(ctx, x, together);
  return std::as_const(together).view();
}
View as_matrix(View x, Index columns) { return x.reshaped({x.size() / columns, columns}); }

}  // namespace

ConstView matrix_of(const Parameter& kernel, const Shape& shape) {
  const ConstView source = kernel.source();
  return source.shape() == shape ? source : kernel.numbers().reshaped(shape);
}

Projection::Projection(const Shape& kernel, int contracted_axes, const ProjectionOptions& options,
                       const DtypePolicy& policy, RandomStream& random)
    : contracted_axes_(contracted_axes),
      kernel_(std::make_unique<Parameter>(
          "kernel", kernel, policy,
          ParameterOptions{options.trainable, options.kernel_regularizer,
                           options.kernel_constraint})),
      grid_(policy.compute()),
      float8_(Float8::of(options.quantization, policy, options.trainable)) {
  const Shape outputs(std::span<const Index>(kernel.begin() + contracted_axes, kernel.end()));
  num_outputs_ = outputs.size();
  num_inputs_ = kernel.size() / num_outputs_;
  const Fans fans{num_inputs_, num_outputs_};
  const Initializer& start = options.kernel_initializer;
  nn::initialize(*kernel_, start ? start : initializers::glorot_uniform(), fans, random);
  if (!options.use_bias) return;
  bias_ = std::make_unique<Parameter>(
      "bias", outputs, policy,
      ParameterOptions{options.trainable, options.bias_regularizer, options.bias_constraint});
  if (options.bias_initializer) {
    nn::initialize(*bias_, options.bias_initializer, fans_of(outputs), random);
  }
}

void Projection::forward(Context& ctx, ConstView x, ops::Epilogue epilogue, View y) const {
  Tensor together;
  if (float8_ || kernel_->quantized() != nullptr) x = without_gaps(ctx, x, together);
  if (float8_) {
    return forward_float8(ctx, as_matrix(x, num_inputs_), epilogue, as_matrix(y, num_outputs_));
  }
  const ConstView bias = bias_ ? bias_->numbers().reshaped({num_outputs_}) : ConstView();
  if (kernel_->quantized() != nullptr) {
    return forward_quantized(ctx, as_matrix(x, num_inputs_), bias, epilogue,
                             as_matrix(y, num_outputs_));
  }
  const std::unique_ptr<Parameter> changed = lora_ ? lora_->changed() : nullptr;
  const Parameter& kernel = changed ? *changed : *kernel_;
  ops::linear_forward(ctx, as_matrix(x, num_inputs_),
                      matrix_of(kernel, {num_inputs_, num_outputs_}), kernel.packed(), bias,
                      epilogue, as_matrix(y, num_outputs_), grid_);
}

void Projection::forward_float8(Context& ctx, ConstView x, ops::Epilogue epilogue, View y) const {
  const Tensor inputs = float8_->rounded_inputs(ctx, x);
  const std::unique_ptr<Parameter> kernel = float8_->rounded_kernel(ctx, *kernel_);
  const Tensor bias = float8_->rounded_bias(ctx, bias_.get());
  ops::linear_forward(ctx, inputs, as_matrix(kernel->numbers(), num_outputs_), kernel->packed(),
                      bias.has_value() ? bias.view().reshaped({num_outputs_}) : ConstView(),
                      epilogue, y);
}

void Projection::backward_float8(Context& ctx, ConstView x, ConstView d_y, ops::Write write,
                                 View d_x, Grads& grads) const {
  Tensor x_copy;
  Tensor d_y_copy;
  x = without_gaps(ctx, x, x_copy);
  d_y = without_gaps(ctx, d_y, d_y_copy);
  const View d_bias = bias_ ? grads.of(*bias_) : View();
  if (d_bias.has_value()) {
    Tensor of_call = ctx.zeros({num_outputs_}, d_bias.dtype());
    ops::linear_backward_weights(ctx, x, d_y, View(), of_call);
    float8_->add_bias_gradient(ctx, of_call, d_bias.reshaped({num_outputs_}));
  }
  float8_->add_next(x, *kernel_, d_y, grads);
  const Tensor gradient = float8_->rounded_gradient(ctx, d_y);
  const View d_kernel = grads.of(*kernel_);
  if (d_kernel.has_value()) {
    const Tensor inputs = float8_->rounded_inputs(ctx, x);
    ops::linear_backward_weights(ctx, inputs, gradient, as_matrix(d_kernel, num_outputs_), View());
  }
  if (!d_x.has_value()) return;
  const std::unique_ptr<Parameter> kernel = float8_->rounded_kernel(ctx, *kernel_);
  ops::linear_backward_input(ctx, gradient, as_matrix(kernel->numbers(), num_outputs_),
                             kernel->packed(), write, d_x);
}

void Projection::forward_quantized(Context& ctx, ConstView x, ConstView bias,
                                   ops::Epilogue epilogue, View y) const {
  quantized_linear(ctx, rounded_rows(ctx, *kernel_, x), *kernel_, false, bias, y);
  if (lora_) {
    const std::unique_ptr<Parameter> change = lora_->change();
    Tensor product = ctx.tensor(y.shape(), y.dtype());
    ops::linear_forward(ctx, x, as_matrix(change->numbers(), num_outputs_), change->packed(), {},
                        ops::Epilogue::none, product);
    ops::add(ctx, y, product, y);
  }
  if (epilogue == ops::Epilogue::gelu) ops::activation_forward(ctx, Activation::gelu, y, y);
}

void Projection::backward(Context& ctx, ConstView x, ConstView d_y, ops::Write write, View d_x,
                          Grads& grads) const {
  ops::require_whole_weights(kernel_->packed());
  const ConstView d_rows = as_matrix(d_y, num_outputs_);
  if (float8_) {
    return backward_float8(ctx, as_matrix(x, num_inputs_), d_rows, write,
                           d_x.has_value() ? as_matrix(d_x, num_inputs_) : View(), grads);
  }
  Tensor sums = lora_ ? lora_->gradient_sums(ctx, grads) : Tensor();
  const View d_kernel = lora_ ? sums.view() : grads.of(*kernel_);
  const View d_bias = bias_ ? grads.of(*bias_) : View();
  if (d_kernel.has_value() || d_bias.has_value()) {
    ops::linear_backward_weights(ctx, as_matrix(x, num_inputs_), d_rows,
                                 d_kernel.has_value() ? as_matrix(d_kernel, num_outputs_) : View(),
                                 d_bias.has_value() ? d_bias.reshaped({num_outputs_}) : View(),
                                 grid_);
  }
  if (sums.has_value()) lora_->add_gradient(ctx, sums.view(), grads);
  if (!d_x.has_value()) return;
  const std::unique_ptr<Parameter> changed = lora_ ? lora_->changed() : nullptr;
  const Parameter& kernel = changed ? *changed : *kernel_;
  ops::linear_backward_input(ctx, d_rows, matrix_of(kernel, {num_inputs_, num_outputs_}),
                             kernel.packed(), write, as_matrix(d_x, num_inputs_), grid_);
}

void Projection::plan_quantization(const Quantization& how, const DtypePolicy& policy,
                                   int num_free_axes, QuantizationPlan& plan) {
  if (how.mode == QuantizationMode::float8) {
    return plan.assign(float8_, Float8::of(how, policy, kernel_->trainable()));
  }
  std::vector<Index> scale(static_cast<std::size_t>(num_free_axes), 1);
  scale.insert(scale.end(), kernel_->shape().begin() + contracted_axes_, kernel_->shape().end());
  const QuantizedLayout layout = kernel_layout(num_inputs_, num_outputs_, Shape(scale));
  plan.set(*kernel_, quantized(*kernel_, layout, how));
}

void Projection::append_parameters(const std::string& prefix, ParameterList& out) {
  out.push_back({prefix + "kernel", kernel_.get()});
  if (bias_) out.push_back({prefix + "bias", bias_.get()});
  if (float8_) float8_->append_parameters(prefix, out);
  if (lora_) lora_->append_parameters(prefix, out);
}

}  // namespace grouphead::nn
