#pragma once

#include <mutex>

#include "grouphead/parallel/ring_attention.h"
#include "ops/rope.h"

namespace grouphead::nn {

/// The rotation table of one rule, grown when a call needs more positions, and made anew when the
/// rule depends on the text's length and this one's wants other angles.
///
/// Threads  safe; a call keeps the table that it got
/// Memory   positions (a power of two) * D elements; of a share its own positions alone
class RopeTables {
 public:
  RopeTables(Index head_dim, const RopeConfig& config, Dtype dtype)
      : head_dim_(head_dim), config_(config), dtype_(dtype) {}

  /// A table of at least `positions` positions, for a text of `length`. No allocation unless it has
  /// to grow or to change.
  ops::RopeTable covering(Index positions, Index length);
  /// A table of the positions that a process holds of a text of `length`, in its order. No
  /// allocation for the share and the length of the last call.
  ops::RopeTable of_share(const RingShare& share, Index length);

 private:
  Index angles_of(Index length) const noexcept;

  Index head_dim_;
  RopeConfig config_;
  Dtype dtype_;
  std::mutex mutex_;
  Index positions_ = 0;
  Index length_ = 0;  // that angles_of() gave for the table
  ops::RopeTable table_;
  RingShare share_;  // of the next
  Index share_length_ = 0;
  ops::RopeTable share_table_;
};

}  // namespace grouphead::nn
