#include <gtest/gtest.h>

#include "grouphead/core/random.h"
#include "parallel/batch_blocks.h"
#include "parallel/owners.h"
#include "support.h"

namespace grouphead::parallel {
namespace {

using testing_support::same_bits;

Tensor block_values(Index number) { return random_normal({7}, static_cast<std::uint64_t>(number)); }

/// As `size` processes add up the blocks of a batch.
Tensor sum_of(Index samples, Index blocks, int size) {
  TreeSum total;
  for (int rank = 0; rank < size; ++rank) {
    const std::vector<BatchBlock> own = blocks_of(samples, blocks, rank, size);
    TreeSum sum;
    for (const BatchBlock& block : own) sum.add(block.number, 0.3, block_values(block.number));
    const std::vector<TreeSum::Part> places = parts_of(own);
    EXPECT_EQ(places.size(), sum.parts().size());
    for (std::size_t i = 0; i < places.size(); ++i) {
      EXPECT_EQ(places[i].first, sum.parts()[i].first);
      EXPECT_EQ(places[i].level, sum.parts()[i].level);
    }
    for (TreeSum::Part& part : sum.take_parts()) total.add(std::move(part));
  }
  Tensor out({7});
  total.finish(out);
  return out;
}

TEST(BatchBlocks, AreTheSameForAnyNumberOfProcesses) {
  for (const Index samples : {1, 5, 8, 16, 17}) {
    for (const Index blocks : {1, 2, 3, 8, 12}) {
      const std::vector<BatchBlock> whole = blocks_of(samples, blocks, 0, 1);
      for (int size = 1; size <= blocks; ++size) {
        std::vector<BatchBlock> all;
        for (int rank = 0; rank < size; ++rank) {
          const auto own = blocks_of(samples, blocks, rank, size);
          all.insert(all.end(), own.begin(), own.end());
        }
        ASSERT_EQ(all.size(), whole.size());
        Index covered = 0;
        for (std::size_t i = 0; i < all.size(); ++i) {
          EXPECT_EQ(all[i].number, whole[i].number);
          EXPECT_EQ(all[i].begin, covered);
          covered = all[i].end;
        }
        EXPECT_EQ(covered, samples);
      }
    }
  }
}

TEST(BatchBlocks, AreEightWhereTheBatchAllowsIt) {
  EXPECT_EQ(default_blocks(1), 1);
  EXPECT_EQ(default_blocks(6), 2);
  EXPECT_EQ(default_blocks(12), 4);
  EXPECT_EQ(default_blocks(16), 8);
  EXPECT_EQ(default_blocks(64), 8);
}

TEST(TreeSum, HasTheSameBitsHoweverProcessesShareTheBlocks) {
  for (const Index blocks : {1, 2, 3, 4, 6, 7, 8, 12, 13}) {
    for (const Index samples : {blocks, 2 * blocks, blocks - 1, Index{2}}) {
      if (samples < 1) continue;
      const Tensor alone = sum_of(samples, blocks, 1);
      for (int size = 2; size <= blocks; ++size) {
        EXPECT_TRUE(same_bits(sum_of(samples, blocks, size), alone))
            << samples << " samples in " << blocks << " blocks, " << size << " processes";
      }
    }
  }
}

TEST(TreeSum, AddsPairsOfPairs) {
  TreeSum sum;
  for (Index i = 0; i < 4; ++i) sum.add(i, 1, block_values(i));
  Tensor out({7});
  sum.finish(out);
  for (Index i = 0; i < 7; ++i) {
    const auto v = [&](Index block) {
      const Tensor values = block_values(block);
      return values.data<float>()[i];
    };
    EXPECT_EQ(out.data<float>()[i], (v(0) + v(1)) + (v(2) + v(3)));
  }
}

TEST(TreeSum, KeepsTheMemoryOfItsParts) {
  TreeSum sum;
  Tensor out({7});
  for (int step = 0; step < 3; ++step) {
    for (Index i = 0; i < 3; ++i) sum.add(i, 1, block_values(i));
    EXPECT_EQ(sum.parts().size(), 2U);
    sum.finish(out);
    EXPECT_TRUE(sum.parts().empty());
  }
  sum.finish(out);
  EXPECT_TRUE(same_bits(out, Tensor::zeros({7})));
}

TEST(Owners, HaveNeighboursOfAboutAsManyElements) {
  const std::vector<Index> elements = {100, 5, 5, 90, 60, 40, 99, 1};
  EXPECT_EQ(owners_of(elements, 1), std::vector<int>(8, 0));
  EXPECT_EQ(owners_of(elements, 2), (std::vector<int>{0, 0, 0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(owners_of(elements, 4), (std::vector<int>{0, 1, 1, 1, 2, 2, 3, 3}));
  EXPECT_EQ(owners_of(std::vector<Index>{0, 0}, 3).size(), 2U);
}

}  // namespace
}  // namespace grouphead::parallel
