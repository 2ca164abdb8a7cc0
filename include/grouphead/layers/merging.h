#pragma once

#include <array>
#include <initializer_list>
#include <variant>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct AddConfig {
  std::string name = "add";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};
struct AverageConfig {
  std::string name = "average";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};
struct MaximumConfig {
  std::string name = "maximum";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};
struct MinimumConfig {
  std::string name = "minimum";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};
struct MultiplyConfig {
  std::string name = "multiply";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};
struct SubtractConfig {
  std::string name = "subtract";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

namespace detail {

/// Any number of inputs [B, ...] (Subtract: two), whose axes after the first broadcast as NumPy's
/// do; inputs of a lower rank get axes of size 1 after the first.
///
/// Shapes   one of each input; the result has the largest rank
/// Types    numbers of different types meet in Keras's result type; bools are or-ed and and-ed
/// Mask     true where one of the inputs' masks is, none where an input has none
/// Errors   ShapeError for no input, batch sizes that differ, or axes that do not broadcast
template <class LayerConfig>
class MergingLayer final : public Layer {
 public:
  using Config = LayerConfig;
  explicit MergingLayer(const LayerConfig& config = {})
      : Layer(config.name, config.dtype, config.activity_regularizer) {}
  std::string_view class_name() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  /// Inference, of tensors without masks: `add(ctx, {a, b})`.
  Tensor operator()(Context& ctx, std::initializer_list<Tensor> in) const;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
};

extern template class MergingLayer<AddConfig>;
extern template class MergingLayer<AverageConfig>;
extern template class MergingLayer<MaximumConfig>;
extern template class MergingLayer<MinimumConfig>;
extern template class MergingLayer<MultiplyConfig>;
extern template class MergingLayer<SubtractConfig>;

}  // namespace detail

/// y = x1 + x2 + ... Source: keras.layers.Add.
using Add = detail::MergingLayer<AddConfig>;
/// y = (x1 + x2 + ...) / n. Source: keras.layers.Average.
using Average = detail::MergingLayer<AverageConfig>;
/// The largest of the inputs, element by element. Where an input is masked the others count; masks
/// of inputs of a lower rank than the result are not seen by the numbers.
/// Source: keras.layers.Maximum.
using Maximum = detail::MergingLayer<MaximumConfig>;
/// The smallest, likewise. Source: keras.layers.Minimum.
using Minimum = detail::MergingLayer<MinimumConfig>;
/// y = x1 x2 ..., element by element. Masked steps of an input count as 1; the result is 0 where
/// its mask is false. Masks of inputs of a lower rank than the result are not seen by the numbers.
/// Source: keras.layers.Multiply.
using Multiply = detail::MergingLayer<MultiplyConfig>;
/// y = x1 - x2. Source: keras.layers.Subtract.
using Subtract = detail::MergingLayer<SubtractConfig>;

struct ConcatenateConfig {
  Index axis = -1;  ///< counted from the end where negative
  std::string name = "concatenate";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// The inputs one after the other along one axis; all other axes are equal.
///
/// Mask     for inputs [B, T, M] the masks joined likewise: along T, or true where one is true.
///          An input without one counts as all true; none where no input has one
/// Errors   ShapeError for no input, ranks or sizes that differ, or an axis that is not there
/// Source   keras.layers.Concatenate
class Concatenate final : public Layer {
 public:
  using Config = ConcatenateConfig;
  explicit Concatenate(const ConcatenateConfig& config = {});
  std::string_view class_name() const override { return "Concatenate"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  /// Inference, of tensors without masks: `concatenate(ctx, {a, b})`.
  Tensor operator()(Context& ctx, std::initializer_list<Tensor> in) const;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  ConcatenateConfig config_;
};

struct DotConfig {
  /// The axis of both inputs that is summed over, or one of each; negative ones count from the end.
  std::variant<Index, std::array<Index, 2>> axes = Index{-1};
  bool normalize = false;  ///< the inputs are divided by their Euclidean norms along these axes
  std::string name = "dot";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// The sums of products of two inputs [B, ...] along one axis of each, for each sample: the axes of
/// the first that are left, then those of the second; of two vectors [B, 1]. No mask.
///
/// Errors   ShapeError unless two inputs of rank 2 or more and one batch, whose axes are other than
///          the first and of one size
/// Source   keras.layers.Dot
class Dot final : public Layer {
 public:
  using Config = DotConfig;
  explicit Dot(const DotConfig& config);
  std::string_view class_name() const override { return "Dot"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  DotConfig config_;
};

}  // namespace grouphead
#pragma GCC visibility pop
