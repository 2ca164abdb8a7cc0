#pragma once

// The operations that Keras writes between the layers of a functional model (`ids != 0`, `x + 1`).
// An operation has no parameters, casts nothing on its way in or out, passes no mask on, and takes
// literals as operands. Each family has a file; operation.cc lists them.

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "grouphead/core/config_value.h"
#include "grouphead/layers/layer.h"
#include "nn/config_reader.h"
#include "nn/operations/promotion.h"

namespace grouphead::nn {

/// An operand: a tensor of the call, or a literal of the program.
struct OperationOperand {
  Tensor tensor;
  OperandType type;
};

/// What a call says besides tensors, by position.
struct OperationArguments final : CallArguments {
  ConfigValue given;  ///< {"args": [null for a tensor, else the literal], ...}
  std::vector<std::optional<OperationOperand>> literals;
};

struct TracedCall;
class Var;

/// One class of Keras's module.
struct OperationClass {
  std::string_view module;
  std::string_view name;
  std::shared_ptr<Layer> (*make)(const OperationClass& self, const ConfigValue& config);
  int kind = 0;  ///< of the family's enumeration
  // Of traced operations: names of the operands ("x,indices"; "key!" is no tensor, "xs*" any
  // number of them), and what it is.
  std::string_view operands{};
  std::vector<Var> (*function)(TracedCall& call) = nullptr;
};

/// What is known of a result before it is computed.
struct OperationOutput {
  Shape shape;
  Dtype dtype = Dtype::f32;
};

class Operation : public Layer {
 public:
  Operation(const OperationClass& described, const ConfigValue& config);
  std::string_view class_name() const override { return described_.name; }
  std::string_view module() const override { return described_.module; }
  ConfigValue get_config() const override;
  std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const override;
  ConfigValue arguments_config(const CallArguments* arguments) const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  /// Shapes and types of the results for operands of these, whose sizes may be unknown.
  virtual std::vector<OperationOutput> outputs_for(std::span<const Shape> shapes,
                                                   std::span<const Dtype> dtypes,
                                                   const CallArguments* arguments) const;

 protected:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor received(Context& /*ctx*/, const Tensor& tensor) const override { return tensor; }
  Tensor leaving(Context& /*ctx*/, Tensor tensor) const override { return tensor; }

  virtual Shape result_shape(std::span<const Shape> operands,
                             const OperationArguments& arguments) const = 0;
  virtual Dtype result_type_of(std::span<const OperandType> operands) const = 0;
  /// Whether a literal at this place is an operand, not an argument such as an index.
  virtual bool is_operand(std::size_t /*place*/) const { return true; }

  /// Tensors and literals in their places. Errors: ShapeError for a place without either.
  std::vector<OperationOperand> operands(std::span<const Value> in, const Mode& mode) const;
  static const OperationArguments& arguments_of(const CallArguments* arguments);
  Dtype type_of(std::span<const OperationOperand> operands) const;
  Shape shape_of(std::span<const OperationOperand> operands, const Mode& mode) const;
  const ConfigValue& config() const noexcept { return config_; }
  int kind() const noexcept { return described_.kind; }

 private:
  const OperationClass& described_;
  ConfigValue config_;
};

/// Where a gradient of type `type` is added that `d_in` may hold in another: d_in itself, or
/// zeros that add_to() brings there. Absent where place is beyond d_in or nobody asks.
class GradientTarget {
 public:
  GradientTarget(Context& ctx, std::span<View> d_in, std::size_t place, Dtype type);
  View view() noexcept { return own_.has_value() ? own_.view() : target_; }
  /// Adds what was gathered apart.
  void finish(Context& ctx);

 private:
  View target_;
  Tensor own_;
};

/// d_out[0] in `type`. Errors: ShapeError for another number of gradients.
Tensor gradient_as(Context& ctx, std::string_view name, std::span<const ConstView> d_out,
                   Dtype type);

/// Axes of a configuration (an integer or a list), counted from the front, ascending; all of them
/// for null.
std::vector<int> operation_axes(std::string_view name, const ConfigValue& value, int rank);

// The classes of each family.
std::span<const OperationClass> elementwise_operations();
std::span<const OperationClass> shape_operations();
// Those of steps (traced.h).
std::span<const OperationClass> activation_operations();
std::span<const OperationClass> arranging_operations();
std::span<const OperationClass> attending_operations();
std::span<const OperationClass> choosing_operations();
std::span<const OperationClass> crossentropy_operations();
std::span<const OperationClass> joining_operations();
std::span<const OperationClass> nan_operations();
std::span<const OperationClass> numeric_operations();
std::span<const OperationClass> product_operations();
std::span<const OperationClass> rearranging_operations();
std::span<const OperationClass> sorting_operations();
std::span<const OperationClass> statistics_operations();
std::span<const OperationClass> windowing_operations();

}  // namespace grouphead::nn
