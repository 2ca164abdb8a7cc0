#include "grouphead/layers/activation.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/activation.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "prelu";

struct PReLUSaved final : Saved {
  Tensor x;
};

Shape alpha_shape(const Shape& input, const std::vector<Index>& shared_axes) {
  std::array<Index, kMaxRank> dims{};
  std::copy(input.begin(), input.end(), dims.begin());
  for (const Index axis : shared_axes) {
    if (axis < 1 || axis >= input.rank()) {
      core::throw_shape_error(kLayer, "shared_axes",
                              "axes from 1 to " + std::to_string(input.rank() - 1),
                              std::to_string(axis));
    }
    dims[static_cast<std::size_t>(axis)] = 1;
  }
  for (int axis = 1; axis < input.rank(); ++axis) {
    if (dims[static_cast<std::size_t>(axis)] < 1) {
      core::throw_shape_error(kLayer, "input", "known sizes on axes that are not shared",
                              input.to_string());
    }
  }
  return Shape(std::span<const Index>(dims.data() + 1, static_cast<std::size_t>(input.rank() - 1)));
}

}  // namespace

PReLU::PReLU(const PReLUConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {}

ConfigValue PReLU::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("alpha_initializer", config_.alpha_initializer.config());
  config.set("alpha_regularizer", config_.alpha_regularizer.config());
  config.set("alpha_constraint", config_.alpha_constraint.config());
  ConfigValue axes;
  if (!config_.shared_axes.empty()) {
    axes = ConfigValue::List(config_.shared_axes.begin(), config_.shared_axes.end());
  }
  config.set("shared_axes", std::move(axes));
  return config;
}

void PReLU::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, alpha_ != nullptr);
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  if (inputs[0].rank() < 1) {
    core::throw_shape_error(kLayer, "input", "rank 1 or more", inputs[0].to_string());
  }
  const Shape shape = alpha_shape(inputs[0], config_.shared_axes);
  alpha_ = std::make_unique<Parameter>(
      "alpha", shape, policy(),
      ParameterOptions{trainable(), config_.alpha_regularizer, config_.alpha_constraint});
  const Initializer& start = config_.alpha_initializer;
  if (start) nn::initialize(*alpha_, start, fans_of(shape), random);
}

std::vector<Value> PReLU::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                  std::unique_ptr<Saved>* saved) const {
  nn::require_built(kLayer, alpha_ != nullptr);
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  const Tensor& x = in[0].tensor;
  Tensor y = ctx.tensor(x.shape(), dtype());
  ops::prelu_forward(ctx, x, alpha_->numbers(), y);
  if (saved != nullptr) {
    auto keep = std::make_unique<PReLUSaved>();
    keep->x = x;
    *saved = std::move(keep);
  }
  return {Value{std::move(y), in[0].mask}};
}

void PReLU::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                     std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<PReLUSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  ops::prelu_backward(ctx, kept.x, alpha_->numbers(), d_out[0], d_in[0], grads.of(*alpha_));
}

void PReLU::append_parameters(const std::string& prefix, ParameterList& out) {
  if (alpha_) out.push_back({prefix + "alpha", alpha_.get()});
}

std::shared_ptr<Layer> nn::make_prelu(const ConfigValue& given) {
  ConfigReader reader("PReLU", given);
  PReLUConfig config;
  read_base(reader, config);
  config.alpha_initializer = reader.choice("alpha_initializer", config.alpha_initializer);
  config.alpha_regularizer = reader.choice("alpha_regularizer", config.alpha_regularizer);
  config.alpha_constraint = reader.choice("alpha_constraint", config.alpha_constraint);
  const ConfigValue& axes = reader.value("shared_axes");
  if (axes.is_integer()) {
    config.shared_axes = {axes.as_integer("shared_axes")};
  } else if (!axes.is_null()) {
    for (const ConfigValue& axis : axes.as_list("shared_axes")) {
      config.shared_axes.push_back(axis.as_integer("shared_axes"));
    }
  }
  reader.finish();
  return with_trainable(std::make_shared<PReLU>(config), given);
}

}  // namespace grouphead
