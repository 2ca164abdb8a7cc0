#pragma once

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Keras's arguments.
struct SoftmaxConfig {
  /// Axes over which the numbers add up to 1, -1: the last; none: all axes.
  std::vector<Index> axis = {-1};
  std::string name = "softmax";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = exp(x) / sum(exp(x)) over one or more axes.
///
/// Operands  inputs, any shape; mask (absent: the one that comes with the inputs), true, or above
///           0.5, where a number takes part: of no higher rank, each axis of the inputs' size or 1,
///           aligned at the last. Others give 0, also where none takes part
/// Mask      the mask that counted is handed on
/// Errors    ShapeError
/// Source    keras.layers.Softmax
class Softmax final : public Layer {
 public:
  using Config = SoftmaxConfig;
  /// Errors: ConfigError for an axis that is named twice.
  explicit Softmax(const SoftmaxConfig& config);
  std::string_view class_name() const override { return "Softmax"; }
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  SoftmaxConfig config_;
};

}  // namespace grouphead
#pragma GCC visibility pop
