#include "models/hub/parts.h"

#include "nn/layer_checks.h"
#include "nn/shapes.h"

namespace grouphead::models::hub {

HubActivation activation_from(nn::ConfigReader& reader, std::string_view key,
                              const HubActivation& fallback) {
  if (!reader.has(key)) return fallback;
  const ConfigValue& held = reader.value(key);
  if (held.is_null()) return {Activation::linear, held};
  const bool is_function = held["class_name"] == ConfigValue("function");
  const ConfigValue& text = is_function ? held["config"] : held;
  if (!text.is_string()) {
    core::throw_config_error(key, "activation", "a name or a function", held.to_string());
  }
  const std::string& function = text.as_string(key);
  const bool is_approximate = function.ends_with("gelu_approximate");
  return {is_approximate ? Activation(Activation::gelu_tanh) : Activation(function), held};
}

Symbol sum(const Symbol& a, const Symbol& b, const std::string& name, const DtypePolicy& policy) {
  return layer<Add>({.name = name, .dtype = policy})({a, b});
}

namespace {

class KeyMask final : public Layer {
 public:
  explicit KeyMask(std::string name) : Layer(std::move(name), {}) {}
  std::string_view class_name() const override { return "KeyMask"; }
  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"x", "padding_mask"};
    return kNames;
  }
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* /*arguments*/) const override {
    return {Shape::partial({inputs[0][0], inputs[0][1]})};
  }
  Dtype output_dtype(std::span<const Dtype> /*inputs*/,
                     const CallArguments* /*arguments*/) const override {
    return Dtype::boolean;
  }
  bool can_decode(std::span<const Shape> /*inputs*/,
                  const CallArguments* /*arguments*/) const override {
    return true;
  }
  std::vector<Value> forward(Context& /*ctx*/, std::span<const Value> in, const Mode& /*mode*/,
                             std::unique_ptr<Saved>* saved) const override {
    if (saved != nullptr) *saved = std::make_unique<Saved>();
    if (in.size() > 1 && in[1].tensor.has_value()) return {Value{in[1].tensor, {}}};
    return {Value{in[0].mask.value_or(Tensor()), {}}};
  }
  void backward(Context& /*ctx*/, Saved& /*saved*/, std::span<const ConstView> /*d_out*/,
                std::span<View> /*d_in*/, Grads& /*grads*/) const override {}
  void append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) override {}

 protected:
  Tensor received(Context& /*ctx*/, const Tensor& tensor) const override { return tensor; }
  Tensor leaving(Context& /*ctx*/, Tensor tensor) const override { return tensor; }

 private:
  void create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) override {}
};

}  // namespace

Symbol key_mask(const Symbol& x, const Operand& padding_mask, const std::string& name) {
  return layer<KeyMask>(name)({x, padding_mask});
}

}  // namespace grouphead::models::hub
