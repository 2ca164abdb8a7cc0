#include "grouphead/models/symbol.h"

#include <algorithm>
#include <atomic>

#include "core/check.h"
#include "graph/node.h"
#include "grouphead/layers/lookup.h"
#include "grouphead/models/model.h"
#include "nn/operations/operation.h"

namespace grouphead {
namespace {

using core::throw_config_error;
using graph::Node;

Shape shape_of(const Operand& operand) {
  if (operand.symbol() != nullptr) return operand.symbol()->shape();
  return operand.constant() != nullptr ? operand.constant()->shape() : Shape();
}

Dtype dtype_of(const Operand& operand) {
  if (operand.symbol() != nullptr) return operand.symbol()->dtype();
  return operand.constant() != nullptr ? operand.constant()->dtype() : Dtype::f32;
}

// The place of an operand's name in the layer's; -1 when it is none of them.
int place_of(std::span<const std::string_view> names, std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? -1 : static_cast<int>(found - names.begin());
}

void put(std::vector<Operand>& list, int place, const Operand& operand) {
  const auto i = static_cast<std::size_t>(place);
  if (list.size() <= i) list.resize(i + 1);
  list[i] = operand;
}

// An operand by keyword. A mask for which the layer has no operand is attached to the tensor it
// belongs to, as if the layer before had made it.
void add_operand(Node& node, const std::string& name, const Operand& operand) {
  const auto names = node.layer->input_names();
  const int place = place_of(names, name);
  if (place >= 0) return put(node.operands, place, operand);
  constexpr std::string_view kSuffix = "_mask";
  const bool is_mask = name == "mask" || name.ends_with(kSuffix);
  const int masked =
      name == "mask" ? 0
                     : place_of(names, std::string_view(name).substr(
                                           0, name.size() - std::min(name.size(), kSuffix.size())));
  if (is_mask && masked >= 0) return put(node.masks, masked, operand);
  if (!operand.has_value()) return;
  core::throw_config_error(node.layer->name(), "call",
                           "an operand of " + std::string(node.layer->class_name()), name);
}

void add_keywords(Node& node, const Keywords& keywords) {
  ConfigValue::Object settings;
  for (const Keywords::Entry& entry : keywords.entries()) {
    if (!entry.setting) {
      add_operand(node, entry.name, entry.operand);
      continue;
    }
    const ConfigValue& setting = *entry.setting;
    const bool is_operand =
        place_of(node.layer->input_names(), entry.name) >= 0 || entry.name == "mask";
    if (entry.name == "training") {
      if (!setting.is_null()) node.training = setting.as_bool("training");
    } else if (!(setting.is_null() && is_operand)) {
      settings.emplace_back(entry.name, setting);
    }
  }
  if (!settings.empty()) node.arguments = node.layer->arguments_from_config(settings);
}

void require_operands(const Node& node) {
  const auto names = node.layer->input_names();
  const bool takes_a_list = names.size() == 1;
  if (!takes_a_list && node.operands.size() > names.size()) {
    core::throw_config_error(node.layer->name(), "call",
                             std::to_string(names.size()) + " operands or less",
                             std::to_string(node.operands.size()));
  }
  const auto is_symbol = [](const Operand& operand) { return operand.symbol() != nullptr; };
  if (std::none_of(node.operands.begin(), node.operands.end(), is_symbol)) {
    core::throw_config_error(node.layer->name(), "call", "a symbol among the operands", "none");
  }
}

void infer_outputs(Node& node) {
  std::vector<Dtype> dtypes;
  for (const Operand& operand : node.operands) dtypes.push_back(dtype_of(operand));
  const auto* operation = dynamic_cast<const nn::Operation*>(node.layer.get());
  if (operation != nullptr) {
    for (const nn::OperationOutput& output :
         operation->outputs_for(operand_shapes(node), dtypes, node.arguments.get())) {
      node.shapes.push_back(output.shape);
      node.dtypes.push_back(output.dtype);
    }
    return;
  }
  if (auto* reads = dynamic_cast<detail::ReadsTypes*>(node.layer.get())) {
    reads->read_types(dtypes);
  }
  node.shapes = node.layer->output_shapes(operand_shapes(node), node.arguments.get());
  const auto* model = dynamic_cast<const Model*>(node.layer.get());
  if (model != nullptr && model->has_graph()) {
    for (const Symbol& output : model->outputs()) node.dtypes.push_back(output.dtype());
    return;
  }
  node.dtypes.assign(node.shapes.size(), node.layer->output_dtype(dtypes, node.arguments.get()));
}

}  // namespace

namespace graph {

std::uint64_t next_call_order() noexcept {
  static std::atomic<std::uint64_t> calls{0};
  return ++calls;
}

std::vector<Shape> operand_shapes(const Node& node) {
  std::vector<Shape> shapes;
  for (const Operand& operand : node.operands) shapes.push_back(shape_of(operand));
  return shapes;
}

bool is_operation(const Layer& layer) { return layer.module().starts_with("keras.src.ops."); }

bool attends(const Layer& layer) {
  const auto names = layer.input_names();
  return names.size() > 1 && names[0] == "query" && names[1] == "value";
}

}  // namespace graph

Symbol::Symbol(std::shared_ptr<const Node> node, int output)
    : node_(std::move(node)), output_(output) {}

const Shape& Symbol::shape() const { return node_->shapes[static_cast<std::size_t>(output_)]; }

Dtype Symbol::dtype() const { return node_->dtypes[static_cast<std::size_t>(output_)]; }

const std::string& Symbol::name() const { return node_->layer->name(); }

Operand::Operand(Symbol symbol) : symbol_(std::move(symbol)) {}
Operand::Operand(Tensor constant) : constant_(std::make_shared<Tensor>(std::move(constant))) {}
Operand::Operand(const Outputs& one) : symbol_(one) {}

Keywords::Entry::Entry(std::string key, Symbol symbol)
    : name(std::move(key)), operand(std::move(symbol)) {}
Keywords::Entry::Entry(std::string key, Tensor constant)
    : name(std::move(key)), operand(std::move(constant)) {}
Keywords::Entry::Entry(std::string key, Operand value)
    : name(std::move(key)), operand(std::move(value)) {}
Keywords::Entry::Entry(std::string key, ConfigValue value)
    : name(std::move(key)), setting(std::move(value)) {}

Operands::Operands(const Outputs& one) : list_{one} {}

Outputs::operator Symbol() const {
  if (symbols_.size() != 1) {
    core::throw_config_error(symbols_.empty() ? "layer" : symbols_[0].name(), "outputs",
                             "one, or a choice among them", std::to_string(symbols_.size()));
  }
  return symbols_[0];
}

Outputs connect(const std::shared_ptr<Layer>& layer, const Operands& operands,
                const Keywords& keywords) {
  auto node = std::make_shared<Node>();
  node->layer = layer;
  node->operands = operands.list();
  add_keywords(*node, keywords);
  while (!node->operands.empty() && !node->operands.back().has_value()) node->operands.pop_back();
  if (graph::attends(*layer) && node->operands.size() == 1) {
    node->operands.push_back(node->operands[0]);
  }
  require_operands(*node);
  infer_outputs(*node);
  node->order = graph::next_call_order();
  std::vector<Symbol> symbols;
  for (std::size_t i = 0; i < node->shapes.size(); ++i) {
    symbols.emplace_back(node, static_cast<int>(i));
  }
  return Outputs(std::move(symbols));
}

}  // namespace grouphead
