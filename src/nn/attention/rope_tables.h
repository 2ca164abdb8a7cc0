#pragma once

#include <mutex>

#include "ops/rope.h"

namespace grouphead::nn {

/// The rotation table of one rule, grown when a call needs more positions, and made anew when the
/// rule depends on the text's length and this one's wants other angles.
///
/// Threads  safe; a call keeps the table that it got
/// Memory   positions (a power of two) * D elements
class RopeTables {
 public:
  RopeTables(Index head_dim, const RopeConfig& config, Dtype dtype)
      : head_dim_(head_dim), config_(config), dtype_(dtype) {}

  /// A table of at least `positions` positions, for a text of `length`. No allocation unless it has
  /// to grow or to change.
  ops::RopeTable covering(Index positions, Index length);

 private:
  Index angles_of(Index length) const noexcept;

  Index head_dim_;
  RopeConfig config_;
  Dtype dtype_;
  std::mutex mutex_;
  Index positions_ = 0;
  Index length_ = 0;  // that angles_of() gave for the table
  ops::RopeTable table_;
};

}  // namespace grouphead::nn
