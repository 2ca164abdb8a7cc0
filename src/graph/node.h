#pragma once

// One call of a layer on symbols: a node of the graphs that contain it.

#include <optional>

#include "grouphead/models/symbol.h"

namespace grouphead::graph {

struct Node {
  std::shared_ptr<Layer> layer;
  std::vector<Operand> operands;  // in the order of layer->input_names(), the last ones may lack
  std::vector<Operand> masks;     // those given for operands of a layer that has no names for them
  std::unique_ptr<CallArguments> arguments;  // null: none were given
  std::optional<bool> training;              // as given in the call
  std::vector<Shape> shapes;                 // of the outputs
  std::vector<Dtype> dtypes;
  std::uint64_t order = 0;  // nodes are numbered in the order of the calls
};

/// Ascending; numbers are only compared: which of two calls came first.
std::uint64_t next_call_order() noexcept;

/// The shapes of a node's operands; [] for an absent one.
std::vector<Shape> operand_shapes(const Node& node);

/// Whether the layer attends: its first operands are query and value.
bool attends(const Layer& layer);

/// Whether it is one of the operations that Keras writes between layers.
bool is_operation(const Layer& layer);

}  // namespace grouphead::graph
