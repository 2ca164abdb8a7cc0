#pragma once

#include <array>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A function that a layer applies to its result, by Keras's names. A value like an enumeration.
///
/// softmax, log_softmax and sparsemax run over the last axis, the others over each element alone.
/// `gelu` is exact (by erf), as Keras's "gelu" is; its approximation by tanh has no name in Keras
/// and is `gelu_tanh` here. What Keras's functions take besides x has Keras's defaults, and with()
/// changes it: `Activation("elu").with("alpha", 0.5)`.
/// Source: keras.activations.
class Activation {
 public:
  enum Kind : int {
    linear,
    relu,        ///< negative_slope 0, max_value infinity, threshold 0
    leaky_relu,  ///< negative_slope 0.2
    gelu,
    gelu_tanh,
    silu,
    tanh,
    sigmoid,
    elu,  ///< alpha 1
    selu,
    softplus,
    exponential,
    softmax,
    celu,         ///< alpha 1
    hard_shrink,  ///< threshold 0.5
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    log_sigmoid,
    log_softmax,
    mish,
    relu6,
    soft_shrink,  ///< threshold 0.5
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,  ///< b 4
    tanh_shrink
  };
  static constexpr std::size_t kMaxNumbers = 3;
  using Numbers = std::array<double, kMaxNumbers>;

  Activation() = default;  ///< linear
  Activation(Kind kind);   // NOLINT(google-explicit-constructor)
  /// Also `swish` and `hard_swish`. Errors: ConfigError that lists the known names.
  Activation(std::string_view name);  // NOLINT(google-explicit-constructor)
  Activation(const char* name)
      : Activation(std::string_view(name)) {}  // NOLINT(google-explicit-constructor)
  /// From Keras's configuration: a name, null, the envelope of a function, or that of a layer
  /// without weights whose function this is (Activation, ELU, LeakyReLU, ReLU, Softmax).
  /// Errors: ConfigError.
  static Activation from_config(const ConfigValue& identifier);
  /// What from_config() takes: a name, or a layer's envelope where it came from one.
  /// Errors: ConfigError for numbers of with(), which no name tells.
  ConfigValue config() const;
  /// Whether it came from a layer's envelope.
  bool is_layer() const noexcept { return layer_ != nullptr; }

  operator Kind() const noexcept { return kind_; }  // NOLINT(google-explicit-constructor)
  std::string_view name() const noexcept;
  /// The same function with another number. Errors: ConfigError that lists those it has.
  Activation with(std::string_view option, double value) const;
  /// In the order of the comments above.
  const Numbers& numbers() const noexcept { return numbers_; }

 private:
  Kind kind_ = linear;
  Numbers numbers_{};
  std::shared_ptr<const ConfigValue> layer_{};  // the envelope it came from
};

struct ActivationLayerConfig {
  Activation activation = Activation::linear;
  std::string name = "activation";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct ReLUConfig {
  double max_value = std::numeric_limits<double>::infinity();
  double negative_slope = 0;
  double threshold = 0;
  std::string name = "re_lu";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct LeakyReLUConfig {
  double negative_slope = 0.3;
  std::string name = "leaky_re_lu";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct ELUConfig {
  double alpha = 1;
  std::string name = "elu";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

namespace detail {

/// y = f(x), any shape. Hands the mask on. Errors: ConfigError for numbers that are negative (of
/// ELU: not finite).
template <class LayerConfig>
class FunctionLayer final : public Layer {
 public:
  using Config = LayerConfig;
  explicit FunctionLayer(const LayerConfig& config);
  std::string_view class_name() const override;
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  const Activation& activation() const noexcept { return activation_; }

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  LayerConfig config_;
  Activation activation_;
};

extern template class FunctionLayer<ActivationLayerConfig>;
extern template class FunctionLayer<ReLUConfig>;
extern template class FunctionLayer<LeakyReLUConfig>;
extern template class FunctionLayer<ELUConfig>;

}  // namespace detail

/// y = activation(x). Source: keras.layers.Activation.
using ActivationLayer = detail::FunctionLayer<ActivationLayerConfig>;
/// x from the threshold on up to max_value, below it negative_slope (x - threshold).
/// Source: keras.layers.ReLU.
using ReLU = detail::FunctionLayer<ReLUConfig>;
/// x from 0 on, negative_slope x below. Source: keras.layers.LeakyReLU.
using LeakyReLU = detail::FunctionLayer<LeakyReLUConfig>;
/// x from 0 on, alpha (exp(x) - 1) below. Source: keras.layers.ELU.
using ELU = detail::FunctionLayer<ELUConfig>;

struct PReLUConfig {
  Initializer alpha_initializer = "zeros";
  Regularizer alpha_regularizer{};
  Constraint alpha_constraint{};
  std::vector<Index> shared_axes{};  ///< from 1, along which one alpha serves all
  std::string name = "p_re_lu";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = x from 0 on, alpha x below. x [B, ...], alpha the sizes after the first, 1 on shared axes.
/// Hands the mask on. Errors: ShapeError for sizes that build() did not see.
/// Source: keras.layers.PReLU.
class PReLU final : public Layer {
 public:
  using Config = PReLUConfig;
  explicit PReLU(const PReLUConfig& config = {});
  std::string_view class_name() const override { return "PReLU"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  PReLUConfig config_;
  std::unique_ptr<Parameter> alpha_;
};

}  // namespace grouphead
#pragma GCC visibility pop
