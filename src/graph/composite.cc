#include "graph/composite.h"

#include <algorithm>

#include "core/check.h"
#include "core/comma_list.h"
#include "graph/run.h"
#include "nn/layer_checks.h"
#include "ops/convert.h"

namespace grouphead::graph {

/// One way of calling the layer.
struct Composite::Body {
  std::vector<std::size_t> given;  // places of the operands that the graph has as inputs
  std::unique_ptr<Graph> graph;
};

namespace {

struct CompositeSaved final : Saved {
  std::unique_ptr<Saved> inner;
  const Graph* graph = nullptr;
  const std::vector<std::size_t>* given = nullptr;
};

// A call takes sequences of any length, but features of one width.
Shape open_shape(const Shape& shape, bool is_floating) {
  std::vector<Index> dims(static_cast<std::size_t>(shape.rank()), -1);
  if (is_floating && shape.rank() > 1) dims.back() = shape.back();
  return Shape::partial(dims);
}

}  // namespace

Composite::Composite(std::string name, const DtypePolicy& policy, Regularizer activity_regularizer)
    : Layer(std::move(name), policy, std::move(activity_regularizer)) {}

Composite::~Composite() = default;

Operand Composite::Call::operator[](std::size_t i) const {
  return i < operands.size() && operands[i].has_value() ? Operand(operands[i]) : Operand();
}

bool Composite::Call::flag(std::string_view keyword, bool fallback) const {
  const ConfigValue& value = keywords[keyword];
  return value.is_null() ? fallback : value.as_bool(keyword);
}

std::unique_ptr<CallArguments> Composite::arguments_from_config(const ConfigValue& keywords) const {
  if (keywords.is_null()) return nullptr;
  const auto known = keyword_names();
  ConfigValue::Object given;
  for (const auto& [key, value] : keywords.as_object("keywords")) {
    if (value.is_null()) continue;
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      core::throw_config_error(
          name(), "call",
          "keywords among " + core::comma_list(input_names()) + ", " + core::comma_list(known),
          key);
    }
    given.emplace_back(key, value);
  }
  return std::make_unique<CompositeArguments>(std::move(given));
}

ConfigValue Composite::arguments_config(const CallArguments* arguments) const {
  const auto* own = dynamic_cast<const CompositeArguments*>(arguments);
  return own == nullptr ? ConfigValue(ConfigValue::Object{}) : own->keywords;
}

const std::shared_ptr<Layer>& Composite::part(std::string_view name) const {
  return std::find_if(parts_.begin(), parts_.end(),
                      [&](const SubLayer& one) { return one.layer->name() == name; })
      ->layer;
}

std::vector<SubLayer> Composite::sub_layers() const {
  std::vector<SubLayer> listed;
  for (const SubLayer& one : parts_) {
    if (!one.attribute.empty()) listed.push_back(one);
  }
  return listed;
}

void Composite::append_parameters(const std::string& prefix, ParameterList& out) {
  for (const SubLayer& one : parts_) {
    one.layer->append_parameters(one.attribute.empty() ? prefix : prefix + one.layer->name() + "/",
                                 out);
  }
}

void Composite::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(name(), !parts_.empty());
  nn::require_count(name(), "number of inputs", inputs.size(), 1, input_names().size());
  parts_ = make_parts(inputs);
  if (!trainable()) {
    for (const SubLayer& one : parts_) one.layer->set_trainable(false);
  }
  const std::vector<Dtype> dtypes(inputs.size(), Dtype::f32);
  make_body(inputs, dtypes, {})->graph->build(random);
}

std::unique_ptr<Composite::Body> Composite::make_body(std::span<const Shape> shapes,
                                                      std::span<const Dtype> dtypes,
                                                      const ConfigValue& keywords) const {
  auto body = std::make_unique<Body>();
  Call call{.operands = std::vector<Symbol>(shapes.size()), .keywords = keywords};
  std::vector<Symbol> inputs;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (shapes[i].rank() == 0) continue;
    call.operands[i] = input({.shape = {shapes[i].begin() + 1, shapes[i].end()},
                              .dtype = dtypes[i],
                              .name = std::string(input_names()[i])});
    body->given.push_back(i);
    inputs.push_back(call.operands[i]);
  }
  std::vector<Symbol> outputs = connect_parts(call);
  body->graph = std::make_unique<Graph>(name(), std::move(inputs), std::move(outputs));
  return body;
}

const Composite::Body& Composite::body_for(std::span<const Value> in,
                                           const CallArguments* arguments) const {
  nn::require_built(name(), is_built());
  nn::require_count(name(), "number of inputs", in.size(), 1, input_names().size());
  const ConfigValue keywords = arguments_config(arguments);
  std::string form = keywords.to_string();
  std::vector<Shape> shapes(in.size());
  std::vector<Dtype> dtypes(in.size(), Dtype::f32);
  for (std::size_t i = 0; i < in.size(); ++i) {
    const Tensor& tensor = in[i].tensor;
    if (tensor.has_value()) {
      dtypes[i] = tensor.dtype();
      shapes[i] = open_shape(tensor.shape(), ops::is_floating(tensor.dtype()));
      form.append(name_of(dtypes[i]));
    }
    form.append(shapes[i].to_string());
  }
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Body>& body = bodies_[form];
  if (!body) {
    std::unique_ptr<Body> made = make_body(shapes, dtypes, keywords);
    RandomStream unused(0);
    made->graph->build(unused);
    body = std::move(made);
  }
  return *body;
}

std::vector<Value> Composite::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                      std::unique_ptr<Saved>* saved) const {
  const Body& body = body_for(in, mode.arguments);
  std::vector<Value> given;
  for (const std::size_t i : body.given) given.push_back(in[i]);
  std::unique_ptr<CompositeSaved> keep;
  if (saved != nullptr) {
    keep = std::make_unique<CompositeSaved>();
    keep->graph = body.graph.get();
    keep->given = &body.given;
  }
  std::vector<Value> out =
      run_forward(ctx, name(), *body.graph, given, {.mode = mode, .training = mode.training},
                  keep ? &keep->inner : nullptr);
  for (Value& value : out) value.mask.reset();
  if (passes_mask()) out[0].mask = in[0].mask;
  if (saved != nullptr) *saved = std::move(keep);
  return out;
}

void Composite::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                         std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<CompositeSaved>(name(), saved);
  std::vector<View> d_given;
  for (const std::size_t i : *kept.given) d_given.push_back(i < d_in.size() ? d_in[i] : View());
  run_backward(ctx, name(), *kept.graph, *kept.inner, d_out, d_given, grads);
}

}  // namespace grouphead::graph
