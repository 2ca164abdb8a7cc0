#pragma once

#include <string_view>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A function that a layer applies to its result, by Keras's names. A value like an enumeration.
///
/// Softmax runs over the last axis, the others over each element alone. `gelu` is exact (by erf),
/// as Keras's "gelu" is; its approximation by tanh has no name in Keras and is `gelu_tanh` here.
/// `leaky_relu` has the slope 0.2 below zero.
/// Source: keras.activations.
class Activation {
 public:
  enum Kind : int {
    linear,
    relu,
    leaky_relu,
    gelu,
    gelu_tanh,
    silu,
    tanh,
    sigmoid,
    elu,
    selu,
    softplus,
    exponential,
    softmax
  };

  constexpr Activation() = default;                          ///< linear
  constexpr Activation(Kind kind) noexcept : kind_(kind) {}  // NOLINT(google-explicit-constructor)
  /// Also `swish`, for silu. Errors: ConfigError that lists the known names.
  Activation(std::string_view name);  // NOLINT(google-explicit-constructor)
  Activation(const char* name)
      : Activation(std::string_view(name)) {}  // NOLINT(google-explicit-constructor)

  constexpr operator Kind() const noexcept { return kind_; }  // NOLINT(google-explicit-constructor)
  std::string_view name() const noexcept;

 private:
  Kind kind_ = linear;
};

struct ActivationLayerConfig {
  Activation activation = Activation::linear;
  std::string name = "activation";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = activation(x), any shape. Hands the mask on. Source: keras.layers.Activation.
class ActivationLayer final : public Layer {
 public:
  using Config = ActivationLayerConfig;
  explicit ActivationLayer(const ActivationLayerConfig& config);
  std::string_view class_name() const override { return "Activation"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Activation activation_;
};

}  // namespace grouphead
#pragma GCC visibility pop
