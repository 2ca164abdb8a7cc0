#include "nn/operations/operation.h"

#include "core/check.h"
#include "grouphead/layers/serialization.h"
#include "nn/constant_config.h"
#include "nn/layer_checks.h"
#include "nn/operations/modules.h"
#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead {
namespace nn {
namespace {

// "dtype_policy" is ours, Keras's configurations have none.
DtypePolicy policy_from(const ConfigValue& config) {
  const ConfigValue& policy = config["dtype_policy"];
  return policy.is_null() ? DtypePolicy() : DtypePolicy(policy.as_string("dtype_policy"));
}

std::string name_from(const OperationClass& described, const ConfigValue& config) {
  return ConfigReader(described.name, config).name(described.name);
}

OperationOperand literal_operand(const ConfigValue& value, std::string_view name) {
  OperationOperand operand;
  if (is_nested_list(value)) {
    operand.tensor = constant_from_list(value);
    operand.type = {operand.tensor.dtype(), false};
  } else if (value.is_bool()) {
    const bool truth = value.as_bool(name);
    operand.tensor = Tensor::from(Shape(), std::span<const bool>(&truth, 1));
    operand.type = {Dtype::boolean, false};
  } else if (value.is_integer()) {
    const Index number = value.as_integer(name);
    operand.tensor = Tensor::from(Shape(), std::span(&number, 1));
    operand.type = {Dtype::i32, true};
  } else {
    const double number = value.as_number(name);
    operand.tensor = Tensor::from(Shape(), std::span(&number, 1));
    operand.type = {Dtype::f32, true};
  }
  return operand;
}

}  // namespace

Operation::Operation(const OperationClass& described, const ConfigValue& config)
    : Layer(name_from(described, config), policy_from(config)),
      described_(described),
      config_(config) {}

ConfigValue Operation::get_config() const {
  ConfigValue config = ConfigValue::Object{{"name", name()}};
  if (config_.is_null()) return config;
  for (const auto& [key, value] : config_.as_object(described_.name)) {
    if (key != "name") config.set(key, value);
  }
  return config;
}

std::unique_ptr<CallArguments> Operation::arguments_from_config(const ConfigValue& keywords) const {
  auto arguments = std::make_unique<OperationArguments>();
  arguments->given = keywords.is_null() ? ConfigValue(ConfigValue::Object{}) : keywords;
  ConfigValue::List args;
  if (keywords.contains("args")) args = keywords["args"].as_list("args");
  const auto names = input_names();
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool has_name = keywords.contains(names[i]) && !keywords[names[i]].is_null();
    if (!has_name) continue;
    args.resize(std::max(args.size(), i + 1));
    args[i] = keywords[names[i]];
  }
  for (std::size_t i = 0; i < args.size(); ++i) {
    arguments->literals.emplace_back();
    if (args[i].is_null() || !is_operand(i)) continue;
    arguments->literals[i] = literal_operand(args[i], name());
  }
  return arguments;
}

ConfigValue Operation::arguments_config(const CallArguments* arguments) const {
  if (arguments == nullptr) return ConfigValue::Object{};
  return arguments_of(arguments).given;
}

const OperationArguments& Operation::arguments_of(const CallArguments* arguments) {
  static const OperationArguments kNone;
  const auto* own = dynamic_cast<const OperationArguments*>(arguments);
  return own != nullptr ? *own : kNone;
}

std::vector<Shape> Operation::output_shapes(std::span<const Shape> inputs,
                                            const CallArguments* arguments) const {
  const OperationArguments& own = arguments_of(arguments);
  std::vector<Shape> shapes(inputs.begin(), inputs.end());
  for (std::size_t i = 0; i < own.literals.size(); ++i) {
    if (!own.literals[i]) continue;
    if (i >= shapes.size()) shapes.resize(i + 1);
    shapes[i] = own.literals[i]->tensor.shape();
  }
  return {result_shape(shapes, own)};
}

Dtype Operation::output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const {
  const OperationArguments& own = arguments_of(arguments);
  std::vector<OperandType> types;
  for (const Dtype dtype : inputs) types.push_back({dtype, false});
  for (std::size_t i = 0; i < own.literals.size(); ++i) {
    if (!own.literals[i]) continue;
    if (i >= types.size()) types.resize(i + 1);
    types[i] = own.literals[i]->type;
  }
  return result_type_of(types);
}

std::vector<OperationOutput> Operation::outputs_for(std::span<const Shape> shapes,
                                                    std::span<const Dtype> dtypes,
                                                    const CallArguments* arguments) const {
  return {{output_shapes(shapes, arguments).at(0), output_dtype(dtypes, arguments)}};
}

void Operation::create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) {}

void Operation::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

std::vector<OperationOperand> Operation::operands(std::span<const Value> in,
                                                  const Mode& mode) const {
  const OperationArguments& own = arguments_of(mode.arguments);
  std::vector<OperationOperand> all;
  for (std::size_t i = 0; i < std::max(in.size(), own.literals.size()); ++i) {
    if (i < in.size() && in[i].tensor.has_value()) {
      all.push_back({in[i].tensor, {in[i].tensor.dtype(), false}});
    } else if (i < own.literals.size() && own.literals[i]) {
      all.push_back(*own.literals[i]);
    } else if (is_operand(i)) {
      core::throw_shape_error(name(), "operand " + std::to_string(i + 1), "a tensor or a number",
                              "nothing");
    }
  }
  return all;
}

Dtype Operation::type_of(std::span<const OperationOperand> operands) const {
  std::vector<OperandType> types;
  for (const OperationOperand& operand : operands) types.push_back(operand.type);
  return result_type_of(types);
}

Shape Operation::shape_of(std::span<const OperationOperand> operands, const Mode& mode) const {
  std::vector<Shape> shapes;
  for (const OperationOperand& operand : operands) shapes.push_back(operand.tensor.shape());
  return result_shape(shapes, arguments_of(mode.arguments));
}

GradientTarget::GradientTarget(Context& ctx, std::span<View> d_in, std::size_t place, Dtype type) {
  if (place >= d_in.size() || !d_in[place].has_value()) return;
  target_ = d_in[place];
  if (target_.dtype() != type || !target_.is_contiguous()) own_ = ctx.zeros(target_.shape(), type);
}

void GradientTarget::finish(Context& ctx) {
  if (own_.has_value()) ops::add_elements(ctx, own_, target_);
}

Tensor gradient_as(Context& ctx, std::string_view name, std::span<const ConstView> d_out,
                   Dtype type) {
  require_count(name, "number of output gradients", d_out.size(), 1, 1);
  Tensor gradient = ctx.tensor(d_out[0].shape(), type);
  ops::cast(ctx, d_out[0], gradient);
  return gradient;
}

std::vector<int> operation_axes(std::string_view name, const ConfigValue& value, int rank) {
  std::vector<int> axes;
  const auto add = [&](Index axis) {
    if (axis < -rank || axis >= rank) {
      core::throw_shape_error(name, "axis", "one of a tensor of rank " + std::to_string(rank),
                              std::to_string(axis));
    }
    axes.push_back(static_cast<int>(axis < 0 ? axis + rank : axis));
  };
  if (value.is_null()) {
    for (int axis = 0; axis < rank; ++axis) add(axis);
  } else if (value.is_integer()) {
    add(value.as_integer("axis"));
  } else {
    for (const ConfigValue& axis : value.as_list("axis")) add(axis.as_integer("axis"));
  }
  std::sort(axes.begin(), axes.end());
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) {
    core::throw_shape_error(name, "axis", "each axis once", value.to_string());
  }
  return axes;
}

namespace {

// Null: none.
const OperationClass* find_operation(std::string_view module, std::string_view class_name) {
  for (const auto& family :
       {elementwise_operations(), shape_operations(), activation_operations(),
        arranging_operations(), attending_operations(), choosing_operations(),
        crossentropy_operations(), joining_operations(), nan_operations(), numeric_operations(),
        product_operations(), rearranging_operations(), sorting_operations(),
        statistics_operations(), windowing_operations()}) {
    for (const OperationClass& described : family) {
      if ((module.empty() || described.module == module) && described.name == class_name) {
        return &described;
      }
    }
  }
  return nullptr;
}

}  // namespace

std::string_view module_of_operation(std::string_view class_name) {
  constexpr std::string_view kNumpy = "keras.src.ops.numpy";
  if (find_operation(kNumpy, class_name) != nullptr) return kNumpy;
  const OperationClass* other = find_operation({}, class_name);
  return other != nullptr ? other->module : kNumpy;
}

}  // namespace nn

std::shared_ptr<Layer> make_operation(std::string_view module, std::string_view class_name,
                                      const ConfigValue& config) {
  const nn::OperationClass* described = nn::find_operation(module, class_name);
  if (described != nullptr) return described->make(*described, config);
  core::throw_config_error("make_operation", "class_name", "an operation that this library has",
                           std::string(module).append(".").append(class_name));
}

}  // namespace grouphead
