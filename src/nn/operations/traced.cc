#include "nn/operations/traced.h"

#include "core/dtype_names.h"
#include "nn/layer_checks.h"
#include "nn/shapes.h"

namespace grouphead::nn {
namespace {

struct TracedSaved final : Saved {
  TracedSaved(const std::string& name, Context* ctx) : trace(name, ctx, true) {}
  Trace trace;
  std::vector<Var> operands;
  std::vector<Var> results;
};

class TracedOperation final : public Operation {
 public:
  TracedOperation(const OperationClass& described, const ConfigValue& config)
      : Operation(described, config), function_(described.function) {
    for (std::string_view rest = described.operands; !rest.empty();) {
      const std::size_t end = std::min(rest.find(','), rest.size());
      std::string_view operand = rest.substr(0, end);
      is_argument_.push_back(operand.ends_with('!'));
      takes_many_ = operand.ends_with('*');
      if (is_argument_.back() || takes_many_) operand.remove_suffix(1);
      names_.push_back(operand);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }

  std::span<const std::string_view> input_names() const override { return names_; }

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    auto keep = std::make_unique<TracedSaved>(name(), &ctx);
    Trace local(name(), &ctx, false);
    Trace& trace = saved != nullptr ? keep->trace : local;
    const OperationArguments& arguments = arguments_of(mode.arguments);
    for (std::size_t i = 0; i < std::max(in.size(), arguments.literals.size()); ++i) {
      const bool is_given = i < in.size() && in[i].tensor.has_value();
      keep->operands.push_back(is_given ? trace.given(in[i].tensor, {in[i].tensor.dtype(), false})
                                        : literal_at(trace, arguments, i));
    }
    keep->results = run(trace, keep->operands, arguments);
    std::vector<Value> out;
    for (const Var& result : keep->results) {
      out.push_back({as_type(ctx, result.value(), result.dtype()), {}});
    }
    if (saved != nullptr) {
      trace.finish();
      *saved = std::move(keep);
    }
    return out;
  }

  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& /*grads*/) const override {
    auto& kept = saved_as<TracedSaved>(name(), saved);
    kept.trace.backward(ctx, kept.results, d_out, kept.operands, d_in);
  }

  std::vector<OperationOutput> outputs_for(std::span<const Shape> shapes,
                                           std::span<const Dtype> dtypes,
                                           const CallArguments* given) const override {
    Trace trace(name(), nullptr, false);
    const OperationArguments& arguments = arguments_of(given);
    std::vector<Var> operands;
    for (std::size_t i = 0; i < std::max(shapes.size(), arguments.literals.size()); ++i) {
      const bool is_literal = i < arguments.literals.size() && arguments.literals[i].has_value();
      const bool is_absent = i >= shapes.size() || (shapes[i].rank() == 0 && is_optional(i));
      operands.push_back(is_literal || is_absent
                             ? literal_at(trace, arguments, i)
                             : trace.given(shapes[i], OperandType{dtypes[i], false}));
    }
    std::vector<OperationOutput> outputs;
    for (const Var& result : run(trace, operands, arguments)) {
      outputs.push_back({result.shape(), result.dtype()});
    }
    return outputs;
  }

  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override {
    const std::vector<Dtype> dtypes(inputs.size(), Dtype::f32);
    std::vector<Shape> shapes;
    for (const OperationOutput& output : outputs_for(inputs, dtypes, arguments)) {
      shapes.push_back(output.shape);
    }
    return shapes;
  }

 private:
  bool is_operand(std::size_t place) const override {
    return place >= is_argument_.size() || !is_argument_[place];
  }
  // An absent operand has the shape [], which those behind the first never need.
  bool is_optional(std::size_t place) const { return place > 0 && names_.size() > 2; }

  static Var literal_at(Trace& trace, const OperationArguments& arguments, std::size_t place) {
    if (place >= arguments.literals.size() || !arguments.literals[place]) return {};
    return trace.given(arguments.literals[place]->tensor, arguments.literals[place]->type);
  }

  std::vector<Var> run(Trace& trace, const std::vector<Var>& operands,
                       const OperationArguments& arguments) const {
    if (!takes_many_) {
      require_count(name(), "number of operands", operands.size(), 1, names_.size());
    } else if (operands.empty()) {
      core::throw_shape_error(name(), names_[0], "1 or more", "none");
    }
    TracedCall call{trace, config(), operands, arguments, names_};
    return function_(call);
  }

  Shape result_shape(std::span<const Shape> operands,
                     const OperationArguments& arguments) const override {
    return output_shapes(operands, &arguments).at(0);
  }
  Dtype result_type_of(std::span<const OperandType> /*operands*/) const override {
    core::throw_config_error(name(), "output_dtype", "a question that names shapes too",
                             "types alone");
  }

  TracedFunction function_;
  std::vector<std::string_view> names_;
  std::vector<bool> is_argument_;
  bool takes_many_ = false;
};

}  // namespace

std::shared_ptr<Layer> make_traced(const OperationClass& self, const ConfigValue& config) {
  return std::make_shared<TracedOperation>(self, config);
}

Var TracedCall::operator[](std::size_t place) const {
  if (has(place)) return operands[place];
  const std::string_view operand = place < names.size() ? names[place] : names.back();
  core::throw_shape_error(name(), operand, "a tensor or a number", "nothing");
}

const ConfigValue& TracedCall::literal(std::size_t place) const {
  static const ConfigValue kNone;
  const ConfigValue& args = arguments.given["args"];
  if (args.is_list() && place < args.as_list("args").size()) return args.as_list("args")[place];
  return place < names.size() && arguments.given.is_object() ? arguments.given[names[place]]
                                                             : kNone;
}

Index TracedCall::integer(std::string_view key, Index fallback) const {
  return config[key].is_null() ? fallback : config[key].as_integer(key);
}

double TracedCall::number(std::string_view key, double fallback) const {
  return config[key].is_null() ? fallback : config[key].as_number(key);
}

bool TracedCall::truth(std::string_view key) const {
  return !config[key].is_null() && config[key].as_bool(key);
}

int TracedCall::axis(int rank, Index fallback) const {
  return positive_axis(name(), integer("axis", fallback), rank);
}

steps::Axes TracedCall::axes(int rank, std::string_view key) const {
  return operation_axes(name(), config[key], rank);
}

std::vector<Index> TracedCall::integers(std::string_view key) const {
  const ConfigValue& value = config[key];
  if (value.is_integer()) return {value.as_integer(key)};
  std::vector<Index> list;
  for (const ConfigValue& one : value.as_list(key)) list.push_back(one.as_integer(key));
  return list;
}

void TracedCall::refuse(std::string_view key, std::string_view expected) const {
  core::throw_config_error(name(), key, expected, config[key].to_string());
}

Dtype TracedCall::dtype(Dtype fallback) const {
  const ConfigValue& dtype = config["dtype"];
  return dtype.is_null() ? fallback : core::dtype_from_keras(dtype.as_string("dtype"));
}

}  // namespace grouphead::nn
