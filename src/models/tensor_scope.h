#pragma once

#include "grouphead/parallel/communicator.h"

namespace grouphead::models {

/// Transformer blocks that are made in this thread meanwhile have a part of their key/value heads,
/// of the query heads that belong to them, and of the columns of their feed-forward: this process's
/// share of them. They add up the results of all parts, and so must be called by all processes.
/// What is not shared out is the same in each.
class TensorScope {
 public:
  /// `job` lives as long as the blocks. Null: blocks are whole.
  explicit TensorScope(Communicator* job) noexcept;
  ~TensorScope();
  TensorScope(const TensorScope&) = delete;
  TensorScope& operator=(const TensorScope&) = delete;

 private:
  Communicator* before_;
};

/// That of the innermost scope of this thread; null: blocks are whole.
Communicator* tensor_job() noexcept;

}  // namespace grouphead::models
