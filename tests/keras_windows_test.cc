// Keras's own numbers for convolutions, poolings and the layers around them, at every level.

#include <gtest/gtest.h>

#include "support.h"
#include "testing/keras_golden.h"

namespace grouphead::testing {
namespace {

class KerasWindows : public ::testing::TestWithParam<const char*> {};

TEST_P(KerasWindows, NumbersAndMasksAreKeras) {
  const std::string folder = std::string(GROUPHEAD_SOURCE_DIR "/tests/golden/") + GetParam();
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const GoldenResult& result : run_keras_golden(ctx, folder)) {
      EXPECT_TRUE(result.passed) << name_of(isa) << " " << result.line;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, KerasWindows,
                         ::testing::Values("keras_convolution", "keras_pooling",
                                           "keras_normalization"));

}  // namespace
}  // namespace grouphead::testing
