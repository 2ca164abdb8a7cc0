// keras.layers.Normalization: fixed means and variances of features.

#include <algorithm>

#include "core/check.h"
#include "grouphead/layers/preprocessing.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "nn/numbers_config.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

constexpr double kSmallest = 1e-7;  // keras.config.epsilon

struct NormalizationSaved final : Saved {
  Tensor deviation;
};

Tensor number(Context& ctx, double value, Dtype dtype) {
  Tensor made = ctx.tensor(Shape(), dtype);
  if (dtype == Dtype::f64) {
    *made.data<double>() = value;
  } else {
    *made.data<float>() = static_cast<float>(value);
  }
  return made;
}

/// Sizes of `numbers`, whose axes are the last of `axes`, on a tensor of this rank.
Shape spread(std::string_view layer, const Tensor& numbers, const std::vector<int>& axes,
             const Shape& kept) {
  std::vector<Index> dims(static_cast<std::size_t>(kept.rank()), 1);
  for (int i = 1; i <= numbers.rank(); ++i) {
    const int axis = axes[axes.size() - static_cast<std::size_t>(i)];
    dims[static_cast<std::size_t>(axis)] = numbers.dim(numbers.rank() - i);
  }
  const Shape made(dims);
  if (ops::broadcast_shape(layer, made, kept) != kept) {
    core::throw_shape_error(layer, "mean", kept.to_string(), made.to_string());
  }
  return made;
}

}  // namespace

Normalization::Normalization(const NormalizationConfig& config)
    : Layer(config.name, config.dtype), config_(config) {
  if (config.mean.is_null() != config.variance.is_null()) {
    core::throw_config_error(name(), "mean, variance", "both or none", "one of them");
  }
  if (config.mean.is_null()) return;
  given_mean_ = nn::numbers_from_config(name(), "mean", config.mean);
  given_variance_ = nn::numbers_from_config(name(), "variance", config.variance);
  if (given_mean_.shape() != given_variance_.shape()) {
    core::throw_config_error(name(), "variance", given_mean_.shape().to_string(),
                             given_variance_.shape().to_string());
  }
  if (static_cast<std::size_t>(given_mean_.rank()) > config.axis.size()) {
    core::throw_config_error(name(), "mean", "an axis for each of `axis` at most",
                             given_mean_.shape().to_string());
  }
}

ConfigValue Normalization::get_config() const {
  ConfigValue config = Layer::get_config();
  ConfigValue::List axes(config_.axis.begin(), config_.axis.end());
  config.set("axis", std::move(axes));
  config.set("invert", config_.invert);
  config.set("mean", config_.mean);
  config.set("variance", config_.variance);
  return config;
}

void Normalization::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  nn::require_unbuilt(name(), mean_ != nullptr);
  const Shape& x = inputs[0];
  std::vector<int> axes;
  for (const Index axis : config_.axis) axes.push_back(nn::positive_axis(name(), axis, x.rank()));
  std::sort(axes.begin(), axes.end());
  std::vector<Index> kept(static_cast<std::size_t>(x.rank()), 1);
  std::vector<Index> own;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if ((i > 0 && axes[i] == axes[i - 1]) || x[axes[i]] < 0) {
      core::throw_shape_error(name(), "axis", "different axes of known sizes", x.to_string());
    }
    kept[static_cast<std::size_t>(axes[i])] = x[axes[i]];
    own.push_back(x[axes[i]]);
  }
  kept_ = Shape(kept);
  own_ = Shape(own);
  if (given_mean_.has_value()) {
    const Shape shape = spread(name(), given_mean_, axes, kept_);
    given_mean_ = given_mean_.reshaped(shape);
    given_variance_ = given_variance_.reshaped(shape);
    return;
  }
  const ParameterOptions state{.is_state = true};
  mean_ = std::make_unique<Parameter>("mean", own_, policy(), state);
  variance_ = std::make_unique<Parameter>("variance", own_, policy(), state);
  count_ = std::make_unique<Parameter>("count", Shape(), policy(), state);
  RandomStream none(0);
  nn::initialize(*variance_, initializers::ones(), fans_of(own_), none);
}

Tensor Normalization::repeated(Context& ctx, ConstView numbers) const {
  Tensor made = ctx.tensor(numbers.shape(), dtype());
  ops::convert_rounded(numbers, policy().compute(), made);
  return made;
}

Tensor Normalization::mean(Context& ctx) const {
  if (given_mean_.has_value()) return repeated(ctx, given_mean_);
  return repeated(ctx, mean_->numbers().reshaped(kept_));
}

Tensor Normalization::deviation(Context& ctx) const {
  Tensor made = given_variance_.has_value() ? repeated(ctx, given_variance_)
                                            : repeated(ctx, variance_->numbers().reshaped(kept_));
  ops::unary_forward(ctx, ops::Unary::sqrt, made, made);
  const Tensor least = number(ctx, kSmallest, dtype());
  ops::binary_forward(ctx, ops::Binary::maximum, made, least, made);
  if (policy().compute() != dtype()) ops::convert_rounded(made, policy().compute(), made);
  return made;
}

std::vector<Value> Normalization::forward(Context& ctx, std::span<const Value> in,
                                          const Mode& /*mode*/,
                                          std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  nn::require_built(name(), is_built());
  const Tensor x = nn::as_type(ctx, in[0].tensor, dtype());
  if (ops::broadcast_shape(name(), x.shape(), kept_) != x.shape()) {
    core::throw_shape_error(name(), "input", kept_.to_string() + " and axes of any size",
                            x.shape().to_string());
  }
  const Tensor deviation = this->deviation(ctx);
  const Tensor mean = this->mean(ctx);
  Tensor y = ctx.tensor(x.shape(), dtype());
  const auto step = [&](ops::Binary kind, const Tensor& a, const Tensor& b) {
    ops::binary_forward(ctx, kind, a, b, y);
    if (policy().compute() != dtype()) ops::convert_rounded(y, policy().compute(), y);
  };
  if (config_.invert) {
    step(ops::Binary::multiply, x, deviation);
    step(ops::Binary::add, y, mean);
  } else {
    step(ops::Binary::subtract, x, mean);
    step(ops::Binary::divide, y, deviation);
  }
  if (saved != nullptr) {
    auto keep = std::make_unique<NormalizationSaved>();
    keep->deviation = deviation;
    *saved = std::move(keep);
  }
  return {Value{std::move(y), in[0].mask}};
}

void Normalization::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                             std::span<View> d_in, Grads& /*grads*/) const {
  const auto& kept = nn::saved_as<NormalizationSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  Tensor d_x = ctx.tensor(d_out[0].shape(), dtype());
  const ops::Binary kind = config_.invert ? ops::Binary::multiply : ops::Binary::divide;
  ops::binary_forward(ctx, kind, d_out[0], kept.deviation, d_x);
  ops::add_elements(ctx, d_x, d_in[0]);
}

void Normalization::adapt(Context& ctx, const Tensor& given) {
  if (!given.has_value()) core::throw_shape_error(name(), "data", "numbers", "nothing");
  if (!is_built()) build({given.shape()});
  if (mean_ == nullptr) {
    core::throw_config_error(name(), "adapt", "no mean in the configuration", "a mean");
  }
  const Tensor x = nn::as_type(ctx, given, Dtype::f64);
  if (x.size() == 0 || ops::broadcast_shape(name(), x.shape(), kept_) != x.shape()) {
    core::throw_shape_error(name(), "input", kept_.to_string() + " and axes of any size",
                            x.shape().to_string());
  }
  const double each = static_cast<double>(kept_.size()) / static_cast<double>(x.size());
  Tensor mean = ctx.tensor(kept_, Dtype::f64);
  ops::sum_to(ctx, x, each, ops::Write::overwrite, mean);
  Tensor away = ctx.tensor(x.shape(), Dtype::f64);
  ops::binary_forward(ctx, ops::Binary::subtract, x, mean, away);
  ops::unary_forward(ctx, ops::Unary::square, away, away);
  Tensor variance = ctx.tensor(kept_, Dtype::f64);
  ops::sum_to(ctx, away, each, ops::Write::overwrite, variance);
  const auto keep = [&](Parameter& parameter, const Tensor& numbers) {
    ops::convert_rounded(numbers, parameter.dtype(), parameter.edit());
  };
  keep(*mean_, mean);
  keep(*variance_, variance);
}

void Normalization::append_parameters(const std::string& prefix, ParameterList& out) {
  if (!mean_) return;
  out.push_back({prefix + "mean", mean_.get()});
  out.push_back({prefix + "variance", variance_.get()});
  out.push_back({prefix + "count", count_.get()});
}

std::shared_ptr<Layer> nn::make_normalization(const ConfigValue& given) {
  ConfigReader reader("Normalization", given);
  NormalizationConfig config;
  config.name = reader.name(config.name);
  config.dtype = reader.dtype();
  reader.trainable();
  if (reader.has("axis")) {
    const ConfigValue& axis = reader.value("axis");
    config.axis.clear();
    if (axis.is_integer()) config.axis.push_back(axis.as_integer("axis"));
    if (axis.is_list()) {
      for (const ConfigValue& one : axis.as_list("axis")) {
        config.axis.push_back(one.as_integer("axis"));
      }
    } else if (!axis.is_integer() && !axis.is_null()) {
      axis.as_list("axis");  // throws
    }
  }
  config.mean = reader.value("mean");
  config.variance = reader.value("variance");
  config.invert = reader.boolean("invert", config.invert);
  reader.finish();
  return with_trainable(std::make_shared<Normalization>(config), given);
}

}  // namespace grouphead
