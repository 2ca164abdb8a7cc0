#pragma once

// Calls of layers as Keras's files hold them: {"args": [...], "kwargs": {...}}.

#include <functional>
#include <string>

#include "graph/graph.h"

namespace grouphead::graph {

/// Whether Keras passes the layer's first operands as one list: merging layers, and the attention
/// layers whose masks are a list too.
bool takes_list(const Layer& layer);

/// An inbound node of the step's layer.
ConfigValue call_to_config(const Graph& graph, const Step& step);
/// [layer, call, output] of the tensor at a place.
ConfigValue history_of(const Graph& graph, Place place);

/// The symbol that a file names by [layer, call, output].
using FindSymbol = std::function<Symbol(const ConfigValue& history)>;

/// Connects the layer as an inbound node says. What `find` throws passes through.
Outputs connect_from_config(const std::shared_ptr<Layer>& layer, const ConfigValue& call,
                            const FindSymbol& find);

}  // namespace grouphead::graph
