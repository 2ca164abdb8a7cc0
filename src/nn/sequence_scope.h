#pragma once

#include "parallel/job_scope.h"

namespace grouphead::nn {

/// The processes that share out the positions of the sequences that layers are called with in this
/// thread: each has the part of them that ring_share() says. Layers that work position by position
/// need not know; attention reads it.
using SequenceScope = parallel::JobScope<struct SharedSequences>;

}  // namespace grouphead::nn
