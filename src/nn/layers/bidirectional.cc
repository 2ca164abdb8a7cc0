#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/layers/wrappers.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/nested_config.h"
#include "nn/recurrent/cell.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

using nn::kFirstState;

constexpr std::array<std::string_view, 4> kModes = {"concat", "sum", "mul", "ave"};

struct BidirectionalSaved final : Saved {
  std::unique_ptr<Saved> forward, backward;
  Tensor y, y_back;  // of mul
  Shape shape;       // of one layer's output
};

/// `layer` once more, with other values for some keys.
std::shared_ptr<Recurrent> made_again(const Recurrent& layer, const ConfigValue::Object& changes) {
  ConfigValue config = layer.get_config();
  for (const auto& [key, value] : changes) config.set(key, value);
  return std::dynamic_pointer_cast<Recurrent>(make_layer(layer.class_name(), config));
}

std::string with_prefix(const std::string& prefix, const std::string& name) {
  return name.starts_with(prefix) ? name : prefix + name;
}

/// Sequences, mask and what comes behind the first `count` operands, which are left.
template <class T>
std::vector<T> split_off(std::vector<T>& operands, std::size_t count) {
  const std::size_t shared = std::min(operands.size(), kFirstState);
  std::vector<T> rest(operands.begin(), operands.begin() + static_cast<std::ptrdiff_t>(shared));
  if (operands.size() > count) {
    const auto cut = operands.begin() + static_cast<std::ptrdiff_t>(count);
    rest.insert(rest.end(), cut, operands.end());
    operands.erase(cut, operands.end());
  }
  return rest;
}

/// Time backwards in [B, T, F]; the same without a time axis.
Tensor flipped(Context& ctx, ConstView y) {
  if (y.rank() < 3 || y.size() == 0) return nn::copied(ctx, y);
  Strides strides = y.strides();
  const Index last = (y.dim(1) - 1) * strides[1];
  strides[1] = -strides[1];
  const auto* start = static_cast<const std::byte*>(y.raw()) + last * size_of(y.dtype());
  Tensor turned = ctx.tensor(y.shape(), y.dtype());
  ops::copy_elements(ctx, ConstView(start, y.dtype(), y.shape(), strides), turned);
  return turned;
}

MergeMode mode_from_config(const ConfigValue& value) {
  if (value.is_null()) return MergeMode::none;
  const std::string& name = value.as_string("merge_mode");
  for (std::size_t i = 0; i < kModes.size(); ++i) {
    if (kModes[i] == name) return static_cast<MergeMode>(i);
  }
  core::throw_config_error("bidirectional", "merge_mode", "concat, sum, mul, ave or null", name);
}

}  // namespace

Bidirectional::Bidirectional(const BidirectionalConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer),
      merge_mode_(config.merge_mode) {
  if (config.layer == nullptr) {
    core::throw_config_error(name(), "layer", "LSTM, GRU, SimpleRNN or RNN", "none");
  }
  const Recurrent& given = *config.layer;
  const bool sequences = given.config().return_sequences;
  forward_ = made_again(given, {{"name", with_prefix("forward_", given.name())},
                                {"zero_output_for_mask", sequences}});
  if (config.backward_layer != nullptr) {
    const bool own = config.backward_layer->config().return_sequences;
    backward_ = made_again(*config.backward_layer, {{"zero_output_for_mask", own}});
  } else {
    backward_ = made_again(given, {{"name", with_prefix("backward_", given.name())},
                                   {"go_backwards", true},
                                   {"zero_output_for_mask", sequences}});
  }
  const RecurrentConfig& ahead = forward_->config();
  const RecurrentConfig& back = backward_->config();
  if (ahead.go_backwards == back.go_backwards) {
    core::throw_config_error(name(), "go_backwards", "one layer in each direction",
                             ahead.go_backwards ? "true for both" : "false for both");
  }
  if (ahead.return_sequences != back.return_sequences || ahead.return_state != back.return_state ||
      ahead.stateful != back.stateful) {
    core::throw_config_error(name(), "backward_layer",
                             "return_sequences, return_state and stateful of layer", "others");
  }
  if (forward_->dtype() != dtype() || backward_->dtype() != dtype()) {
    core::throw_config_error(name(), "dtype", "that of its layers", policy().name());
  }
}

ConfigValue Bidirectional::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("merge_mode", merge_mode_ == MergeMode::none
                               ? ConfigValue()
                               : ConfigValue(kModes[static_cast<std::size_t>(merge_mode_)]));
  config.set("layer", layer_to_config(*forward_));
  config.set("backward_layer", layer_to_config(*backward_));
  return config;
}

std::size_t Bidirectional::num_states() const {
  return forward_->input_names().size() + backward_->input_names().size() - 2 * kFirstState;
}

std::span<const std::string_view> Bidirectional::input_names() const {
  return nn::recurrent_operand_names(num_states());
}

void Bidirectional::require_all_states(std::size_t num_inputs) const {
  if (num_inputs <= kFirstState || num_inputs == kFirstState + num_states()) return;
  core::throw_shape_error(name(), "initial_state",
                          std::to_string(num_states()) + " tensors or none",
                          std::to_string(num_inputs - kFirstState));
}

std::vector<Shape> Bidirectional::output_shapes(std::span<const Shape> inputs,
                                                const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, kFirstState + num_states());
  require_all_states(inputs.size());
  std::vector<Shape> ahead(inputs.begin(), inputs.end());
  const std::vector<Shape> back_inputs = split_off(ahead, forward_->input_names().size());
  std::vector<Shape> made = forward_->output_shapes(ahead, nullptr);
  const std::vector<Shape> back = backward_->output_shapes(back_inputs, nullptr);
  if (merge_mode_ == MergeMode::none) {
    made.insert(made.begin() + 1, back[0]);
  } else if (merge_mode_ == MergeMode::concat) {
    made[0] = nn::with_last_axis(made[0], made[0].back() + back[0].back());
  } else if (made[0].back() != back[0].back()) {
    core::throw_shape_error(name(), "backward_layer", "as many units as layer",
                            back[0].to_string());
  }
  made.insert(made.end(), back.begin() + 1, back.end());
  return made;
}

void Bidirectional::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  output_shapes(inputs, nullptr);  // checks
  forward_->build(inputs.first(1), random);
  backward_->build(inputs.first(1), random);
  if (trainable()) return;
  for (const auto& [path, parameter] : parameters()) parameter->set_trainable(false);
}

std::vector<Value> Bidirectional::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                          std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, kFirstState + num_states());
  require_all_states(in.size());
  Mode inner = mode;
  inner.arguments = nullptr;
  // The layers are given the mask that counts here.
  std::vector<Value> in_ahead{{in[0].tensor, {}}, {}};
  if (const auto mask = nn::recurrent_mask(in)) in_ahead[1].tensor = *mask;
  for (std::size_t i = kFirstState; i < in.size(); ++i) in_ahead.push_back(in[i]);
  const std::vector<Value> in_back = split_off(in_ahead, forward_->input_names().size());
  auto keep = std::make_unique<BidirectionalSaved>();
  const bool keeps = saved != nullptr;
  std::vector<Value> made = forward_->call(ctx, in_ahead, inner, keeps ? &keep->forward : nullptr);
  std::vector<Value> back = backward_->call(ctx, in_back, inner, keeps ? &keep->backward : nullptr);
  for (std::vector<Value>* values : {&made, &back}) {
    for (Value& value : *values) value.tensor = received(ctx, value.tensor);
  }
  if (forward_->config().return_sequences) back[0].tensor = flipped(ctx, back[0].tensor);
  keep->shape = made[0].tensor.shape();
  if (merge_mode_ == MergeMode::mul) {
    keep->y = made[0].tensor;
    keep->y_back = back[0].tensor;
  }
  if (merge_mode_ == MergeMode::none) {
    made.insert(made.begin() + 1, back[0]);
  } else {
    made[0].tensor = merged(ctx, made[0].tensor, back[0].tensor);
  }
  made.insert(made.end(), back.begin() + 1, back.end());
  if (forward_->config().return_sequences) {
    for (std::size_t i = 0; i < (merge_mode_ == MergeMode::none ? 2U : 1U); ++i) {
      made[i].mask = nn::handed_on_mask(in);
    }
  }
  if (keeps) *saved = std::move(keep);
  return made;
}

Tensor Bidirectional::merged(Context& ctx, const Tensor& y, const Tensor& y_back) const {
  const Index width = y.shape().back();
  const int last = y.rank() - 1;
  if (merge_mode_ == MergeMode::concat) {
    const Index all = width + y_back.shape().back();
    Tensor joined = ctx.tensor(nn::with_last_axis(y.shape(), all), dtype());
    ops::copy_elements(ctx, y, joined.view().slice(last, 0, width));
    ops::copy_elements(ctx, y_back, joined.view().slice(last, width, all));
    return joined;
  }
  if (y.shape() != y_back.shape()) {
    core::throw_shape_error(name(), "backward_layer", y.shape().to_string(),
                            y_back.shape().to_string());
  }
  Tensor joined = ctx.tensor(y.shape(), dtype());
  if (merge_mode_ == MergeMode::mul) {
    ops::binary_forward(ctx, ops::Binary::multiply, y, y_back, joined);
    return joined;
  }
  ops::add(ctx, y, y_back, joined);
  if (merge_mode_ == MergeMode::ave) ops::scale(ctx, joined, 0.5, joined);
  return joined;
}

void Bidirectional::merge_back(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                               Tensor& d_y, Tensor& d_back) const {
  const auto& kept = nn::saved_as<BidirectionalSaved>(name(), saved);
  const ConstView d = d_out[0];
  const bool flips = forward_->config().return_sequences;
  const auto back = [&](ConstView part) {
    return flips ? flipped(ctx, part) : nn::copied(ctx, part);
  };
  if (merge_mode_ == MergeMode::none) {
    if (d.has_value()) d_y = nn::copied(ctx, d);
    if (d_out.size() > 1 && d_out[1].has_value()) d_back = back(d_out[1]);
    return;
  }
  if (!d.has_value()) return;
  if (merge_mode_ == MergeMode::concat) {
    const int last = d.rank() - 1;
    const Index width = kept.shape.back();
    d_y = nn::copied(ctx, d.slice(last, 0, width));
    d_back = back(d.slice(last, width, d.dim(last)));
    return;
  }
  Tensor both = ctx.tensor(d.shape(), dtype());
  if (merge_mode_ == MergeMode::mul) {
    d_y = ctx.tensor(d.shape(), dtype());
    ops::binary_forward(ctx, ops::Binary::multiply, d, kept.y_back, d_y);
    ops::binary_forward(ctx, ops::Binary::multiply, d, kept.y, both);
  } else {
    ops::scale(ctx, d, merge_mode_ == MergeMode::ave ? 0.5 : 1.0, both);
    d_y = both;
  }
  d_back = back(both);
}

void Bidirectional::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                             std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<BidirectionalSaved>(name(), saved);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1,
                    kFirstState + num_states());
  Tensor d_y;
  Tensor d_back;
  merge_back(ctx, saved, d_out, d_y, d_back);
  const std::size_t joined = merge_mode_ == MergeMode::none ? 2 : 1;
  const std::size_t ahead = forward_->input_names().size() - kFirstState;
  const bool has_states = d_out.size() > joined;
  const auto run = [&](const Recurrent& layer, Saved& inner, const Tensor& d, std::size_t first) {
    const std::size_t count = layer.input_names().size() - kFirstState;
    std::vector<ConstView> d_made{d};
    std::vector<View> d_given{d_in[0], {}};
    for (std::size_t i = 0; i < count; ++i) {
      if (has_states) d_made.push_back(d_out[joined + first + i]);
      if (d_in.size() > kFirstState) d_given.push_back(d_in[kFirstState + first + i]);
    }
    layer.call_backward(ctx, inner, d_made, d_given, grads);
  };
  run(*forward_, *kept.forward, d_y, 0);
  run(*backward_, *kept.backward, d_back, ahead);
}

void Bidirectional::append_parameters(const std::string& prefix, ParameterList& out) {
  forward_->append_parameters(prefix + forward_->name() + "/", out);
  backward_->append_parameters(prefix + backward_->name() + "/", out);
}

std::vector<SubLayer> Bidirectional::sub_layers() const {
  return {{"backward_layer", backward_}, {"forward_layer", forward_}};
}

namespace nn {
namespace {

std::shared_ptr<Recurrent> recurrent_from(std::string_view key, const ConfigValue& envelope) {
  auto layer = std::dynamic_pointer_cast<Recurrent>(nested_layer("bidirectional", key, envelope));
  if (layer == nullptr) {
    core::throw_config_error("bidirectional", key, "LSTM, GRU, SimpleRNN or RNN",
                             envelope["class_name"].to_string());
  }
  return layer;
}

}  // namespace

std::shared_ptr<Layer> make_bidirectional(const ConfigValue& given) {
  ConfigReader reader("Bidirectional", given);
  BidirectionalConfig config;
  read_base(reader, config);
  if (reader.has("merge_mode")) config.merge_mode = mode_from_config(reader.value("merge_mode"));
  config.layer = recurrent_from("layer", reader.value("layer"));
  if (const ConfigValue& back = reader.value("backward_layer"); !back.is_null()) {
    config.backward_layer = recurrent_from("backward_layer", back);
  }
  reader.finish();
  return with_trainable(std::make_shared<Bidirectional>(config), given);
}

}  // namespace nn
}  // namespace grouphead
