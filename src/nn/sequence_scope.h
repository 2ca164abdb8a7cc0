#pragma once

#include "core/thread_scope.h"
#include "grouphead/parallel/communicator.h"

namespace grouphead::nn {

/// The processes that share out the positions of the sequences that layers are called with in this
/// thread: each has the part of them that ring_share() says. Layers that work position by position
/// need not know; attention reads it.
using SequenceScope = core::ThreadScope<Communicator, struct SharedSequences>;

}  // namespace grouphead::nn
