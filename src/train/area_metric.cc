// The area under a curve of counts.

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "nn/numbers_config.h"
#include "train/curve.h"
#include "train/metric_entries.h"
#include "train/operands.h"

namespace grouphead {
namespace {

using train::Confusion;
using train::Counted;
using train::Curve;
using train::quotient;

constexpr double kEpsilon = 1e-7;       // keras.config.epsilon()
constexpr Index kMostLabels = 1 << 16;  // what a file may ask for
constexpr Index kMostCounts = 1 << 24;

/// Endpoints outside [0, 1], so that everything and nothing is positive there.
std::vector<double> thresholds_of(const AUCConfig& config) {
  std::vector<double> thresholds = config.thresholds;
  if (thresholds.empty()) {
    thresholds = train::even_thresholds("AUC", config.num_thresholds, 2);
    thresholds.front() = -kEpsilon;
    thresholds.back() = 1 + kEpsilon;
    return thresholds;
  }
  std::sort(thresholds.begin(), thresholds.end());
  if (!(thresholds.front() >= 0 && thresholds.back() <= 1)) {
    core::throw_config_error("AUC", "thresholds", "numbers in [0, 1]", "others");
  }
  thresholds.insert(thresholds.begin(), -kEpsilon);
  thresholds.push_back(1 + kEpsilon);
  return thresholds;
}

void require_one_of(const char* option, const std::string& got,
                    std::initializer_list<std::string_view> known) {
  if (std::find(known.begin(), known.end(), got) != known.end()) return;
  std::string list;
  for (const std::string_view one : known) list.append(list.empty() ? "" : ", ").append(one);
  core::throw_config_error("AUC", option, list, got);
}

void check(const AUCConfig& config) {
  require_one_of("curve", config.curve, {"ROC", "PR", "PRGAIN"});
  require_one_of("summation_method", config.summation_method,
                 {"interpolation", "minoring", "majoring"});
  if (!config.num_labels) return;
  if (!config.multi_label) {
    core::throw_config_error("AUC", "num_labels", "none without multi_label",
                             std::to_string(*config.num_labels));
  }
  if (*config.num_labels < 1 || *config.num_labels > kMostLabels) {
    core::throw_config_error("AUC", "num_labels", "1 to " + std::to_string(kMostLabels),
                             std::to_string(*config.num_labels));
  }
}

/// A place on the curve: what the strips' widths and heights are of.
struct Point {
  double x;
  double y;
};

// Source: Flach & Kull 2015, "Precision-Recall-Gain curves", as keras.metrics.AUC has it.
Point gains(const Confusion& c) {
  if (c.true_positives == 0) return {0, 1};
  const double scale =
      quotient(c.true_positives + c.false_negatives, c.true_negatives + c.false_positives);
  return {std::max(1 - scale * quotient(c.false_negatives, c.true_positives), 0.0),
          1 - scale * quotient(c.false_positives, c.true_positives)};
}

// Source: Davis & Goadrich 2006, "The relationship between Precision-Recall and ROC curves".
double precision_strip(const Confusion& a, const Confusion& b) {
  const double more = a.true_positives - b.true_positives;
  const double pa = a.true_positives + a.false_positives;
  const double pb = b.true_positives + b.false_positives;
  const double slope = quotient(more, std::max(pa - pb, 0.0));
  const double intercept = b.true_positives - slope * pb;
  const double ratio = pa > 0 && pb > 0 ? pa / pb : 1;
  return quotient(slope * (more + intercept * std::log(ratio)),
                  std::max(b.true_positives + b.false_negatives, 0.0));
}

class AreaMetric final : public Metric {
 public:
  explicit AreaMetric(const AUCConfig& config)
      : Metric(config.name.empty() ? "auc" : config.name),
        config_(config),
        thresholds_(thresholds_of(config)) {
    check(config);
    if (!config.multi_label || config.num_labels) make_curves(config.num_labels.value_or(1));
  }
  std::string_view class_name() const override { return "AUC"; }
  bool higher_is_better() const override { return true; }
  ConfigValue get_config() const override;
  void update(Context& ctx, const LossOperands& operands) override;
  double result() const override;
  void reset() override {
    for (Curve& curve : curves_) curve.reset();
  }
  std::vector<std::span<double>> sums() override {
    std::vector<std::span<double>> all;
    for (Curve& curve : curves_) curve.append_sums(all);
    return all;
  }

 private:
  void make_curves(Index count);
  double area(const Curve& curve) const;
  Point point(const Confusion& counts) const;
  double strip(const Confusion& a, const Confusion& b) const;

  AUCConfig config_;
  std::vector<double> thresholds_;
  std::vector<Curve> curves_;  // one, or one for each label once their number is known
};

void AreaMetric::make_curves(Index count) {
  const auto labels = static_cast<Index>(config_.label_weights.size());
  if (config_.multi_label && labels != 0 && labels != count) {
    core::throw_config_error("AUC", "label_weights", std::to_string(count) + " numbers",
                             std::to_string(labels));
  }
  if (count * static_cast<Index>(thresholds_.size()) > kMostCounts) {
    core::throw_config_error("AUC", "num_thresholds times labels",
                             std::to_string(kMostCounts) + " at most", "more");
  }
  curves_.assign(static_cast<std::size_t>(count), Curve(thresholds_));
}

ConfigValue AreaMetric::get_config() const {
  ConfigValue config = Metric::get_config();
  const bool has_own = !config_.thresholds.empty();
  config.set("num_thresholds",
             has_own ? static_cast<Index>(config_.thresholds.size() + 2) : config_.num_thresholds);
  config.set("curve", config_.curve);
  config.set("summation_method", config_.summation_method);
  config.set("multi_label", config_.multi_label);
  config.set("num_labels", train::or_null(config_.num_labels));
  config.set("label_weights", nullptr);
  if (!config_.label_weights.empty()) {
    const ConfigValue::List numbers(config_.label_weights.begin(), config_.label_weights.end());
    config.set("label_weights",
               ConfigValue::Object{
                   {"class_name", "__tensor__"},
                   {"config", ConfigValue::Object{{"value", numbers}, {"dtype", "float32"}}}});
  }
  config.set("from_logits", config_.from_logits);
  if (has_own) {
    std::vector<double> sorted = config_.thresholds;
    std::sort(sorted.begin(), sorted.end());
    config.set("thresholds", ConfigValue::List(sorted.begin(), sorted.end()));
  }
  return config;
}

void AreaMetric::update(Context& ctx, const LossOperands& operands) {
  const Counted rows = train::counted(ctx, name(), operands);
  if (config_.multi_label) {
    if (operands.prediction.rank() != 2) {
      core::throw_shape_error(name(), "prediction", "[B, labels]",
                              operands.prediction.shape().to_string());
    }
    if (curves_.empty()) make_curves(rows.width);
    if (static_cast<Index>(curves_.size()) != rows.width) {
      core::throw_shape_error(name(), "prediction", std::to_string(curves_.size()) + " labels",
                              std::to_string(rows.width));
    }
  }
  const bool weighs = !config_.multi_label && !config_.label_weights.empty();
  if (weighs && static_cast<Index>(config_.label_weights.size()) != rows.width) {
    core::throw_shape_error(name(), "prediction",
                            std::to_string(config_.label_weights.size()) + " labels",
                            std::to_string(rows.width));
  }
  const auto width = static_cast<std::size_t>(std::max<Index>(rows.width, 1));
  for (std::size_t i = 0; i < rows.target.size(); ++i) {
    const double given = rows.prediction[i];
    const double p = config_.from_logits ? 1 / (1 + std::exp(-given)) : given;
    const double weight = rows.weight[i] * (weighs ? config_.label_weights[i % width] : 1);
    curves_[config_.multi_label ? i % width : 0].add(rows.target[i] != 0, std::clamp(p, 0.0, 1.0),
                                                     weight);
  }
}

double AreaMetric::result() const {
  const bool weighs = config_.multi_label && !config_.label_weights.empty();
  double sum = 0;
  double weights = 0;
  for (std::size_t i = 0; i < curves_.size(); ++i) {
    const double weight = weighs ? config_.label_weights[i] : 1;
    sum += weight * area(curves_[i]);
    weights += weight;
  }
  return quotient(sum, weights);
}

double AreaMetric::area(const Curve& curve) const {
  const std::vector<Confusion> all = curve.confusions();
  double area = 0;
  for (std::size_t i = 0; i + 1 < all.size(); ++i) area += strip(all[i], all[i + 1]);
  return area;
}

Point AreaMetric::point(const Confusion& counts) const {
  if (config_.curve == "ROC") return {counts.false_rate(), counts.recall()};
  if (config_.curve == "PR") return {counts.recall(), counts.precision()};
  return gains(counts);
}

/// The area between two thresholds.
double AreaMetric::strip(const Confusion& a, const Confusion& b) const {
  const std::string& method = config_.summation_method;
  if (config_.curve == "PR" && method == "interpolation") return precision_strip(a, b);
  const Point left = point(a);
  const Point right = point(b);
  const double width = left.x - right.x;
  if (method == "interpolation") return width * (left.y + right.y) / 2;
  return width * (method == "minoring" ? std::min(left.y, right.y) : std::max(left.y, right.y));
}

std::shared_ptr<Metric> make_auc(nn::ConfigReader& reader) {
  AUCConfig config{.num_thresholds = reader.integer("num_thresholds", 200),
                   .curve = reader.string("curve", "ROC"),
                   .summation_method = reader.string("summation_method", "interpolation"),
                   .multi_label = reader.boolean("multi_label", false),
                   .num_labels = train::integer_or_null(reader, "num_labels"),
                   .from_logits = reader.boolean("from_logits", false),
                   .name = reader.name("")};
  if (const ConfigValue& held = reader.value("thresholds"); !held.is_null()) {
    for (const ConfigValue& one : held.as_list("thresholds")) {
      config.thresholds.push_back(one.as_number("thresholds"));
    }
  }
  if (const ConfigValue& held = reader.value("label_weights"); !held.is_null()) {
    const Tensor weights = nn::numbers_from_config("AUC", "label_weights", held);
    const double* numbers = weights.data<double>();
    config.label_weights.assign(numbers, numbers + weights.size());
  }
  return std::make_shared<AreaMetric>(config);
}

constexpr train::MetricEntry kEntries[] = {{"AUC", "auc", make_auc}};

}  // namespace

std::span<const train::MetricEntry> train::area_metrics() { return kEntries; }

std::shared_ptr<Metric> auc(const AUCConfig& config) {
  return std::make_shared<AreaMetric>(config);
}

}  // namespace grouphead
