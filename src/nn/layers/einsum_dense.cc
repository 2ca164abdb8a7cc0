#include "grouphead/layers/einsum_dense.h"

#include "nn/attention/projection_config.h"
#include "nn/base_config.h"
#include "nn/float8.h"
#include "nn/layer_checks.h"
#include "nn/layers/einsum.h"
#include "nn/loading_scope.h"
#include "nn/low_rank.h"
#include "nn/quantization_config.h"
#include "nn/quantization_plan.h"
#include "nn/quantized_layout.h"
#include "nn/registry.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/reduction.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "einsum_dense";

struct EinsumDenseSaved final : Saved {
  Tensor x;
  Tensor pre_activation;  // absent for a linear layer
};

}  // namespace

EinsumDense::EinsumDense(const EinsumDenseConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer),
      config_(config),
      equation_(std::make_unique<nn::EinsumEquation>(
          nn::EinsumEquation::parse(kLayer, config.equation))) {}

EinsumDense::~EinsumDense() = default;

ConfigValue EinsumDense::get_config() const {
  ConfigValue config = Layer::get_config();
  ConfigValue::List output_shape;
  for (const Index size : config_.output_shape) {
    output_shape.push_back(size < 0 ? ConfigValue() : ConfigValue(size));
  }
  config.set("output_shape", output_shape);
  config.set("equation", config_.equation);
  config.set("activation", config_.activation.config());
  config.set("bias_axes",
             config_.bias_axes.empty() ? ConfigValue() : ConfigValue(config_.bias_axes));
  nn::write_initializers_and_regularizers(config_, config);
  config.set("activity_regularizer", config_.activity_regularizer.config());
  nn::write_constraints(config_, config);
  nn::write_quantization(*this, kernel_.get(), config_.quantization, config);
  if (low_rank() != nullptr) low_rank()->write_config(config);
  return config;
}

nn::EinsumShapes EinsumDense::shapes_of(const Shape& input) const {
  return nn::einsum_shapes(kLayer, *equation_, config_.output_shape, config_.bias_axes, input);
}

std::vector<Shape> EinsumDense::output_shapes(std::span<const Shape> inputs,
                                              const CallArguments* /*arguments*/) const {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  return {shapes_of(inputs[0]).output};
}

void EinsumDense::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, kernel_ != nullptr);
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  const nn::EinsumShapes shapes = shapes_of(inputs[0]);
  input_rank_ = inputs[0].rank();
  einsum_ = std::make_unique<nn::Einsum>(*equation_, input_rank_);
  kernel_ = std::make_unique<Parameter>(
      "kernel", shapes.kernel, policy(),
      ParameterOptions{trainable(), config_.kernel_regularizer, config_.kernel_constraint});
  if (config_.kernel_initializer) {
    nn::initialize(*kernel_, config_.kernel_initializer, shapes.fans, random);
  }
  float8_ = nn::Float8::of(config_.quantization, policy(), trainable());
  if (config_.lora) nn::enable_lora(lora_, kernel_.get(), *config_.lora, *this, random);
  if (config_.bias_axes.empty()) return;
  bias_ = std::make_unique<Parameter>(
      "bias", shapes.bias, policy(),
      ParameterOptions{trainable(), config_.bias_regularizer, config_.bias_constraint});
  if (config_.bias_initializer) {
    nn::initialize(*bias_, config_.bias_initializer, fans_of(shapes.bias), random);
  }
}

std::unique_ptr<Parameter> EinsumDense::changed_kernel(Context& ctx) const {
  if (float8_) return float8_->rounded_kernel(ctx, *kernel_);
  return lora_ ? lora_->changed() : nullptr;
}

std::vector<Value> EinsumDense::forward(Context& ctx, std::span<const Value> in,
                                        const Mode& /*mode*/, std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  nn::require_built(kLayer, kernel_ != nullptr);
  const Tensor& x = in[0].tensor;
  core::require_dtype(kLayer, "input", x, dtype());
  const nn::EinsumShapes shapes = shapes_of(x.shape());
  if (x.rank() != input_rank_ || shapes.kernel != kernel_->shape() ||
      (bias_ && shapes.bias != bias_->shape())) {
    core::throw_shape_error(
        kLayer, "input",
        "one that fits the kernel " + kernel_->shape().to_string() + " of " + config_.equation,
        x.shape().to_string());
  }
  Tensor y = ctx.tensor(shapes.output, dtype());
  const Tensor rounded_bias = float8_ ? float8_->rounded_bias(ctx, bias_.get()) : Tensor();
  ConstView bias = bias_ ? bias_->numbers() : ConstView();
  if (rounded_bias.has_value()) bias = rounded_bias.view();
  const Tensor inputs = float8_ ? float8_->rounded_inputs(ctx, x) : x;
  const bool is_quantized = kernel_->quantized() != nullptr;
  const std::unique_ptr<Parameter> changed = is_quantized ? nullptr : changed_kernel(ctx);
  const bool has_bias = einsum_->forward(ctx, inputs, changed ? *changed : *kernel_, bias, y);
  if (lora_ && is_quantized) {
    Tensor change = ctx.tensor(y.shape(), dtype());
    einsum_->forward(ctx, x, *lora_->change(), {}, change);
    ops::add(ctx, y, change, y);
  }
  if (bias_ && !has_bias) ops::binary_forward(ctx, ops::Binary::add, y, bias, y);
  Tensor pre_activation;
  if (config_.activation != Activation::linear) {
    if (policy().compute() != dtype()) ops::convert_rounded(y, policy().compute(), y);
    pre_activation = y;
    y = ctx.tensor(shapes.output, dtype());
    ops::activation_forward(ctx, config_.activation, pre_activation, y);
  }
  if (saved != nullptr) {
    auto keep = std::make_unique<EinsumDenseSaved>();
    keep->x = x;
    keep->pre_activation = pre_activation;
    *saved = std::move(keep);
  }
  return {Value{std::move(y), {}}};
}

void EinsumDense::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                           std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<EinsumDenseSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  ConstView d_y = d_out[0];
  Tensor d_pre;
  if (kept.pre_activation.has_value()) {
    d_pre = ctx.tensor(kept.pre_activation.shape(), dtype());
    ops::activation_backward(ctx, config_.activation, kept.pre_activation, d_y, d_pre);
    d_y = d_pre;
  }
  const View d_bias = bias_ ? grads.of(*bias_) : View();
  if (float8_) {
    if (d_bias.has_value()) {
      Tensor of_call = ctx.tensor(d_bias.shape(), d_bias.dtype());
      ops::sum_to(ctx, d_y, 1, ops::Write::overwrite, of_call);
      float8_->add_bias_gradient(ctx, of_call, d_bias);
    }
    float8_->add_next(kept.x, *kernel_, d_y, grads);
    const Tensor gradient = float8_->rounded_gradient(ctx, d_y);
    const Tensor inputs = float8_->rounded_inputs(ctx, kept.x);
    return einsum_->backward(ctx, inputs, *changed_kernel(ctx), gradient, d_in[0],
                             grads.of(*kernel_));
  }
  if (d_bias.has_value()) ops::sum_to(ctx, d_y, 1, ops::Write::add, d_bias);
  if (!lora_) return einsum_->backward(ctx, kept.x, *kernel_, d_y, d_in[0], grads.of(*kernel_));
  Tensor sums = lora_->gradient_sums(ctx, grads);
  einsum_->backward(ctx, kept.x, *lora_->changed(), d_y, d_in[0], sums.view());
  if (sums.has_value()) lora_->add_gradient(ctx, sums.view(), grads);
}

void EinsumDense::append_parameters(const std::string& prefix, ParameterList& out) {
  if (kernel_) out.push_back({prefix + "kernel", kernel_.get()});
  if (bias_) out.push_back({prefix + "bias", bias_.get()});
  if (float8_) float8_->append_parameters(prefix, out);
  if (lora_) lora_->append_parameters(prefix, out);
}

void EinsumDense::enable_lora(const LoraOptions& config, std::uint64_t seed) {
  RandomStream random(seed);
  nn::enable_lora(lora_, kernel_.get(), config, *this, random);
}

void EinsumDense::merge_lora() { nn::merge_lora(lora_); }

nn::LowRank* EinsumDense::low_rank() const noexcept { return lora_.get(); }

const Quantization* EinsumDense::quantization() const noexcept {
  return config_.quantization ? &*config_.quantization : nullptr;
}

bool EinsumDense::takes_quantization(QuantizationMode /*mode*/) const {
  return !config_.activation.is_layer();
}

void EinsumDense::plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) {
  if (how.mode == QuantizationMode::float8) {
    plan.assign(float8_, nn::Float8::of(how, policy(), trainable()));
  } else {
    const auto layout = nn::einsum_layout(equation_->kernel, equation_->output_axes(input_rank_),
                                          kernel_->shape(), how.mode);
    plan.set(*kernel_, nn::quantized(*kernel_, layout, how));
  }
  plan.assign(config_.quantization, std::optional(how));
}

std::shared_ptr<Layer> nn::make_einsum_dense(const ConfigValue& config) {
  ConfigReader reader("EinsumDense", config);
  EinsumDenseConfig options;
  read_base(reader, options);
  read_projection_rules(reader, options);
  options.lora = read_lora(reader);
  options.quantization = read_quantization(reader, kLayer);
  options.equation = reader.string("equation", "");
  const ConfigValue& shape = reader.value("output_shape");
  if (shape.is_integer()) {
    options.output_shape = {shape.as_integer("output_shape")};
  } else {
    for (const ConfigValue& size : shape.as_list("output_shape")) {
      options.output_shape.push_back(size.is_null() ? -1 : size.as_integer("output_shape"));
    }
  }
  options.activation = reader.activation();
  options.bias_axes = reader.string("bias_axes", "");
  reader.finish();
  return with_trainable(std::make_shared<EinsumDense>(options), config);
}

}  // namespace grouphead
