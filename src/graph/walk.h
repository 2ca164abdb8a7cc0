#pragma once

// Keras's order of the nodes and layers between inputs and outputs.

#include <map>

#include "graph/node.h"

namespace grouphead::graph {

using SymbolKey = std::pair<const Node*, int>;
inline SymbolKey key_of(const Symbol& symbol) { return {symbol.node().get(), symbol.output()}; }

struct Walk {
  std::vector<std::shared_ptr<const Node>> nodes;  // in the order in which they can run
  std::vector<std::shared_ptr<Layer>> layers;
  /// Whether it is no plain chain of layers, each called once.
  bool has_branches = false;
};

/// From the outputs back to the inputs; each input is a symbol of an input layer. `stand_ins` has
/// symbols that inputs take the place of. Errors: ConfigError for an input layer met on the way
/// that is not among the inputs.
Walk walk_graph(std::string_view model, const std::vector<Symbol>& inputs,
                const std::vector<Symbol>& outputs, const std::map<SymbolKey, Symbol>& stand_ins);

}  // namespace grouphead::graph
