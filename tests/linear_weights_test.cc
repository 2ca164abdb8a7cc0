// Weights in fewer bits: what they are rounded to, their products, and who may use them.

#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "allocation_counter.h"
#include "grouphead/layers/dense.h"
#include "grouphead/models/models.h"
#include "linear_support.h"
#include "testing/inputs.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ops::Epilogue;

constexpr Dtype kFewerBits[] = {Dtype::bf16, Dtype::u8};

Tensor multiply(Context& ctx, const Tensor& x, const Tensor& w, ops::PackedWeights& packed) {
  Tensor y({x.dim(0), w.dim(1)});
  ops::linear_forward(ctx, x, w, packed, {}, Epilogue::none, y);
  return y;
}

/// What products take w for: those of the unit vectors.
Tensor kept(Context& ctx, const Tensor& w, Dtype form) {
  Tensor units = Tensor::zeros({w.dim(0), w.dim(0)});
  for (Index i = 0; i < w.dim(0); ++i) units.data<float>()[i * w.dim(0) + i] = 1;
  ops::PackedWeights packed;
  packed.keep_as(form);
  return multiply(ctx, units, w, packed);
}

TEST(LinearWeights, Bf16IsTheNearest) {
  const Tensor w = random_tensor<float>({70, 90}, 1);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor got = kept(ctx, w, Dtype::bf16);
    for (Index i = 0; i < w.size(); ++i) {
      ASSERT_EQ(got.data<float>()[i], to_float(to_bf16(w.data<float>()[i]))) << i;
    }
  }
}

TEST(LinearWeights, EightBitsAreWithinHalfAScaleOfTheirColumn) {
  Tensor w = random_tensor<float>({70, 90}, 1);
  for (Index i = 0; i < w.size(); ++i) w.data<float>()[i] *= static_cast<float>(i % 90 + 1);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor got = kept(ctx, w, Dtype::u8);
    for (Index c = 0; c < 90; ++c) {
      float most = 0;
      for (Index r = 0; r < 70; ++r) most = std::max(most, std::abs(w.data<float>()[r * 90 + c]));
      const double scale = most / 127;
      for (Index r = 0; r < 70; ++r) {
        const double number = got.data<float>()[r * 90 + c];
        // The factor, the product with it and that with the scale round once each.
        const double slack = 4e-7 * most;
        ASSERT_LE(std::abs(number - w.data<float>()[r * 90 + c]), scale / 2 + slack)
            << r << " " << c;
        ASSERT_NEAR(number / scale, std::round(number / scale), 1e-4) << r << " " << c;
      }
    }
  }
}

TEST(LinearWeights, ColumnsWithoutFiniteOrSizeableNumbersStandAlone) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Tensor w = random_tensor<float>({40, 50}, 1);
  w.data<float>()[7 * 50 + 3] = kInfinity;
  w.data<float>()[9 * 50 + 11] = std::numeric_limits<float>::quiet_NaN();
  for (Index r = 0; r < 40; ++r) w.data<float>()[r * 50 + 20] = 1e-35F;
  const Tensor x = random_tensor<float>({3, 40}, 2);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    ops::PackedWeights packed;
    packed.keep_as(Dtype::u8);
    const Tensor y = multiply(ctx, x, w, packed);
    for (Index i = 0; i < y.size(); ++i) {
      const Index column = i % 50;
      const float number = y.data<float>()[i];
      EXPECT_EQ(std::isnan(number), column == 3 || column == 11) << column;
      EXPECT_TRUE(column != 20 || number == 0.0F);
    }
  }
}

TEST(LinearWeights, WhatFewerBitsHoldExactlyHasTheProductsOfF32) {
  Tensor w = random_tensor<float>({64, 96}, 1);
  for (Index i = 0; i < w.size(); ++i) {
    w.data<float>()[i] = to_float(to_bf16(w.data<float>()[i]));
  }
  const Tensor x = random_tensor<float>({13, 64}, 2);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    ops::PackedWeights whole;
    ops::PackedWeights packed;
    packed.keep_as(Dtype::bf16);
    EXPECT_TRUE(same_bits(multiply(ctx, x, w, packed), multiply(ctx, x, w, whole))) << name_of(isa);
  }
}

TEST(LinearWeights, ARowDependsOnItsRowAloneAndNotOnThreads) {
  const tbb::global_control five(tbb::global_control::max_allowed_parallelism, 5);
  for (const Isa isa : isas_under_test()) {
    Context one({.num_threads = 1, .isa = isa});
    Context many({.num_threads = 5, .isa = isa});
    for (const Size& s : {Size{300, 64, 64}, Size{300, 700, 333}, Size{300, 1024, 256},
                          Size{300, 1, 1}, Size{300, 130, 2000}}) {
      const Tensor x = random_tensor<float>({s.m, s.k}, 1);
      const Tensor w = random_tensor<float>({s.k, s.n}, 2);
      const Tensor bias = random_tensor<float>({s.n}, 3);
      for (const Dtype form : kFewerBits) {
        ops::PackedWeights packed;
        packed.keep_as(form);
        Tensor y({s.m, s.n});
        ops::linear_forward(one, x, w, packed, bias, Epilogue::gelu, y);
        for (const Index part : {1, 2, 3, 12, 37, 121}) {
          Tensor y_part({part, s.n});
          for (const Index first : {Index{0}, s.m - part}) {
            ops::linear_forward(many, x.view().slice(0, first, first + part), w, packed, bias,
                                Epilogue::gelu, y_part);
            EXPECT_EQ(std::memcmp(y.view().slice(0, first, first + part).raw(), y_part.view().raw(),
                                  static_cast<std::size_t>(y_part.bytes())),
                      0)
                << key(s, isa) << " " << name_of(form) << " " << part << " rows";
          }
        }
      }
    }
  }
}

Tensor run(Context& ctx, const Layer& layer, const Tensor& x) {
  const Value in{x, {}};
  return layer.forward(ctx, std::span(&in, 1), {}, nullptr)[0].tensor;
}

/// A Dense layer for so many inputs.
std::unique_ptr<Dense> built_dense(Index inputs, const DenseConfig& config) {
  auto dense = std::make_unique<Dense>(config);
  const Shape shape{1, inputs};
  RandomStream random(1);
  dense->build(std::span(&shape, 1), random);
  return dense;
}

TEST(LinearWeights, LayersFollowTheirParameters) {
  const auto dense = built_dense(100, {.units = 90});
  const Tensor x = random_tensor<float>({5, 100}, 1);
  Context ctx({.num_threads = 1});
  const Tensor before = run(ctx, *dense, x);
  pack_weights(dense->parameters(), Dtype::u8);
  const Tensor rounded = run(ctx, *dense, x);
  EXPECT_FALSE(same_bits(rounded, before));
  // An edit is packed anew, in the same form.
  Parameter& kernel = *dense->parameters()[0].parameter;
  const View numbers = kernel.edit();
  for (Index i = 0; i < numbers.size(); ++i) numbers.data<float>()[i] *= 2;
  const Tensor doubled = run(ctx, *dense, x);
  for (Index i = 0; i < doubled.size(); ++i) {
    ASSERT_EQ(doubled.data<float>()[i], 2 * rounded.data<float>()[i]) << i;
  }
  for (Index i = 0; i < numbers.size(); ++i) kernel.edit().data<float>()[i] /= 2;
  pack_weights(dense->parameters(), Dtype::f32);
  EXPECT_TRUE(same_bits(run(ctx, *dense, x), before));
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

TEST(LinearWeights, AreForInferenceInF32) {
  const auto dense = built_dense(8, {.units = 4});
  EXPECT_EQ(error_of([&] { pack_weights(dense->parameters(), Dtype::f16); }),
            "[pack_weights] form: expected f32, bf16 or u8, got f16");
  const auto doubles = built_dense(8, {.units = 4, .dtype = Dtype::f64});
  EXPECT_EQ(error_of([&] { pack_weights(doubles->parameters(), Dtype::bf16); }),
            "[pack_weights] kernel: expected f32 or 16 bits, got f64");
  pack_weights(dense->parameters(), Dtype::bf16);
  Context ctx({.num_threads = 1});
  const Value in{random_tensor<float>({3, 8}, 1), {}};
  std::unique_ptr<Saved> saved;
  const std::vector<Value> out = dense->forward(ctx, std::span(&in, 1), {.training = true}, &saved);
  const ConstView d_out = out[0].tensor.view();
  Grads grads(ctx, dense->parameters());
  View d_in;
  EXPECT_EQ(error_of([&] {
              dense->backward(ctx, *saved, std::span(&d_out, 1), std::span(&d_in, 1), grads);
            }),
            "[backward] weights: expected f32, which gradients are taken of, got bf16");
}

TEST(LinearWeights, ALanguageModelMovesLittleAndTakesNothingFromTheHeap) {
  LanguageModel model({.vocab_size = 64,
                       .transformer = {.hidden_size = 64,
                                       .num_heads = 4,
                                       .num_key_value_heads = 2,
                                       .num_layers = 3,
                                       .rope = RopeConfig{}}});
  Tensor tokens({1, 40}, Dtype::i32);
  for (Index i = 0; i < 40; ++i) tokens.data<std::int32_t>()[i] = static_cast<int>(i * 7 % 64);
  Tensor token({1, 1}, Dtype::i32);
  token.data<std::int32_t>()[0] = 5;
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    pack_weights(model.parameters(), Dtype::f32);
    const Tensor want = run(ctx, model, tokens);
    double largest = 0;
    for (Index i = 0; i < want.size(); ++i) {
      largest = std::max(largest, std::abs(double{want.data<float>()[i]}));
    }
    for (const Dtype form : kFewerBits) {
      pack_weights(model.parameters(), form);
      const Tensor got = run(ctx, model, tokens);
      // Roundings of independent weights average out: far below 2^-9 and 1/254 for each of them.
      EXPECT_TRUE(is_close(got, testing::convert(ctx, want, Dtype::f64), largest / 64, "logits"));
      KvCache cache = model.make_cache(ctx, 1, 64);
      Tensor logits({1, 64});
      for (int i = 0; i < 2; ++i) model.step(ctx, token, cache, logits);
      const auto step = [&] { model.step(ctx, token, cache, logits); };
      EXPECT_EQ(allocations_of(step).count, 0) << name_of(form) << " " << name_of(isa);
    }
  }
}

}  // namespace
}  // namespace grouphead
