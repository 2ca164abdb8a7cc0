// initializers.json of golden folders in Keras's format.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "grouphead/layers/initializers.h"
#include "testing/keras_case.h"

namespace grouphead::testing {
namespace {

constexpr Index kNumDraws = 40'000;
/// Of a standard deviation or a share, for that many draws: 5 standard errors.
constexpr double kSpreadTolerance = 0.02;
constexpr double kWithinOneSigma = 0.6826895;
constexpr double kWithinTwoSigmas = 0.9544997;

void require(bool holds, std::string_view what, std::string_view expected, std::string_view got) {
  if (!holds) {
    throw IoError(fmt::format("[golden] {}: expected {}, got {}", what, expected, got));
  }
}

void require_close(std::string_view what, double got, double want, double tolerance) {
  require(std::abs(got - want) <= tolerance, what, fmt::format("{} +- {:.2e}", want, tolerance),
          fmt::format("{}", got));
}

Index product(const Shape& shape, const ConfigValue& axes) {
  Index size = 1;
  for (const ConfigValue& axis : axes.as_list("axes")) {
    size *= shape[static_cast<int>(axis.as_integer("axis"))];
  }
  return size;
}

/// The fans of an einsum's axes, or by the rule without one.
Fans fans_for(const ConfigValue& entry, const Shape& shape) {
  if (entry["input_axes"].is_null()) return fans_of(shape);
  return {product(shape, entry["input_axes"]), product(shape, entry["output_axes"])};
}

std::vector<double> draws(const InitializerRule& rule, const Shape& shape, const Fans& fans) {
  RandomStream random(20261121);
  Tensor w(shape);
  std::vector<double> values;
  while (static_cast<Index>(values.size()) < kNumDraws) {
    rule.fill(w, fans, random);
    values.insert(values.end(), w.data<float>(), w.data<float>() + w.size());
  }
  return values;
}

double share_within(const std::vector<double>& values, double center, double distance) {
  const auto count = std::count_if(values.begin(), values.end(),
                                   [&](double x) { return std::abs(x - center) < distance; });
  return static_cast<double>(count) / static_cast<double>(values.size());
}

void check_range(const std::vector<double>& values, double low, double high) {
  const double rounding = 1e-6 * std::max(std::abs(low), std::abs(high));
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  require(*least >= low - rounding && *most <= high + rounding, "range",
          fmt::format("[{}, {}]", low, high), fmt::format("[{}, {}]", *least, *most));
}

void check_distribution(const ConfigValue& entry, const InitializerRule& rule, const Shape& shape,
                        const Fans& fans) {
  const std::vector<double> values = draws(rule, shape, fans);
  const double spread = entry["stddev_of_values"].as_number("stddev_of_values");
  const double center = entry["mean"].is_null() ? 0 : entry["mean"].as_number("mean");
  double sum = 0;
  double squares = 0;
  for (const double x : values) {
    sum += x;
    squares += (x - center) * (x - center);
  }
  const double count = static_cast<double>(values.size());
  require_close("mean", sum / count, center, 5 * spread / std::sqrt(count));
  require_close("stddev_of_values", std::sqrt(squares / count), spread, kSpreadTolerance * spread);

  const std::string& kind = entry["distribution"].as_string("distribution");
  if (kind == "uniform") {
    const double high = entry[entry.contains("limit") ? "limit" : "maxval"].as_number("limit");
    const double low = entry.contains("minval") ? entry["minval"].as_number("minval") : -high;
    check_range(values, low, high);
    require_close("share of the middle half",
                  share_within(values, (low + high) / 2, (high - low) / 4), 0.5, kSpreadTolerance);
  } else if (kind == "truncated_normal") {
    const double limit = entry["truncated_at"].as_number("truncated_at");
    const double sigma = entry["normal_stddev_before_truncation"].as_number("stddev");
    check_range(values, center - limit, center + limit);
    require_close("share within one deviation", share_within(values, center, sigma),
                  kWithinOneSigma / kWithinTwoSigmas, kSpreadTolerance);
  } else {
    require(kind == "normal", "distribution", "one that is known", kind);
    require_close("share within one deviation", share_within(values, center, spread),
                  kWithinOneSigma, kSpreadTolerance);
  }
}

void check_orthogonal(const ConfigValue& entry, const InitializerRule& rule, const Shape& shape,
                      const Fans& fans) {
  const Shape flat = entry["flattened"].as_shape("flattened");
  const double gain = entry["gain"].as_number("gain");
  RandomStream random(5);
  Tensor w(shape);
  rule.fill(w, fans, random);
  const float* x = w.data<float>();
  const bool by_columns = flat[0] >= flat[1];
  const std::string_view property = by_columns ? "columns orthonormal" : "rows orthonormal";
  require(entry["property"].as_string("property") == property, "property", property, "another");
  const Index count = by_columns ? flat[1] : flat[0];
  const Index length = by_columns ? flat[0] : flat[1];
  const auto element = [&](Index vector, Index i) {
    return static_cast<double>(by_columns ? x[i * flat[1] + vector] : x[vector * flat[1] + i]);
  };
  for (Index a = 0; a < count; ++a) {
    for (Index b = 0; b <= a; ++b) {
      double dot = 0;
      for (Index i = 0; i < length; ++i) dot += element(a, i) * element(b, i);
      require_close("product of two vectors", dot, a == b ? gain * gain : 0, 1e-5);
    }
  }
}

void check_constant(double value, const InitializerRule& rule, const Shape& shape,
                    const Fans& fans) {
  RandomStream random(1);
  Tensor w(shape);
  rule.fill(w, fans, random);
  for (Index i = 0; i < w.size(); ++i) {
    require_close("value", static_cast<double>(w.data<float>()[i]), value, 0);
  }
}

void check_values(const ConfigValue& entry, const InitializerRule& rule) {
  const Shape shape = entry["shape"].as_shape("shape");
  const Fans fans = fans_for(entry, shape);
  if (entry.contains("fan_in")) {
    require_close("fan_in", static_cast<double>(fans.in), entry["fan_in"].as_number("fan_in"), 0);
    require_close("fan_out", static_cast<double>(fans.out), entry["fan_out"].as_number("fan_out"),
                  0);
  }
  if (entry.contains("value")) {
    check_constant(entry["value"].as_number("value"), rule, shape, fans);
  } else if (entry.contains("flattened")) {
    check_orthogonal(entry, rule, shape, fans);
  } else {
    check_distribution(entry, rule, shape, fans);
  }
}

}  // namespace

void check_initializer(const ConfigValue& entry) {
  require_known_fields(entry, "initializer",
                       {"initializer",
                        "class_name",
                        "owner",
                        "shape",
                        "default_config",
                        "fan_in",
                        "fan_out",
                        "input_axes",
                        "output_axes",
                        "scale",
                        "mode",
                        "distribution",
                        "conv_rule_fan_in",
                        "conv_rule_fan_out",
                        "stddev_of_values",
                        "normal_stddev_before_truncation",
                        "truncated_at",
                        "limit",
                        "mean",
                        "minval",
                        "maxval",
                        "value",
                        "gain",
                        "flattened",
                        "property",
                        "raises"});
  const std::string& class_name = entry["class_name"].as_string("class_name");
  const ConfigValue& config = entry["default_config"];
  const Initializer rule(config_envelope(InitializerRule::kModule, class_name, config));
  require(rule->class_name() == class_name, "class_name", class_name, rule->class_name());
  require(rule->get_config() == config, "default_config", config.to_string(),
          rule->get_config().to_string());
  if (!entry.contains("raises")) return check_values(entry, *rule);
  try {
    check_values(entry, *rule);
  } catch (const ShapeError&) {
    return;
  }
  throw IoError("[golden] fill: expected a refusal, got numbers");
}

}  // namespace grouphead::testing
