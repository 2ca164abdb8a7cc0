#pragma once

#include "graph/graph.h"

namespace grouphead::graph {

struct SavedCall {
  std::unique_ptr<Saved> saved;
  bool adds_losses = false;  // penalties have gradients even where no output has one
};

/// What the backward pass must know of a tensor.
struct SavedTensor {
  Shape shape{};
  bool is_floating = false;
};

struct GraphSaved final : Saved {
  std::vector<SavedCall> calls;      // of the steps
  std::vector<SavedTensor> tensors;  // at their places
};

}  // namespace grouphead::graph
