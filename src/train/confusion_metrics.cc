// Metrics of counts: true and false, positive and negative.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "core/number_text.h"
#include "train/curve.h"
#include "train/metric_entries.h"
#include "train/operands.h"

namespace grouphead {

std::optional<double> train::number_or_null(nn::ConfigReader& reader, std::string_view key) {
  const ConfigValue& held = reader.value(key);
  return held.is_null() ? std::optional<double>() : held.as_number(key);
}
std::optional<Index> train::integer_or_null(nn::ConfigReader& reader, std::string_view key) {
  const ConfigValue& held = reader.value(key);
  return held.is_null() ? std::optional<Index>() : held.as_integer(key);
}

train::Counted train::counted(Context& ctx, std::string_view metric, const LossOperands& operands) {
  Shape shape = operands.prediction.shape();
  Shape target_shape = operands.target.shape();
  align_ranks(target_shape, shape);
  if (!operands.target.has_value() || target_shape != shape) {
    core::throw_shape_error(metric, "target", shape.to_string(), target_shape.to_string());
  }
  const auto numbers = [&](ConstView view) {
    const Numbers held(ctx, view, Dtype::f64);
    const double* begin = held.view().data<double>();
    return std::vector<double>(begin, begin + view.size());
  };
  Counted rows{
      .target = numbers(operands.target), .prediction = numbers(operands.prediction), .weight = {}};
  rows.width = shape.rank() > 0 ? shape.back() : 1;
  rows.weight.assign(rows.target.size(), 1);
  if (!operands.sample_weight.has_value()) return rows;
  Shape weights = operands.sample_weight.shape();
  while (weights.rank() > 0 && weights.rank() < shape.rank()) weights = with_axis_of_one(weights);
  const Broadcast place(metric, "sample_weight", weights, shape);
  const std::vector<double> given = numbers(operands.sample_weight);
  for (std::size_t i = 0; i < rows.weight.size(); ++i) {
    rows.weight[i] = given[static_cast<std::size_t>(place(static_cast<Index>(i)))];
  }
  return rows;
}

namespace {

using train::Confusion;
using train::Counted;
using train::Curve;

/// Keeps of each row the k highest predictions, the first of equal ones.
void keep_top(Counted& rows, Index k) {
  std::vector<std::size_t> order(static_cast<std::size_t>(rows.width));
  for (std::size_t row = 0; row < rows.prediction.size(); row += order.size()) {
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return rows.prediction[row + a] > rows.prediction[row + b];
    });
    for (std::size_t i = static_cast<std::size_t>(std::clamp<Index>(k, 0, rows.width));
         i < order.size(); ++i) {
      rows.prediction[row + order[i]] = -1e10;
    }
  }
}

/// body(target, prediction, weight) of each element, or of one class of each row.
template <class Body>
void for_counted(const Counted& rows, const std::optional<Index>& class_id, std::string_view metric,
                 const Body& body) {
  if (class_id && (*class_id < 0 || *class_id >= rows.width)) {
    core::throw_shape_error(metric, "class_id", "one of " + std::to_string(rows.width),
                            std::to_string(*class_id));
  }
  const auto first = static_cast<std::size_t>(class_id.value_or(0));
  const auto step = static_cast<std::size_t>(class_id ? rows.width : 1);
  for (std::size_t i = first; i < rows.target.size(); i += step) {
    body(rows.target[i] != 0, rows.prediction[i], rows.weight[i]);
  }
}

// ---- One threshold -----------------------------------------------------------------------------

struct Kind {
  std::string_view class_name;
  const char* name;
  bool is_share;  // precision and recall: with top_k and class_id
  bool is_good;   // more is better
  double (*result)(const Confusion& counts);
};
constexpr Kind kKinds[] = {
    {"Precision", "precision", true, true, [](const Confusion& c) { return c.precision(); }},
    {"Recall", "recall", true, true, [](const Confusion& c) { return c.recall(); }},
    {"TruePositives", "true_positives", false, true,
     [](const Confusion& c) { return c.true_positives; }},
    {"TrueNegatives", "true_negatives", false, true,
     [](const Confusion& c) { return c.true_negatives; }},
    {"FalsePositives", "false_positives", false, false,
     [](const Confusion& c) { return c.false_positives; }},
    {"FalseNegatives", "false_negatives", false, false,
     [](const Confusion& c) { return c.false_negatives; }},
};

class ConfusionMetric final : public Metric {
 public:
  ConfusionMetric(const Kind& kind, const ConfusionConfig& config)
      : Metric(config.name.empty() ? kind.name : config.name), kind_(kind), config_(config) {
    if (!kind.is_share && (config.top_k || config.class_id)) {
      core::throw_config_error(kind.class_name, "top_k, class_id", "none", "one");
    }
    const double t = config.threshold.value_or(0.5);
    if (!(t >= 0 && t <= 1)) {
      core::throw_config_error(kind.class_name, "thresholds", "a number in [0, 1]",
                               core::number_text(t));
    }
  }
  std::string_view class_name() const override { return kind_.class_name; }
  bool higher_is_better() const override { return kind_.is_good; }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    config.set("thresholds", train::or_null(config_.threshold));
    if (!kind_.is_share) return config;
    config.set("top_k", train::or_null(config_.top_k));
    config.set("class_id", train::or_null(config_.class_id));
    return config;
  }
  void update(Context& ctx, const LossOperands& operands) override {
    Counted rows = train::counted(ctx, name(), operands);
    if (config_.top_k) keep_top(rows, *config_.top_k);
    const double threshold = config_.threshold.value_or(config_.top_k ? -1e10 : 0.5);
    for_counted(rows, config_.class_id, name(),
                [&](bool is_true, double prediction, double weight) {
                  counts_.add(is_true, prediction > threshold, weight);
                });
  }
  double result() const override { return kind_.result(counts_); }
  void reset() override { counts_ = {}; }
  std::vector<std::span<double>> sums() override { return counts_.sums(); }

 private:
  const Kind& kind_;
  ConfusionConfig config_;
  Confusion counts_;
};

template <int kKind>
std::shared_ptr<Metric> make_confusion(nn::ConfigReader& reader) {
  const Kind& kind = kKinds[kKind];
  ConfusionConfig config{.name = reader.name("")};
  const ConfigValue& held = reader.value("thresholds");
  if (held.is_list() && held.as_list("thresholds").size() == 1) {
    config.threshold = held.as_list("thresholds")[0].as_number("thresholds");
  } else if (held.is_list()) {
    core::throw_config_error(kind.class_name, "thresholds", "one, as a metric is one number",
                             held.to_string());
  } else if (!held.is_null()) {
    config.threshold = held.as_number("thresholds");
  }
  if (kind.is_share) {
    config.top_k = train::integer_or_null(reader, "top_k");
    config.class_id = train::integer_or_null(reader, "class_id");
  }
  return std::make_shared<ConfusionMetric>(kind, config);
}

// ---- Many thresholds ---------------------------------------------------------------------------

struct AtKind {
  std::string_view class_name;
  const char* name;
  const char* option;
  double (Confusion::*asked)() const;
  double (Confusion::*wanted)() const;
};
constexpr AtKind kAtKinds[] = {
    {"SensitivityAtSpecificity", "sensitivity_at_specificity", "specificity",
     &Confusion::specificity, &Confusion::recall},
    {"SpecificityAtSensitivity", "specificity_at_sensitivity", "sensitivity", &Confusion::recall,
     &Confusion::specificity},
    {"PrecisionAtRecall", "precision_at_recall", "recall", &Confusion::recall,
     &Confusion::precision},
    {"RecallAtPrecision", "recall_at_precision", "precision", &Confusion::precision,
     &Confusion::recall},
};

class AtMetric final : public Metric {
 public:
  AtMetric(const AtKind& kind, const AtConfig& config)
      : Metric(config.name.empty() ? kind.name : config.name),
        kind_(kind),
        config_(config),
        curve_(train::even_thresholds(kind.class_name, config.num_thresholds, 1)) {
    if (!(config.value >= 0 && config.value <= 1)) {
      core::throw_config_error(kind.class_name, kind.option, "a number in [0, 1]",
                               core::number_text(config.value));
    }
  }
  std::string_view class_name() const override { return kind_.class_name; }
  bool higher_is_better() const override { return true; }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    config.set("class_id", train::or_null(config_.class_id));
    config.set("num_thresholds", config_.num_thresholds);
    config.set(kind_.option, config_.value);
    return config;
  }
  void update(Context& ctx, const LossOperands& operands) override {
    const Counted rows = train::counted(ctx, name(), operands);
    for_counted(rows, config_.class_id, name(),
                [&](bool is_true, double prediction, double weight) {
                  curve_.add(is_true, std::clamp(prediction, 0.0, 1.0), weight);
                });
  }
  double result() const override {
    double best = 0;
    for (const Confusion& counts : curve_.confusions()) {
      if ((counts.*kind_.asked)() >= config_.value) {
        best = std::max(best, (counts.*kind_.wanted)());
      }
    }
    return best;
  }
  void reset() override { curve_.reset(); }
  std::vector<std::span<double>> sums() override {
    std::vector<std::span<double>> all;
    curve_.append_sums(all);
    return all;
  }

 private:
  const AtKind& kind_;
  AtConfig config_;
  Curve curve_;
};

template <int kKind>
std::shared_ptr<Metric> make_at(nn::ConfigReader& reader) {
  const AtKind& kind = kAtKinds[kKind];
  const AtConfig config{.value = reader.value(kind.option).as_number(kind.option),
                        .num_thresholds = reader.integer("num_thresholds", 200),
                        .class_id = train::integer_or_null(reader, "class_id"),
                        .name = reader.name("")};
  return std::make_shared<AtMetric>(kind, config);
}

constexpr train::MetricEntry kEntries[] = {
    {"FalseNegatives", "false_negatives", make_confusion<5>},
    {"FalsePositives", "false_positives", make_confusion<4>},
    {"Precision", "precision", make_confusion<0>},
    {"PrecisionAtRecall", "precision_at_recall", make_at<2>},
    {"Recall", "recall", make_confusion<1>},
    {"RecallAtPrecision", "recall_at_precision", make_at<3>},
    {"SensitivityAtSpecificity", "sensitivity_at_specificity", make_at<0>},
    {"SpecificityAtSensitivity", "specificity_at_sensitivity", make_at<1>},
    {"TrueNegatives", "true_negatives", make_confusion<3>},
    {"TruePositives", "true_positives", make_confusion<2>},
};

}  // namespace

std::span<const train::MetricEntry> train::confusion_metrics() { return kEntries; }

std::shared_ptr<Metric> precision(const ConfusionConfig& config) {
  return std::make_shared<ConfusionMetric>(kKinds[0], config);
}
std::shared_ptr<Metric> recall(const ConfusionConfig& config) {
  return std::make_shared<ConfusionMetric>(kKinds[1], config);
}
std::shared_ptr<Metric> true_positives(const ConfusionConfig& config) {
  return std::make_shared<ConfusionMetric>(kKinds[2], config);
}
std::shared_ptr<Metric> true_negatives(const ConfusionConfig& config) {
  return std::make_shared<ConfusionMetric>(kKinds[3], config);
}
std::shared_ptr<Metric> false_positives(const ConfusionConfig& config) {
  return std::make_shared<ConfusionMetric>(kKinds[4], config);
}
std::shared_ptr<Metric> false_negatives(const ConfusionConfig& config) {
  return std::make_shared<ConfusionMetric>(kKinds[5], config);
}
std::shared_ptr<Metric> sensitivity_at_specificity(const AtConfig& config) {
  return std::make_shared<AtMetric>(kAtKinds[0], config);
}
std::shared_ptr<Metric> specificity_at_sensitivity(const AtConfig& config) {
  return std::make_shared<AtMetric>(kAtKinds[1], config);
}
std::shared_ptr<Metric> precision_at_recall(const AtConfig& config) {
  return std::make_shared<AtMetric>(kAtKinds[2], config);
}
std::shared_ptr<Metric> recall_at_precision(const AtConfig& config) {
  return std::make_shared<AtMetric>(kAtKinds[3], config);
}

}  // namespace grouphead
