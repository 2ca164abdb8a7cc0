#pragma once

#include "core/thread_scope.h"
#include "grouphead/parallel/communicator.h"

namespace grouphead::models {

/// Transformer blocks that are made in this thread meanwhile have a part of their key/value heads,
/// of the query heads that belong to them, and of the columns of their feed-forward: this process's
/// share of them. They add up the results of all parts, and so must be called by all processes.
/// What is not shared out is the same in each.
using TensorScope = core::ThreadScope<Communicator, struct SharedTensors>;

}  // namespace grouphead::models
