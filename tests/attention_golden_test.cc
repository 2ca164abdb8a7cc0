// Attention with each option against tests/golden/attention: float64 values, and their gradients.

#include <gtest/gtest.h>

#include "attention_support.h"
#include "testing/golden.h"

namespace grouphead {
namespace {

TEST(AttentionGolden, EveryLevelAndDoublesAgree) {
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const auto results = testing::run_golden(ctx, GROUPHEAD_SOURCE_DIR "/tests/golden/attention");
    // 28 cases of 5 tensors, and 12 gradients of biases and sinks, in two types.
    EXPECT_EQ(results.size(), 2U * (28 * 5 + 12)) << name_of(isa);
    for (const testing::GoldenResult& result : results) {
      EXPECT_TRUE(result.passed) << name_of(isa) << " " << result.line;
    }
  }
}

}  // namespace
}  // namespace grouphead
