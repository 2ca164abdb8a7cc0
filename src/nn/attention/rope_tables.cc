#include "nn/attention/rope_tables.h"

#include <algorithm>
#include <bit>

namespace grouphead::detail {

ops::RopeTable RopeTables::covering(Index positions) {
  constexpr Index kFirst = 128;
  const std::lock_guard lock(mutex_);
  if (positions > positions_ || positions_ == 0) {  // of no positions it has a width, too
    const auto wanted = static_cast<std::uint64_t>(std::max(positions, kFirst));
    const auto grown = static_cast<Index>(std::bit_ceil(wanted));
    table_ = ops::make_rope_table(grown, head_dim_, config_, dtype_);
    positions_ = grown;
  }
  return table_;
}

}  // namespace grouphead::detail
