#include "grouphead/layers/layer.h"

#include <atomic>
#include <mutex>

#include "core/check.h"
#include "core/comma_list.h"
#include "grouphead/layers/quantization.h"
#include "nn/loading_scope.h"
#include "nn/quantized_numbers.h"
#include "ops/convert.h"
#include "ops/linear.h"
#include "ops/weight_parts.h"

namespace grouphead {

/// numbers() of a parameter whose type is not the one that layers compute in.
struct Parameter::Rounded {
  Tensor copy;
  std::mutex mutex;
  std::atomic<bool> is_current{false};
};

/// Numbers that are not in value_: quantized, shared, or about to be loaded. And value() once
/// somebody asked for it.
struct Parameter::Elsewhere {
  std::unique_ptr<nn::QuantizedNumbers> quantized{};
  ConstView shared{};
  std::shared_ptr<const void> owner{};  // of `shared`
  Tensor value{};
  std::mutex mutex{};
  std::atomic<bool> has_value{false};

  bool is_empty() const noexcept { return quantized == nullptr && !shared.has_value(); }

  Tensor made(const Shape& shape, Dtype dtype) const {
    if (is_empty()) return Tensor::zeros(shape, dtype);
    if (quantized == nullptr && shared.is_contiguous() && shared.dtype() == dtype) {
      return Tensor::wrap(shared.reshaped(shape), owner);
    }
    Tensor copy(shape, dtype);
    if (quantized != nullptr) {
      ops::convert_rounded(quantized->widened(), dtype, copy);
    } else {
      ops::copy_weights(shared, copy);
    }
    return copy;
  }
};

Parameter::Parameter(std::string name, const Shape& shape, const DtypePolicy& policy,
                     ParameterOptions options)
    : name_(std::move(name)),
      shape_(shape),
      policy_(policy),
      options_(std::move(options)),
      packed_(std::make_unique<ops::PackedWeights>()) {
  nn::LoadingScope::take(shape);
  if (nn::LoadingScope::is_active()) {
    elsewhere_ = std::make_unique<Elsewhere>();
  } else {
    value_ = Tensor::zeros(shape, policy.variable());
  }
  if (policy.compute() != policy.variable() || policy.variable() != policy.arithmetic()) {
    rounded_ = std::make_unique<Rounded>();
  }
}

Parameter::~Parameter() = default;

ConstView Parameter::value() const {
  if (!elsewhere_) return value_.view();
  if (!elsewhere_->has_value.load(std::memory_order_acquire)) {
    const std::lock_guard lock(elsewhere_->mutex);
    if (!elsewhere_->has_value.load(std::memory_order_relaxed)) {
      elsewhere_->value = elsewhere_->made(shape_, dtype());
      elsewhere_->has_value.store(true, std::memory_order_release);
    }
  }
  return std::as_const(elsewhere_->value).view();
}

ConstView Parameter::numbers() const {
  if (!rounded_) return value();
  if (!rounded_->is_current.load(std::memory_order_acquire)) {
    const std::lock_guard lock(rounded_->mutex);
    if (!rounded_->is_current.load(std::memory_order_relaxed)) {
      if (!rounded_->copy.has_value()) rounded_->copy = Tensor(shape_, policy_.arithmetic());
      ops::convert_rounded(value(), policy_.compute(), rounded_->copy);
      rounded_->is_current.store(true, std::memory_order_release);
    }
  }
  return std::as_const(rounded_->copy).view();
}

ConstView Parameter::source() const {
  if (rounded_ || !elsewhere_ || dtype() != Dtype::f32) return numbers();
  const ConstView& shared = elsewhere_->shared;
  return shared.has_value() && shared.dtype() != Dtype::f64 ? shared : numbers();
}

View Parameter::edit() {
  if (elsewhere_) {
    if (elsewhere_->is_empty() && !elsewhere_->has_value) {
      value_ = Tensor(shape_, dtype());
    } else {
      value();
      value_ = elsewhere_->value.is_read_only() ? elsewhere_->value.clone() : elsewhere_->value;
    }
    elsewhere_.reset();
  }
  forget_copies();
  return value_.view();
}

View Parameter::replace() {
  if (elsewhere_) {
    value_ = Tensor(shape_, dtype());
    elsewhere_.reset();
  }
  forget_copies();
  return value_.view();
}

void Parameter::forget_copies() noexcept {
  packed_->invalidate();
  if (rounded_) rounded_->is_current.store(false, std::memory_order_release);
}

void Parameter::take_from(std::unique_ptr<Elsewhere> numbers) noexcept {
  elsewhere_ = std::move(numbers);
  value_ = Tensor();
  forget_copies();
}

void Parameter::share(ConstView matrix, std::shared_ptr<const void> owner) {
  ops::require_weights("share", name_, matrix, shape_.size());
  auto numbers = std::make_unique<Elsewhere>();
  numbers->shared = matrix;
  numbers->owner = std::move(owner);
  take_from(std::move(numbers));
}

const nn::QuantizedNumbers* Parameter::quantized() const noexcept {
  return elsewhere_ ? elsewhere_->quantized.get() : nullptr;
}

void Parameter::set_quantized(std::unique_ptr<nn::QuantizedNumbers> numbers) {
  later_quantized(std::move(numbers))();
}

std::function<void()> Parameter::later_quantized(std::unique_ptr<nn::QuantizedNumbers> numbers) {
  core::require_shape("set_quantized", name_, numbers->shape(),
                      std::span<const Index>(shape_.begin(), shape_.end()));
  auto elsewhere = std::make_unique<Elsewhere>();
  elsewhere->quantized = std::move(numbers);
  const auto held = std::make_shared<std::unique_ptr<Elsewhere>>(std::move(elsewhere));
  return [this, held] { take_from(std::move(*held)); };
}

void round_inputs(const ParameterList& parameters, bool rounds) {
  for (const auto& [path, parameter] : parameters) parameter->set_rounds_inputs(rounds);
}

Index count_elements(const ConstParameterList& parameters) noexcept {
  Index count = 0;
  for (const NamedConstParameter& entry : parameters) count += entry.parameter->shape().size();
  return count;
}

void pack_weights(const ParameterList& parameters, Dtype form) {
  if (form != Dtype::f32 && form != Dtype::bf16 && form != Dtype::u8) {
    core::throw_config_error("pack_weights", "form", "f32, bf16 or u8", name_of(form));
  }
  for (const auto& [path, parameter] : parameters) {
    if (parameter->gradient_dtype() != Dtype::f32) {
      core::throw_config_error("pack_weights", path, "f32 or 16 bits", name_of(parameter->dtype()));
    }
  }
  for (const auto& [path, parameter] : parameters) parameter->packed().keep_as(form);
}

Grads::Grads(Context& ctx, const ConstParameterList& parameters) {
  for (const auto& [path, parameter] : parameters) {
    if (parameter->trainable()) {
      sums_.try_emplace(parameter, ctx.zeros(parameter->shape(), parameter->gradient_dtype()));
    }
  }
}

View Grads::of(const Parameter& parameter) {
  const auto found = sums_.find(&parameter);
  return found == sums_.end() ? View() : found->second.view();
}

void Grads::zero() noexcept {
  for (auto& [parameter, sum] : sums_) fill_zero(sum);
  next_.clear();
}

void Grads::add_next(const Parameter& parameter, const Tensor& value) {
  if (!parameter.is_overwritten()) return;
  core::require_shape("add_next", parameter.name(), value.shape(),
                      std::span<const Index>(parameter.shape().begin(), parameter.shape().end()));
  core::require_dtype("add_next", parameter.name(), value, Dtype::f32);
  const auto [place, is_first] = next_.try_emplace(&parameter, value);
  if (is_first) return;
  auto* const sum = place->second.data<float>();
  for (Index i = 0; i < value.size(); ++i) sum[i] += value.data<float>()[i];
}

View Grads::next(const Parameter& parameter) {
  const auto found = next_.find(&parameter);
  return found == next_.end() ? View() : found->second.view();
}

ConstView StateUpdates::value(const Parameter& parameter) const {
  const auto found = values_.find(&parameter);
  return found == values_.end() ? parameter.value() : found->second.view();
}

void StateUpdates::set(const Parameter& parameter, Tensor value) {
  core::require_shape("state_updates", parameter.name(), value.shape(),
                      std::span<const Index>(parameter.shape().begin(), parameter.shape().end()));
  core::require_dtype("state_updates", parameter.name(), value, parameter.dtype());
  values_.insert_or_assign(&parameter, std::move(value));
}

void StateUpdates::apply(const ParameterList& parameters) {
  for (const auto& [path, parameter] : parameters) {
    const auto found = values_.find(parameter);
    if (found != values_.end()) copy(found->second, parameter->edit());
  }
  values_.clear();
}

void Layer::set_trainable(bool trainable) {
  trainable_ = trainable;
  for (const auto& [path, parameter] : parameters()) parameter->set_trainable(trainable);
}

ConfigValue Layer::get_config() const {
  ConfigValue config;
  config.set("name", name_);
  config.set("trainable", trainable_);
  config.set("dtype", config_envelope("keras", "DTypePolicy",
                                      ConfigValue::Object{{"name", policy_.name()}}));
  if (activity_regularizer_) config.set("activity_regularizer", activity_regularizer_.config());
  return config;
}

std::span<const std::string_view> Layer::input_names() const {
  static constexpr std::string_view kNames[] = {"inputs"};
  return kNames;
}

std::unique_ptr<CallArguments> Layer::arguments_from_config(const ConfigValue& keywords) const {
  if (!keywords.is_null() && !keywords.as_object("keywords").empty()) {
    core::throw_config_error(
        name_, "call", "keywords among " + core::comma_list(input_names()) + ", mask, training",
        keywords.as_object("keywords").front().first);
  }
  return nullptr;
}

ConfigValue Layer::arguments_config(const CallArguments* /*arguments*/) const {
  return ConfigValue::Object{};
}

std::vector<Shape> Layer::output_shapes(std::span<const Shape> inputs,
                                        const CallArguments* /*arguments*/) const {
  return {inputs[0]};
}

Dtype Layer::output_dtype(std::span<const Dtype> /*inputs*/,
                          const CallArguments* /*arguments*/) const {
  return policy_.compute();
}

void Layer::build(std::span<const Shape> inputs, RandomStream& random) {
  create_parameters(inputs, random);
  is_built_ = true;
}

void Layer::build(std::initializer_list<Shape> inputs, std::uint64_t seed) {
  RandomStream random(seed);
  build(std::span(inputs.begin(), inputs.size()), random);
}

void Layer::build_once(std::span<const Shape> inputs) {
  if (!is_built_) build_for_call(inputs);
}

void Layer::build_for_call(std::span<const Shape> inputs) {
  RandomStream random(0);
  build(inputs, random);
}

ParameterList Layer::parameters() {
  ParameterList list;
  append_parameters("", list);
  return list;
}

ConstParameterList Layer::parameters() const {
  // Appending changes no layer: it is non-const because it hands out what can be changed.
  return const_cast<Layer*>(this)->parameters();
}

}  // namespace grouphead
