// Operations on each element alone, of one, two or three operands that broadcast.

#include "core/dtype_names.h"
#include "grouphead/layers/activation.h"
#include "nn/layer_checks.h"
#include "nn/operations/operation.h"
#include "ops/activation.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

using ops::Binary;
using ops::Unary;

// Whether gradients flow through a result of this type.
bool has_gradient(Dtype dtype) noexcept { return ops::is_floating(dtype); }

struct OperandsSaved final : Saved {
  Dtype type = Dtype::f32;      // of the result
  std::vector<Tensor> numbers;  // in its arithmetic type; empty where no gradient needs them
};

Shape broadcast_all(std::string_view name, std::span<const Shape> shapes) {
  Shape shape;
  for (const Shape& each : shapes) shape = ops::broadcast_shape(name, shape, each);
  return shape;
}

Tensor as_bool(Context& ctx, const Tensor& x) { return as_type(ctx, x, Dtype::boolean); }

Dtype without_bool(Dtype dtype) noexcept { return dtype == Dtype::boolean ? Dtype::i32 : dtype; }
Dtype floating(Dtype dtype) noexcept { return ops::is_floating(dtype) ? dtype : Dtype::f32; }

/// What all have in common: names of the operands, the result's shape, saving.
class Elementwise : public Operation {
 public:
  Elementwise(const OperationClass& described, const ConfigValue& config, std::size_t num_operands)
      : Operation(described, config), num_operands_(num_operands) {}

  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kOne[] = {"x"};
    static constexpr std::string_view kTwo[] = {"x1", "x2"};
    static constexpr std::string_view kThree[] = {"condition", "x1", "x2"};
    if (num_operands_ == 1) return kOne;
    if (num_operands_ == 2) return kTwo;
    return kThree;
  }

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    const std::vector<OperationOperand> all = operands(in, mode);
    require_count(name(), "number of operands", all.size(), num_operands_, num_operands_);
    const Dtype type = type_of(all);
    auto keep = std::make_unique<OperandsSaved>();
    keep->type = type;
    Tensor y = ctx.tensor(shape_of(all, mode), arithmetic_type(type));
    compute(ctx, all, type, y, keep->numbers);
    if (saved != nullptr) *saved = std::move(keep);
    return {Value{as_type(ctx, y, type), {}}};
  }

  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& /*grads*/) const override {
    auto& kept = saved_as<OperandsSaved>(name(), saved);
    if (!has_gradient(kept.type) || d_out.empty() || !d_out[0].has_value()) return;
    const Dtype arithmetic = arithmetic_type(kept.type);
    const Tensor d_y = gradient_as(ctx, name(), d_out, arithmetic);
    std::vector<GradientTarget> targets;
    std::vector<View> d_operands;
    for (std::size_t i = 0; i < num_operands_; ++i) targets.emplace_back(ctx, d_in, i, arithmetic);
    for (GradientTarget& target : targets) d_operands.push_back(target.view());
    add_gradients(ctx, kept.numbers, d_y, d_operands);
    for (GradientTarget& target : targets) target.finish(ctx);
  }

 protected:
  Shape result_shape(std::span<const Shape> operands,
                     const OperationArguments& /*arguments*/) const override {
    return broadcast_all(name(), operands);
  }
  /// y from the operands; `keep` takes what add_gradients() needs.
  virtual void compute(Context& ctx, std::span<const OperationOperand> all, Dtype type, Tensor& y,
                       std::vector<Tensor>& keep) const = 0;
  virtual void add_gradients(Context& /*ctx*/, std::span<const Tensor> /*kept*/,
                             const Tensor& /*d_y*/, std::span<const View> /*d_operands*/) const {}

 private:
  std::size_t num_operands_;
};

class UnaryOperation final : public Elementwise {
 public:
  UnaryOperation(const OperationClass& described, const ConfigValue& config)
      : Elementwise(described, config, 1) {}

 private:
  Unary function() const { return static_cast<Unary>(kind()); }

  Dtype result_type_of(std::span<const OperandType> operands) const override {
    const Dtype dtype = operands[0].dtype;
    const bool keeps_type = function() == Unary::absolute || function() == Unary::negative;
    const bool takes_floats = function() == Unary::rsqrt || function() == Unary::sigmoid;
    const bool is_refused = (function() == Unary::negative && dtype == Dtype::boolean) ||
                            (takes_floats && !ops::is_floating(dtype));
    if (is_refused) {
      detail::throw_shape_error(name(), "x", takes_floats ? "a floating type" : "numbers",
                                name_of(dtype));
    }
    if (keeps_type) return dtype;
    return function() == Unary::square ? without_bool(dtype) : floating(dtype);
  }

  void compute(Context& ctx, std::span<const OperationOperand> all, Dtype type, Tensor& y,
               std::vector<Tensor>& keep) const override {
    const Tensor x = numbers_as(ctx, all[0].tensor, type);
    if (type == Dtype::boolean) return ops::copy_elements(ctx, x, y);
    ops::unary_forward(ctx, function(), x, y);
    keep.push_back(x);
  }

  void add_gradients(Context& ctx, std::span<const Tensor> kept, const Tensor& d_y,
                     std::span<const View> d_operands) const override {
    if (d_operands[0].has_value()) {
      ops::unary_backward(ctx, function(), kept[0], d_y, d_operands[0]);
    }
  }
};

class BinaryOperation final : public Elementwise {
 public:
  BinaryOperation(const OperationClass& described, const ConfigValue& config)
      : Elementwise(described, config, 2) {}

 private:
  Binary function() const { return static_cast<Binary>(kind()); }
  bool is_sum() const { return function() == Binary::add || function() == Binary::subtract; }

  Dtype result_type_of(std::span<const OperandType> operands) const override {
    const Dtype dtype = result_type(operands);
    switch (function()) {
      case Binary::divide:
        return floating(dtype);
      case Binary::floor_divide:
      case Binary::mod:
      case Binary::power:
        return without_bool(dtype);
      case Binary::subtract:
        if (dtype == Dtype::boolean) {
          detail::throw_shape_error(name(), "operands", "numbers", "bool");
        }
        return dtype;
      default:
        return dtype;
    }
  }

  void compute(Context& ctx, std::span<const OperationOperand> all, Dtype type, Tensor& y,
               std::vector<Tensor>& keep) const override {
    const Tensor a = numbers_as(ctx, all[0].tensor, type);
    const Tensor b = numbers_as(ctx, all[1].tensor, type);
    ops::binary_forward(ctx, function(), a, b, y);
    if (!is_sum()) keep = {a, b};
  }

  void add_gradients(Context& ctx, std::span<const Tensor> kept, const Tensor& d_y,
                     std::span<const View> d_operands) const override {
    const ConstView a = is_sum() ? ConstView() : kept[0].view();
    const ConstView b = is_sum() ? ConstView() : kept[1].view();
    ops::binary_backward(ctx, function(), a, b, d_y, d_operands[0], d_operands[1]);
  }
};

class ComparisonOperation final : public Elementwise {
 public:
  ComparisonOperation(const OperationClass& described, const ConfigValue& config)
      : Elementwise(described, config, 2) {}

 private:
  Dtype result_type_of(std::span<const OperandType> /*operands*/) const override {
    return Dtype::boolean;
  }
  void compute(Context& ctx, std::span<const OperationOperand> all, Dtype /*type*/, Tensor& y,
               std::vector<Tensor>& /*keep*/) const override {
    const Dtype type = result_type(std::array{all[0].type, all[1].type});
    const Tensor a = numbers_as(ctx, all[0].tensor, type);
    const Tensor b = numbers_as(ctx, all[1].tensor, type);
    ops::compare(ctx, static_cast<ops::Comparison>(kind()), a, b, y);
  }
};

class LogicalOperation final : public Elementwise {
 public:
  LogicalOperation(const OperationClass& described, const ConfigValue& config)
      : Elementwise(described, config, described.name == "LogicalNot" ? 1 : 2) {}

 private:
  Dtype result_type_of(std::span<const OperandType> /*operands*/) const override {
    return Dtype::boolean;
  }
  void compute(Context& ctx, std::span<const OperationOperand> all, Dtype /*type*/, Tensor& y,
               std::vector<Tensor>& /*keep*/) const override {
    const Tensor a = as_bool(ctx, all[0].tensor);
    if (all.size() == 1) return ops::invert(ctx, a, y);
    const Tensor b = as_bool(ctx, all[1].tensor);
    ops::combine(ctx, static_cast<ops::Logical>(kind()), a, b, y);
  }
};

class WhereOperation final : public Elementwise {
 public:
  WhereOperation(const OperationClass& described, const ConfigValue& config)
      : Elementwise(described, config, 3) {}

 private:
  Dtype result_type_of(std::span<const OperandType> operands) const override {
    return result_type(operands.subspan(1));
  }
  void compute(Context& ctx, std::span<const OperationOperand> all, Dtype type, Tensor& y,
               std::vector<Tensor>& keep) const override {
    keep = {as_bool(ctx, all[0].tensor)};
    const Tensor a = numbers_as(ctx, all[1].tensor, type);
    const Tensor b = numbers_as(ctx, all[2].tensor, type);
    ops::select(ctx, keep[0], a, b, y);
  }
  void add_gradients(Context& ctx, std::span<const Tensor> kept, const Tensor& d_y,
                     std::span<const View> d_operands) const override {
    const Tensor zero = ctx.zeros(Shape(), d_y.dtype());
    Tensor chosen = ctx.tensor(d_y.shape(), d_y.dtype());
    if (d_operands[1].has_value()) {
      ops::select(ctx, kept[0], d_y, zero, chosen);
      ops::sum_to(ctx, chosen, 1, ops::Write::add, d_operands[1]);
    }
    if (d_operands[2].has_value()) {
      ops::select(ctx, kept[0], zero, d_y, chosen);
      ops::sum_to(ctx, chosen, 1, ops::Write::add, d_operands[2]);
    }
  }
};

/// min(max(x, x_min), x_max).
class ClipOperation final : public Elementwise {
 public:
  ClipOperation(const OperationClass& described, const ConfigValue& given)
      : Elementwise(described, given, 1), low_(bound("x_min")), high_(bound("x_max")) {}

 private:
  OperationOperand bound(std::string_view key) const {
    const double number = config()[key].as_number(key);
    const bool is_integer = config()[key].is_integer();
    return {Tensor::from(Shape(), std::span<const double>(&number, 1)),
            {is_integer ? Dtype::i32 : Dtype::f32, true}};
  }
  Dtype result_type_of(std::span<const OperandType> operands) const override {
    return without_bool(result_type(std::array{operands[0], low_.type, high_.type}));
  }
  void compute(Context& ctx, std::span<const OperationOperand> all, Dtype type, Tensor& y,
               std::vector<Tensor>& keep) const override {
    const Tensor x = numbers_as(ctx, all[0].tensor, type);
    Tensor above = ctx.tensor(x.shape(), x.dtype());
    const Tensor low = numbers_as(ctx, low_.tensor, type);
    const Tensor high = numbers_as(ctx, high_.tensor, type);
    ops::binary_forward(ctx, Binary::maximum, x, low, above);
    ops::binary_forward(ctx, Binary::minimum, above, high, y);
    keep = {x, above};
  }
  void add_gradients(Context& ctx, std::span<const Tensor> kept, const Tensor& d_y,
                     std::span<const View> d_operands) const override {
    if (!d_operands[0].has_value()) return;
    const Dtype type = d_y.dtype();
    Tensor d_above = ctx.zeros(d_y.shape(), type);
    const Tensor low = numbers_as(ctx, low_.tensor, type);
    const Tensor high = numbers_as(ctx, high_.tensor, type);
    ops::binary_backward(ctx, Binary::minimum, kept[1], high, d_y, d_above, {});
    ops::binary_backward(ctx, Binary::maximum, kept[0], low, d_above, d_operands[0], {});
  }

  OperationOperand low_, high_;
};

class ActivationOperation final : public Elementwise {
 public:
  ActivationOperation(const OperationClass& described, const ConfigValue& given)
      : Elementwise(described, given, 1),
        activation_(static_cast<Activation::Kind>(described.kind)) {
    const bool is_approximate =
        config()["approximate"].is_null() || config()["approximate"].as_bool("approximate");
    if (activation_ == Activation::gelu && is_approximate) activation_ = Activation::gelu_tanh;
  }

 private:
  Dtype result_type_of(std::span<const OperandType> operands) const override {
    return floating(operands[0].dtype);
  }
  Shape result_shape(std::span<const Shape> operands,
                     const OperationArguments& /*arguments*/) const override {
    if (activation_ == Activation::softmax && config().contains("axis")) {
      const Index axis = config()["axis"].as_integer("axis");
      if (axis != -1 && axis != operands[0].rank() - 1) {
        detail::throw_shape_error(name(), "axis", "the last one", std::to_string(axis));
      }
    }
    return operands[0];
  }
  void compute(Context& ctx, std::span<const OperationOperand> all, Dtype type, Tensor& y,
               std::vector<Tensor>& keep) const override {
    keep = {numbers_as(ctx, all[0].tensor, type)};
    ops::activation_forward(ctx, activation_, keep[0], y);
  }
  void add_gradients(Context& ctx, std::span<const Tensor> kept, const Tensor& d_y,
                     std::span<const View> d_operands) const override {
    if (!d_operands[0].has_value()) return;
    Tensor d_x = ctx.tensor(d_y.shape(), d_y.dtype());
    ops::activation_backward(ctx, activation_, kept[0], d_y, d_x);
    ops::add_elements(ctx, d_x, d_operands[0]);
  }

  Activation activation_;
};

/// Another type: the config's dtype, or with StopGradient the same and no gradient.
class CastOperation final : public Elementwise {
 public:
  CastOperation(const OperationClass& described, const ConfigValue& given)
      : Elementwise(described, given, 1), passes_gradient_(described.name != "StopGradient") {
    const ConfigValue& dtype = config()["dtype"];
    if (passes_gradient_ && !dtype.is_null()) {
      target_ = detail::dtype_from_keras(dtype.as_string("dtype"));
    }
  }

 private:
  Dtype result_type_of(std::span<const OperandType> operands) const override {
    return target_.value_or(operands[0].dtype);
  }
  void compute(Context& ctx, std::span<const OperationOperand> all, Dtype type, Tensor& y,
               std::vector<Tensor>& /*keep*/) const override {
    const Tensor x = numbers_as(ctx, all[0].tensor, type);
    ops::copy_elements(ctx, x, y);
  }
  void add_gradients(Context& ctx, std::span<const Tensor> /*kept*/, const Tensor& d_y,
                     std::span<const View> d_operands) const override {
    if (passes_gradient_ && d_operands[0].has_value()) {
      ops::add_elements(ctx, d_y, d_operands[0]);
    }
  }

  bool passes_gradient_;
  std::optional<Dtype> target_;
};

/// One number everywhere, its kind: of the operand's shape, and its type unless the config has one.
class FillOperation final : public Elementwise {
 public:
  FillOperation(const OperationClass& described, const ConfigValue& given)
      : Elementwise(described, given, 1) {}

 private:
  Dtype result_type_of(std::span<const OperandType> operands) const override {
    const ConfigValue& dtype = config()["dtype"];
    return dtype.is_null() ? operands[0].dtype : detail::dtype_from_keras(dtype.as_string("dtype"));
  }
  void compute(Context& /*ctx*/, std::span<const OperationOperand> /*all*/, Dtype /*type*/,
               Tensor& y, std::vector<Tensor>& /*keep*/) const override {
    if (y.dtype() == Dtype::f64) return fill<double>(y);
    if (y.dtype() == Dtype::f32) return fill<float>(y);
    if (y.dtype() == Dtype::i64) return fill<std::int64_t>(y);
    if (y.dtype() == Dtype::i32) return fill<std::int32_t>(y);
    if (y.dtype() == Dtype::u8) return fill<std::uint8_t>(y);
    fill<bool>(y);
  }
  template <class T>
  void fill(Tensor& y) const {
    std::fill_n(y.data<T>(), y.size(), static_cast<T>(kind()));
  }
  void add_gradients(Context& /*ctx*/, std::span<const Tensor> /*kept*/, const Tensor& /*d_y*/,
                     std::span<const View> /*d_operands*/) const override {}
};

template <class O>
std::shared_ptr<Layer> make(const OperationClass& self, const ConfigValue& config) {
  return std::make_shared<O>(self, config);
}

constexpr std::string_view kNumpy = "keras.src.ops.numpy";
constexpr std::string_view kNn = "keras.src.ops.nn";
constexpr std::string_view kCore = "keras.src.ops.core";

template <class Kind>
constexpr OperationClass numpy_class(std::string_view name, decltype(OperationClass::make) factory,
                                     Kind kind) {
  return {kNumpy, name, factory, static_cast<int>(kind)};
}

constexpr OperationClass kClasses[] = {
    numpy_class("Absolute", make<UnaryOperation>, Unary::absolute),
    numpy_class("Add", make<BinaryOperation>, Binary::add),
    numpy_class("Clip", make<ClipOperation>, 0),
    numpy_class("Cos", make<UnaryOperation>, Unary::cos),
    numpy_class("Divide", make<BinaryOperation>, Binary::divide),
    numpy_class("Equal", make<ComparisonOperation>, ops::Comparison::equal),
    numpy_class("Exp", make<UnaryOperation>, Unary::exp),
    numpy_class("FloorDivide", make<BinaryOperation>, Binary::floor_divide),
    numpy_class("Greater", make<ComparisonOperation>, ops::Comparison::greater),
    numpy_class("GreaterEqual", make<ComparisonOperation>, ops::Comparison::greater_equal),
    numpy_class("Less", make<ComparisonOperation>, ops::Comparison::less),
    numpy_class("LessEqual", make<ComparisonOperation>, ops::Comparison::less_equal),
    numpy_class("Log", make<UnaryOperation>, Unary::log),
    numpy_class("LogicalAnd", make<LogicalOperation>, ops::Logical::both),
    numpy_class("LogicalNot", make<LogicalOperation>, 0),
    numpy_class("LogicalOr", make<LogicalOperation>, ops::Logical::either),
    numpy_class("LogicalXor", make<LogicalOperation>, ops::Logical::exactly_one),
    numpy_class("Maximum", make<BinaryOperation>, Binary::maximum),
    numpy_class("Minimum", make<BinaryOperation>, Binary::minimum),
    numpy_class("Mod", make<BinaryOperation>, Binary::mod),
    numpy_class("Multiply", make<BinaryOperation>, Binary::multiply),
    numpy_class("Negative", make<UnaryOperation>, Unary::negative),
    numpy_class("NotEqual", make<ComparisonOperation>, ops::Comparison::not_equal),
    numpy_class("Power", make<BinaryOperation>, Binary::power),
    numpy_class("Reciprocal", make<UnaryOperation>, Unary::reciprocal),
    numpy_class("Sin", make<UnaryOperation>, Unary::sin),
    numpy_class("Sqrt", make<UnaryOperation>, Unary::sqrt),
    numpy_class("Square", make<UnaryOperation>, Unary::square),
    numpy_class("Subtract", make<BinaryOperation>, Binary::subtract),
    numpy_class("Tanh", make<UnaryOperation>, Unary::tanh),
    numpy_class("TrueDivide", make<BinaryOperation>, Binary::divide),
    numpy_class("Where", make<WhereOperation>, 0),
    numpy_class("OnesLike", make<FillOperation>, 1),
    numpy_class("ZerosLike", make<FillOperation>, 0),
    {kCore, "Cast", make<CastOperation>, 0},
    {kCore, "ConvertToTensor", make<CastOperation>, 0},
    {kCore, "StopGradient", make<CastOperation>, 0},
    {"keras.src.ops.math", "Rsqrt", make<UnaryOperation>, static_cast<int>(Unary::rsqrt)},
    {kNn, "Gelu", make<ActivationOperation>, Activation::gelu},
    {kNn, "Relu", make<ActivationOperation>, Activation::relu},
    {kNn, "Sigmoid", make<UnaryOperation>, static_cast<int>(Unary::sigmoid)},
    {kNn, "Silu", make<ActivationOperation>, Activation::silu},
    {kNn, "Softmax", make<ActivationOperation>, Activation::softmax},
};

}  // namespace

std::span<const OperationClass> elementwise_operations() { return kClasses; }

}  // namespace grouphead::nn
