#pragma once

#include <initializer_list>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// What Add and Multiply share: any number of inputs [B, ...], whose axes after the first broadcast
/// as NumPy's do; inputs of a lower rank get axes of size 1 after the first.
///
/// Shapes   one of each input; the result has the largest rank
/// Types    numbers of different types meet in Keras's result type; bools are or-ed and and-ed
/// Mask     true where one of the inputs' masks is, none where an input has none
/// Errors   ShapeError for no input, batch sizes that differ, or axes that do not broadcast
class Merging : public Layer {
 public:
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  /// Inference, of tensors without masks: `add(ctx, {a, b})`.
  Tensor operator()(Context& ctx, std::initializer_list<Tensor> in) const;

 protected:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  using Layer::Layer;
  /// y = a (operation) b, of arithmetic types.
  virtual void merge(Context& ctx, ConstView a, ConstView b, View y) const = 0;
  /// What backward() needs besides the inputs' shapes.
  virtual bool keeps_inputs() const = 0;
};

struct AddConfig {
  std::string name = "add";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = x1 + x2 + ... Source: keras.layers.Add.
class Add final : public Merging {
 public:
  using Config = AddConfig;
  explicit Add(const AddConfig& config = {});
  std::string_view class_name() const override { return "Add"; }
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;

 private:
  void merge(Context& ctx, ConstView a, ConstView b, View y) const override;
  bool keeps_inputs() const override { return false; }
};

struct MultiplyConfig {
  std::string name = "multiply";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = x1 x2 ..., element by element. Masked steps of an input count as 1; the result is 0 where
/// its mask is false. Masks of inputs of a lower rank than the result are not seen by the numbers.
/// Source: keras.layers.Multiply.
class Multiply final : public Merging {
 public:
  using Config = MultiplyConfig;
  explicit Multiply(const MultiplyConfig& config = {});
  std::string_view class_name() const override { return "Multiply"; }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;

 private:
  void merge(Context& ctx, ConstView a, ConstView b, View y) const override;
  bool keeps_inputs() const override { return true; }
};

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

}  // namespace grouphead
#pragma GCC visibility pop
