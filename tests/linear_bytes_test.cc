// Products with whole numbers of 8 bits, the rounding of their inputs, and 8-bit floating point.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "linear_support.h"
#include "ops/byte_product.h"
#include "ops/float8.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

/// Whole numbers from -127 to 127, every one with a sign bit somewhere.
Tensor bytes(const Shape& shape, int seed) {
  Tensor made(shape, Dtype::u8);
  for (Index i = 0; i < made.size(); ++i) {
    made.data<std::uint8_t>()[i] =
        static_cast<std::uint8_t>(static_cast<std::int8_t>((i * 7919 + seed * 31) % 255 - 127));
  }
  return made;
}

int byte_at(const Tensor& numbers, Index i) {
  return static_cast<std::int8_t>(numbers.data<std::uint8_t>()[i]);
}

ops::ByteWeights weights_of(const Tensor& w, bool is_transposed, ops::PackedWeights& packed) {
  return {.depth = w.dim(is_transposed ? 1 : 0),
          .columns = w.dim(is_transposed ? 0 : 1),
          .is_transposed = is_transposed,
          .numbers = [&w] { return w; },
          .packed = &packed};
}

TEST(LinearBytes, SumsAreExact) {
  constexpr Index kRows = 131;
  constexpr Index kDepth = 700;
  constexpr Index kColumns = 37;
  const Tensor x_bytes = bytes({kRows, kDepth}, 1);
  Tensor x({kRows, kDepth});
  for (Index i = 0; i < x.size(); ++i) {
    x.data<float>()[i] = static_cast<float>(byte_at(x_bytes, i));
  }
  for (const bool is_transposed : {false, true}) {
    const Tensor w = bytes(is_transposed ? Shape{kColumns, kDepth} : Shape{kDepth, kColumns}, 2);
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      ops::PackedWeights packed;
      Tensor y({kRows, kColumns});
      ops::byte_product(ctx, x, weights_of(w, is_transposed, packed), y);
      for (Index r = 0; r < kRows; ++r) {
        for (Index c = 0; c < kColumns; ++c) {
          std::int64_t sum = 0;
          for (Index d = 0; d < kDepth; ++d) {
            sum += byte_at(x_bytes, r * kDepth + d) *
                   byte_at(w, is_transposed ? c * kDepth + d : d * kColumns + c);
          }
          ASSERT_EQ(y.data<float>()[r * kColumns + c], static_cast<float>(sum)) << r << " " << c;
        }
      }
    }
  }
}

TEST(LinearBytes, RowsAndThreadsChangeNoBits) {
  const Tensor x = random_tensor<float>({300, 90}, 1);
  const Tensor w = bytes({90, 70}, 3);
  for (const Isa isa : isas_under_test()) {
    Tensor whole;
    for (const int threads : {1, 2, 5}) {
      Context ctx({.num_threads = threads, .isa = isa});
      ops::PackedWeights packed;
      Tensor y({300, 70});
      ops::byte_product(ctx, x, weights_of(w, false, packed), y);
      if (!whole.has_value()) whole = y;
      EXPECT_TRUE(same_bits(y, whole));
      Tensor row({1, 70});
      ops::byte_product(ctx, x.view().slice(0, 17, 18), weights_of(w, false, packed), row);
      EXPECT_TRUE(std::equal(row.data<float>(), row.data<float>() + 70, y.data<float>() + 17 * 70));
    }
  }
}

TEST(LinearBytes, RowsAreRoundedToWholeNumbers) {
  const Tensor x = random_tensor<float>({5, 33}, 4);
  Context ctx({.num_threads = 2});
  Tensor whole({5, 33});
  Tensor scales({5});
  ops::round_rows(ctx, x, {.least = -100, .most = 99, .epsilon = 1e-3}, whole, scales);
  for (Index r = 0; r < 5; ++r) {
    float most = 0;
    for (Index i = 0; i < 33; ++i) most = std::max(most, std::abs(x.data<float>()[r * 33 + i]));
    const float scale = 99 / (most + 1e-3F);
    EXPECT_EQ(scales.data<float>()[r], scale);
    for (Index i = r * 33; i < (r + 1) * 33; ++i) {
      EXPECT_EQ(whole.data<float>()[i], std::nearbyint(x.data<float>()[i] * scale));
    }
  }
  // Ties go to even numbers; what is beyond the range is cut; NaN stays.
  const Tensor ties = Tensor::from({1, 6}, {2, 1, 3, -1, -2, 4});
  Tensor rounded({1, 6});
  Tensor scale({1});
  ops::round_rows(ctx, ties, {.least = -1, .most = 2, .epsilon = 0}, rounded, scale);
  EXPECT_EQ(std::vector<float>(rounded.data<float>(), rounded.data<float>() + 6),
            (std::vector<float>{1, 0, 2, 0, -1, 2}));
  Tensor hole = Tensor::from({1, 2}, {NAN, 1});
  Tensor kept({1, 2});
  ops::round_rows(ctx, hole, {}, kept, scale);
  EXPECT_TRUE(std::isnan(kept.data<float>()[0]));
  EXPECT_EQ(kept.data<float>()[1], 127);
}

TEST(LinearBytes, ScalesOfRowsAndColumnsAreDividedOut) {
  Context ctx({.num_threads = 2});
  Tensor y = Tensor::from({2, 2}, {8, 12, 16, 30});
  const Tensor rows = Tensor::from({2}, {2, 4});
  const Tensor columns = Tensor::from({2}, {1, 3});
  const Tensor bias = Tensor::from({2}, {1, -1});
  ops::unscale(ctx, rows, columns, bias, y);
  EXPECT_EQ(std::vector<float>(y.data<float>(), y.data<float>() + 4),
            (std::vector<float>{5, 1, 5, 1.5}));
  ops::unscale(ctx, {}, columns, {}, y);
  EXPECT_EQ(y.data<float>()[1], 1.0F / 3);
  ops::unscale(ctx, rows, {}, {}, y);
  EXPECT_EQ(y.data<float>()[2], 1.25F);
}

/// All finite numbers of a sign bit, `exponent_bits` and the rest, in ascending order.
std::vector<double> numbers_of_8_bits(int exponent_bits, double most) {
  const int fraction_bits = 7 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  std::vector<double> list;
  for (int code = 0; code < 128; ++code) {
    const int exponent = code >> fraction_bits;
    const double fraction = code % (1 << fraction_bits) / std::ldexp(1.0, fraction_bits);
    const double number =
        exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
    if (number <= most) list.insert(list.end(), {number, -number});
  }
  std::sort(list.begin(), list.end());
  return list;
}

TEST(LinearBytes, Float8IsTheNearest) {
  Context ctx({.num_threads = 2});
  constexpr double kScale = 0.25;
  for (const auto& [kind, bits, most] : {std::tuple{ops::Float8Kind::e4m3, 4, 448.0},
                                         std::tuple{ops::Float8Kind::e5m2, 5, 57344.0}}) {
    const std::vector<double> all = numbers_of_8_bits(bits, most);
    std::vector<double> x;
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
      for (const double share : {0.0, 0.3, 0.7})
        x.push_back(all[i] + share * (all[i + 1] - all[i]));
    }
    std::vector<double> expected;
    for (const double number : x) {
      const auto closer = [&](double a, double b) {
        return std::abs(a - number) < std::abs(b - number);
      };
      expected.push_back(*std::min_element(all.begin(), all.end(), closer) * kScale);
    }
    // Beyond the largest, and a tie between the two least.
    x.insert(x.end(), {1e9, -1e9, all[all.size() / 2 + 1] / 2});
    expected.insert(expected.end(), {most * kScale, -most * kScale, 0});
    for (double& number : x) number *= kScale;
    const auto count = static_cast<Index>(x.size());
    Tensor got({count}, Dtype::f64);
    const Tensor given = Tensor::from({count}, std::span<const double>(x));
    ops::round_to_float8(ctx, given, kScale, kind, got);
    for (Index i = 0; i < count; ++i) {
      ASSERT_EQ(got.data<double>()[i], expected[static_cast<std::size_t>(i)])
          << x[static_cast<std::size_t>(i)];
    }
    ops::round_to_float8(ctx, got, kScale, kind, got);  // what is a number of 8 bits stays
    for (Index i = 0; i < count; ++i) {
      ASSERT_EQ(got.data<double>()[i], expected[static_cast<std::size_t>(i)]);
    }
  }
}

}  // namespace
}  // namespace grouphead
