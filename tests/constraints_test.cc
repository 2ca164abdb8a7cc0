// Constraints; Keras's own numbers are in keras_golden_test.

#include "grouphead/layers/constraints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model_support.h"

namespace grouphead {
namespace {

using namespace testing_support;
using ::testing::HasSubstr;

ConfigValue envelope(const char* class_name, ConfigValue::Object config) {
  return config_envelope(ConstraintRule::kModule, class_name, config);
}

Tensor constrained(const Constraint& rule, const Tensor& w) {
  Context ctx;
  Tensor out = w.clone();
  rule->apply(ctx, out);
  return out;
}

// By hand, on columns (3, 4) of norm 5 and (0.6, 0.8) of norm 1.
TEST(Constraints, BringNormsWhereTheyShouldBe) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const Tensor w = converted(Tensor::from({2, 2}, {3, 0.6F, 4, 0.8F}), dtype);
    const auto expect = [&](const Constraint& rule, double first, double second) {
      const Tensor got = constrained(rule, w);
      const double want[] = {0.6 * first, 0.6 * second, 0.8 * first, 0.8 * second};
      for (Index i = 0; i < 4; ++i) {
        EXPECT_NEAR(element(got, i), want[i], 1e-6) << rule->class_name() << " " << i;
      }
    };
    expect(constraints::max_norm(), 2, 1);
    expect(constraints::unit_norm(), 1, 1);
    expect(constraints::min_max_norm(2, 4), 4, 2);
    expect(constraints::min_max_norm(2, 4, 0.25), 4.75, 1.25);
    expect(constraints::non_neg(), 5, 1);
  }
}

TEST(Constraints, TakeNormsOverAnyAxes) {
  const Tensor w = random_tensor({3, 4, 70}, 1, Dtype::f64);
  const auto norm_of = [&](const Tensor& x, const std::vector<Index>& axes, Index i) {
    // Of the slice that element i is in, by looking at every element.
    const auto place = [&](Index j) { return std::array{j / 280, j / 70 % 4, j % 70}; };
    double squares = 0;
    for (Index j = 0; j < x.size(); ++j) {
      bool same = true;
      for (Index axis = 0; axis < 3; ++axis) {
        const bool is_summed = std::find(axes.begin(), axes.end(), axis) != axes.end();
        const auto at = static_cast<std::size_t>(axis);
        same = same && (is_summed || place(i)[at] == place(j)[at]);
      }
      if (same) squares += element(x, j) * element(x, j);
    }
    return std::sqrt(squares);
  };
  const std::pair<ConfigValue, std::vector<Index>> kAxes[] = {{0, {0}},
                                                              {1, {1}},
                                                              {-1, {2}},
                                                              {ConfigValue::List{0, 1}, {0, 1}},
                                                              {ConfigValue::List{0, -1}, {0, 2}},
                                                              {nullptr, {0, 1, 2}},
                                                              {ConfigValue::List{}, {}}};
  for (const auto& [axis, axes] : kAxes) {
    const Tensor got = constrained(constraints::unit_norm(axis), w);
    for (Index i = 0; i < w.size(); i += 37) {
      const double norm = norm_of(w, axes, i);
      EXPECT_NEAR(element(got, i), element(w, i) / (1e-7 + norm), 1e-12) << axis.to_string();
    }
  }
}

TEST(Constraints, TreatOddNumbersAsKerasDoes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Tensor w = Tensor::from({2, 3}, {-0.0F, std::nanf(""), kInfinity, -1, 2, 3});
  const Tensor kept = constrained(constraints::non_neg(), w);
  EXPECT_FALSE(std::signbit(kept.data<float>()[0]));
  EXPECT_TRUE(std::isnan(kept.data<float>()[1]));
  EXPECT_EQ(kept.data<float>()[2], kInfinity);
  EXPECT_EQ(kept.data<float>()[3], 0);
  const Tensor bounded = constrained(constraints::max_norm(), w);
  EXPECT_TRUE(std::isnan(bounded.data<float>()[1]));
  EXPECT_TRUE(std::isnan(bounded.data<float>()[4]));
  EXPECT_TRUE(std::isnan(bounded.data<float>()[2]));
  EXPECT_EQ(bounded.data<float>()[5], 0);  // 3 (2 / inf)
  const Tensor zeros = Tensor::zeros({2, 2});
  EXPECT_TRUE(same_bits(constrained(constraints::unit_norm(), zeros), zeros));
  EXPECT_EQ(constrained(constraints::max_norm(), Tensor::zeros({0, 3})).size(), 0);
}

TEST(Constraints, GiveTheSameBitsForAnyNumberOfThreads) {
  const Tensor w = random_tensor({40, 1000}, 2);
  for (const Constraint& rule :
       {constraints::max_norm(0.1), constraints::unit_norm(1), constraints::non_neg()}) {
    std::vector<Tensor> results;
    for (const int threads : {1, 2, 4}) {
      Context ctx({.num_threads = threads});
      results.push_back(w.clone());
      rule->apply(ctx, results.back());
      EXPECT_TRUE(same_bits(results.back(), results[0])) << rule->class_name();
    }
  }
}

TEST(Constraints, KnowKerassNamesAndConfigurations) {
  // Source: keras.constraints.get(name).get_config().
  EXPECT_EQ(Constraint("max_norm").config(), envelope("MaxNorm", {{"max_value", 2}, {"axis", 0}}));
  EXPECT_EQ(
      Constraint("MinMaxNorm").config(),
      envelope("MinMaxNorm", {{"min_value", 0.0}, {"max_value", 1.0}, {"rate", 1.0}, {"axis", 0}}));
  EXPECT_EQ(Constraint("unit_norm").config(), envelope("UnitNorm", {{"axis", 0}}));
  EXPECT_EQ(Constraint("non_neg").config(), envelope("NonNeg", {}));
  EXPECT_FALSE(Constraint(nullptr));
  const ConfigValue lists = envelope("UnitNorm", {{"axis", ConfigValue::List{0, 1}}});
  EXPECT_EQ(Constraint(lists).config(), lists);
}

TEST(Constraints, RefuseWhatKerasRefuses) {
  const auto refusal = [](const ConfigValue& identifier) {
    return error_of<ConfigError>([&] { Constraint rule(identifier); });
  };
  EXPECT_EQ(refusal("no_such_constraint"),
            "[constraint] identifier: expected a name that Keras knows, got no_such_constraint");
  EXPECT_THAT(refusal(envelope("NonNeg", {{"axis", 0}})), HasSubstr("got axis"));
  EXPECT_THAT(refusal(envelope("MaxNorm", {{"axis", "first"}})), HasSubstr("axis"));
  EXPECT_THAT(refusal(envelope("MaxNorm", {{"max_value", nullptr}})), HasSubstr("max_value"));
  const auto misfit = [](const ConfigValue& axis) {
    return error_of<ShapeError>([&] {
      constrained(constraints::unit_norm(axis), Tensor::zeros({2, 3}));
    });
  };
  EXPECT_EQ(misfit(2), "[constraint] axis: expected different axes of rank 2, got 2");
  EXPECT_EQ(misfit(-3), "[constraint] axis: expected different axes of rank 2, got -3");
  EXPECT_EQ(misfit(ConfigValue::List{0, -2}),
            "[constraint] axis: expected different axes of rank 2, got -2");
}

}  // namespace
}  // namespace grouphead
