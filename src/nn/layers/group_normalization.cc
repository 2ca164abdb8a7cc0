#include <algorithm>

#include "grouphead/layers/normalization.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/normalized_axes.h"
#include "nn/loading_scope.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/batch_norm.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

struct GroupSaved final : Saved {
  std::vector<int> order;
  Tensor x;           // [B, rest, channels]
  Tensor mean, rstd;  // [B, groups]
};

/// Whether no element moves in this order: the channels are last.
bool is_ascending(const std::vector<int>& order) {
  return std::is_sorted(order.begin(), order.end());
}

}  // namespace

GroupNormalization::GroupNormalization(const GroupNormalizationConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {
  if (config.groups < 1 && config.groups != -1) {
    core::throw_config_error(name(), "groups", "1 or more, or -1", std::to_string(config.groups));
  }
}

ConfigValue GroupNormalization::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("groups", config_.groups);
  config.set("axis", config_.axis);
  config.set("epsilon", config_.epsilon);
  config.set("center", config_.center);
  config.set("scale", config_.scale);
  config.set("beta_initializer", config_.beta_initializer.config());
  config.set("gamma_initializer", config_.gamma_initializer.config());
  config.set("beta_regularizer", config_.beta_regularizer.config());
  config.set("gamma_regularizer", config_.gamma_regularizer.config());
  config.set("beta_constraint", config_.beta_constraint.config());
  config.set("gamma_constraint", config_.gamma_constraint.config());
  return config;
}

std::vector<int> GroupNormalization::order_for(const Shape& shape) const {
  const int axis = nn::positive_axis(name(), config_.axis, shape.rank());
  if (axis == 0) {
    core::throw_shape_error(name(), "axis", "another than the batch", shape.to_string());
  }
  std::vector<int> order;
  for (int other = 0; other < shape.rank(); ++other) {
    if (other != axis) order.push_back(other);
  }
  order.push_back(axis);
  return order;
}

void GroupNormalization::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(name(), channels_ > 0);
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  order_for(inputs[0]);  // checks
  channels_ = nn::parameter_shape(name(), {config_.axis}, inputs[0])[0];
  if (config_.groups == -1) config_.groups = channels_;
  if (channels_ % config_.groups != 0) {
    core::throw_shape_error(name(), "input",
                            "channels that " + std::to_string(config_.groups) + " groups divide",
                            inputs[0].to_string());
  }
  const DtypePolicy exact(policy().variable());  // Keras does not cast these two
  const auto make = [&](const char* weight, const Initializer& rule, const Regularizer& regularizer,
                        const Constraint& constraint) {
    auto made = std::make_unique<Parameter>(weight, Shape{channels_}, exact,
                                            ParameterOptions{trainable(), regularizer, constraint});
    if (rule) nn::initialize(*made, rule, fans_of(made->shape()), random);
    return made;
  };
  const GroupNormalizationConfig& c = config_;
  if (c.scale) gamma_ = make("gamma", c.gamma_initializer, c.gamma_regularizer, c.gamma_constraint);
  if (c.center) beta_ = make("beta", c.beta_initializer, c.beta_regularizer, c.beta_constraint);
}

std::vector<Value> GroupNormalization::forward(Context& ctx, std::span<const Value> in,
                                               const Mode& /*mode*/,
                                               std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  nn::require_built(name(), channels_ > 0);
  const Tensor& x = in[0].tensor;
  core::require_dtype(name(), "input", x, dtype());
  auto keep = std::make_unique<GroupSaved>();
  keep->order = order_for(x.shape());
  const ConstView moved = ops::permuted(x.view(), keep->order);
  if (moved.shape().back() != channels_) {
    core::throw_shape_error(name(), "input", std::to_string(channels_) + " channels",
                            x.shape().to_string());
  }
  const Index batch = x.dim(0);
  const Shape rows{batch, batch == 0 ? 0 : x.size() / batch / channels_, channels_};
  const bool is_ordered = is_ascending(keep->order);
  if (is_ordered) {
    keep->x = x.reshaped(rows);
  } else {
    keep->x = ctx.tensor(rows, dtype());
    ops::copy_elements(ctx, moved, keep->x.view().reshaped(moved.shape()));
  }
  keep->mean = ctx.tensor({batch, config_.groups}, dtype());
  keep->rstd = ctx.tensor({batch, config_.groups}, dtype());
  Tensor y = ctx.tensor(x.shape(), dtype());
  Tensor normalized = is_ordered ? y.reshaped(rows) : ctx.tensor(rows, dtype());
  ops::group_norm_forward(ctx, keep->x, gamma_ ? gamma_->numbers() : ConstView(),
                          beta_ ? beta_->numbers() : ConstView(), config_.epsilon, normalized,
                          keep->mean, keep->rstd);
  if (!is_ordered) {
    ops::copy_elements(ctx, normalized.view().reshaped(moved.shape()),
                       ops::permuted(y.view(), keep->order));
  }
  if (saved != nullptr) *saved = std::move(keep);
  return {Value{std::move(y), in[0].mask}};
}

void GroupNormalization::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                  std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<GroupSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  const Shape& rows = kept.x.shape();
  const bool is_ordered = is_ascending(kept.order);
  Tensor d_y;
  Tensor d_x;
  ConstView d_rows = d_out[0];
  View target = d_in[0];
  if (!is_ordered) {
    d_y = ctx.tensor(rows, dtype());
    const ConstView moved = ops::permuted(d_out[0], kept.order);
    ops::copy_elements(ctx, moved, d_y.view().reshaped(moved.shape()));
    d_rows = std::as_const(d_y).view();
    if (target.has_value()) {
      d_x = ctx.zeros(rows, dtype());
      target = d_x;
    }
  }
  if (target.has_value()) target = target.reshaped(rows);
  ops::group_norm_backward(ctx, kept.x, gamma_ ? gamma_->numbers() : ConstView(), kept.mean,
                           kept.rstd, d_rows.reshaped(rows), target,
                           gamma_ ? grads.of(*gamma_) : View(), beta_ ? grads.of(*beta_) : View());
  if (!d_x.has_value()) return;
  const View to = ops::permuted(d_in[0], kept.order);
  ops::add_elements(ctx, d_x.view().reshaped(to.shape()), to);
}

void GroupNormalization::append_parameters(const std::string& prefix, ParameterList& out) {
  if (gamma_) out.push_back({prefix + "gamma", gamma_.get()});
  if (beta_) out.push_back({prefix + "beta", beta_.get()});
}

std::shared_ptr<Layer> nn::make_group_normalization(const ConfigValue& given) {
  ConfigReader reader("GroupNormalization", given);
  GroupNormalizationConfig config;
  read_base(reader, config);
  config.groups = reader.integer("groups", config.groups);
  config.axis = reader.integer("axis", config.axis);
  config.epsilon = reader.number("epsilon", config.epsilon);
  config.center = reader.boolean("center", config.center);
  config.scale = reader.boolean("scale", config.scale);
  config.beta_initializer = reader.choice("beta_initializer", config.beta_initializer);
  config.gamma_initializer = reader.choice("gamma_initializer", config.gamma_initializer);
  config.beta_regularizer = reader.choice("beta_regularizer", config.beta_regularizer);
  config.gamma_regularizer = reader.choice("gamma_regularizer", config.gamma_regularizer);
  config.beta_constraint = reader.choice("beta_constraint", config.beta_constraint);
  config.gamma_constraint = reader.choice("gamma_constraint", config.gamma_constraint);
  reader.finish();
  return with_trainable(std::make_shared<GroupNormalization>(config), given);
}

}  // namespace grouphead
