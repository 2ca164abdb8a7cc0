#include "grouphead/layers/constraints.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "nn/rules/rule.h"
#include "ops/axis_norms.h"

namespace grouphead {
namespace {

constexpr std::string_view kKind = "constraint";

/// The axes of a norm as Keras has them: an integer, a list, or null for all.
class Axes {
 public:
  explicit Axes(const ConfigValue& axis) {
    if (axis.is_null()) return;
    axes_.emplace();
    if (axis.is_integer()) {
      axes_->push_back(axis.as_integer("axis"));
    } else {
      for (const ConfigValue& entry : axis.as_list("axis")) {
        axes_->push_back(entry.as_integer("axis"));
      }
    }
  }
  std::vector<Index> of(int rank) const {
    if (axes_) return *axes_;
    std::vector<Index> all(static_cast<std::size_t>(rank));
    std::iota(all.begin(), all.end(), Index{0});
    return all;
  }

 private:
  std::optional<std::vector<Index>> axes_;  // none: all
};

/// MaxNorm, MinMaxNorm and UnitNorm: norms are clipped to [low, high], by the share `rate`.
class NormRule final : public nn::NamedRule<ConstraintRule> {
 public:
  struct Bounds {
    double low, high, rate;
  };
  NormRule(nn::RuleReader&& reader, Bounds bounds)
      : NamedRule(reader.class_name()), bounds_(bounds), axes_(reader.value("axis", 0)) {
    config_ = reader.finish();
  }
  void apply(Context& ctx, View w) const override {
    const auto wanted = [this](double norm) {
      // Keras's clip: the upper bound wins where the bounds cross, and NaN stays.
      const double above = norm < bounds_.low ? bounds_.low : norm;
      const double clipped = above > bounds_.high ? bounds_.high : above;
      return bounds_.rate == 1 ? clipped : bounds_.rate * clipped + (1 - bounds_.rate) * norm;
    };
    ops::rescale_norms(ctx, axes_.of(w.rank()), wanted, w);
  }

 private:
  Bounds bounds_;
  Axes axes_;
};

class NonNegRule final : public nn::NamedRule<ConstraintRule> {
 public:
  explicit NonNegRule(nn::RuleReader&& reader) : NamedRule(reader.class_name()) {
    config_ = reader.finish();
  }
  void apply(Context& ctx, View w) const override { ops::clip_negative(ctx, w); }
};

using Made = std::shared_ptr<const ConstraintRule>;

Made make_max_norm(std::string_view class_name, const ConfigValue& config) {
  nn::RuleReader reader(class_name, config);
  const double high = reader.value("max_value", 2).as_number("max_value");
  return std::make_shared<NormRule>(std::move(reader), NormRule::Bounds{0, high, 1});
}

Made make_min_max_norm(std::string_view class_name, const ConfigValue& config) {
  nn::RuleReader reader(class_name, config);
  const double low = reader.number("min_value", 0);
  const double high = reader.number("max_value", 1);
  const double rate = reader.number("rate", 1);
  return std::make_shared<NormRule>(std::move(reader), NormRule::Bounds{low, high, rate});
}

Made make_unit_norm(std::string_view class_name, const ConfigValue& config) {
  return std::make_shared<NormRule>(nn::RuleReader(class_name, config), NormRule::Bounds{1, 1, 1});
}

Made make_non_neg(std::string_view class_name, const ConfigValue& config) {
  return std::make_shared<NonNegRule>(nn::RuleReader(class_name, config));
}

constexpr nn::RuleEntry<ConstraintRule> kEntries[] = {
    {{"MaxNorm", "max_norm"}, make_max_norm},
    {{"MinMaxNorm", "min_max_norm"}, make_min_max_norm},
    {{"NonNeg", "non_neg"}, make_non_neg},
    {{"UnitNorm", "unit_norm"}, make_unit_norm},
};

}  // namespace

std::shared_ptr<const ConstraintRule> ConstraintRule::from_config(const ConfigValue& identifier) {
  return nn::make_rule<ConstraintRule>(kKind, kEntries, identifier);
}

namespace constraints {

Constraint max_norm(double max_value, const ConfigValue& axis) {
  return make_max_norm("MaxNorm", ConfigValue::Object{{"max_value", max_value}, {"axis", axis}});
}
Constraint min_max_norm(double min_value, double max_value, double rate, const ConfigValue& axis) {
  return make_min_max_norm(
      "MinMaxNorm",
      ConfigValue::Object{
          {"min_value", min_value}, {"max_value", max_value}, {"rate", rate}, {"axis", axis}});
}
Constraint unit_norm(const ConfigValue& axis) {
  return make_unit_norm("UnitNorm", ConfigValue::Object{{"axis", axis}});
}
Constraint non_neg() { return make_non_neg("NonNeg", {}); }

}  // namespace constraints
}  // namespace grouphead
