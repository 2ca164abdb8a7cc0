// Metrics of counts: true and false, positive and negative.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "core/number_text.h"
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
    detail::throw_shape_error(metric, "target", shape.to_string(), target_shape.to_string());
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

using train::Counted;

constexpr double kEpsilon = 1e-7;  // keras.config.epsilon()

double quotient(double a, double b) noexcept { return b == 0 ? 0 : a / b; }  // divide_no_nan

struct Confusion {
  double true_positives = 0, false_positives = 0, true_negatives = 0, false_negatives = 0;

  void add(bool is_true, bool is_positive, double weight) noexcept {
    double& count = is_true ? (is_positive ? true_positives : false_negatives)
                            : (is_positive ? false_positives : true_negatives);
    count += weight;
  }
  double precision() const { return quotient(true_positives, true_positives + false_positives); }
  double recall() const { return quotient(true_positives, true_positives + false_negatives); }
  double specificity() const { return quotient(true_negatives, true_negatives + false_positives); }
  double false_rate() const { return quotient(false_positives, false_positives + true_negatives); }
};

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
    detail::throw_shape_error(metric, "class_id", "one of " + std::to_string(rows.width),
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
      detail::throw_config_error(kind.class_name, "top_k, class_id", "none", "one");
    }
    const double t = config.threshold.value_or(0.5);
    if (!(t >= 0 && t <= 1)) {
      detail::throw_config_error(kind.class_name, "thresholds", "a number in [0, 1]",
                                 detail::number_text(t));
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
    detail::throw_config_error(kind.class_name, "thresholds", "one, as a metric is one number",
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

constexpr Index kMostThresholds = 1 << 20;  // what a file may ask for

/// Counts at ascending thresholds.
class Curve {
 public:
  explicit Curve(std::vector<double> thresholds)
      : thresholds_(std::move(thresholds)), counts_(thresholds_.size()) {}

  void add(bool is_true, double prediction, double weight) {
    const auto above = static_cast<std::size_t>(
        std::lower_bound(thresholds_.begin(), thresholds_.end(), prediction) - thresholds_.begin());
    auto& bucket = counts_[above == 0 ? 0 : above - 1];
    (is_true ? positives_ : negatives_) += weight;
    if (above > 0) (is_true ? bucket.true_positives : bucket.false_positives) += weight;
  }
  /// At each threshold, predictions above it being positive.
  std::vector<Confusion> confusions() const {
    std::vector<Confusion> all(counts_);
    for (std::size_t i = all.size(); i > 0; --i) {
      Confusion& one = all[i - 1];
      if (i < all.size()) {
        one.true_positives += all[i].true_positives;
        one.false_positives += all[i].false_positives;
      }
      one.false_negatives = positives_ - one.true_positives;
      one.true_negatives = negatives_ - one.false_positives;
    }
    return all;
  }
  void reset() {
    std::fill(counts_.begin(), counts_.end(), Confusion{});
    positives_ = negatives_ = 0;
  }

 private:
  std::vector<double> thresholds_;
  std::vector<Confusion> counts_;  // of predictions between a threshold and the next
  double positives_ = 0;
  double negatives_ = 0;
};

/// n numbers from 0 to 1; of fewer than 2, 1/2.
std::vector<double> even_thresholds(std::string_view metric, Index n, Index least) {
  if (n < least || n > kMostThresholds) {
    detail::throw_config_error(metric, "num_thresholds",
                               std::to_string(least) + " to " + std::to_string(kMostThresholds),
                               std::to_string(n));
  }
  if (n == 1) return {0.5};
  std::vector<double> thresholds(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < thresholds.size(); ++i) {
    thresholds[i] = static_cast<double>(i) / static_cast<double>(n - 1);
  }
  return thresholds;
}

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
        curve_(even_thresholds(kind.class_name, config.num_thresholds, 1)) {
    if (!(config.value >= 0 && config.value <= 1)) {
      detail::throw_config_error(kind.class_name, kind.option, "a number in [0, 1]",
                                 detail::number_text(config.value));
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

/// Endpoints outside [0, 1], so that everything and nothing is positive there.
std::vector<double> auc_thresholds(const AUCConfig& config) {
  std::vector<double> thresholds = config.thresholds;
  if (thresholds.empty()) {
    thresholds = even_thresholds("AUC", config.num_thresholds, 2);
    thresholds.front() = -kEpsilon;
    thresholds.back() = 1 + kEpsilon;
    return thresholds;
  }
  std::sort(thresholds.begin(), thresholds.end());
  if (!(thresholds.front() >= 0 && thresholds.back() <= 1)) {
    detail::throw_config_error("AUC", "thresholds", "numbers in [0, 1]", "others");
  }
  thresholds.insert(thresholds.begin(), -kEpsilon);
  thresholds.push_back(1 + kEpsilon);
  return thresholds;
}

class AreaMetric final : public Metric {
 public:
  explicit AreaMetric(const AUCConfig& config)
      : Metric(config.name.empty() ? "auc" : config.name),
        config_(config),
        curve_(auc_thresholds(config)) {
    const auto require = [](const char* option, const std::string& got,
                            std::initializer_list<std::string_view> known) {
      if (std::find(known.begin(), known.end(), got) != known.end()) return;
      std::string list;
      for (const std::string_view one : known) list.append(list.empty() ? "" : ", ").append(one);
      detail::throw_config_error("AUC", option, list, got);
    };
    require("curve", config.curve, {"ROC", "PR"});
    require("summation_method", config.summation_method, {"interpolation", "minoring", "majoring"});
  }
  std::string_view class_name() const override { return "AUC"; }
  bool higher_is_better() const override { return true; }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    const bool has_own = !config_.thresholds.empty();
    config.set("num_thresholds", has_own ? static_cast<Index>(config_.thresholds.size() + 2)
                                         : config_.num_thresholds);
    config.set("curve", config_.curve);
    config.set("summation_method", config_.summation_method);
    config.set("multi_label", false);
    config.set("num_labels", nullptr);
    config.set("label_weights", nullptr);
    config.set("from_logits", config_.from_logits);
    if (has_own) {
      std::vector<double> sorted = config_.thresholds;
      std::sort(sorted.begin(), sorted.end());
      config.set("thresholds", ConfigValue::List(sorted.begin(), sorted.end()));
    }
    return config;
  }
  void update(Context& ctx, const LossOperands& operands) override {
    const Counted rows = train::counted(ctx, name(), operands);
    for_counted(rows, {}, name(), [&](bool is_true, double prediction, double weight) {
      const double p = config_.from_logits ? 1 / (1 + std::exp(-prediction)) : prediction;
      curve_.add(is_true, std::clamp(p, 0.0, 1.0), weight);
    });
  }
  double result() const override {
    const std::vector<Confusion> all = curve_.confusions();
    double area = 0;
    for (std::size_t i = 0; i + 1 < all.size(); ++i) area += strip(all[i], all[i + 1]);
    return area;
  }
  void reset() override { curve_.reset(); }

 private:
  /// The area between two thresholds.
  double strip(const Confusion& a, const Confusion& b) const {
    const bool is_roc = config_.curve == "ROC";
    if (!is_roc && config_.summation_method == "interpolation") return precision_strip(a, b);
    const double width = is_roc ? a.false_rate() - b.false_rate() : a.recall() - b.recall();
    const double left = is_roc ? a.recall() : a.precision();
    const double right = is_roc ? b.recall() : b.precision();
    if (config_.summation_method == "interpolation") return width * (left + right) / 2;
    return width *
           (config_.summation_method == "minoring" ? std::min(left, right) : std::max(left, right));
  }
  // Source: Davis & Goadrich 2006, "The relationship between Precision-Recall and ROC curves".
  static double precision_strip(const Confusion& a, const Confusion& b) {
    const double more = a.true_positives - b.true_positives;
    const double pa = a.true_positives + a.false_positives;
    const double pb = b.true_positives + b.false_positives;
    const double slope = quotient(more, std::max(pa - pb, 0.0));
    const double intercept = b.true_positives - slope * pb;
    const double ratio = pa > 0 && pb > 0 ? pa / pb : 1;
    return quotient(slope * (more + intercept * std::log(ratio)),
                    std::max(b.true_positives + b.false_negatives, 0.0));
  }

  AUCConfig config_;
  Curve curve_;
};

std::shared_ptr<Metric> make_auc(nn::ConfigReader& reader) {
  AUCConfig config{.num_thresholds = reader.integer("num_thresholds", 200),
                   .curve = reader.string("curve", "ROC"),
                   .summation_method = reader.string("summation_method", "interpolation"),
                   .from_logits = reader.boolean("from_logits", false),
                   .name = reader.name("")};
  if (const ConfigValue& held = reader.value("thresholds"); !held.is_null()) {
    for (const ConfigValue& one : held.as_list("thresholds")) {
      config.thresholds.push_back(one.as_number("thresholds"));
    }
  }
  const bool is_multi = reader.boolean("multi_label", false);
  if (is_multi || !reader.value("num_labels").is_null() ||
      !reader.value("label_weights").is_null()) {
    detail::throw_config_error("AUC", "multi_label, num_labels, label_weights", "none", "one");
  }
  return std::make_shared<AreaMetric>(config);
}

constexpr train::MetricEntry kEntries[] = {
    {"AUC", "auc", make_auc},
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
std::shared_ptr<Metric> auc(const AUCConfig& config) {
  return std::make_shared<AreaMetric>(config);
}

}  // namespace grouphead
