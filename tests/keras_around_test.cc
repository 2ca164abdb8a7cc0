// Keras's own numbers for the layers around attention, at every level.

#include <gtest/gtest.h>

#include "support.h"
#include "testing/keras_golden.h"

namespace grouphead::testing {
namespace {

void follow(const std::string& name) {
  const std::string folder = GROUPHEAD_SOURCE_DIR "/tests/golden/" + name;
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const GoldenResult& result : run_keras_golden(ctx, folder)) {
      EXPECT_TRUE(result.passed) << name_of(isa) << " " << result.line;
    }
  }
}

TEST(KerasLayers, NumbersAndMasksAreKeras) { follow("keras_layers"); }
TEST(KerasLayers, SmallOnesAreKeras) { follow("keras_small"); }

}  // namespace
}  // namespace grouphead::testing
