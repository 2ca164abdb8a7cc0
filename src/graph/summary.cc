// Keras's table of a model's layers. Source: keras.Model.summary, lines of 76 characters.

#include <array>
#include <cmath>

#include "core/number_text.h"
#include "graph/graph.h"
#include "graph/text_table.h"
#include "grouphead/models/model.h"

namespace grouphead {
namespace {

using graph::Column;
using graph::Graph;
using graph::Step;

constexpr int kLineLength = 76;

std::string with_commas(Index number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string readable_size(double bytes) {
  constexpr std::array<const char*, 6> kUnits = {"B", "KB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
  return core::fixed_text(bytes, 2) + " " + kUnits[unit];
}

std::string shape_text(const Shape& shape) {
  std::string text = "(";
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (axis > 0) text += ", ";
    text += shape[axis] < 0 ? "None" : std::to_string(shape[axis]);
  }
  return text += ")";
}

std::string shapes_text(const std::vector<Shape>& shapes) {
  if (shapes.size() == 1) return shape_text(shapes[0]);
  std::string text = "[";
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (i > 0) text += ", ";
    text += shape_text(shapes[i]);
  }
  return text += "]";
}

// The class as Keras's Python code names it.
std::string type_of(const Layer& layer) {
  if (layer.class_name() == "GroupQueryAttention") return "GroupedQueryAttention";
  return std::string(layer.class_name());
}

std::vector<Shape> last_shapes(const Graph& graph, const Layer& layer) {
  const std::vector<const Step*> calls = graph.calls_of(layer);
  if (!calls.empty()) return calls.back()->node->shapes;
  for (const Symbol& input : graph.inputs()) {
    if (input.node()->layer.get() == &layer) return {input.shape()};
  }
  return {};
}

// Each operand of each call as `layer[call][output]`.
std::string connections(const Graph& graph, const Layer& layer) {
  std::string text;
  for (const Step* call : graph.calls_of(layer)) {
    for (const auto* places : {&call->operands, &call->masks}) {
      for (const graph::Place place : *places) {
        if (place == graph::kNoPlace) continue;
        const Symbol symbol = graph.symbol_at(place);
        if (!symbol.has_value()) continue;  // a constant
        text += (text.empty() ? "" : ", ") + symbol.name() + "[" +
                std::to_string(graph.call_index(symbol)) + "][" + std::to_string(symbol.output()) +
                "]";
      }
    }
  }
  return text.empty() ? "-" : text;
}

// Keras's shares of a line, less the borders: widths are evened out to the line's length.
std::vector<Column> columns_of(bool has_connections) {
  std::vector<Column> columns = {{"Layer (type)"}, {"Output Shape"}, {"Param #", 0, true}};
  std::vector<double> ends = {0.45, 0.80, 1.0};
  if (has_connections) {
    columns.push_back({"Connected to"});
    ends = {0.3, 0.56, 0.74, 1.0};
  }
  const int count = static_cast<int>(columns.size());
  int excess = kLineLength + 2 * count - (kLineLength - count - 1);
  int begin = 0;
  for (int i = 0; i < count; ++i) {
    const int end = static_cast<int>(ends[static_cast<std::size_t>(i)] * kLineLength);
    const int less = static_cast<int>(std::nearbyint(static_cast<double>(excess) / (count - i)));
    columns[static_cast<std::size_t>(i)].width = end - begin - less;
    excess -= less;
    begin = end;
  }
  return columns;
}

struct Total {
  Index count = 0;
  Index bytes = 0;

  std::string text() const {
    return with_commas(count) + " (" + readable_size(static_cast<double>(bytes)) + ")\n";
  }
};

std::string totals(const Layer& model) {
  Total all;
  Total trainable;
  for (const auto& [path, parameter] : model.parameters()) {
    const Index bytes = parameter->shape().size() * size_of(parameter->dtype());
    for (Total* total : {&all, &trainable}) {
      if (total == &trainable && !parameter->trainable()) continue;
      total->count += parameter->shape().size();
      total->bytes += bytes;
    }
  }
  const Total rest{all.count - trainable.count, all.bytes - trainable.bytes};
  return " Total params: " + all.text() + " Trainable params: " + trainable.text() +
         " Non-trainable params: " + rest.text();
}

}  // namespace

std::string Model::summary() const {
  const bool is_sequential = class_name() == "Sequential";
  const bool has_connections = !is_sequential && graph().has_branches();
  std::vector<std::vector<std::string>> rows;
  for (const auto& layer : is_sequential ? layers() : graph().layers()) {
    std::vector<std::string> row = {layer->name() + " (" + type_of(*layer) + ")"};
    if (has_graph()) {
      row.push_back(shapes_text(last_shapes(graph(), *layer)));
      row.push_back(with_commas(count_params(*layer)));
    } else {
      row.insert(row.end(), {"?", "0 (unbuilt)"});
    }
    if (has_connections) row.push_back(connections(graph(), *layer));
    rows.push_back(std::move(row));
  }
  return "Model: \"" + name() + "\"\n" + graph::text_table(columns_of(has_connections), rows) +
         totals(*this);
}

}  // namespace grouphead
