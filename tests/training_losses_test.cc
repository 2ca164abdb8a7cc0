// Losses: Keras's numbers, gradients judged in double, weights and masks, what is refused.

#include <gmock/gmock.h>

#include "gradient_support.h"
#include "grouphead/train/losses.h"
#include "keras_training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::converted;
using testing_support::error_of;
using testing_support::keras_cases;
using testing_support::KerasCase;
using testing_support::random_tensor;

Loss loss_of(const KerasCase& c) {
  return ConfigValue(ConfigValue::Object{{"class_name", c["class_name"]}, {"config", c["config"]}});
}

LossOperands operands_of(const KerasCase& c, ConstView prediction) {
  return {.target = c.optional("target"),
          .prediction = prediction,
          .mask = c.optional("mask"),
          .sample_weight = c.optional("sample_weight")};
}

void expect_case(Context& ctx, const KerasCase& c, Dtype dtype, double tolerance) {
  SCOPED_TRACE(c.name());
  const Loss loss = loss_of(c);
  const Tensor prediction = converted(c.tensor("prediction"), dtype);
  const LossOperands operands = operands_of(c, prediction);
  const LossResult got = loss->value_and_gradient(ctx, operands);
  const Tensor want = c.tensor("expect.value");
  if (loss->reduction() == Reduction::none) {
    EXPECT_EQ(got.values.shape(), want.shape());
    EXPECT_LT(testing_support::distance(got.values, want), tolerance);
  } else {
    EXPECT_NEAR(got.value, *want.data<double>(), tolerance * std::max(1.0, std::abs(got.value)));
    EXPECT_EQ(loss->value(ctx, operands), got.value);
  }
  EXPECT_EQ(got.d_prediction.dtype(), dtype);
  EXPECT_EQ(got.d_prediction.shape(), prediction.shape());
  EXPECT_LT(testing_support::distance(got.d_prediction, c.tensor("expect.gradient")), tolerance);
}

TEST(Losses, InDoubleAreKeras) {
  Context ctx({.num_threads = 2});
  const std::vector<KerasCase> cases = keras_cases("loss");
  EXPECT_GT(cases.size(), 70U);
  // Cross entropies of one-hot labels go through float32 in Keras only where labels do.
  for (const KerasCase& c : cases) expect_case(ctx, c, Dtype::f64, 1e-11);
}

TEST(Losses, InSingleFollow) {
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const KerasCase& c : keras_cases("loss")) {
      // 1 - 1e-9 and its like are 1 in f32, and so behind the clip.
      if (c.name().ends_with("_edge")) continue;
      expect_case(ctx, c, Dtype::f32, 2e-5);
    }
  }
}

TEST(Losses, OfSixteenBitsAreThoseOfTheirNumbers) {
  Context ctx;
  Tensor half({2, 3}, Dtype::bf16);
  Tensor wide({2, 3});
  const Tensor x = random_tensor({2, 3}, 5);
  for (Index i = 0; i < x.size(); ++i) {
    half.data<Bf16>()[i] = to_bf16(x.data<float>()[i]);
    wide.data<float>()[i] = to_float(half.data<Bf16>()[i]);
  }
  const Tensor target = random_tensor({2, 3}, 6);
  const Loss mse = "mse";
  const LossResult got = mse->value_and_gradient(ctx, {.target = target, .prediction = half});
  const LossResult want = mse->value_and_gradient(ctx, {.target = target, .prediction = wide});
  EXPECT_EQ(got.value, want.value);
  EXPECT_TRUE(testing_support::same_bits(got.d_prediction, want.d_prediction));
}

// Each gradient against central differences, whose error the two steps bound.
TEST(Losses, GradientsAreDerivatives) {
  Context ctx;
  for (const KerasCase& c : keras_cases("loss")) {
    if (c.name().ends_with("_edge") || c.name().ends_with("_far"))
      continue;  // kinks: no derivative
    SCOPED_TRACE(c.name());
    const Loss loss = loss_of(c);
    Tensor prediction = c.tensor("prediction").clone();
    const LossOperands operands = operands_of(c, prediction);
    const Tensor gradient = loss->value_and_gradient(ctx, operands, 1.5).d_prediction;
    for (Index i = 0; i < prediction.size(); i += 3) {
      const auto sum = [&] {
        const double value = 1.5 * loss->value(ctx, operands);
        return testing_support::WeightedSum{value, std::abs(value)};
      };
      const auto d = testing_support::central_difference(prediction.data<double>()[i], sum);
      EXPECT_NEAR(gradient.data<double>()[i], d.value, d.bound + 1e-9) << i;
    }
  }
}

TEST(Losses, StringsMeanKerasDefaults) {
  const auto config = [](const char* name) { return Loss(name).config()["class_name"]; };
  EXPECT_EQ(config("mse"), ConfigValue("MeanSquaredError"));
  EXPECT_EQ(config("MAE"), ConfigValue("MeanAbsoluteError"));
  EXPECT_EQ(config("huber"), ConfigValue("Huber"));
  EXPECT_EQ(config("bce"), ConfigValue("BinaryCrossentropy"));
  const ConfigValue sparse = Loss("sparse_categorical_crossentropy").config();
  EXPECT_EQ(sparse["config"]["from_logits"], ConfigValue(false));
  EXPECT_EQ(Loss(sparse).config(), sparse);
  EXPECT_FALSE(Loss(ConfigValue()));
  EXPECT_THAT(error_of<ConfigError>([] { Loss("mean"); }), HasSubstr("MeanSquaredError"));
}

TEST(Losses, ConfigurationsComeBack) {
  const Loss losses[] = {huber({.delta = 0.5}),
                         binary_crossentropy({.from_logits = true, .label_smoothing = 0.1}),
                         categorical_crossentropy({.reduction = Reduction::sum, .name = "cross"}),
                         sparse_categorical_crossentropy({.ignore_class = -1}),
                         mean_absolute_error({.reduction = Reduction::none})};
  for (const Loss& loss : losses) EXPECT_EQ(Loss(loss.config()).config(), loss.config());
}

TEST(Losses, ImpossibleOptionsAreRefused) {
  EXPECT_THROW(huber({.delta = -1}), ConfigError);
  EXPECT_THROW(binary_crossentropy({.label_smoothing = 1.5}), ConfigError);
  EXPECT_THROW(categorical_crossentropy({.label_smoothing = -0.1}), ConfigError);
  EXPECT_THROW(circle({.gamma = std::numeric_limits<double>::infinity()}), ConfigError);
  const auto with = [](const char* key, const ConfigValue& value) {
    return Loss(ConfigValue(ConfigValue::Object{{"class_name", "BinaryCrossentropy"},
                                                {"config", ConfigValue::Object{{key, value}}}}));
  };
  EXPECT_THROW(with("axis", 1), ConfigError);
  EXPECT_THROW(with("unknown", 1), ConfigError);
  EXPECT_THAT(error_of<ConfigError>([&] { with("reduction", "average"); }),
              HasSubstr("mean_with_sample_weight"));
}

TEST(Losses, OfSetsDoNotDependOnThreads) {
  const Tensor embeddings = random_tensor({300, 40}, 3);
  const Tensor logits = random_tensor({50, 30, 20}, 4);
  Tensor ids({300}, Dtype::i32);
  for (Index i = 0; i < 300; ++i) ids.data<std::int32_t>()[i] = static_cast<std::int32_t>(i % 7);
  Tensor words({50, 6}, Dtype::i32);
  for (Index i = 0; i < 300; ++i) words.data<std::int32_t>()[i] = static_cast<std::int32_t>(i % 19);
  const auto results = [&](int threads) {
    Context ctx({.num_threads = threads});
    return std::pair{
        circle({.gamma = 0.1})->value_and_gradient(ctx, {.target = ids, .prediction = embeddings}),
        ctc()->value_and_gradient(ctx, {.target = words, .prediction = logits})};
  };
  const auto want = results(1);
  EXPECT_GT(want.first.value, 0);
  for (const int threads : {2, 5}) {
    const auto got = results(threads);
    EXPECT_EQ(got.first.value, want.first.value);
    EXPECT_EQ(got.second.value, want.second.value);
    EXPECT_TRUE(testing_support::same_bits(got.first.d_prediction, want.first.d_prediction));
    EXPECT_TRUE(testing_support::same_bits(got.second.d_prediction, want.second.d_prediction));
  }
}

TEST(Losses, OperandsThatDoNotFitAreRefused) {
  Context ctx;
  const Tensor x = Tensor::zeros({2, 4, 3});
  const auto refusal = [&](const Loss& loss, const LossOperands& operands) {
    return error_of<ShapeError>([&] { loss->value_and_gradient(ctx, operands); });
  };
  const Loss mse = "mse";
  EXPECT_THAT(refusal(mse, {.target = Tensor::zeros({2, 4, 2}), .prediction = x}),
              HasSubstr("target: expected [2, 4, 3], got [2, 4, 2]"));
  EXPECT_THAT(refusal(mse, {.prediction = x}), HasSubstr("got nothing"));
  EXPECT_THAT(refusal(mse, {.target = x, .prediction = Tensor({2, 4, 3}, Dtype::i32)}),
              HasSubstr("a floating type"));
  EXPECT_THAT(refusal(mse, {.target = Tensor({2, 0}), .prediction = Tensor({2, 0})}),
              HasSubstr("C >= 1"));
  EXPECT_THAT(refusal(mse, {.target = x, .prediction = x, .sample_weight = Tensor::zeros({2})}),
              HasSubstr("sample_weight: expected [2, 4]"));
  EXPECT_THAT(
      refusal(mse, {.target = x, .prediction = x, .mask = Tensor::zeros({2, 3}, Dtype::boolean)}),
      HasSubstr("mask: expected [2, 4]"));
  const Loss sparse = sparse_categorical_crossentropy();
  EXPECT_THAT(refusal(sparse, {.target = Tensor::zeros({2, 3}), .prediction = x}),
              HasSubstr("target: expected [2, 4], got [2, 3]"));
  Tensor labels = Tensor::zeros({2, 4}, Dtype::i32);
  labels.data<std::int32_t>()[5] = 3;
  EXPECT_THAT(refusal(sparse, {.target = labels, .prediction = x}), HasSubstr("3 at 5"));
  EXPECT_THAT(refusal(ctc(), {.target = labels, .prediction = x}), HasSubstr("3 at 5"));
  EXPECT_THAT(refusal(ctc(), {.target = Tensor::zeros({3, 4}, Dtype::i32), .prediction = x}),
              HasSubstr("target: expected [2, 4], got [3, 4]"));
  EXPECT_THAT(refusal(ctc(), {.target = labels, .prediction = Tensor::zeros({2, 4})}),
              HasSubstr("[B, T, C]"));
  EXPECT_THAT(refusal(circle(), {.target = labels, .prediction = x}), HasSubstr("[B, C]"));
  EXPECT_THAT(
      refusal(circle(), {.target = Tensor::zeros({3}, Dtype::i32), .prediction = Tensor({2, 4})}),
      HasSubstr("target: expected [2], got [3]"));
}

TEST(Losses, OfNothingAreZero) {
  Context ctx;
  const Tensor none({0, 3});
  for (const char* name : {"mse", "binary_crossentropy", "categorical_crossentropy"}) {
    EXPECT_EQ(Loss(name)->value(ctx, {.target = none, .prediction = none}), 0) << name;
  }
  const Tensor labels({0}, Dtype::i32);
  EXPECT_EQ(sparse_categorical_crossentropy()->value(ctx, {.target = labels, .prediction = none}),
            0);
}

TEST(Losses, NaNComesThroughUnlessItDoesNotCount) {
  Context ctx;
  Tensor x = random_tensor({2, 3, 4}, 1);
  x.data<float>()[13] = std::numeric_limits<float>::quiet_NaN();  // position [1, 0]
  const Tensor target = random_tensor({2, 3, 4}, 2);
  Tensor labels = Tensor::zeros({2, 3}, Dtype::i32);
  labels.data<std::int32_t>()[3] = -1;  // no class, but of a position that does not count
  Tensor mask({2, 3}, Dtype::boolean);
  for (Index i = 0; i < 6; ++i) mask.data<bool>()[i] = i != 3;
  const auto expect = [&](const Loss& loss, ConstView wanted, bool is_sparse) {
    const LossResult masked =
        loss->value_and_gradient(ctx, {.target = wanted, .prediction = x, .mask = mask});
    EXPECT_TRUE(std::isfinite(masked.value)) << loss->name();
    EXPECT_EQ(masked.d_prediction.data<float>()[13], 0);
    EXPECT_EQ(masked.d_prediction.data<float>()[12], 0);
    if (is_sparse) return;
    EXPECT_TRUE(std::isnan(loss->value(ctx, {.target = wanted, .prediction = x}))) << loss->name();
  };
  for (const char* name : {"mse", "mae", "huber", "bce", "categorical_crossentropy"}) {
    expect(Loss(name), target, false);
  }
  for (const bool logits : {false, true}) {
    expect(binary_crossentropy({.from_logits = logits}), target, false);
    expect(categorical_crossentropy({.from_logits = logits}), target, false);
    expect(sparse_categorical_crossentropy({.from_logits = logits}), labels, true);
  }
}

TEST(Losses, ThreadsDoNotChangeTheBits) {
  const Tensor x = random_tensor({700, 40}, 3);
  const Tensor target = random_tensor({700, 40}, 4);
  const Tensor labels = testing_support::random_tokens({700}, 40, 5);
  const auto run = [&](int threads, const Loss& loss, ConstView wanted) {
    Context ctx({.num_threads = threads});
    return loss->value_and_gradient(ctx, {.target = wanted, .prediction = x});
  };
  const auto expect = [&](const Loss& loss, ConstView wanted) {
    const LossResult one = run(1, loss, wanted);
    const LossResult many = run(3, loss, wanted);
    EXPECT_EQ(one.value, many.value) << loss->name();
    EXPECT_TRUE(testing_support::same_bits(one.d_prediction, many.d_prediction)) << loss->name();
  };
  for (const char* name : {"mse", "mae", "huber", "bce", "categorical_crossentropy"}) {
    expect(Loss(name), target);
  }
  expect(sparse_categorical_crossentropy({.from_logits = true}), labels);
  expect(sparse_categorical_crossentropy(), labels);
}

}  // namespace
}  // namespace grouphead
