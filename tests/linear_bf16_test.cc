// Products of values that bf16 has, as the layers of a bf16 policy multiply them.

#include <cmath>
#include <limits>

#include "attention_support.h"
#include "grouphead/core/tensor_functions.h"
#include "ops/linear.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ops::Epilogue;
using ops::Write;

constexpr Dtype kGrid = Dtype::bf16;

Tensor on_grid(const Tensor& x) { return cast(cast(x, kGrid), Dtype::f32); }
Tensor on_grid(const Shape& shape, std::uint64_t seed) {
  return on_grid(uniform(shape, Dtype::f32, seed));
}

struct Sizes {
  Index rows, depth, columns;
};
// Around the rows, columns and depths of blocks.
constexpr Sizes kSizes[] = {{1, 1, 1},     {3, 33, 17},   {16, 32, 64},  {17, 40, 65},
                            {65, 7, 300},  {130, 100, 1}, {64, 96, 257}, {1030, 24, 40},
                            {513, 65, 48}, {1, 300, 130}};

// got = start + sum_k a(i, k) b(k, j): each sum has `depth` terms in f32 beside `start`.
template <class A, class B>
void expect_product(const Tensor& got, const Tensor& start, Index rows, Index columns, Index depth,
                    const A& a, const B& b, const std::string& what) {
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < columns; ++j) {
      const Index at = i * columns + j;
      double value = start.data<float>()[at % start.size()];
      double magnitude = std::abs(value);
      for (Index k = 0; k < depth; ++k) {
        const double term = static_cast<double>(a(i, k)) * static_cast<double>(b(k, j));
        value += term;
        magnitude += std::abs(term);
      }
      const double bound = static_cast<double>(depth + 3) * 0x1p-24 * magnitude +
                           double{std::numeric_limits<float>::min()};
      ASSERT_NEAR(got.data<float>()[at], value, bound) << what << " " << i << ", " << j;
    }
  }
}

TEST(LinearBf16, ProductsAgreeWithDoubles) {
  for (const auto& [rows, depth, columns] : kSizes) {
    const Tensor x = on_grid({rows, depth}, 1), w = on_grid({depth, columns}, 2);
    const Tensor bias = on_grid({columns}, 3);
    const Tensor d_y = uniform({rows, columns}, Dtype::f32, 4);
    const Tensor before_x = uniform({rows, depth}, Dtype::f32, 5);
    const Tensor before_w = uniform({depth, columns}, Dtype::f32, 6);
    const auto element = [](const Tensor& t, Index row, bool is_transposed) {
      return [&t, row, is_transposed](Index i, Index k) {
        return t.data<float>()[is_transposed ? k * row + i : i * row + k];
      };
    };
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      const std::string what =
          std::string(name_of(isa)) + " " + x.shape().to_string() + w.shape().to_string();
      ops::PackedWeights packed;
      Tensor y({rows, columns}), d_x = before_x.clone(), d_w = before_w.clone();
      ops::linear_forward(ctx, x, w, packed, bias, Epilogue::none, y, kGrid);
      expect_product(y, bias, rows, columns, depth, element(x, depth, false),
                     element(w, columns, false), "y " + what);
      // Levels without kernels for bf16 take d_y as it is.
      const bool rounds = isa == Isa::avx3_bf16 || isa == Isa::avx3_amx;
      const Tensor d = rounds ? on_grid(d_y) : d_y;
      ops::linear_backward_input(ctx, d_y, w, packed, Write::add, d_x, kGrid);
      expect_product(d_x, before_x, rows, depth, columns, element(d, columns, false),
                     element(w, columns, true), "d_x " + what);
      ops::linear_backward_weights(ctx, x, d_y, d_w, {}, kGrid);
      expect_product(d_w, before_w, depth, columns, rows, element(x, depth, true),
                     element(d, columns, false), "d_w " + what);
    }
  }
}

TEST(LinearBf16, ARowsBitsDependOnThatRowAlone) {
  const Tensor x = on_grid({150, 70}, 1), w = on_grid({70, 300}, 2);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    ops::PackedWeights packed;
    Tensor all({150, 300});
    ops::linear_forward(ctx, x, w, packed, {}, Epilogue::none, all, kGrid);
    for (const auto& [begin, end] : {std::pair<Index, Index>{0, 1}, {7, 27}, {149, 150}}) {
      Tensor some({end - begin, 300});
      ops::linear_forward(ctx, x.view().slice(0, begin, end), w, packed, {}, Epilogue::none, some,
                          kGrid);
      EXPECT_TRUE(same_bits(some, all.view().slice(0, begin, end))) << name_of(isa) << " " << begin;
    }
  }
}

TEST(LinearBf16, AnyNumberOfThreadsGivesTheSameBits) {
  const ManyThreads many;
  const Tensor x = on_grid({1100, 70}, 1), w = on_grid({70, 300}, 2);
  const Tensor d_y = uniform({1100, 300}, Dtype::f32, 3);
  for (const Isa isa : isas_under_test()) {
    Tensor first[3];
    for (const int count : ManyThreads::kCounts) {
      Context ctx({.num_threads = count, .isa = isa});
      ops::PackedWeights packed;
      Tensor y({1100, 300}), d_x({1100, 70}), d_w = Tensor::zeros({70, 300});
      ops::linear_forward(ctx, x, w, packed, {}, Epilogue::none, y, kGrid);
      ops::linear_backward_input(ctx, d_y, w, packed, Write::overwrite, d_x, kGrid);
      ops::linear_backward_weights(ctx, x, d_y, d_w, {}, kGrid);
      const Tensor got[] = {y, d_x, d_w};
      for (int i = 0; i < 3; ++i) {
        if (count == 1) first[i] = got[i];
        EXPECT_TRUE(same_bits(got[i], first[i])) << name_of(isa) << " " << i;
      }
    }
  }
}

// A call for all rows against two, split where blocks of rows end.
TEST(LinearBf16, WeightGradientsAddUpByBlocksOfRows) {
  const Tensor x = on_grid({700, 20}, 1), d_y = on_grid({700, 40}, 2);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    Tensor whole = uniform({20, 40}, Dtype::f32, 3);
    Tensor parts = whole.clone();
    ops::linear_backward_weights(ctx, x, d_y, whole, {}, kGrid);
    for (const auto& [begin, end] : {std::pair<Index, Index>{0, 512}, {512, 700}}) {
      ops::linear_backward_weights(ctx, x.view().slice(0, begin, end),
                                   d_y.view().slice(0, begin, end), parts, {}, kGrid);
    }
    EXPECT_TRUE(same_bits(whole, parts)) << name_of(isa);
  }
}

}  // namespace
}  // namespace grouphead
