#pragma once

// A graph's forward and backward pass.

#include <functional>

#include "graph/graph.h"

namespace grouphead::graph {

/// Sees each call of a run, those of models inside it too, with its operands and what it made.
using CallObserver =
    std::function<void(const Step& call, std::span<const Value> in, std::span<const Value> out)>;

/// How a run is meant. Without a value `training` is what each call was given, else false, as in
/// Keras's `model(x)`; with one it is that everywhere, as in fit() and predict().
struct RunMode {
  Mode mode{};
  std::optional<bool> training{};
  const CallObserver* observer = nullptr;  ///< may be null
  /// Whether masks stay on what MultiHeadAttention is called with; Keras's layer takes them off.
  bool keeps_masks = false;
};

/// Keeps nothing where `saved` is null: each tensor is released after its last use. `taken` may be
/// null; else it tells which inputs' masks were taken off.
std::vector<Value> run_forward(Context& ctx, std::string_view model, const Graph& graph,
                               std::span<const Value> in, const RunMode& mode,
                               std::unique_ptr<Saved>* saved, std::vector<bool>* taken = nullptr);

/// Walks the calls backwards. Skipped are those that lead to no parameter of `grads` and to no
/// input whose gradient is asked for, and those that nothing comes back to.
void run_backward(Context& ctx, std::string_view model, const Graph& graph, Saved& saved,
                  std::span<const ConstView> d_out, std::span<View> d_in, Grads& grads);

}  // namespace grouphead::graph
