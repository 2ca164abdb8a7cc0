#include <cmath>

#include "core/number_text.h"
#include "grouphead/layers/normalization.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/normalized_axes.h"
#include "nn/loading_scope.h"
#include "nn/registry.h"
#include "ops/normalization.h"
#include "ops/rms_norm.h"

namespace grouphead {
namespace {

struct LayerNormalizationSaved final : Saved {
  Shape shape;   // of the input
  Tensor rows;   // the input, [R, M]
  Tensor mean;   // [R]
  Tensor scale;  // [R], 1 / deviation
};

}  // namespace

LayerNormalization::LayerNormalization(const LayerNormalizationConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {
  if (!(config.epsilon >= 0)) {
    core::throw_config_error("layer_normalization", "epsilon", "0 or more",
                             core::number_text(config.epsilon));
  }
  if (config.axis.empty()) {
    core::throw_config_error("layer_normalization", "axis", "1 or more axes", "none");
  }
}

ConfigValue LayerNormalization::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("axis", nn::axes_config(config_.axis, width_ > 0));
  config.set("epsilon", config_.epsilon);
  config.set("center", config_.center);
  config.set("scale", config_.scale);
  config.set("rms_scaling", config_.rms_scaling);
  config.set("beta_initializer", config_.beta_initializer.config());
  config.set("gamma_initializer", config_.gamma_initializer.config());
  config.set("beta_regularizer", config_.beta_regularizer.config());
  config.set("gamma_regularizer", config_.gamma_regularizer.config());
  config.set("beta_constraint", config_.beta_constraint.config());
  config.set("gamma_constraint", config_.gamma_constraint.config());
  return config;
}

void LayerNormalization::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(name(), width_ > 0);
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  const Shape shape = nn::parameter_shape(name(), config_.axis, inputs[0]);
  width_ = shape.size();
  const DtypePolicy exact(policy().variable());  // Keras does not cast these two
  if (has_gamma()) {
    gamma_ = std::make_unique<Parameter>(
        "gamma", shape, exact,
        ParameterOptions{trainable(), config_.gamma_regularizer, config_.gamma_constraint});
    const double limit = std::sqrt(3.0);
    const Initializer start = config_.random_gains ? initializers::random_uniform(-limit, limit)
                                                   : config_.gamma_initializer;
    if (start) nn::initialize(*gamma_, start, fans_of(shape), random);
  } else {
    ones_ = Tensor(shape, dtype());
    initializers::ones()->fill(ones_, fans_of(shape), random);
  }
  if (has_beta()) {
    beta_ = std::make_unique<Parameter>(
        "beta", shape, exact,
        ParameterOptions{trainable(), config_.beta_regularizer, config_.beta_constraint});
    if (config_.beta_initializer) {
      nn::initialize(*beta_, config_.beta_initializer, fans_of(shape), random);
    }
  } else {
    zeros_ = Tensor::zeros(shape, dtype());
  }
}

void LayerNormalization::normalize(Context& ctx, ConstView rows, View y, View mean,
                                   View scale) const {
  if (config_.rms_scaling) {
    ops::rms_norm_forward(ctx, rows, gains(), ops::MeasuredAbout::mean, config_.epsilon, y, mean,
                          scale);
  } else {
    ops::layer_norm_forward(ctx, rows, gains(), offsets(), config_.epsilon, y, mean, scale);
  }
}

Tensor LayerNormalization::typed_call(Context& ctx, const LayerInput& x,
                                      std::unique_ptr<Saved>* saved) const {
  nn::require_built(name(), width_ > 0);
  core::require_dtype(name(), "input", x.view(), dtype());
  const nn::NormalizedRows layout(name(), config_.axis, width_, x.shape());
  const nn::InputRows input(ctx, layout, x, saved != nullptr);
  Tensor y = ctx.tensor(x.shape(), dtype());
  Tensor moved =
      layout.is_trailing() ? y.reshaped(layout.rows()) : ctx.tensor(layout.rows(), dtype());
  Tensor mean;
  Tensor scale;
  if (saved != nullptr || config_.rms_scaling) {
    mean = ctx.tensor({layout.num_rows()}, dtype());
    scale = ctx.tensor({layout.num_rows()}, dtype());
  }
  normalize(ctx, input.view(), moved, mean, scale);
  if (!layout.is_trailing()) layout.scatter(ctx, moved, y);
  if (saved == nullptr) return y;
  auto keep = std::make_unique<LayerNormalizationSaved>();
  keep->shape = x.shape();
  keep->rows = input.tensor();
  keep->mean = std::move(mean);
  keep->scale = std::move(scale);
  *saved = std::move(keep);
  return y;
}

std::vector<Value> LayerNormalization::forward(Context& ctx, std::span<const Value> in,
                                               const Mode& /*mode*/,
                                               std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  return {Value{typed_call(ctx, in[0].tensor, saved), in[0].mask}};
}

void LayerNormalization::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                  std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<LayerNormalizationSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  const nn::NormalizedRows layout(name(), config_.axis, width_, kept.shape);
  const View d_gamma = gamma_ ? grads.of(*gamma_) : View();
  const View d_beta = beta_ ? grads.of(*beta_) : View();
  Tensor d_y;
  Tensor d_x;
  ConstView d_rows = d_out[0];
  View target = d_in[0];
  if (!layout.is_trailing()) {
    d_y = layout.gather(ctx, d_out[0]);
    d_rows = d_y;
    if (d_in[0].has_value()) d_x = ctx.zeros(layout.rows(), dtype());
    target = d_x;
  } else {
    d_rows = d_rows.reshaped(layout.rows());
    if (target.has_value()) target = target.reshaped(layout.rows());
  }
  if (config_.rms_scaling) {
    ops::rms_norm_backward(ctx, kept.rows, gains(), kept.mean, kept.scale, d_rows, ops::Write::add,
                           target, d_gamma);
  } else {
    ops::layer_norm_backward(ctx, kept.rows, gains(), kept.mean, kept.scale, d_rows,
                             ops::Write::add, target, d_gamma, d_beta);
  }
  if (d_x.has_value()) layout.add(ctx, d_x, d_in[0]);
}

void LayerNormalization::append_parameters(const std::string& prefix, ParameterList& out) {
  if (gamma_) out.push_back({prefix + "gamma", gamma_.get()});
  if (beta_) out.push_back({prefix + "beta", beta_.get()});
}

namespace nn {

std::shared_ptr<Layer> make_layer_normalization(const ConfigValue& given) {
  ConfigReader reader("LayerNormalization", given);
  LayerNormalizationConfig config;
  read_base(reader, config);
  if (reader.has("axis")) config.axis = axes_from_config("axis", reader.value("axis"));
  config.epsilon = reader.number("epsilon", config.epsilon);
  config.center = reader.boolean("center", config.center);
  config.scale = reader.boolean("scale", config.scale);
  config.rms_scaling = reader.boolean("rms_scaling", config.rms_scaling);
  config.beta_initializer = reader.choice("beta_initializer", config.beta_initializer);
  config.gamma_initializer = reader.choice("gamma_initializer", config.gamma_initializer);
  config.beta_regularizer = reader.choice("beta_regularizer", config.beta_regularizer);
  config.gamma_regularizer = reader.choice("gamma_regularizer", config.gamma_regularizer);
  config.beta_constraint = reader.choice("beta_constraint", config.beta_constraint);
  config.gamma_constraint = reader.choice("gamma_constraint", config.gamma_constraint);
  reader.finish();
  return with_trainable(std::make_shared<LayerNormalization>(config), given);
}

}  // namespace nn
}  // namespace grouphead
