#include "models/hub/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/number_text.h"
#include "models/hub/positions.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead::models::hub {
namespace {

void require_positive(std::string_view layer, std::string_view option, double value) {
  if (std::isfinite(value) && value > 0) return;
  core::throw_config_error(layer, option, "a positive number", core::number_text(value));
}

// theta of pair i, between theta and theta / s.
double yarn(const RotaryRule& rule, Index i, Index dim, double theta) {
  const auto width = static_cast<double>(dim);
  const auto pair_of = [&](double rotations) {
    return width *
           std::log(static_cast<double>(rule.original_max_position_embeddings) /
                    (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(rule.max_wavelength));
  };
  double low = pair_of(rule.beta_fast);
  double high = pair_of(rule.beta_slow);
  if (rule.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, width - 1);
  const double share =
      std::clamp((static_cast<double>(i) - low) / std::max(high - low, 0.001), 0.0, 1.0);
  return theta / rule.scaling_factor * share + theta * (1 - share);
}

double adjusted(const FrequencyAdjustment& rule, double theta) {
  const double wavelength = 2 * std::numbers::pi / theta;
  if (wavelength > rule.context / rule.low) return theta / rule.factor;
  if (wavelength < rule.context / rule.high) return theta;
  const double share = (rule.context / wavelength - rule.low) / (rule.high - rule.low);
  return (1 - share) * theta / rule.factor + share * theta;
}

double frequency(const RotaryRule& rule, Index i, Index dim) {
  const auto width = static_cast<double>(dim);
  const bool is_yarn = rule.rope_type == "yarn";
  const double denominator =
      rule.denominator_dim && !is_yarn ? static_cast<double>(*rule.denominator_dim) : width;
  const double theta = std::pow(rule.max_wavelength, -2 * static_cast<double>(i) / denominator);
  if (rule.adjustment) return adjusted(*rule.adjustment, theta);
  if (is_yarn) return yarn(rule, i, dim, theta);
  if (rule.rope_type == "linear") return theta / rule.scaling_factor;
  if (rule.rope_type == "dynamic") {
    return theta / std::pow(rule.scaling_factor, width / std::max(1.0, width - 2));
  }
  return theta;
}

}  // namespace

void check(std::string_view layer, const RotaryRule& rule) {
  require_positive(layer, "max_wavelength", rule.max_wavelength);
  require_positive(layer, "scaling_factor", rule.scaling_factor);
  require_positive(layer, "beta_fast", rule.beta_fast);
  require_positive(layer, "beta_slow", rule.beta_slow);
  require_positive(layer, "original_max_position_embeddings",
                   static_cast<double>(rule.original_max_position_embeddings));
  if (rule.denominator_dim) {
    require_positive(layer, "denominator_dim", static_cast<double>(*rule.denominator_dim));
  }
  if (!rule.adjustment) return;
  require_positive(layer, "rope_frequency_adjustment_factor", rule.adjustment->factor);
  require_positive(layer, "rope_low_freq_factor", rule.adjustment->low);
  require_positive(layer, "rope_pretraining_sequence_length", rule.adjustment->context);
  if (!(rule.adjustment->high > rule.adjustment->low)) {
    core::throw_config_error(layer, "rope_high_freq_factor", "more than rope_low_freq_factor",
                             core::number_text(rule.adjustment->high));
  }
}

std::vector<double> frequencies(std::string_view layer, const RotaryRule& rule, Index dim) {
  if (dim < 2 || dim % 2 != 0) {
    core::throw_shape_error(layer, "inputs", "an even number of features", std::to_string(dim));
  }
  std::vector<double> made;
  for (Index i = 0; i < dim / 2; ++i) made.push_back(frequency(rule, i, dim));
  return made;
}

ops::RopeTable table_of(std::string_view layer, const RotaryRule& rule,
                        const std::vector<Index>& positions, Index dim, const DtypePolicy& policy) {
  const std::vector<double> angles = frequencies(layer, rule, dim);
  const Shape shape = {static_cast<Index>(positions.size()), dim / 2};
  const double magnitude = rule.rope_type == "yarn" ? 0.1 * std::log(rule.scaling_factor) + 1 : 1.0;
  ops::RopeTable table{Tensor(shape, policy.arithmetic()), Tensor(shape, policy.arithmetic())};
  ops::with_float_type(layer, "table", table.cos, [&](auto zero) {
    using F = decltype(zero);
    F* cos = table.cos.data<F>();
    F* sin = table.sin.data<F>();
    for (const Index position : positions) {
      for (const double angle : angles) {
        *cos++ = static_cast<F>(magnitude * std::cos(static_cast<double>(position) * angle));
        *sin++ = static_cast<F>(magnitude * std::sin(static_cast<double>(position) * angle));
      }
    }
  });
  if (policy.compute() != policy.arithmetic()) {
    for (Tensor* part : {&table.cos, &table.sin}) {
      ops::convert_rounded(*part, policy.compute(), *part);
    }
  }
  return table;
}

namespace {

struct RotarySaved final : Saved {
  std::vector<ops::RopeTable> tables;
};

struct RotaryEmbeddingConfig {
  RotaryRule rule{};
  Index sequence_axis = 1;
  Index feature_axis = -1;
  std::string name = "rotary_embedding";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// Source: keras_hub.layers.RotaryEmbedding.
class RotaryEmbedding final : public PositionLayer {
 public:
  explicit RotaryEmbedding(const RotaryEmbeddingConfig& config)
      : PositionLayer(config.name, config.dtype, config.activity_regularizer), config_(config) {
    check(name(), config.rule);
  }
  std::string_view class_name() const override { return "RotaryEmbedding"; }
  std::string_view module() const override {
    return "keras_hub.src.layers.modeling.rotary_embedding";
  }
  ConfigValue get_config() const override;
  bool can_decode(std::span<const Shape> inputs,
                  const CallArguments* /*arguments*/) const override {
    return axes(inputs[0])[1] == 1 && (inputs.size() < 2 || inputs[1].rank() == 0);
  }

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    nn::require_count(name(), "number of inputs", in.size(), 1, 2);
    const Shape& shape = in[0].tensor.shape();
    const std::vector<int> order = axes(shape);
    const Shape moved = ops::permuted(shape, order);
    const Numbers all = numbers(in, moved[0], moved[1], mode);
    auto keep = std::make_unique<RotarySaved>();
    for (Index b = 0; b < all.batches; ++b) {
      const auto first = all.values.begin() + b * all.length;
      keep->tables.push_back(
          table_of(name(), config_.rule, {first, first + all.length}, moved.back(), policy()));
    }
    Tensor y = ctx.tensor(shape, dtype());
    turned(ctx, in[0].tensor, *keep, ops::Direction::forward, y);
    if (saved != nullptr) *saved = std::move(keep);
    return {Value{std::move(y), {}}};
  }

  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& /*grads*/) const override {
    const auto& kept = nn::saved_as<RotarySaved>(name(), saved);
    nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
    nn::require_count(name(), "number of input gradients", d_in.size(), 1, 2);
    if (!d_out[0].has_value() || !d_in[0].has_value()) return;
    Tensor d_x = ctx.tensor(d_out[0].shape(), dtype());
    turned(ctx, d_out[0], kept, ops::Direction::backward, d_x);
    ops::add_elements(ctx, d_x, d_in[0]);
  }
  void append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) override {}

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) override {
    nn::require_count(name(), "number of inputs", inputs.size(), 1, 2);
  }

  // The axes with the sequence's at 1 and the features' last, the others in their order.
  std::vector<int> axes(const Shape& x) const {
    const int sequence = nn::positive_axis(name(), config_.sequence_axis, x.rank());
    const int feature = nn::positive_axis(name(), config_.feature_axis, x.rank());
    if (sequence == feature || x.rank() < 3) {
      core::throw_shape_error(name(), "inputs", "a batch, a sequence and a feature axis",
                              x.to_string());
    }
    std::vector<int> order;
    for (int axis = 0; axis < x.rank(); ++axis) {
      if (axis != sequence && axis != feature) order.push_back(axis);
    }
    order.insert(order.begin() + 1, sequence);
    order.push_back(feature);
    return order;
  }

  void turned(Context& ctx, ConstView x, const RotarySaved& kept, ops::Direction direction,
              View y) const {
    const std::vector<int> order = axes(x.shape());
    const Shape moved = ops::permuted(x.shape(), order);
    if (x.size() == 0) return;
    Tensor rows = ctx.tensor(moved, dtype());
    ops::copy_elements(ctx, ops::permuted(x, order), rows);
    const Index heads = moved.size() / (moved[0] * moved[1] * moved.back());
    const View all = rows.view().reshaped({moved[0], moved[1], heads, moved.back()});
    if (kept.tables.size() == 1) {
      ops::rope(ctx, kept.tables[0], 0, direction, all);
    } else {
      for (Index b = 0; b < moved[0]; ++b) {
        ops::rope(ctx, kept.tables[static_cast<std::size_t>(b)], 0, direction,
                  all.slice(0, b, b + 1));
      }
    }
    ops::copy_elements(ctx, rows, ops::permuted(y, order));
  }

  RotaryEmbeddingConfig config_;
};

ConfigValue RotaryEmbedding::get_config() const {
  const RotaryRule& rule = config_.rule;
  ConfigValue config = Layer::get_config();
  config.set("max_wavelength", number_config(rule.max_wavelength));
  config.set("scaling_factor", rule.scaling_factor);
  config.set("rope_type", rule.rope_type);
  config.set("beta_fast", rule.beta_fast);
  config.set("beta_slow", rule.beta_slow);
  config.set("original_max_position_embeddings", rule.original_max_position_embeddings);
  config.set("truncate", rule.truncate);
  config.set("sequence_axis", config_.sequence_axis);
  config.set("feature_axis", config_.feature_axis);
  config.set("denominator_dim",
             rule.denominator_dim ? ConfigValue(*rule.denominator_dim) : ConfigValue());
  return config;
}

}  // namespace

}  // namespace grouphead::models::hub

namespace grouphead {

std::shared_ptr<Layer> nn::make_rotary_embedding(const ConfigValue& given) {
  nn::ConfigReader reader("RotaryEmbedding", given);
  models::hub::RotaryEmbeddingConfig config;
  models::hub::RotaryRule& rule = config.rule;
  nn::read_base(reader, config);
  rule.max_wavelength = reader.number("max_wavelength", rule.max_wavelength);
  rule.scaling_factor = reader.number("scaling_factor", rule.scaling_factor);
  rule.rope_type = reader.string("rope_type", rule.rope_type);
  rule.beta_fast = reader.number("beta_fast", rule.beta_fast);
  rule.beta_slow = reader.number("beta_slow", rule.beta_slow);
  rule.original_max_position_embeddings =
      reader.integer("original_max_position_embeddings", rule.original_max_position_embeddings);
  rule.truncate = reader.boolean("truncate", rule.truncate);
  config.sequence_axis = reader.integer("sequence_axis", config.sequence_axis);
  config.feature_axis = reader.integer("feature_axis", config.feature_axis);
  if (!reader.value("denominator_dim").is_null()) {
    rule.denominator_dim = reader.integer("denominator_dim", 0);
  }
  reader.finish();
  return nn::with_trainable(std::make_shared<models::hub::RotaryEmbedding>(config), given);
}

}  // namespace grouphead
