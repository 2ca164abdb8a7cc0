#pragma once

#include "grouphead/models/symbol.h"

namespace grouphead::graph {

/// Where a model's tensor comes in. Source: keras.layers.InputLayer.
class InputLayer final : public Layer {
 public:
  /// `is_text`: the tensor has texts of this shape, and one more axis for their bytes, see
  /// text_tensor(). Keras's files say dtype "string".
  explicit InputLayer(const InputConfig& config, bool is_text = false);
  std::string_view class_name() const override { return "InputLayer"; }
  ConfigValue get_config() const override;
  static std::shared_ptr<InputLayer> from_config(const ConfigValue& config);

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  /// With the batch.
  const Shape& shape() const noexcept { return shape_; }
  Dtype input_dtype() const noexcept { return config_.dtype; }
  bool is_optional() const noexcept { return config_.optional; }
  bool is_text() const noexcept { return is_text_; }
  /// Whether the shape is that of the first inputs, to which Keras's Sequential does not hold later
  /// ones: then others of its rank do, where the layers take them.
  bool is_example() const noexcept { return is_example_; }
  void set_is_example() noexcept { is_example_ = true; }

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  InputConfig config_;
  bool is_text_;
  bool is_example_ = false;
  Shape shape_;
};

/// A symbol of a new input layer.
Symbol symbol_of(std::shared_ptr<InputLayer> layer);
/// The input layer that makes the symbol; null when another layer does.
const InputLayer* input_layer_of(const Symbol& symbol);

}  // namespace grouphead::graph
