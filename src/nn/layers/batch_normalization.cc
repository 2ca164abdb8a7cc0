#include <cmath>
#include <limits>

#include "grouphead/layers/normalization.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/normalized_axes.h"
#include "nn/loading_scope.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/arithmetic.h"
#include "ops/batch_norm.h"
#include "ops/convert.h"
#include "ops/floating.h"
#include "ops/strided.h"

namespace grouphead {

/// What a call works on, and keeps.
struct BatchNormalization::Kept final : Saved {
  Shape shape;
  Tensor rows;                   // x [R, C]
  Tensor mask;                   // bool [R, C]; absent without one, and without a count
  Tensor mean, variance, count;  // [C]; no count: these are the moving ones
  Tensor stretch, shift;         // of batch renormalization

  ops::ColumnNorm norm(const std::unique_ptr<Parameter>& gamma,
                       const std::unique_ptr<Parameter>& beta, double epsilon) const {
    return {.mean = mean,
            .variance = variance,
            .stretch = stretch,
            .shift = shift,
            .gamma = gamma ? gamma->numbers() : ConstView(),
            .beta = beta ? beta->numbers() : ConstView(),
            .epsilon = epsilon};
  }
};

namespace {

/// The value that a parameter will have after the step, in the arithmetic type.
Tensor current(Context& ctx, const Mode& mode, const Parameter& parameter) {
  const ConstView value =
      mode.updates != nullptr ? mode.updates->value(parameter) : parameter.value();
  Tensor numbers = ctx.tensor(value.shape(), parameter.gradient_dtype());
  ops::convert_rounded(value, numbers.dtype(), numbers);
  return numbers;
}

/// parameter := keeps parameter + (1 - keeps) value. The new value.
Tensor follow(Context& ctx, StateUpdates& updates, const Parameter& parameter, ConstView value,
              double keeps) {
  Tensor next = current(ctx, {.updates = &updates}, parameter);
  ops::blend(ctx, 1 - keeps, value, keeps, next);
  Tensor stored(next.shape(), parameter.dtype());
  ops::convert_rounded(next, stored.dtype(), stored);
  updates.set(parameter, std::move(stored));
  return next;
}

}  // namespace

BatchNormalization::BatchNormalization(const BatchNormalizationConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {
  if (!config.renorm_clipping) return;
  const RenormClipping& limits = *config.renorm_clipping;
  if (limits.rmax && limits.rmin && *limits.rmax < *limits.rmin) {
    core::throw_config_error(name(), "renorm_clipping", "rmax of rmin or more",
                             std::to_string(*limits.rmax));
  }
  if (limits.dmax && !(*limits.dmax >= 0)) {
    core::throw_config_error(name(), "renorm_clipping", "dmax of 0 or more",
                             std::to_string(*limits.dmax));
  }
}

std::span<const std::string_view> BatchNormalization::input_names() const {
  static constexpr std::string_view kNames[] = {"inputs", "mask"};
  return kNames;
}

std::vector<Shape> BatchNormalization::output_shapes(std::span<const Shape> inputs,
                                                     const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 2);
  const int axis = nn::positive_axis(name(), config_.axis, inputs[0].rank());
  if (channels_ > 0 && inputs[0][axis] >= 0 && inputs[0][axis] != channels_) {
    core::throw_shape_error(name(), "input", std::to_string(channels_) + " channels",
                            inputs[0].to_string());
  }
  return {inputs[0]};
}

std::unique_ptr<Parameter> BatchNormalization::make_statistic(std::string statistic,
                                                              const Initializer& rule,
                                                              RandomStream& random) const {
  ParameterOptions options;
  options.trainable = trainable();
  options.is_state = true;
  auto made = std::make_unique<Parameter>(std::move(statistic), Shape{channels_},
                                          DtypePolicy(policy().variable()), options);
  if (rule) nn::initialize(*made, rule, fans_of(made->shape()), random);
  return made;
}

namespace {

/// Keras starts deviations at the root of what the variances' initializer gives.
void take_roots(Parameter& parameter) {
  if (nn::LoadingScope::is_active()) return;
  const View values = parameter.edit();
  ops::with_floating("batch_normalization", parameter.name(), values.dtype(), [&](auto zero) {
    using F = decltype(zero);
    F* const numbers = values.data<F>();
    for (Index i = 0; i < values.size(); ++i) {
      numbers[i] = ops::narrowed<F>(std::sqrt(ops::widened(numbers[i])));
    }
  });
}

}  // namespace

void BatchNormalization::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(name(), channels_ > 0);
  output_shapes(inputs, nullptr);  // checks
  channels_ = nn::parameter_shape(name(), {config_.axis}, inputs[0])[0];
  const DtypePolicy exact(policy().variable());  // Keras does not cast these
  const auto make = [&](const char* weight, const Initializer& rule, const Regularizer& regularizer,
                        const Constraint& constraint) {
    auto made = std::make_unique<Parameter>(weight, Shape{channels_}, exact,
                                            ParameterOptions{trainable(), regularizer, constraint});
    if (rule) nn::initialize(*made, rule, fans_of(made->shape()), random);
    return made;
  };
  const BatchNormalizationConfig& c = config_;
  if (c.scale) gamma_ = make("gamma", c.gamma_initializer, c.gamma_regularizer, c.gamma_constraint);
  if (c.center) beta_ = make("beta", c.beta_initializer, c.beta_regularizer, c.beta_constraint);
  moving_mean_ = make_statistic("moving_mean", c.moving_mean_initializer, random);
  moving_variance_ = make_statistic("moving_variance", c.moving_variance_initializer, random);
  if (!c.renorm) return;
  moving_stddev_ = make_statistic("moving_stddev", c.moving_variance_initializer, random);
  renorm_mean_ = make_statistic("renorm_mean", c.moving_mean_initializer, random);
  renorm_stddev_ = make_statistic("renorm_stddev", c.moving_variance_initializer, random);
  take_roots(*moving_stddev_);
  take_roots(*renorm_stddev_);
}

void BatchNormalization::measure(Context& ctx, const Mode& mode, Kept& kept) const {
  for (Tensor* vector : {&kept.mean, &kept.variance, &kept.count}) {
    *vector = ctx.tensor({channels_}, dtype());
  }
  ops::column_moments(ctx, kept.rows, kept.mask, kept.mean, kept.variance, kept.count);
  if (!config_.renorm) return;
  constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  const RenormClipping limits = config_.renorm_clipping.value_or(RenormClipping{});
  Tensor deviation = ctx.tensor({channels_}, dtype());
  ops::deviations(kept.variance, config_.epsilon, deviation);
  kept.stretch = ctx.tensor({channels_}, dtype());
  kept.shift = ctx.tensor({channels_}, dtype());
  const Tensor mean = current(ctx, mode, *renorm_mean_);
  const Tensor moving = current(ctx, mode, *renorm_stddev_);
  ops::renorm_corrections(kept.mean, deviation, mean, moving, config_.epsilon,
                          {.rmin = limits.rmin.value_or(-kNoLimit),
                           .rmax = limits.rmax.value_or(kNoLimit),
                           .dmax = limits.dmax.value_or(kNoLimit)},
                          kept.stretch, kept.shift);
}

void BatchNormalization::update(Context& ctx, const Mode& mode, const Kept& kept) const {
  if (mode.updates == nullptr) return;
  follow(ctx, *mode.updates, *moving_mean_, kept.mean, config_.momentum);
  if (config_.renorm) return update_deviations(ctx, *mode.updates, kept);
  follow(ctx, *mode.updates, *moving_variance_, kept.variance, config_.momentum);
}

void BatchNormalization::update_deviations(Context& ctx, StateUpdates& updates,
                                           const Kept& kept) const {
  Tensor deviation = ctx.tensor({channels_}, dtype());
  ops::deviations(kept.variance, config_.epsilon, deviation);
  follow(ctx, updates, *renorm_mean_, kept.mean, config_.renorm_momentum);
  follow(ctx, updates, *renorm_stddev_, deviation, config_.renorm_momentum);
  const Tensor moving = follow(ctx, updates, *moving_stddev_, deviation, config_.momentum);
  Tensor variance = ctx.tensor({channels_}, dtype());
  ops::variances(moving, config_.epsilon, variance);
  follow(ctx, updates, *moving_variance_, variance, 0);
}

std::vector<Value> BatchNormalization::forward(Context& ctx, std::span<const Value> in,
                                               const Mode& mode,
                                               std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 2);
  nn::require_built(name(), channels_ > 0);
  const Tensor& x = in[0].tensor;
  core::require_dtype(name(), "input", x, dtype());
  const nn::NormalizedRows layout(name(), {config_.axis}, channels_, x.shape());
  const bool is_given = in.size() > 1 && in[1].tensor.has_value();
  const std::optional<Tensor> mask = is_given ? in[1].tensor : in[0].mask;
  if (mask && mask->rank() != x.rank() - 1) {
    core::throw_shape_error(name(), "mask", "rank " + std::to_string(x.rank() - 1),
                            mask->shape().to_string());
  }
  auto keep = std::make_unique<Kept>();
  keep->shape = x.shape();
  keep->rows = layout.is_trailing() ? x.reshaped(layout.rows()) : layout.gather(ctx, x);
  if (mode.training && moving_mean_->is_updated()) {
    if (mask) {
      const Tensor seen = nn::as_type(ctx, *mask, Dtype::boolean);
      keep->mask = layout.gather(
          ctx,
          ops::broadcast_to(name(), seen.view().reshaped(nn::with_appended_axis(mask->shape(), 1)),
                            x.shape()));
    }
    measure(ctx, mode, *keep);
    update(ctx, mode, *keep);
  } else {
    keep->mean = current(ctx, mode, *moving_mean_);
    keep->variance = current(ctx, mode, *moving_variance_);
  }
  Tensor y = ctx.tensor(x.shape(), dtype());
  Tensor moved =
      layout.is_trailing() ? y.reshaped(layout.rows()) : ctx.tensor(layout.rows(), dtype());
  ops::column_norm_forward(ctx, keep->norm(gamma_, beta_, config_.epsilon), keep->rows, moved);
  if (!layout.is_trailing()) layout.scatter(ctx, moved, y);
  if (saved != nullptr) *saved = std::move(keep);
  return {Value{std::move(y), in[0].mask}};
}

void BatchNormalization::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                  std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<Kept>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 2);
  if (!d_out[0].has_value()) return;
  const nn::NormalizedRows layout(name(), {config_.axis}, channels_, kept.shape);
  Tensor d_y;
  Tensor d_x;
  ConstView d_rows = d_out[0];
  View target = d_in[0];
  if (layout.is_trailing()) {
    d_rows = d_rows.reshaped(layout.rows());
    if (target.has_value()) target = target.reshaped(layout.rows());
  } else {
    d_y = layout.gather(ctx, d_out[0]);
    d_rows = std::as_const(d_y).view();
    if (target.has_value()) {
      d_x = ctx.zeros(layout.rows(), dtype());
      target = d_x;
    }
  }
  ops::column_norm_backward(ctx, kept.norm(gamma_, beta_, config_.epsilon),
                            {.count = kept.count, .mask = kept.mask}, kept.rows, d_rows, target,
                            gamma_ ? grads.of(*gamma_) : View(), beta_ ? grads.of(*beta_) : View());
  if (d_x.has_value()) layout.add(ctx, d_x, d_in[0]);
}

void BatchNormalization::append_parameters(const std::string& prefix, ParameterList& out) {
  for (const auto* parameter : {&gamma_, &beta_, &moving_mean_, &moving_variance_, &moving_stddev_,
                                &renorm_mean_, &renorm_stddev_}) {
    if (*parameter) out.push_back({prefix + (*parameter)->name(), parameter->get()});
  }
}

namespace {

ConfigValue number_or_null(const std::optional<double>& number) {
  return number ? ConfigValue(*number) : ConfigValue();
}

ConfigValue clipping_config(const BatchNormalizationConfig& config) {
  if (!config.renorm_clipping) {
    return config.renorm ? ConfigValue(ConfigValue::Object{}) : ConfigValue();
  }
  ConfigValue limits = ConfigValue::Object{};
  const RenormClipping& c = *config.renorm_clipping;
  for (const auto& [key, limit] :
       {std::pair("rmax", c.rmax), std::pair("rmin", c.rmin), std::pair("dmax", c.dmax)}) {
    if (limit) limits.set(key, number_or_null(limit));
  }
  return limits;
}

std::optional<RenormClipping> clipping_from(const ConfigValue& config) {
  if (config.is_null()) return {};
  RenormClipping limits;
  for (const auto& [key, value] : config.as_object("renorm_clipping")) {
    std::optional<double>* const limit = key == "rmax"   ? &limits.rmax
                                         : key == "rmin" ? &limits.rmin
                                         : key == "dmax" ? &limits.dmax
                                                         : nullptr;
    if (limit == nullptr) {
      core::throw_config_error("BatchNormalization", "renorm_clipping", "rmax, rmin, dmax", key);
    }
    if (!value.is_null()) *limit = value.as_number(key);
  }
  return limits;
}

}  // namespace

ConfigValue BatchNormalization::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("axis", config_.axis);
  config.set("momentum", config_.momentum);
  config.set("epsilon", config_.epsilon);
  config.set("center", config_.center);
  config.set("scale", config_.scale);
  config.set("beta_initializer", config_.beta_initializer.config());
  config.set("gamma_initializer", config_.gamma_initializer.config());
  config.set("moving_mean_initializer", config_.moving_mean_initializer.config());
  config.set("moving_variance_initializer", config_.moving_variance_initializer.config());
  config.set("beta_regularizer", config_.beta_regularizer.config());
  config.set("gamma_regularizer", config_.gamma_regularizer.config());
  config.set("beta_constraint", config_.beta_constraint.config());
  config.set("gamma_constraint", config_.gamma_constraint.config());
  config.set("synchronized", config_.synchronized);
  config.set("renorm", config_.renorm);
  config.set("renorm_clipping", clipping_config(config_));
  config.set("renorm_momentum", config_.renorm_momentum);
  return config;
}

std::shared_ptr<Layer> nn::make_batch_normalization(const ConfigValue& given) {
  ConfigReader reader("BatchNormalization", given);
  BatchNormalizationConfig config;
  read_base(reader, config);
  // Keras 2 wrote a list of one axis.
  if (reader.has("axis")) {
    const std::vector<Index> axes = axes_from_config("axis", reader.value("axis"));
    if (axes.size() != 1) {
      core::throw_config_error(config.name, "axis", "one", reader.value("axis").to_string());
    }
    config.axis = axes[0];
  }
  config.momentum = reader.number("momentum", config.momentum);
  config.epsilon = reader.number("epsilon", config.epsilon);
  config.center = reader.boolean("center", config.center);
  config.scale = reader.boolean("scale", config.scale);
  config.beta_initializer = reader.choice("beta_initializer", config.beta_initializer);
  config.gamma_initializer = reader.choice("gamma_initializer", config.gamma_initializer);
  config.moving_mean_initializer =
      reader.choice("moving_mean_initializer", config.moving_mean_initializer);
  config.moving_variance_initializer =
      reader.choice("moving_variance_initializer", config.moving_variance_initializer);
  config.beta_regularizer = reader.choice("beta_regularizer", config.beta_regularizer);
  config.gamma_regularizer = reader.choice("gamma_regularizer", config.gamma_regularizer);
  config.beta_constraint = reader.choice("beta_constraint", config.beta_constraint);
  config.gamma_constraint = reader.choice("gamma_constraint", config.gamma_constraint);
  config.synchronized = reader.boolean("synchronized", false);
  config.renorm = reader.boolean("renorm", false);
  config.renorm_clipping = clipping_from(reader.value("renorm_clipping"));
  config.renorm_momentum = reader.number("renorm_momentum", config.renorm_momentum);
  reader.finish();
  return with_trainable(std::make_shared<BatchNormalization>(config), given);
}

}  // namespace grouphead
