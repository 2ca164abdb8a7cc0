#include "grouphead/layers/normalization.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/normalized_axes.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/unit_norm.h"

namespace grouphead {
namespace {

struct UnitSaved final : Saved {
  Shape shape;
  Tensor rows;
};

}  // namespace

UnitNormalization::UnitNormalization(const UnitNormalizationConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {
  if (config.axis.empty()) core::throw_config_error(name(), "axis", "one axis or more", "none");
}

ConfigValue UnitNormalization::get_config() const {
  ConfigValue config = Layer::get_config();
  const bool is_list = config_.axis_is_list || config_.axis.size() > 1;
  config.set("axis", is_list
                         ? ConfigValue(ConfigValue::List(config_.axis.begin(), config_.axis.end()))
                         : ConfigValue(config_.axis[0]));
  return config;
}

std::vector<Shape> UnitNormalization::output_shapes(std::span<const Shape> inputs,
                                                    const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  for (const Index axis : config_.axis) nn::positive_axis(name(), axis, inputs[0].rank());
  return {inputs[0]};
}

void UnitNormalization::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

Index UnitNormalization::width_of(const Shape& shape) const {
  Index width = 1;
  std::array<bool, kMaxRank> is_taken{};
  for (const Index axis : config_.axis) {
    const int at = nn::positive_axis(name(), axis, shape.rank());
    if (std::exchange(is_taken[static_cast<std::size_t>(at)], true)) {
      core::throw_shape_error(name(), "axis", "each axis once", std::to_string(axis) + " again");
    }
    width *= shape[at];
  }
  return width;
}

std::vector<Value> UnitNormalization::forward(Context& ctx, std::span<const Value> in,
                                              const Mode& /*mode*/,
                                              std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Tensor& x = in[0].tensor;
  core::require_dtype(name(), "input", x, dtype());
  const Index width = width_of(x.shape());
  Tensor y = ctx.tensor(x.shape(), dtype());
  auto keep = std::make_unique<UnitSaved>();
  keep->shape = x.shape();
  if (x.size() > 0) {
    const nn::NormalizedRows layout(name(), config_.axis, width, x.shape());
    keep->rows = layout.is_trailing() ? x.reshaped(layout.rows()) : layout.gather(ctx, x);
    Tensor moved =
        layout.is_trailing() ? y.reshaped(layout.rows()) : ctx.tensor(layout.rows(), dtype());
    ops::unit_norm_forward(ctx, keep->rows, moved);
    if (!layout.is_trailing()) layout.scatter(ctx, moved, y);
  }
  if (saved != nullptr) *saved = std::move(keep);
  return {Value{std::move(y), in[0].mask}};
}

void UnitNormalization::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                 std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<UnitSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value() || !kept.rows.has_value()) return;
  const nn::NormalizedRows layout(name(), config_.axis, width_of(kept.shape), kept.shape);
  if (layout.is_trailing()) {
    return ops::unit_norm_backward(ctx, kept.rows, d_out[0].reshaped(layout.rows()),
                                   d_in[0].reshaped(layout.rows()));
  }
  const Tensor d_y = layout.gather(ctx, d_out[0]);
  Tensor d_x = ctx.zeros(layout.rows(), dtype());
  ops::unit_norm_backward(ctx, kept.rows, d_y, d_x);
  layout.add(ctx, d_x, d_in[0]);
}

void UnitNormalization::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

std::shared_ptr<Layer> nn::make_unit_normalization(const ConfigValue& given) {
  ConfigReader reader("UnitNormalization", given);
  UnitNormalizationConfig config;
  read_base(reader, config);
  if (reader.has("axis")) {
    config.axis = axes_from_config("axis", reader.value("axis"));
    config.axis_is_list = reader.value("axis").is_list();
  }
  reader.finish();
  return with_trainable(std::make_shared<UnitNormalization>(config), given);
}

}  // namespace grouphead
