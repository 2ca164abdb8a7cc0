// Concatenate and Stack of a list of tensors.

#include "nn/layer_checks.h"
#include "nn/operations/operation.h"
#include "nn/shapes.h"
#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

struct JoiningSaved final : Saved {
  Dtype type = Dtype::f32;
  int axis = 0;
  std::vector<Index> sizes;
};

/// Concatenate, and Stack: the same after each input got the new axis.
class JoiningOperation final : public Operation {
 public:
  using Operation::Operation;

  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"inputs"};
    return kNames;
  }

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    const std::vector<OperationOperand> all = operands(in, mode);
    const Shape shape = shape_of(all, mode);
    auto keep = std::make_unique<JoiningSaved>();
    keep->type = type_of(all);
    keep->axis = axis_of(all[0].tensor.rank());
    Tensor y = ctx.tensor(shape, keep->type);
    Index begin = 0;
    for (const OperationOperand& operand : all) {
      const Tensor x = operand.tensor.reshaped(widened_shape(operand.tensor.shape()));
      const Index end = begin + x.dim(keep->axis);
      ops::cast(ctx, x, y.view().slice(keep->axis, begin, end));
      keep->sizes.push_back(end - begin);
      begin = end;
    }
    if (saved != nullptr) *saved = std::move(keep);
    return {Value{std::move(y), {}}};
  }

  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& /*grads*/) const override {
    auto& kept = saved_as<JoiningSaved>(name(), saved);
    if (!ops::is_floating(kept.type) || d_out.empty() || !d_out[0].has_value()) return;
    Index begin = 0;
    for (std::size_t i = 0; i < kept.sizes.size() && i < d_in.size(); ++i) {
      const Index end = begin + kept.sizes[i];
      if (d_in[i].has_value()) {
        ops::add_elements(ctx, d_out[0].slice(kept.axis, begin, end),
                          d_in[i].reshaped(widened_shape(d_in[i].shape())));
      }
      begin = end;
    }
  }

 private:
  bool stacks() const { return class_name() == "Stack"; }
  int axis_of(int rank) const {
    const ConfigValue& axis = config()["axis"];
    const Index fallback = stacks() ? 0 : -1;
    return positive_axis(name(), axis.is_null() ? fallback : axis.as_integer("axis"),
                         rank + (stacks() ? 1 : 0));
  }
  /// With the new axis of Stack.
  Shape widened_shape(const Shape& shape) const {
    if (!stacks()) return shape;
    std::vector<Index> dims(shape.begin(), shape.end());
    dims.insert(dims.begin() + axis_of(shape.rank()), 1);
    return Shape::partial(dims);
  }
  Shape result_shape(std::span<const Shape> operands,
                     const OperationArguments& /*arguments*/) const override {
    if (operands.empty()) detail::throw_shape_error(name(), "inputs", "1 or more", "none");
    std::vector<Shape> shapes;
    for (const Shape& shape : operands) shapes.push_back(widened_shape(shape));
    return joined_shape(name(), shapes, axis_of(operands[0].rank()));
  }
  Dtype result_type_of(std::span<const OperandType> operands) const override {
    return result_type(operands);
  }
};

std::shared_ptr<Layer> make(const OperationClass& self, const ConfigValue& config) {
  return std::make_shared<JoiningOperation>(self, config);
}

constexpr OperationClass kClasses[] = {
    {"keras.src.ops.numpy", "Concatenate", make, 0},
    {"keras.src.ops.numpy", "Stack", make, 0},
};

}  // namespace

std::span<const OperationClass> joining_operations() { return kClasses; }

}  // namespace grouphead::nn
