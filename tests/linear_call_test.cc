// Calls of the linear products: changed weights, memory, several Contexts, refusals.

#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "allocation_counter.h"
#include "linear_support.h"
#include "ops/linear.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ops::Epilogue;
using ops::Write;

TEST(Linear, ChangedWeightsAreUsedAfterInvalidation) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor x = random_tensor<float>({5, 32}, 1);
    const Tensor d_y = random_tensor<float>({5, 48}, 2);
    Tensor w = random_tensor<float>({32, 48}, 3);
    Tensor y({5, 48});
    Tensor d_x({5, 32});
    ops::PackedWeights packed;
    ops::linear_forward(ctx, x, w, packed, {}, Epilogue::none, y);
    ops::linear_backward_input(ctx, d_y, w, packed, Write::overwrite, d_x);
    for (Index i = 0; i < w.size(); ++i) w.data<float>()[i] *= 2;
    packed.invalidate();
    Tensor y_twice({5, 48});
    Tensor d_x_twice({5, 32});
    ops::linear_forward(ctx, x, w, packed, {}, Epilogue::none, y_twice);
    ops::linear_backward_input(ctx, d_y, w, packed, Write::overwrite, d_x_twice);
    for (Index i = 0; i < y.size(); ++i) {
      ASSERT_EQ(y_twice.data<float>()[i], 2 * y.data<float>()[i]) << name_of(isa);
    }
    for (Index i = 0; i < d_x.size(); ++i) {
      ASSERT_EQ(d_x_twice.data<float>()[i], 2 * d_x.data<float>()[i]) << name_of(isa);
    }
  }
}

/// Bytes that one warm round of all products asks of operator new.
long warm_bytes(Context& ctx, const Size& s) {
  const Tensor x = random_tensor<float>({s.m, s.k}, 1);
  const Tensor w = random_tensor<float>({s.k, s.n}, 2);
  const Tensor bias = random_tensor<float>({s.n}, 3);
  Tensor y({s.m, s.n});
  Tensor d_x = Tensor::zeros({s.m, s.k});
  Tensor d_w = Tensor::zeros({s.k, s.n});
  Tensor d_bias = Tensor::zeros({s.n});
  ops::PackedWeights packed;
  const auto run = [&] {
    ops::linear_forward(ctx, x, w, packed, bias, Epilogue::gelu, y);
    ops::linear_backward_input(ctx, y, w, packed, Write::add, d_x);
    ops::linear_backward_weights(ctx, x, y, d_w, d_bias);
  };
  run();
  const Index reserved = ctx.memory().reserved_bytes;
  const long bytes = allocations_of(run).bytes;
  EXPECT_EQ(ctx.memory().reserved_bytes, reserved) << key(s, ctx.isa());
  return bytes;
}

TEST(Linear, WarmCallsAllocateNothingButOneDnnsLists) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    EXPECT_EQ(warm_bytes(ctx, {1, 64, 64}), 0) << name_of(isa);
    const long one_row = warm_bytes(ctx, {1, 1024, 2048});
    EXPECT_EQ(warm_bytes(ctx, {50, 1024, 2048}), one_row) << name_of(isa);
    // Two products of at most 16 calls, each below 1 KiB; none below level avx3.
    EXPECT_LE(one_row, isa >= Isa::avx3 ? 2 * 16 * 1024 : 0) << name_of(isa);
  }
}

TEST(Linear, ContextsOfSeveralThreadsShareOnePacking) {
  for (const Isa isa : isas_under_test()) {
    const Size s{40, 96, 200};
    const Tensor x = random_tensor<float>({s.m, s.k}, 1);
    const Tensor w = random_tensor<float>({s.k, s.n}, 2);
    const Tensor d_y = random_tensor<float>({s.m, s.n}, 3);
    ops::PackedWeights packed;
    std::array<Tensor, 3> y;
    std::array<Tensor, 3> d_x;
    const auto work = [&](std::size_t i) {
      Context ctx({.num_threads = 2, .isa = isa});
      y[i] = Tensor({s.m, s.n});
      d_x[i] = Tensor({s.m, s.k});
      for (int round = 0; round < 20; ++round) {
        ops::linear_forward(ctx, x, w, packed, {}, Epilogue::none, y[i]);
        ops::linear_backward_input(ctx, d_y, w, packed, Write::overwrite, d_x[i]);
      }
    };
    std::thread first(work, 0);
    std::thread second(work, 1);
    first.join();
    second.join();
    packed.invalidate();
    work(2);
    for (const std::size_t i : {0U, 1U}) {
      EXPECT_TRUE(same_bits(y[i], y[2])) << name_of(isa);
      EXPECT_TRUE(same_bits(d_x[i], d_x[2])) << name_of(isa);
    }
  }
}

TEST(Linear, RefusesOperandsThatDoNotFit) {
  Context ctx({.num_threads = 1});
  ops::PackedWeights packed;
  const Tensor x({2, 3});
  const Tensor w({3, 4});
  const Tensor w64({3, 4}, Dtype::f64);
  const Tensor bias({4});
  const Tensor wide({2, 6});
  const Tensor halves({2, 3}, Dtype::bf16);
  Tensor y({2, 4});
  Tensor y3({3, 4});
  Tensor d_w({3, 4});
  const auto forward = [&](ConstView xs, ConstView ws, ConstView b, View out) {
    return error_of<ShapeError>(
        [&] { ops::linear_forward(ctx, xs, ws, packed, b, Epilogue::none, out); });
  };
  EXPECT_EQ(forward(x, w, bias, y), "no error");
  EXPECT_EQ(forward(x, w, Tensor({3}), y), "[linear] bias: expected [4], got [3]");
  EXPECT_EQ(forward(x, Tensor({4, 4}), bias, y), "[linear] w: expected [3, 4], got [4, 4]");
  EXPECT_EQ(forward(x, w64, bias, y), "[linear] w: expected f32, got f64");
  EXPECT_EQ(forward(x, w, bias, y3), "[linear] y: expected 2 rows, got [3, 4]");
  EXPECT_EQ(forward(wide.view().slice(1, 0, 3), w, bias, y), "no error");  // rows may lie apart
  EXPECT_EQ(forward(ConstView(w.view().raw(), Dtype::f32, {2, 3}, Strides{1, 4}), w, bias, y),
            "[linear] x: expected contiguous elements, got a strided view");
  Tensor wide_d({2, 6});
  EXPECT_EQ(error_of<ShapeError>([&] {
              ops::linear_backward_input(ctx, y, w, packed, Write::add,
                                         wide_d.view().slice(1, 0, 3));
            }),
            "[linear_backward] d_x: expected contiguous elements, got a strided view");
  EXPECT_EQ(forward(halves, w, bias, y), "[linear] x: expected f32 or f64, got bf16");
  EXPECT_EQ(forward(x, {}, bias, y), "[linear] w: expected [3, 4], got nothing");
  EXPECT_EQ(forward({}, w, bias, y), "[linear] x: expected [..., *], got nothing");
  EXPECT_EQ(error_of<ShapeError>(
                [&] { ops::linear_backward_input(ctx, y3, w, packed, Write::add, View()); }),
            "[linear_backward] d_x: expected [..., *], got nothing");
  EXPECT_EQ(error_of<ShapeError>([&] { ops::linear_backward_weights(ctx, x, y3, d_w, {}); }),
            "[linear_backward] d_y: expected 2 rows, got [3, 4]");
  EXPECT_EQ(error_of<ShapeError>([&] { ops::linear_backward_weights(ctx, x, y, {}, d_w); }),
            "[linear_backward] d_bias: expected [4], got [3, 4]");
  EXPECT_EQ(error_of<ShapeError>([&] { ops::gemm(ctx, x, y3, y); }), "no error");
  EXPECT_EQ(error_of<ShapeError>([&] { ops::gemm(ctx, x, y, y); }),
            "[gemm] b: expected [3, *], got [2, 4]");
}

}  // namespace
}  // namespace grouphead
