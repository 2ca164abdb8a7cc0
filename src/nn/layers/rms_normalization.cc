#include "core/number_text.h"
#include "grouphead/layers/normalization.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/normalized_axes.h"
#include "nn/loading_scope.h"
#include "nn/registry.h"
#include "ops/rms_norm.h"

namespace grouphead {
namespace {

struct RMSNormalizationSaved final : Saved {
  Shape shape;    // of the input
  Tensor rows;    // the input, [R, M]
  Tensor center;  // [R], zeros
  Tensor size;    // [R], 1 / root mean square
};

}  // namespace

RMSNormalization::RMSNormalization(const RMSNormalizationConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {
  if (!(config.epsilon >= 0)) {
    core::throw_config_error("rms_normalization", "epsilon", "0 or more",
                             core::number_text(config.epsilon));
  }
  if (config.axis.empty()) {
    core::throw_config_error("rms_normalization", "axis", "1 or more axes", "none");
  }
}

ConfigValue RMSNormalization::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("axis", nn::axes_config(config_.axis, scale_ != nullptr));
  config.set("epsilon", config_.epsilon);
  return config;
}

void RMSNormalization::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(name(), scale_ != nullptr);
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  const Shape shape = nn::parameter_shape(name(), config_.axis, inputs[0]);
  scale_ = std::make_unique<Parameter>("scale", shape, policy(), ParameterOptions{trainable()});
  nn::initialize(*scale_, initializers::ones(), fans_of(shape), random);
}

std::vector<Value> RMSNormalization::forward(Context& ctx, std::span<const Value> in,
                                             const Mode& /*mode*/,
                                             std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  return {Value{typed_call(ctx, in[0].tensor, saved), {}}};
}

Tensor RMSNormalization::typed_call(Context& ctx, const LayerInput& x,
                                    std::unique_ptr<Saved>* saved) const {
  nn::require_built(name(), scale_ != nullptr);
  core::require_dtype(name(), "input", x.view(), dtype());
  const nn::NormalizedRows layout(name(), config_.axis, scale_->shape().size(), x.shape());
  const nn::InputRows input(ctx, layout, x, saved != nullptr);
  auto keep = std::make_unique<RMSNormalizationSaved>();
  keep->shape = x.shape();
  keep->rows = input.tensor();
  keep->center = ctx.tensor({layout.num_rows()}, dtype());
  keep->size = ctx.tensor({layout.num_rows()}, dtype());
  Tensor y = ctx.tensor(x.shape(), dtype());
  Tensor moved =
      layout.is_trailing() ? y.reshaped(layout.rows()) : ctx.tensor(layout.rows(), dtype());
  ops::rms_norm_forward(ctx, input.view(), scale_->numbers(), ops::MeasuredAbout::zero,
                        config_.epsilon, moved, keep->center, keep->size);
  if (!layout.is_trailing()) layout.scatter(ctx, moved, y);
  if (saved != nullptr) *saved = std::move(keep);
  return y;
}

void RMSNormalization::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<RMSNormalizationSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  const nn::NormalizedRows layout(name(), config_.axis, scale_->shape().size(), kept.shape);
  const Tensor d_y = layout.gather(ctx, d_out[0]);
  Tensor d_x;
  if (d_in[0].has_value()) d_x = ctx.tensor(layout.rows(), dtype());
  ops::rms_norm_backward(ctx, kept.rows, scale_->numbers(), kept.center, kept.size, d_y,
                         ops::Write::overwrite, d_x, grads.of(*scale_));
  if (d_x.has_value()) layout.add(ctx, d_x, d_in[0]);
}

void RMSNormalization::append_parameters(const std::string& prefix, ParameterList& out) {
  if (scale_) out.push_back({prefix + "scale", scale_.get()});
}

namespace nn {

std::shared_ptr<Layer> make_rms_normalization(const ConfigValue& given) {
  ConfigReader reader("RMSNormalization", given);
  RMSNormalizationConfig config;
  read_base(reader, config);
  if (reader.has("axis")) config.axis = axes_from_config("axis", reader.value("axis"));
  config.epsilon = reader.number("epsilon", config.epsilon);
  reader.finish();
  return with_trainable(std::make_shared<RMSNormalization>(config), given);
}

}  // namespace nn
}  // namespace grouphead
