#include "grouphead/layers/dense.h"

#include "core/rows.h"
#include "nn/attention/projection_config.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/quantization_config.h"
#include "nn/quantization_plan.h"
#include "nn/registry.h"
#include "ops/activation.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "dense";

struct DenseSaved final : Saved {
  Tensor x;
  Tensor pre_activation;  // x kernel + bias; absent for a linear layer
};

void require_matrix(const Shape& input) {
  if (input.rank() < 2) {
    core::throw_shape_error(kLayer, "input", "rank 2 or more", input.to_string());
  }
}

}  // namespace

Dense::Dense(const DenseConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {
  core::require_positive(kLayer, "units", config.units);
}

Dense::~Dense() = default;

ConfigValue Dense::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("units", config_.units);
  config.set("activation", config_.activation.config());
  config.set("use_bias", config_.use_bias);
  nn::write_initializers_and_regularizers(config_, config);
  nn::write_constraints(config_, config);
  nn::write_quantization(*this, projection_ ? &projection_->kernel() : nullptr,
                         config_.quantization, config);
  if (low_rank() != nullptr) low_rank()->write_config(config);
  return config;
}

std::vector<Shape> Dense::output_shapes(std::span<const Shape> inputs,
                                        const CallArguments* /*arguments*/) const {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  require_matrix(inputs[0]);
  nn::require_last_axis(kLayer, inputs[0], projection_ ? projection_->num_inputs() : -1);
  return {nn::with_last_axis(inputs[0], config_.units)};
}

void Dense::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, projection_ != nullptr);
  const Index width = nn::built_width(kLayer, inputs);
  require_matrix(inputs[0]);
  nn::ProjectionOptions options = nn::projection_options(config_, config_.use_bias, trainable());
  options.quantization = config_.quantization;
  projection_ =
      std::make_unique<nn::Projection>(Shape{width, config_.units}, 1, options, policy(), random);
  if (!config_.lora) return;
  nn::enable_lora(projection_->lora(), &projection_->kernel(), *config_.lora, *this, random);
}

void Dense::apply(Context& ctx, ConstView x, View y) const {
  nn::require_built(kLayer, projection_ != nullptr);
  require_matrix(x.shape());
  nn::require_last_axis(kLayer, x, projection_->num_inputs(), dtype());
  const ConstView rows = core::as_rows(x);
  if (!rows.has_value()) {
    core::throw_shape_error(kLayer, "input", "contiguous rows, evenly spaced", "others");
  }
  const bool is_fused = config_.activation == Activation::gelu && policy().compute() == dtype();
  projection_->forward(ctx, rows, is_fused ? ops::Epilogue::gelu : ops::Epilogue::none, y);
  if (is_fused || config_.activation == Activation::linear) return;
  round_product(y);
  ops::activation_forward(ctx, config_.activation, y, y);
}

void Dense::round_product(View product) const {
  if (policy().compute() != dtype()) ops::convert_rounded(product, policy().compute(), product);
}

Tensor Dense::typed_call(Context& ctx, const LayerInput& x, std::unique_ptr<Saved>* saved) const {
  nn::require_built(kLayer, projection_ != nullptr);
  require_matrix(x.shape());
  nn::require_last_axis(kLayer, x.view(), projection_->num_inputs(), dtype());
  Tensor y = ctx.tensor(nn::with_last_axis(x.shape(), config_.units), dtype());
  if (saved == nullptr) {
    if (core::as_rows(x.view()).has_value()) {
      apply(ctx, x.view(), y);
    } else {
      apply(ctx, x.tensor(ctx), y);
    }
    return y;
  }
  auto keep = std::make_unique<DenseSaved>();
  keep->x = x.tensor(ctx);
  if (config_.activation == Activation::linear) {
    projection_->forward(ctx, keep->x, ops::Epilogue::none, y);
  } else {
    keep->pre_activation = ctx.tensor(y.shape(), dtype());
    projection_->forward(ctx, keep->x, ops::Epilogue::none, keep->pre_activation);
    round_product(keep->pre_activation);
    ops::activation_forward(ctx, config_.activation, keep->pre_activation, y);
  }
  *saved = std::move(keep);
  return y;
}

std::vector<Value> Dense::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                  std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  return {Value{typed_call(ctx, in[0].tensor, saved), in[0].mask}};
}

void Dense::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                     std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<DenseSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  const Tensor d_pre = before_activation(ctx, kept.pre_activation, d_out[0]);
  projection_->backward(ctx, kept.x, d_pre.has_value() ? d_pre.view() : d_out[0], ops::Write::add,
                        d_in[0], grads);
}

void Dense::backward_to(Context& ctx, Saved& saved, ConstView d_y, View d_x, Grads& grads) const {
  auto& kept = nn::saved_as<DenseSaved>(kLayer, saved);
  const Tensor d_pre = before_activation(ctx, kept.pre_activation, d_y);
  projection_->backward(ctx, kept.x, d_pre.has_value() ? d_pre.view() : d_y, ops::Write::overwrite,
                        d_x, grads);
}

Tensor Dense::before_activation(Context& ctx, const Tensor& pre_activation, ConstView d_y) const {
  if (!pre_activation.has_value()) return {};
  Tensor d_pre = ctx.tensor(pre_activation.shape(), dtype());
  ops::activation_backward(ctx, config_.activation, pre_activation, d_y, d_pre);
  return d_pre;
}

void Dense::append_parameters(const std::string& prefix, ParameterList& out) {
  if (projection_) projection_->append_parameters(prefix, out);
}

void Dense::enable_lora(const LoraOptions& config, std::uint64_t seed) {
  nn::require_built(kLayer, projection_ != nullptr);
  RandomStream random(seed);
  nn::enable_lora(projection_->lora(), &projection_->kernel(), config, *this, random);
}

void Dense::merge_lora() {
  if (projection_) nn::merge_lora(projection_->lora());
}

nn::LowRank* Dense::low_rank() const noexcept {
  return projection_ ? projection_->lora().get() : nullptr;
}

const Quantization* Dense::quantization() const noexcept {
  return config_.quantization ? &*config_.quantization : nullptr;
}

bool Dense::takes_quantization(QuantizationMode /*mode*/) const {
  return !config_.activation.is_layer();
}

void Dense::plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) {
  projection_->plan_quantization(how, policy(), 0, plan);
  plan.assign(config_.quantization, std::optional(how));
}

std::shared_ptr<Layer> nn::make_dense(const ConfigValue& config) {
  ConfigReader reader("Dense", config);
  DenseConfig options;
  read_base(reader, options);
  options.units = reader.integer("units", 0);
  options.activation = reader.activation();
  options.use_bias = reader.boolean("use_bias", true);
  read_projection_rules(reader, options);
  options.lora = read_lora(reader);
  options.quantization = read_quantization(reader, kLayer);
  reader.finish();
  return with_trainable(std::make_shared<Dense>(options), config);
}

}  // namespace grouphead
