// Dropout of every level against the published generators, element by element.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "elementwise_fixture.h"
#include "ops/dropout.h"

namespace grouphead {
namespace {

using namespace testing_support;

constexpr RandomKey kKey = {0x123456789abcdef0, 0xfedcba9876543210};

bool is_kept_by_philox(RandomKey key, Index i, double rate) {
  const PhiloxBlock block = philox4x32(key, static_cast<std::uint64_t>(i / 4));
  return static_cast<double>(block.words[i % 4]) >= std::round(rate * 0x1p32) && rate < 1;
}

// jax.random.bernoulli: the upper 23 bits as a number in [0, 1).
bool is_kept_by_threefry(RandomKey key, Index i, double rate) {
  const std::uint32_t word = threefry2x32(key, static_cast<std::uint64_t>(i));
  return static_cast<float>(word >> 9) * 0x1p-23F < static_cast<float>(1 - rate);
}

TEST(Dropout, IsAPureFunctionOfKeyAndElementOnEveryLevel) {
  for_each_level([&](Context& ctx, const std::string& isa) {
    for (const double rate : {0.0, 1e-9, 0.1, 0.5, 0.9, 0.9999999, 1.0}) {
      for (const Index n : {1, 3, 4, 5, 15, 16, 17, 31, 33, 63, 100, 1000, 40000}) {
        Operand x({n}, 1), same({n}, 1);
        ops::dropout(ctx, x.f32.view(), rate, {RandomAlgorithm::philox, kKey}, Dtype::f32,
                     x.f32.view());
        ops::dropout(ctx, same.f32.view(), rate, {RandomAlgorithm::threefry, kKey}, Dtype::f32,
                     same.f32.view());
        const float scale = 1 / static_cast<float>(1 - rate);
        for (Index i = 0; i < n; ++i) {
          const auto value = static_cast<float>(x[i]);
          ASSERT_EQ(x.f32[i], is_kept_by_philox(kKey, i, rate) ? value * scale : 0.0F)
              << isa << " philox, rate " << rate << " n " << n << " element " << i;
          ASSERT_EQ(same.f32[i], is_kept_by_threefry(kKey, i, rate) ? value * scale : 0.0F)
              << isa << " threefry, rate " << rate << " n " << n << " element " << i;
        }
      }
    }
  });
}

// The reference runs f64 too, and it drops the same elements.
TEST(Dropout, DropsTheSameElementsInDouble) {
  Context ctx;
  for (const auto algorithm : {RandomAlgorithm::philox, RandomAlgorithm::threefry}) {
    constexpr Index kSize = 20000;
    Operand x({kSize}, 3, 1, 2);
    Tensor y({kSize}, Dtype::f64);
    ops::dropout(ctx, x.f64, 0.3, {algorithm, kKey}, Dtype::f64, y);
    ops::dropout(ctx, x.f32.view(), 0.3, {algorithm, kKey}, Dtype::f32, x.f32.view());
    for (Index i = 0; i < kSize; ++i) {
      ASSERT_EQ(y.data<double>()[i] == 0, x.f32[i] == 0) << i;
      ASSERT_NEAR(y.data<double>()[i], static_cast<double>(x.f32[i]), 1e-6) << i;
    }
  }
}

TEST(Dropout, LetsNoNanThroughThatItDrops) {
  for_each_level([&](Context& ctx, const std::string& isa) {
    for (const auto algorithm : {RandomAlgorithm::philox, RandomAlgorithm::threefry}) {
      Guarded x({100});
      for (Index i = 0; i < 100; ++i) x[i] = std::nanf("");
      ops::dropout(ctx, x.view(), 0.5, {algorithm, {1, 2}}, Dtype::f32, x.view());
      Index zeros = 0;
      for (Index i = 0; i < 100; ++i) {
        zeros += x[i] == 0;
        EXPECT_TRUE(x[i] == 0 || std::isnan(x[i])) << isa;
      }
      EXPECT_GT(zeros, 20) << isa;
      ops::dropout(ctx, x.view(), 1, {algorithm, {1, 2}}, Dtype::f32, x.view());
      for (Index i = 0; i < 100; ++i) EXPECT_EQ(x[i], 0) << isa;
    }
  });
}

TEST(Dropout, KeepsTheMeanAndTheShareItSays) {
  Context ctx({.num_threads = 1});
  constexpr Index kCount = 1 << 20;
  Tensor x({kCount}), y({kCount});
  for (Index i = 0; i < kCount; ++i) x.data<float>()[i] = 1;
  for (const auto algorithm : {RandomAlgorithm::philox, RandomAlgorithm::threefry}) {
    ops::dropout(ctx, x, 0.2, {algorithm, {1, 2}}, Dtype::f32, y);
    double kept = 0, sum = 0;
    for (Index i = 0; i < kCount; ++i) {
      kept += y.data<float>()[i] != 0;
      sum += static_cast<double>(y.data<float>()[i]);
    }
    // Five standard deviations of a binomial share: 5 sqrt(0.2 0.8 / n).
    EXPECT_NEAR(kept / kCount, 0.8, 5 * std::sqrt(0.16 / kCount));
    EXPECT_NEAR(sum / kCount, 1, 5 * std::sqrt(0.16 / kCount) / 0.8);
  }
}

}  // namespace
}  // namespace grouphead
