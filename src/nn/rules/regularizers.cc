#include "grouphead/layers/regularizers.h"

#include <cmath>

#include "nn/rules/rule.h"
#include "ops/arithmetic.h"
#include "ops/penalty.h"

namespace grouphead {
namespace {

constexpr std::string_view kKind = "regularizer";

double checked_factor(std::string_view class_name, std::string_view key, const ConfigValue& held) {
  const double factor = held.as_number(key);
  if (!(factor >= 0) || std::isinf(factor)) {
    core::throw_config_error(class_name, key, "a finite number, 0 or more", held.to_string());
  }
  return factor;
}

/// What an option says; null stands for the default.
double factor_of(nn::ConfigReader& reader, std::string_view class_name, std::string_view key,
                 double fallback) {
  const ConfigValue& held = reader.value(key);
  return held.is_null() ? fallback : checked_factor(class_name, key, held);
}

/// The factor as Keras keeps it where it makes a tensor of it.
double in_f32(double factor) noexcept { return static_cast<float>(factor); }

/// L1, L2 and L1L2.
class SumRule final : public nn::NamedRule<RegularizerRule> {
 public:
  struct Factors {
    double l1 = 0, l2 = 0;
  };
  SumRule(std::string_view class_name, Factors factors, ConfigValue config)
      : NamedRule(class_name), factors_(factors) {
    config_ = std::move(config);
  }
  double value(Context& ctx, ConstView x) const override {
    double penalty = 0;
    if (factors_.l1 != 0) penalty += factors_.l1 * ops::sum_of_magnitudes(ctx, x);
    if (factors_.l2 != 0) penalty += factors_.l2 * ops::sum_of_squares(ctx, x);
    return penalty;
  }
  void add_gradient(Context& ctx, ConstView x, double scale, View d_x) const override {
    if (factors_.l1 == 0 && factors_.l2 == 0) return;
    ops::add_penalty_gradient(ctx, x, scale * factors_.l1, scale * factors_.l2, d_x);
  }

 private:
  Factors factors_;
};

class OrthogonalRule final : public nn::NamedRule<RegularizerRule> {
 public:
  OrthogonalRule(std::string_view class_name, double factor, const std::string& mode)
      : NamedRule(class_name), factor_(in_f32(factor)) {
    if (mode != "rows" && mode != "columns") {
      core::throw_config_error(class_name, "mode", "rows or columns", mode);
    }
    vectors_ = mode == "rows" ? ops::Vectors::rows : ops::Vectors::columns;
    config_ = ConfigValue::Object{{"factor", factor_}, {"mode", mode}};
  }
  double value(Context& ctx, ConstView x) const override {
    return factor_ * ops::mean_cosine(ctx, x, vectors_);
  }
  void add_gradient(Context& ctx, ConstView x, double scale, View d_x) const override {
    ops::add_mean_cosine_gradient(ctx, x, vectors_, scale * factor_, d_x);
  }

 private:
  double factor_;
  ops::Vectors vectors_ = ops::Vectors::rows;
};

using Made = std::shared_ptr<const RegularizerRule>;

Made make_l1(std::string_view class_name, const ConfigValue& config) {
  nn::ConfigReader reader(class_name, config);
  const double l1 = in_f32(factor_of(reader, class_name, "l1", 0.01));
  reader.finish();
  return std::make_shared<SumRule>(class_name, SumRule::Factors{l1, 0},
                                   ConfigValue::Object{{"l1", l1}});
}

Made make_l2(std::string_view class_name, const ConfigValue& config) {
  nn::ConfigReader reader(class_name, config);
  const double l2 = factor_of(reader, class_name, "l2", 0.01);
  reader.finish();
  return std::make_shared<SumRule>(class_name, SumRule::Factors{0, l2},
                                   ConfigValue::Object{{"l2", l2}});
}

Made make_l1_l2(std::string_view class_name, const ConfigValue& config) {
  nn::ConfigReader reader(class_name, config);
  const double l1 = factor_of(reader, class_name, "l1", 0);
  const double l2 = factor_of(reader, class_name, "l2", 0);
  reader.finish();
  return std::make_shared<SumRule>(class_name, SumRule::Factors{l1, l2},
                                   ConfigValue::Object{{"l1", l1}, {"l2", l2}});
}

Made make_orthogonal(std::string_view class_name, const ConfigValue& config) {
  nn::RuleReader reader(class_name, config);
  const double factor = checked_factor(class_name, "factor", reader.value("factor", 0.01));
  const std::string mode = reader.value("mode", "rows").as_string("mode");
  reader.finish();
  return std::make_shared<OrthogonalRule>(class_name, factor, mode);
}

// Not "l1_l2": Keras documents the name and refuses it.
constexpr nn::RuleEntry<RegularizerRule> kEntries[] = {
    {{"L1", "l1"}, make_l1},
    {{"L1L2", "l1l2"}, make_l1_l2},
    {{"L2", "l2"}, make_l2},
    {{"OrthogonalRegularizer", "orthogonal_regularizer"}, make_orthogonal},
};

}  // namespace

std::shared_ptr<const RegularizerRule> RegularizerRule::from_config(const ConfigValue& identifier) {
  return nn::make_rule<RegularizerRule>(kKind, kEntries, identifier);
}

namespace regularizers {

Regularizer l1(double factor) { return make_l1("L1", ConfigValue::Object{{"l1", factor}}); }
Regularizer l2(double factor) { return make_l2("L2", ConfigValue::Object{{"l2", factor}}); }
Regularizer l1_l2(double l1, double l2) {
  return make_l1_l2("L1L2", ConfigValue::Object{{"l1", l1}, {"l2", l2}});
}
Regularizer orthogonal(double factor, std::string_view mode) {
  return make_orthogonal("OrthogonalRegularizer",
                         ConfigValue::Object{{"factor", factor}, {"mode", mode}});
}

}  // namespace regularizers
}  // namespace grouphead
