#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "gradient_support.h"
#include "grouphead/layers/dropout.h"
#include "grouphead/layers/serialization.h"

namespace grouphead {
namespace {

using namespace testing_support;
using ::testing::HasSubstr;

constexpr Mode kTraining{.training = true};

Tensor ones(const Shape& shape) {
  Tensor x(shape);
  std::fill_n(x.data<float>(), x.size(), 1.0F);
  return x;
}

std::string kept_elements(ConstView y) {
  std::string kept;
  for (Index i = 0; i < y.size(); ++i) kept += element(y, i) != 0 ? '1' : '0';
  return kept;
}

TEST(Dropout, IsTheIdentityOutsideTraining) {
  Context ctx;
  Dropout dropout({.rate = 0.5});
  const Tensor x = random_tensor({3, 100}, 1);
  RandomStream random(1);
  EXPECT_TRUE(same_bits(call(ctx, dropout, {x}, {.random = &random}), x));
  EXPECT_EQ(random.next_draw(), 0U);
  Dropout none({.rate = 0});
  EXPECT_TRUE(same_bits(call(ctx, none, {x}, kTraining), x));
}

TEST(Dropout, KeepsTheRightShareAndScalesIt) {
  constexpr Index kSize = 100000;
  for (const double rate : {0.1, 0.5, 0.9}) {
    Dropout dropout({.rate = rate});
    std::vector<Tensor> results;
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      RandomStream random(3);
      const Mode mode{.training = true, .random = &random};
      results.push_back(call(ctx, dropout, {ones({kSize})}, mode).clone());
      const Tensor next = call(ctx, dropout, {ones({kSize})}, mode);
      EXPECT_FALSE(same_bits(results.back(), next)) << "draws are the same";
    }
    Index kept = 0;
    for (Index i = 0; i < kSize; ++i) {
      const double y = element(results[0], i);
      if (y == 0) continue;
      ++kept;
      EXPECT_NEAR(y, 1 / (1 - rate), 1e-6);
    }
    const double deviation = std::sqrt(kSize * rate * (1 - rate));
    EXPECT_NEAR(static_cast<double>(kept), kSize * (1 - rate), 5 * deviation);
    for (const Tensor& other : results) EXPECT_TRUE(same_bits(other, results[0]));
  }
}

// Source: keras.layers.Dropout(rate, seed=seed) of Keras 3.15.1 on JAX, called twice in training on
// ones of shape (4, 12).
TEST(Dropout, DropsWhatKerasOnJaxDropsWithTheSameSeed) {
  struct Case {
    double rate;
    std::uint32_t seed;
    const char* masks[2];
    float kept_value;
  };
  const Case kCases[] = {
      {0.3,
       11,
       {"011101101011100110111111111110111011110111100111",
        "010111001000111010111111111001111111111111011111"},
       1.4285714626312256F},
      {0.5,
       4294967295,
       {"000111111000010010111101111001111101011111011000",
        "010010011011100000101011111100110100011101000100"},
       2},
      {0.9,
       0,
       {"000000000001000000011000000000100000000000000001",
        "000000000000000001010100100000000000000000000000"},
       10},
  };
  for (const Isa isa : isas_under_test()) {
    Context ctx({.isa = isa});
    for (const Case& one : kCases) {
      Dropout dropout({.rate = one.rate, .seed = one.seed});
      for (const char* mask : one.masks) {
        const Tensor y = call(ctx, dropout, {ones({4, 12})}, kTraining);
        EXPECT_EQ(kept_elements(y), mask) << one.rate;
        EXPECT_EQ(*std::max_element(y.data<float>(), y.data<float>() + y.size()), one.kept_value);
      }
      EXPECT_EQ(dropout.seed_generator()->next_draw(), 2U);
    }
  }
}

// Source: the same with dtype=policy and seed 11 on numpy.linspace(-3, 3, 12).
TEST(Dropout, RoundsAsKerasDoesIn16Bits) {
  Context ctx;
  Tensor x({12});
  for (Index i = 0; i < 12; ++i) {
    x.data<float>()[i] = static_cast<float>(-3 + static_cast<double>(i) * (6.0 / 11));
  }
  const auto results = [&](const char* policy) {
    Dropout dropout({.rate = 0.3, .seed = 11, .dtype = policy});
    const Value in{x, {}};
    const Tensor y = dropout.call(ctx, std::span(&in, 1), kTraining, nullptr)[0].tensor;
    EXPECT_EQ(y.dtype(), DtypePolicy(policy).compute());
    std::vector<float> numbers;
    for (Index i = 0; i < y.size(); ++i) {
      numbers.push_back(y.dtype() == Dtype::bf16 ? to_float(y.data<Bf16>()[i])
                                                 : to_float(y.data<F16>()[i]));
    }
    return numbers;
  };
  EXPECT_THAT(results("mixed_bfloat16"),
              ::testing::ElementsAre(0, -3.515625F, -2.71875F, -1.953125F, 0, -0.390625F, 0.390625F,
                                     0, 1.953125F, 0, 3.515625F, 4.28125F));
  EXPECT_THAT(
      results("float16"),
      ::testing::ElementsAre(0, -3.505859375F, -2.7265625F, -1.9462890625F, 0, -0.389404296875F,
                             0.389404296875F, 0, 1.9462890625F, 0, 3.505859375F, 4.28125F));
}

TEST(Dropout, DropsEverythingAtRateOneAndTakesNoNumbers) {
  Context ctx;
  Dropout dropout({.rate = 1, .seed = 5});
  const Tensor y = call(ctx, dropout, {random_tensor({3, 5}, 1)}, kTraining);
  EXPECT_TRUE(same_bits(y, Tensor::zeros({3, 5})));
  EXPECT_EQ(dropout.seed_generator()->next_draw(), 0U);
}

TEST(Dropout, DrawsASeedWhereNoneIsGiven) {
  Context ctx;
  const auto built = [](std::uint64_t stream) {
    auto dropout = std::make_unique<Dropout>(DropoutConfig{.rate = 0.5});
    RandomStream random(stream);
    const Shape shape{2, 50};
    dropout->build(std::span(&shape, 1), random);
    return dropout;
  };
  const Tensor x = ones({2, 50});
  const Tensor first = call(ctx, *built(1), {x}, kTraining);
  EXPECT_TRUE(same_bits(call(ctx, *built(1), {x}, kTraining), first));
  EXPECT_FALSE(same_bits(call(ctx, *built(2), {x}, kTraining), first));

  Dropout unbuilt({.rate = 0.5});
  EXPECT_EQ(error_of<ConfigError>([&] { call(ctx, unbuilt, {x}, kTraining); }),
            "[dropout] mode.random: expected a random stream, a seed, or build(), got none");
}

TEST(Dropout, HasTheGradientOfTheMaskItDrew) {
  Context ctx;
  for (const bool with_stream : {false, true}) {
    Dropout dropout({.rate = 0.4, .seed = 3});
    RandomStream random(9);
    const Mode mode{.training = true, .random = with_stream ? &random : nullptr};
    const Tensor x = ones({4, 30});
    std::unique_ptr<Saved> saved;
    const Tensor y = call(ctx, dropout, {x}, mode, &saved);
    ParameterList none;
    Grads grads(ctx, none);
    // y = x m, so the gradient of sum(y) by x is m, and x is 1.
    const Tensor d_x = call_backward(ctx, dropout, *saved, x, {x}, grads)[0];
    EXPECT_TRUE(same_bits(d_x, y));
  }
}

TEST(Dropout, IsMadeAgainFromItsConfiguration) {
  Dropout dropout({.rate = 0.25, .seed = 7, .name = "drop", .dtype = "mixed_bfloat16"});
  const ConfigValue config = dropout.get_config();
  // Source: keras.layers.Dropout.get_config.
  EXPECT_EQ(config.to_string(),
            R"({"name": "drop", "trainable": true, "dtype": {"module": "keras", )"
            R"("class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}, )"
            R"("registered_name": null}, "rate": 0.25, "seed": 7, "noise_shape": null})");
  EXPECT_EQ(make_layer("Dropout", config)->get_config(), config);
  const auto refusal = [](ConfigValue::Object options) {
    return error_of<ConfigError>([&] { make_layer("Dropout", options); });
  };
  const ConfigValue noise_shape = ConfigValue::List{ConfigValue(), 1, 2};
  EXPECT_EQ(make_layer("Dropout", ConfigValue::Object{{"rate", 0.5}, {"noise_shape", noise_shape}})
                ->get_config()["noise_shape"],
            noise_shape);
  EXPECT_THAT(refusal({{"rate", 0.5}, {"noise_shape", "wide"}}),
              HasSubstr("noise_shape: expected a list"));
  EXPECT_EQ(refusal({{"rate", 0.5}, {"seed", -1}}),
            "[seed] seed: expected 0 <= seed < 2^32, got -1");
  EXPECT_THAT(refusal({}), HasSubstr("rate: expected a number, got null"));
  EXPECT_THAT(refusal({{"rate", 0.5}, {"rates", 1}}), HasSubstr("got rates"));
  EXPECT_THAT(refusal({{"rate", 1.5}}), HasSubstr("[dropout] rate: expected 0 <= rate <= 1"));
}

}  // namespace
}  // namespace grouphead
