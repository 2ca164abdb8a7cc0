// Keras's own numbers for recurrent layers and their wrappers, at every level.

#include <gtest/gtest.h>

#include "support.h"
#include "testing/keras_golden.h"

namespace grouphead::testing {
namespace {

void expect_keras(const std::string& name) {
  const std::string folder = GROUPHEAD_SOURCE_DIR "/tests/golden/" + name;
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const GoldenResult& result : run_keras_golden(ctx, folder)) {
      EXPECT_TRUE(result.passed) << name_of(isa) << " " << result.line;
    }
  }
}

TEST(KerasRecurrent, NumbersAndMasksAreKeras) { expect_keras("keras_recurrent"); }

TEST(KerasRecurrent, WrappersAndPreprocessingAreKeras) { expect_keras("keras_wrappers"); }

}  // namespace
}  // namespace grouphead::testing
