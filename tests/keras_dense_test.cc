// Keras's own numbers for Dense, EinsumDense, Activation, Softmax and attention with dropout.

#include <gtest/gtest.h>

#include "support.h"
#include "testing/keras_golden.h"

namespace grouphead::testing {
namespace {

TEST(KerasDense, NumbersAndMasksAreKeras) {
  const std::string folder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_dense";
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const GoldenResult& result : run_keras_golden(ctx, folder)) {
      EXPECT_TRUE(result.passed) << name_of(isa) << " " << result.line;
    }
  }
}

}  // namespace
}  // namespace grouphead::testing
