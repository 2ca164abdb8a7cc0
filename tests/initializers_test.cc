#include "grouphead/layers/initializers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "grouphead/layers/dense.h"
#include "grouphead/layers/embedding.h"
#include "io/file.h"
#include "io/json.h"
#include "model_support.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

using namespace testing_support;
using ::testing::HasSubstr;

const std::string kNumbers = GROUPHEAD_SOURCE_DIR "/tests/golden/initializers/initializers.json";

Dtype dtype_of_name(const std::string& name) { return DtypePolicy(name).variable(); }

/// The numbers of `rule` as f32, which hold those of 16 bits exactly.
Tensor filled(const Initializer& rule, const Shape& shape, Dtype dtype = Dtype::f32,
              std::uint64_t stream = 1) {
  RandomStream random(stream);
  Tensor w(shape, dtype);
  rule->fill(w, fans_of(shape), random);
  Tensor numbers(shape);
  ops::convert_rounded(w, dtype, numbers);
  return numbers;
}

/// How far a number may be from Keras's: uniform numbers and 16-bit ones are the same bits. XLA's
/// logarithm is not ours, which moves some normal numbers by a unit or two in the last place. Q of
/// a matrix is known to its condition times the rounding of LAPACK in f32.
double tolerance(const std::string& class_name, const ConfigValue& config, Dtype dtype) {
  if (class_name == "Orthogonal") return 2e-5;
  const bool is_uniform =
      class_name.ends_with("Uniform") || config["distribution"] == ConfigValue("uniform");
  return is_uniform || dtype != Dtype::f32 ? 0 : 1e-6;
}

TEST(Initializers, GiveTheNumbersOfKerasOnJaxForIntegerSeeds) {
  const ConfigValue file = io::parse_json(io::read_file(kNumbers), kNumbers);
  Index count = 0;
  for (const ConfigValue& each : file["cases"].as_list("cases")) {
    const ConfigValue& identifier = each["initializer"];
    const Shape shape = each["shape"].as_shape("shape");
    const Dtype dtype = dtype_of_name(each["dtype"].as_string("dtype"));
    const Initializer rule(identifier);
    EXPECT_EQ(rule.config(), identifier);
    const Tensor numbers = filled(rule, shape, dtype);
    const auto& values = each["values"].as_list("values");
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Index place = each.contains("elements")
                              ? each["elements"].as_list("elements")[i].as_integer("element")
                              : static_cast<Index>(i);
      const auto want = static_cast<float>(values[i].as_number("value"));
      ASSERT_NEAR(
          element(numbers, place), static_cast<double>(want),
          tolerance(identifier["class_name"].as_string("class_name"), identifier["config"], dtype))
          << identifier.to_string() << " " << shape.to_string() << " element " << place;
      ++count;
    }
  }
  EXPECT_GT(count, 3000);
}

TEST(Initializers, GiveDoublesTheNumbersOfFloats) {
  for (const char* name :
       {"uniform", "normal", "truncated_normal", "glorot_uniform", "he_normal", "orthogonal"}) {
    RandomStream random(4), same(4);
    Tensor w({6, 5}, Dtype::f64), want({6, 5});
    const Initializer rule = name;
    rule->fill(w, {6, 5}, random);
    rule->fill(want, {6, 5}, same);
    for (Index i = 0; i < 30; ++i) EXPECT_EQ(element(w, i), element(want, i)) << name;
  }
}

// Keras has no orthogonal numbers of 16 bits: they are the f32 ones, rounded.
TEST(Initializers, RoundOrthogonalNumbersTo16Bits) {
  const Initializer rule = initializers::orthogonal(1, 3);
  const Tensor exact = filled(rule, {5, 4});
  const Tensor rounded = filled(rule, {5, 4}, Dtype::bf16);
  for (Index i = 0; i < 20; ++i) {
    EXPECT_EQ(rounded.data<float>()[i], to_float(to_bf16(exact.data<float>()[i])));
  }
}

TEST(Initializers, FillConstantsOfEveryType) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16, Dtype::f16}) {
    for (const auto& [rule, want] :
         {std::pair{initializers::zeros(), 0.0F}, std::pair{initializers::ones(), 1.0F},
          std::pair{initializers::constant(-0.75), -0.75F}}) {
      const Tensor w = filled(rule, {2, 3}, dtype);
      for (Index i = 0; i < 6; ++i) EXPECT_EQ(w.data<float>()[i], want);
    }
    const Tensor wide = filled(initializers::identity(2), {2, 3}, dtype);
    EXPECT_TRUE(same_bits(wide, Tensor::from({2, 3}, {2, 0, 0, 0, 2, 0})));
    const Tensor tall = filled(initializers::identity(), {3, 2}, dtype);
    EXPECT_TRUE(same_bits(tall, Tensor::from({3, 2}, {1, 0, 0, 1, 0, 0})));
  }
}

TEST(Initializers, TakeFansByKerassRule) {
  const auto fans = [](const Shape& shape) {
    const Fans found = fans_of(shape);
    return std::pair(found.in, found.out);
  };
  EXPECT_EQ(fans({}), std::pair(Index{1}, Index{1}));
  EXPECT_EQ(fans({5}), std::pair(Index{5}, Index{5}));
  EXPECT_EQ(fans({5, 3}), std::pair(Index{5}, Index{3}));
  EXPECT_EQ(fans({2, 4, 5, 3}), std::pair(Index{40}, Index{24}));
}

TEST(Initializers, TakeGivenFansUnlessTheyHaveAxes) {
  const auto largest = [](const Initializer& rule) {
    RandomStream random(1);
    Tensor w({20, 30, 40});
    rule->fill(w, {3, 5}, random);
    float most = 0;
    for (Index i = 0; i < w.size(); ++i) most = std::max(most, std::abs(w.data<float>()[i]));
    return static_cast<double>(most);
  };
  // 24000 numbers come within 0.1 % of the limit, sqrt(6 / (fan_in + fan_out)).
  EXPECT_NEAR(largest("glorot_uniform"), std::sqrt(6.0 / 8), 1e-3);
  const ConfigValue with_axes =
      config_envelope(InitializerRule::kModule, "GlorotUniform",
                      ConfigValue::Object{{"input_axes", ConfigValue::List{0}},
                                          {"output_axes", ConfigValue::List{1, -1}}});
  EXPECT_NEAR(largest(with_axes), std::sqrt(6.0 / (20 + 30 * 40)), 1e-4);
}

TEST(Initializers, DrawAnewWithoutASeedAndTheSameWithOne) {
  RandomStream random(5);
  const auto next = [&](const Initializer& rule) {
    Tensor w({50});
    rule->fill(w, {50, 50}, random);
    return w;
  };
  const Initializer unseeded = initializers::random_uniform();
  EXPECT_FALSE(same_bits(next(unseeded), next(unseeded)));
  EXPECT_EQ(random.next_draw(), 2U);  // one key a draw, whatever the size
  const Initializer seeded = initializers::random_uniform(-0.05, 0.05, 3);
  EXPECT_TRUE(same_bits(next(seeded), next(seeded)));
  EXPECT_EQ(random.next_draw(), 2U);

  const auto generator = std::make_shared<SeedGenerator>(3);
  const Initializer advancing = initializers::random_uniform(-0.05, 0.05, generator);
  const Tensor first = next(advancing);
  EXPECT_TRUE(same_bits(first, next(seeded)));  // draw 0 has the key of the integer
  EXPECT_FALSE(same_bits(next(advancing), first));
  EXPECT_EQ(generator->next_draw(), 2U);
}

TEST(Initializers, KnowKerassNamesAndConfigurations) {
  const std::pair<const char*, const char*> kNames[] = {{"zeros", "Zeros"},
                                                        {"zero", "Zeros"},
                                                        {"Zeros", "Zeros"},
                                                        {"ones", "Ones"},
                                                        {"one", "Ones"},
                                                        {"identity", "Identity"},
                                                        {"IdentityInitializer", "Identity"},
                                                        {"normal", "RandomNormal"},
                                                        {"random_normal", "RandomNormal"},
                                                        {"uniform", "RandomUniform"},
                                                        {"random_uniform", "RandomUniform"},
                                                        {"truncated_normal", "TruncatedNormal"},
                                                        {"variance_scaling", "VarianceScaling"},
                                                        {"glorot_uniform", "GlorotUniform"},
                                                        {"glorot_normal", "GlorotNormal"},
                                                        {"he_uniform", "HeUniform"},
                                                        {"he_normal", "HeNormal"},
                                                        {"lecun_uniform", "LecunUniform"},
                                                        {"lecun_normal", "LecunNormal"},
                                                        {"orthogonal", "Orthogonal"},
                                                        {"OrthogonalInitializer", "Orthogonal"}};
  for (const auto& [name, class_name] : kNames) {
    EXPECT_EQ(Initializer(name)->class_name(), class_name);
    EXPECT_EQ(Initializer(class_name)->class_name(), class_name);
  }
  EXPECT_FALSE(Initializer(ConfigValue()));
  // Source: keras.saving.serialize_keras_object.
  EXPECT_EQ(Initializer("variance_scaling").config().to_string(),
            R"({"module": "keras.initializers", "class_name": "VarianceScaling", "config": )"
            R"({"seed": null, "scale": 1.0, "mode": "fan_in", "distribution": )"
            R"("truncated_normal", "input_axes": null, "output_axes": null}, )"
            R"("registered_name": null})");
  const auto generator = std::make_shared<SeedGenerator>(5);
  EXPECT_EQ(initializers::random_normal(0, 0.5, generator)->get_config().to_string(),
            R"({"seed": {"module": "keras.random", "class_name": "SeedGenerator", "config": )"
            R"({"seed": 5, "name": "seed_generator"}, "registered_name": null}, "mean": 0.0, )"
            R"("stddev": 0.5})");
  EXPECT_EQ(initializers::variance_scaling(
                {.scale = 2, .mode = initializers::FanMode::fan_out, .seed = 9})
                ->get_config()["mode"],
            ConfigValue("fan_out"));
  EXPECT_EQ(
      Initializer(ConfigValue::Object{{"class_name", "VarianceScaling"},
                                      {"config", ConfigValue::Object{{"distribution", "Normal"}}}})
          ->get_config()["distribution"],
      ConfigValue("truncated_normal"));
}

TEST(Initializers, RefuseWhatKerasRefuses) {
  const auto refusal = [](const ConfigValue& identifier) {
    return error_of<ConfigError>([&] { Initializer rule(identifier); });
  };
  const auto of = [](const char* name, ConfigValue::Object config) {
    return config_envelope(InitializerRule::kModule, name, config);
  };
  EXPECT_EQ(refusal("no_such_initializer"),
            "[initializer] identifier: expected a name that Keras knows, got no_such_initializer");
  EXPECT_EQ(refusal("constant"), "[Constant] value: expected a number, got none");
  EXPECT_EQ(refusal(3),
            "[initializer] identifier: expected a name, or an object with a "
            "class_name, got 3");
  EXPECT_THAT(refusal(of("VarianceScaling", {{"scale", 0}})), HasSubstr("expected more than 0"));
  EXPECT_THAT(refusal(of("VarianceScaling", {{"mode", "fan"}})),
              HasSubstr("[VarianceScaling] mode: expected fan_in, fan_out or fan_avg, got fan"));
  EXPECT_THAT(refusal(of("VarianceScaling", {{"distribution", "gamma"}})), HasSubstr("got gamma"));
  EXPECT_THAT(refusal(of("GlorotUniform", {{"scale", 1}})), HasSubstr("got scale"));
  EXPECT_THAT(refusal(of("GlorotUniform", {{"seed", -1}})), HasSubstr("0 <= seed < 2^32"));
  EXPECT_THAT(refusal(of("GlorotUniform", {{"seed", 1.5}})), HasSubstr("an integer"));
  EXPECT_THAT(refusal(of("GlorotUniform", {{"seed", of("Zeros", {})}})),
              HasSubstr("SeedGenerator"));
  const auto misfit = [](const Initializer& rule, const Shape& shape) {
    return error_of<ShapeError>([&] { filled(rule, shape); });
  };
  EXPECT_THAT(misfit("identity", {2, 2, 2}), HasSubstr("[Identity] w: expected [*, *]"));
  EXPECT_EQ(misfit("orthogonal", {4}), "[Orthogonal] w: expected rank 2 or more, got [4]");
  EXPECT_THAT(misfit(of("HeNormal", {{"input_axes", ConfigValue::List{2}},
                                     {"output_axes", ConfigValue::List{0}}}),
                     {2, 3}),
              HasSubstr("[HeNormal] w: expected axis 2"));
}

TEST(Initializers, FillTensorsWithoutElements) {
  for (const char* name : {"zeros", "uniform", "normal", "truncated_normal", "orthogonal",
                           "glorot_uniform", "identity"}) {
    EXPECT_EQ(filled(name, {0, 3}).size(), 0) << name;
    EXPECT_EQ(filled(name, {3, 0}).size(), 0) << name;
  }
}

TEST(Initializers, StartLayersByKerassDefaultsInAnyType) {
  for (const char* policy : {"float32", "float64", "mixed_bfloat16", "bfloat16", "float16"}) {
    RandomStream random(1);
    const Shape x{2, 40};
    Dense dense({.units = 60, .dtype = policy});
    dense.build(std::span(&x, 1), random);
    const ConstView kernel = dense.parameters()[0].parameter->numbers();
    const double limit = std::sqrt(6.0 / 100);
    EXPECT_LE(testing::max_abs(kernel), limit * 1.01) << policy;
    EXPECT_GE(testing::max_abs(kernel), limit * 0.95) << policy;
    EXPECT_EQ(testing::max_abs(dense.parameters()[1].parameter->numbers()), 0) << policy;

    Embedding embedding({.input_dim = 50, .output_dim = 20, .dtype = policy});
    embedding.build(std::span(&x, 1), random);
    const ConstView table = embedding.parameters()[0].parameter->numbers();
    EXPECT_LE(testing::max_abs(table), 0.0505) << policy;
    EXPECT_GE(testing::max_abs(table), 0.048) << policy;
  }
}

}  // namespace
}  // namespace grouphead
