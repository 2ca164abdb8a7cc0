// Keras's own numbers: every case of tests/golden/keras, at every level.

#include "testing/keras_golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "saved/keras_files.h"
#include "support.h"

namespace grouphead::testing {
namespace {

using ::testing::UnorderedElementsAreArray;

const std::string kFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras";
const std::vector<std::string> kGroups = {
    "AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention",
    "constraint",        "errors",    "initializers",        "model",
    "regularizer",       "training"};

class KerasGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(KerasGolden, NumbersAreKeras) {
  // A build that does not read Keras's files fails those of models, rather than leave them out.
  const bool passes = GetParam() != "model" || saved::has_keras_files();
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const GoldenResult& result : run_keras_golden(ctx, kFolder, GetParam())) {
      EXPECT_EQ(result.passed, passes) << name_of(isa) << " " << result.line;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Of, KerasGolden, ::testing::ValuesIn(kGroups),
                         [](const auto& each) { return each.param; });

TEST(KerasGoldenGroups, AreAllThereAre) {
  EXPECT_THAT(keras_golden_groups(kFolder), UnorderedElementsAreArray(kGroups));
}

}  // namespace
}  // namespace grouphead::testing
