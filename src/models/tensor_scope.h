#pragma once

#include <map>
#include <memory>
#include <optional>

#include "core/thread_scope.h"
#include "grouphead/layers/layer.h"
#include "grouphead/parallel/communicator.h"

namespace grouphead::models {

/// The processes that share out tensors of a model, and what this one has parts of.
struct TensorParts {
  std::shared_ptr<Communicator> job{};
  std::map<const Parameter*, Shape> wholes{};  ///< by this process's part
};

/// Transformer blocks that are made in this thread meanwhile have a part of their key/value heads,
/// of the query heads that belong to them, and of the columns of their feed-forward: this process's
/// share of them, with the numbers that a whole block draws. They add up the results of all parts,
/// and so must be called by all processes. What is not shared out is the same in each. Blocks of a
/// TransformerModel wait for take_parts().
using TensorScope = core::ThreadScope<TensorParts, struct SharedTensors>;

/// The axis along which a tensor is shared out; none where each process has it whole.
inline std::optional<int> shared_axis(const Shape& part, const Shape& whole) {
  for (int axis = 0; axis < whole.rank(); ++axis) {
    if (part[axis] != whole[axis]) return axis;
  }
  return {};
}

/// What process `rank` has of a tensor, of which each has a part of this shape.
template <class V>
V part_of(const V& whole, const Shape& part, int rank) {
  const std::optional<int> axis = shared_axis(part, whole.shape());
  return axis ? whole.slice(*axis, rank * part[*axis], (rank + 1) * part[*axis]) : whole;
}

/// Makes `part`'s parameters this process's parts of those of `whole`, in their order, and notes
/// the latter's shapes.
inline void take_parts(TensorParts& parts, const ConstParameterList& whole,
                       const ParameterList& part) {
  for (std::size_t i = 0; i < part.size(); ++i) {
    const Parameter& from = *whole[i].parameter;
    const View to = part[i].parameter->edit();
    copy(part_of(from.value(), to.shape(), parts.job->rank()), to);
    if (to.shape() != from.shape()) parts.wholes.emplace(part[i].parameter, from.shape());
  }
}

}  // namespace grouphead::models
