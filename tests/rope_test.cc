#include "grouphead/layers/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/check.h"
#include "ops/arithmetic.h"
#include "ops/rope.h"

namespace grouphead {
namespace {

using ops::Direction;

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// Frequencies divided by those without YaRN.
std::vector<double> factors(Index head_dim, const YarnConfig& yarn) {
  std::vector<double> scaled = rope_frequencies(head_dim, {.yarn = yarn});
  const std::vector<double> plain = rope_frequencies(head_dim, {});
  for (std::size_t i = 0; i < plain.size(); ++i) scaled[i] /= plain[i];
  return scaled;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 0.5e-6) << "pair " << i;  // the tables have six decimals
  }
}

TEST(RopeFrequencies, AreThePowersOfTheBase) {
  const std::vector<double> theta = rope_frequencies(16, {});
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(theta[i], std::pow(10.0, -0.5 * static_cast<double>(i)), 1e-15);
  }
  EXPECT_NEAR(rope_frequencies(4, {.base = 100})[1], 0.1, 1e-15);
  EXPECT_EQ(rope_magnitude({}), 1.0);
}

TEST(YarnFrequencies, OfSixteenDimensionsAndContext64) {
  const YarnConfig paper{.scale = 4, .original_max_position = 64};
  expect_near(factors(16, paper), {0.472240, 0.303736, 0.250450, 0.25, 0.25, 0.25, 0.25, 0.25});
  YarnConfig index = paper;
  index.ramp = YarnRamp::index;
  expect_near(factors(16, index), {1, 0.75, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25});
  expect_near(factors(16, *RopeConfig::edifice_yarn(4, 64).yarn),
              {1, 0.939544, 0.268252, 0.25, 0.25, 0.25, 0.25, 0.25});
}

TEST(YarnFrequencies, OfThirtyTwoDimensionsAndContext2048) {
  const YarnConfig paper{.scale = 8, .original_max_position = 2048};
  expect_near(factors(32, paper), {1, 1, 1, 1, 1, 0.614138, 0.387710, 0.260379, 0.188776, 0.148511,
                                   0.125868, 0.125, 0.125, 0.125, 0.125, 0.125});
  YarnConfig index = paper;
  index.ramp = YarnRamp::index;
  expect_near(factors(32, index), {1, 1, 1, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125,
                                   0.125, 0.125, 0.125, 0.125});
  expect_near(
      factors(32, *RopeConfig::edifice_yarn(8, 2048).yarn),
      {1, 1, 1, 1, 1, 1, 1, 1, 0.933738, 0.655169, 0.159796, 0.125, 0.125, 0.125, 0.125, 0.125});
}

TEST(YarnFrequencies, ScaleOneChangesNothing) {
  for (const YarnRamp ramp : {YarnRamp::rotations, YarnRamp::index, YarnRamp::wavelength}) {
    const YarnConfig yarn{.scale = 1, .ramp = ramp};
    for (const double factor : factors(64, yarn)) EXPECT_NEAR(factor, 1, 1e-15);
    EXPECT_EQ(rope_magnitude({.yarn = yarn}), 1.0);
  }
}

TEST(YarnMagnitude, IsThePapersTemperatureUnlessGiven) {
  EXPECT_NEAR(rope_magnitude({.yarn = YarnConfig{.scale = 8}}), 1.207944, 0.5e-6);
  EXPECT_EQ(rope_magnitude({.yarn = YarnConfig{.scale = 8, .mscale = 0.5}}), 0.5);
  EXPECT_EQ(rope_magnitude(RopeConfig::edifice_yarn(8, 2048)), 1.0);
}

TEST(RopeFrequencies, RefuseWhatHasNoMeaning) {
  for (const Index head_dim : {-2, 0, 1, 5}) {
    EXPECT_THROW(rope_frequencies(head_dim, {}), ConfigError) << head_dim;
  }
  for (const double base : {0.0, -1.0, kNotANumber, HUGE_VAL}) {
    EXPECT_THROW(rope_frequencies(4, {.base = base}), ConfigError) << base;
  }
  const auto refused = [](const YarnConfig& yarn) {
    EXPECT_THROW(rope_frequencies(4, {.yarn = yarn}), ConfigError);
  };
  refused({.scale = 0.5});
  refused({.scale = kNotANumber});
  refused({.original_max_position = 0});
  refused({.beta_slow = 0});
  refused({.beta_slow = 32});
  refused({.beta_slow = 33});
  refused({.beta_fast = kNotANumber});
  refused({.mscale = 0});
  refused({.mscale = kNotANumber});
  EXPECT_THROW(rope_frequencies(4, {.base = 1, .yarn = YarnConfig{.ramp = YarnRamp::index}}),
               ConfigError);
  EXPECT_NO_THROW(rope_frequencies(4, {.base = 1, .yarn = YarnConfig{}}));
}

// Positions 0, 1, 2 of (1, 2, 3, 4): the frequencies are 1 and 0.01.
TEST(Rope, GivesTheCheckValuesOfBothLayouts) {
  const double half[3][4] = {{1, 2, 3, 4},
                             {-1.984111, 1.959901, 2.462378, 4.019800},
                             {-3.144039, 1.919605, -0.339143, 4.039197}};
  const double interleaved[3][4] = {{1, 2, 3, 4},
                                    {-1.142640, 1.922076, 2.959851, 4.029800},
                                    {-2.234742, 0.077004, 2.919405, 4.059196}};
  for (const Isa isa : available_isas()) {
    Context ctx({.num_threads = 1, .isa = isa});
    for (const RopeLayout layout : {RopeLayout::half, RopeLayout::interleaved}) {
      const auto& want = layout == RopeLayout::half ? half : interleaved;
      const ops::RopeTable table = ops::make_rope_table(3, 4, {.layout = layout}, Dtype::f32);
      Tensor x = Tensor::from({1, 3, 1, 4}, {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4});
      ops::rope(ctx, table, 0, Direction::forward, x);
      for (Index i = 0; i < 12; ++i) {
        EXPECT_NEAR(x.data<float>()[i], want[i / 4][i % 4], 1.5e-6)
            << name_of(isa) << " element " << i;
      }
    }
  }
}

TEST(Rope, TableOfAWarmContextStartsAnywhere) {
  Context ctx({.num_threads = 1});
  const ops::RopeTable table = ops::make_rope_table(10, 4, {}, Dtype::f64);
  Tensor all({1, 10, 1, 4}, Dtype::f64);
  for (Index i = 0; i < all.size(); ++i) all.data<double>()[i] = static_cast<double>(i % 7) - 3;
  Tensor one = all.clone();
  ops::rope(ctx, table, 0, Direction::forward, all);
  for (Index t = 0; t < 10; ++t) {
    ops::rope(ctx, table, t, Direction::forward, one.view().slice(1, t, t + 1));
  }
  for (Index i = 0; i < all.size(); ++i) EXPECT_EQ(all.data<double>()[i], one.data<double>()[i]);
}

TEST(Rope, RefusesPositionsOutsideTheTableAndOtherHeads) {
  Context ctx({.num_threads = 1});
  const ops::RopeTable table = ops::make_rope_table(4, 8, {}, Dtype::f32);
  Tensor x = Tensor::zeros({1, 3, 2, 8});
  EXPECT_NO_THROW(ops::rope(ctx, table, 1, Direction::forward, x));
  EXPECT_THROW(ops::rope(ctx, table, 2, Direction::forward, x), ShapeError);
  EXPECT_THROW(ops::rope(ctx, table, -1, Direction::forward, x), ShapeError);
  Tensor other = Tensor::zeros({1, 3, 2, 6});
  EXPECT_THROW(ops::rope(ctx, table, 0, Direction::forward, other), ShapeError);
  Tensor wide = Tensor::zeros({1, 3, 2, 8}, Dtype::f64);
  EXPECT_THROW(ops::rope(ctx, table, 0, Direction::forward, wide), ShapeError);
  EXPECT_THROW(ops::make_rope_table(4, 8, {}, Dtype::i32), ShapeError);
}

}  // namespace
}  // namespace grouphead
