#pragma once

// Which blocks of queries and keys of a sequence meet, and how.

#include <array>
#include <optional>
#include <vector>

#include "grouphead/attention.h"

namespace grouphead::parallel {

/// One call of attention(): rows of a block of queries against rows of a block of keys.
struct RingCall {
  Index first_query = 0, end_query = 0;  // within their blocks
  Index first_key = 0, end_key = 0;
  AttentionOptions options{};
  Tensor segments{};  // that the options view

  Index queries() const noexcept { return end_query - first_query; }
};

/// A sequence in 2 N blocks.
class RingPlan {
 public:
  /// `q` [B, 2 block, Hq, D] are the queries of one process; the options count positions of the
  /// whole sequence, and live as long as this.
  RingPlan(const AttentionOptions& options, const ConstView& q, Index block, int size);

  Index block() const noexcept { return block_; }
  /// The blocks of a process.
  std::array<Index, 2> blocks_of(int rank) const noexcept {
    return {rank, 2 * Index{size_} - 1 - rank};
  }
  /// How the queries of one block meet the keys of another; nothing where they do not see any.
  std::optional<RingCall> call(Index queries, Index keys) const;
  /// Which of the blocks of process `keys` process `queries` sees anything of.
  std::array<bool, 2> seen(int queries, int keys) const;

 private:
  bool sees(const RingCall& call) const noexcept;
  RingCall within_block(Index block) const;
  std::optional<RingCall> within_sequence(Index queries, Index keys) const;

  const AttentionOptions& options_;
  std::vector<Index> bounds_ = {0};  // where the sequences begin and end
  Index block_;
  int size_;
};

}  // namespace grouphead::parallel
