#pragma once

#include "grouphead/parallel/communicator.h"

namespace grouphead::nn {

/// The processes that share out the positions of the sequences that layers are called with in this
/// thread: each has the part of them that ring_share() says. Layers that work position by position
/// need not know; attention reads it.
class SequenceScope {
 public:
  /// Null: sequences are whole.
  explicit SequenceScope(Communicator* job) noexcept;
  ~SequenceScope();
  SequenceScope(const SequenceScope&) = delete;
  SequenceScope& operator=(const SequenceScope&) = delete;

 private:
  Communicator* before_;
};

/// That of the innermost scope of this thread; null: sequences are whole.
Communicator* sequence_job() noexcept;

}  // namespace grouphead::nn
