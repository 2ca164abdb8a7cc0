#pragma once

// How a batch is cut, and in which order sums over its parts are added.

#include <utility>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::parallel {

/// Samples [begin, end) of a batch.
struct BatchBlock {
  Index number = 0;
  Index begin = 0;
  Index end = 0;
};

/// Block b of K of a batch of n samples is [b n / K, (b + 1) n / K), rounded down; process r of N
/// has the blocks [r K / N, (r + 1) K / N). Blocks without samples are left out. So what a block is
/// does not depend on the number of processes.
std::vector<BatchBlock> blocks_of(Index samples, Index blocks, int rank, int size);

/// The blocks that a run of several processes has where nobody says: the largest power of two up to
/// 8 that divides the batch.
Index default_blocks(Index batch) noexcept;

/// A sum over the blocks of a batch as a tree of pairs: 0 + 1, 2 + 3, then (0 + 1) + (2 + 3), ...
/// A part that has no partner, at the end or beside a missing block, is added at the very end, from
/// right to left. Whoever adds which part, the additions are the same, and so are the bits.
class TreeSum {
 public:
  struct Part {
    Index first = 0;  // of 2^level blocks
    int level = 0;
    Tensor sum{};
  };

  /// Adds scale * values, of block `number`; blocks come in ascending order.
  void add(Index number, double scale, ConstView values);
  /// Adds what is a sum already; parts come in ascending order.
  void add(Part part);
  const std::vector<Part>& parts() const noexcept { return parts_; }
  std::vector<Part> take_parts() { return std::exchange(parts_, {}); }
  /// The whole sum, into `out`; zero for no parts. Forgets the parts.
  void finish(View out);
  /// Forgets the parts, and keeps their memory for the next ones.
  void clear();
  /// Uninitialised elements, of those kept where there are some.
  Tensor memory(const Shape& shape, Dtype dtype);

 private:
  bool merge();

  std::vector<Part> parts_;
  std::vector<Tensor> spare_;
};

/// The parts that a TreeSum has after these blocks, without their sums.
std::vector<TreeSum::Part> parts_of(const std::vector<BatchBlock>& blocks);

}  // namespace grouphead::parallel
