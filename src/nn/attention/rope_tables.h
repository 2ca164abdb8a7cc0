#pragma once

#include <mutex>

#include "ops/rope.h"

namespace grouphead::detail {

/// The rotation table of one rule, grown when a call needs more positions.
///
/// Threads  safe; a call keeps the table that it got
/// Memory   positions (a power of two) * D elements
class RopeTables {
 public:
  RopeTables(Index head_dim, const RopeConfig& config, Dtype dtype)
      : head_dim_(head_dim), config_(config), dtype_(dtype) {}

  /// A table of at least `positions` positions. No allocation unless it has to grow.
  ops::RopeTable covering(Index positions);

 private:
  Index head_dim_;
  RopeConfig config_;
  Dtype dtype_;
  std::mutex mutex_;
  Index positions_ = 0;
  ops::RopeTable table_;
};

}  // namespace grouphead::detail
