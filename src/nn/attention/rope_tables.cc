#include "nn/attention/rope_tables.h"

#include <algorithm>
#include <bit>

namespace grouphead::nn {

// A length for all that have the angles of this one.
Index RopeTables::angles_of(Index length) const noexcept {
  if (config_.dynamic) return std::max(length, config_.dynamic->max_position);
  if (!config_.longrope) return 0;
  const Index original = config_.longrope->original_max_position;
  return length > original ? original + 1 : original;
}

ops::RopeTable RopeTables::covering(Index positions, Index length) {
  constexpr Index kFirst = 128;
  const Index angles = angles_of(length);
  const std::lock_guard lock(mutex_);
  // Of no positions it has a width, too.
  if (positions > positions_ || positions_ == 0 || angles != length_) {
    positions = std::max(positions, positions_);
    const auto wanted = static_cast<std::uint64_t>(std::max(positions, kFirst));
    const auto grown = static_cast<Index>(std::bit_ceil(wanted));
    table_ = ops::make_rope_table(grown, head_dim_, config_, dtype_, angles);
    positions_ = grown;
    length_ = angles;
  }
  return table_;
}

ops::RopeTable RopeTables::of_share(const RingShare& share, Index length) {
  const std::lock_guard lock(mutex_);
  if (!share_table_.cos.has_value() || share != share_ || length != share_length_) {
    const ops::PositionRange ranges[] = {{share.first, share.first + share.block},
                                         {share.second, share.second + share.block}};
    share_table_ = ops::make_rope_table(ranges, head_dim_, config_, dtype_, angles_of(length));
    share_ = share;
    share_length_ = length;
  }
  return share_table_;
}

}  // namespace grouphead::nn
