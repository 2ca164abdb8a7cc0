// Mean, sum, extremes, any and all over some axes.

#include "ops/reduction.h"

#include "nn/layer_checks.h"
#include "nn/operations/operation.h"
#include "ops/arithmetic.h"
#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

enum class Reduction { all, any, max, mean, min, sum };

struct ReductionSaved final : Saved {
  Dtype type = Dtype::f32;  // of the result
  Shape input, reduced;
  Tensor x, y;  // of the extremes
};

class ReductionOperation final : public Operation {
 public:
  ReductionOperation(const OperationClass& described, const ConfigValue& given)
      : Operation(described, given) {
    if (!config()["initial"].is_null()) {
      detail::throw_config_error(name(), "initial", "null", config()["initial"].to_string());
    }
    keepdims_ = !config()["keepdims"].is_null() && config()["keepdims"].as_bool("keepdims");
  }

  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"x"};
    return kNames;
  }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;

 private:
  Reduction function() const { return static_cast<Reduction>(kind()); }
  bool is_extreme() const { return function() == Reduction::max || function() == Reduction::min; }
  Shape reduced_shape(const Shape& input, bool keeps) const;
  double scale(const Shape& input, const Shape& reduced) const {
    return function() == Reduction::mean
               ? static_cast<double>(reduced.size()) / static_cast<double>(input.size())
               : 1;
  }
  Shape result_shape(std::span<const Shape> operands,
                     const OperationArguments& /*arguments*/) const override {
    return reduced_shape(operands[0], keepdims_);
  }
  Dtype result_type_of(std::span<const OperandType> operands) const override;

  bool keepdims_ = false;
};

Shape ReductionOperation::reduced_shape(const Shape& input, bool keeps) const {
  const std::vector<int> axes = operation_axes(name(), config()["axis"], input.rank());
  std::vector<Index> dims;
  for (int axis = 0; axis < input.rank(); ++axis) {
    const bool is_reduced = std::find(axes.begin(), axes.end(), axis) != axes.end();
    if (!is_reduced) {
      dims.push_back(input[axis]);
    } else if (keeps) {
      dims.push_back(1);
    }
  }
  return Shape::partial(dims);
}

Dtype ReductionOperation::result_type_of(std::span<const OperandType> operands) const {
  const Dtype dtype = operands[0].dtype;
  switch (function()) {
    case Reduction::all:
    case Reduction::any:
      return Dtype::boolean;
    case Reduction::mean:
      return ops::is_floating(dtype) ? dtype : Dtype::f32;
    case Reduction::sum:
      return dtype == Dtype::boolean || dtype == Dtype::u8 ? Dtype::i32 : dtype;
    default:
      return dtype;
  }
}

std::vector<Value> ReductionOperation::forward(Context& ctx, std::span<const Value> in,
                                               const Mode& mode,
                                               std::unique_ptr<Saved>* saved) const {
  const std::vector<OperationOperand> operands = this->operands(in, mode);
  require_count(name(), "number of operands", operands.size(), 1, 1);
  const Dtype type = type_of(operands);
  const Tensor x = numbers_as(ctx, operands[0].tensor, type);
  const Shape reduced = reduced_shape(x.shape(), true);
  Tensor y = ctx.tensor(reduced, x.dtype());
  if (type == Dtype::boolean || is_extreme()) {
    const bool is_max = function() == Reduction::any || function() == Reduction::max;
    ops::extreme_to(ctx, is_max ? ops::Extreme::max : ops::Extreme::min, x, y);
  } else if (ops::is_floating(type)) {
    ops::sum_to(ctx, x, scale(x.shape(), reduced), ops::Write::overwrite, y);
  } else {
    ops::count_to(ctx, x, y);
  }
  if (saved != nullptr) {
    auto keep = std::make_unique<ReductionSaved>();
    keep->type = type;
    keep->input = x.shape();
    keep->reduced = reduced;
    if (is_extreme()) {
      keep->x = x;
      keep->y = y;
    }
    *saved = std::move(keep);
  }
  return {Value{as_type(ctx, y, type).reshaped(reduced_shape(x.shape(), keepdims_)), {}}};
}

void ReductionOperation::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                  std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = saved_as<ReductionSaved>(name(), saved);
  if (!ops::is_floating(kept.type) || d_out.empty() || !d_out[0].has_value()) return;
  const Dtype arithmetic = arithmetic_type(kept.type);
  Tensor d_y = gradient_as(ctx, name(), d_out, arithmetic).reshaped(kept.reduced);
  GradientTarget target(ctx, d_in, 0, arithmetic);
  if (!target.view().has_value()) return;
  if (is_extreme()) {
    ops::add_extreme_gradient(ctx, kept.x, kept.y, d_y, target.view());
  } else {
    ops::scale(ctx, d_y, scale(kept.input, kept.reduced), d_y);
    ops::add_elements(ctx, ops::broadcast_to(name(), d_y, kept.input), target.view());
  }
  target.finish(ctx);
}

std::shared_ptr<Layer> make(const OperationClass& self, const ConfigValue& config) {
  return std::make_shared<ReductionOperation>(self, config);
}

constexpr OperationClass described(std::string_view name, Reduction kind) {
  return {"keras.src.ops.numpy", name, make, static_cast<int>(kind)};
}

constexpr OperationClass kClasses[] = {
    described("All", Reduction::all), described("Any", Reduction::any),
    described("Max", Reduction::max), described("Mean", Reduction::mean),
    described("Min", Reduction::min), described("Sum", Reduction::sum),
};

}  // namespace

std::span<const OperationClass> reduction_operations() { return kClasses; }

}  // namespace grouphead::nn
