// Intersections over unions of classes.

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "train/loss_entries.h"
#include "train/metric_entries.h"
#include "train/operands.h"

namespace grouphead {
namespace {

using train::Numbers;

constexpr float kEpsilon = 1e-7F;               // keras.config.epsilon()
constexpr Index kMostClasses = Index{1} << 12;  // what a file may ask for

enum class Kind : std::uint8_t { iou, binary, mean, one_hot, one_hot_mean };
struct KindName {
  std::string_view class_name;
  const char* name;
};
constexpr KindName kKinds[] = {{"IoU", "io_u"},
                               {"BinaryIoU", "binary_io_u"},
                               {"MeanIoU", "mean_io_u"},
                               {"OneHotIoU", "one_hot_io_u"},
                               {"OneHotMeanIoU", "one_hot_mean_io_u"}};
const KindName& name_of(Kind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

void check(std::string_view metric, const IoUConfig& config) {
  if (config.num_classes < 1 || config.num_classes > kMostClasses) {
    core::throw_config_error(metric, "num_classes", "1 to " + std::to_string(kMostClasses),
                             std::to_string(config.num_classes));
  }
  if (config.target_class_ids.empty()) {
    core::throw_config_error(metric, "target_class_ids", "one class or more", "none");
  }
  for (const Index id : config.target_class_ids) {
    if (id >= 0 && id < config.num_classes) continue;
    core::throw_config_error(metric, "target_class_ids",
                             "classes below " + std::to_string(config.num_classes),
                             std::to_string(id));
  }
}

IoUConfig of_all_classes(IoUConfig config) {
  for (Index id = 0; id < std::min(config.num_classes, kMostClasses); ++id) {
    config.target_class_ids.push_back(id);
  }
  return config;
}

// Counts are added in double; the result is float32, as in Keras.
class IoU final : public Metric {
 public:
  IoU(Kind kind, const IoUConfig& config, std::optional<double> threshold = {})
      : Metric(config.name.empty() ? name_of(kind).name : config.name),
        kind_(kind),
        config_(config),
        threshold_(threshold) {
    check(class_name(), config_);
    counts_.assign(static_cast<std::size_t>(config_.num_classes * config_.num_classes), 0);
  }
  std::string_view class_name() const override { return name_of(kind_).class_name; }
  bool higher_is_better() const override { return true; }
  ConfigValue get_config() const override;
  void update(Context& ctx, const LossOperands& operands) override;
  double result() const override;
  void reset() override { std::fill(counts_.begin(), counts_.end(), 0); }
  std::vector<std::span<double>> sums() override { return {counts_}; }

 private:
  bool has_ids() const { return kind_ != Kind::mean && kind_ != Kind::one_hot_mean; }
  bool is_one_hot() const { return kind_ == Kind::one_hot || kind_ == Kind::one_hot_mean; }
  std::vector<double> classes_of(Context& ctx, std::string_view what, ConstView view,
                                 bool sparse) const;
  double whole(double number) const { return config_.integers ? std::trunc(number) : number; }

  Kind kind_;
  IoUConfig config_;
  std::optional<double> threshold_;
  std::vector<double> counts_;  // [class of the target][class of the prediction]
};

ConfigValue IoU::get_config() const {
  ConfigValue config = Metric::get_config();
  config.set("dtype", config_.integers ? "int32" : "float32");
  if (has_ids()) {
    config.set("target_class_ids",
               ConfigValue::List(config_.target_class_ids.begin(), config_.target_class_ids.end()));
  }
  if (threshold_) {
    config.set("threshold", *threshold_);
    return config;
  }
  config.set("num_classes", config_.num_classes);
  config.set("ignore_class", train::or_null(config_.ignore_class));
  if (!is_one_hot()) config.set("sparse_y_true", config_.sparse_y_true);
  config.set("sparse_y_pred", config_.sparse_y_pred);
  config.set("axis", -1);
  return config;
}

/// A class for each position; by the place of the largest number where they are not sparse.
std::vector<double> IoU::classes_of(Context& ctx, std::string_view what, ConstView view,
                                    bool sparse) const {
  const Numbers numbers(ctx, view, Dtype::f64);
  const double* from = numbers.view().data<double>();
  std::vector<double> classes;
  if (sparse) {
    for (Index i = 0; i < view.size(); ++i) classes.push_back(whole(from[i]));
    return classes;
  }
  if (view.rank() < 1 || view.shape().back() < 1) {
    core::throw_shape_error(name(), what, "[..., C] with C >= 1", view.shape().to_string());
  }
  const Index width = view.shape().back();
  for (Index row = 0; row < view.size(); row += width) {
    classes.push_back(
        static_cast<double>(std::max_element(from + row, from + row + width) - (from + row)));
  }
  return classes;
}

void IoU::update(Context& ctx, const LossOperands& operands) {
  const std::vector<double> target =
      classes_of(ctx, "target", operands.target, config_.sparse_y_true);
  std::vector<double> prediction;
  if (threshold_) {
    const Numbers numbers(ctx, operands.prediction, Dtype::f64);
    for (Index i = 0; i < operands.prediction.size(); ++i) {
      prediction.push_back(numbers.view().data<double>()[i] >= *threshold_ ? 1 : 0);
    }
  } else {
    prediction = classes_of(ctx, "prediction", operands.prediction, config_.sparse_y_pred);
  }
  if (target.size() != prediction.size()) {
    core::throw_shape_error(name(), "target", std::to_string(prediction.size()) + " classes",
                            std::to_string(target.size()));
  }
  const Numbers weights(ctx, operands.sample_weight, Dtype::f64);
  const auto num_weights = static_cast<std::size_t>(operands.sample_weight.size());
  const bool has_weights = operands.sample_weight.has_value();
  if (has_weights && num_weights != 1 && num_weights != target.size()) {
    core::throw_shape_error(name(), "sample_weight",
                            "1 number, or " + std::to_string(target.size()),
                            operands.sample_weight.shape().to_string());
  }
  const auto is_class = [&](double id) {
    return id >= 0 && id < static_cast<double>(config_.num_classes);
  };
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (!is_class(target[i]) || !is_class(prediction[i])) continue;
    if (config_.ignore_class && target[i] == static_cast<double>(*config_.ignore_class)) continue;
    const double weight =
        has_weights ? whole(weights.view().data<double>()[num_weights == 1 ? 0 : i]) : 1;
    const Index place =
        static_cast<Index>(target[i]) * config_.num_classes + static_cast<Index>(prediction[i]);
    counts_[static_cast<std::size_t>(place)] += weight;
  }
}

double IoU::result() const {
  const auto n = static_cast<std::size_t>(config_.num_classes);
  float sum = 0;
  float present = 0;
  for (const Index id : config_.target_class_ids) {
    const auto c = static_cast<std::size_t>(id);
    double all = -counts_[c * n + c];
    for (std::size_t i = 0; i < n; ++i) all += counts_[c * n + i] + counts_[i * n + c];
    const auto joint = static_cast<float>(all);
    if (!(joint > 1e-9F)) continue;
    present += 1;
    sum += static_cast<float>(counts_[c * n + c]) / (joint + kEpsilon);
  }
  return sum / (present + kEpsilon);
}

// ---- From configurations -----------------------------------------------------------------------

IoUConfig options_of(nn::ConfigReader& reader, bool has_ids, bool is_one_hot) {
  IoUConfig config{.num_classes = reader.value("num_classes").as_integer("num_classes"),
                   .ignore_class = train::integer_or_null(reader, "ignore_class"),
                   .sparse_y_true = !is_one_hot,
                   .sparse_y_pred = reader.boolean("sparse_y_pred", !is_one_hot),
                   .integers = train::is_integer_type(reader.string("dtype", "int")),
                   .name = reader.name("")};
  if (!is_one_hot) config.sparse_y_true = reader.boolean("sparse_y_true", true);
  train::require_last_axis(reader, "IoU");
  if (!has_ids) return config;
  for (const ConfigValue& id : reader.value("target_class_ids").as_list("target_class_ids")) {
    config.target_class_ids.push_back(id.as_integer("target_class_ids"));
  }
  return config;
}

template <Kind kKind>
std::shared_ptr<Metric> make(nn::ConfigReader& reader) {
  constexpr bool kHasIds = kKind == Kind::iou || kKind == Kind::one_hot;
  constexpr bool kIsOneHot = kKind == Kind::one_hot || kKind == Kind::one_hot_mean;
  const IoUConfig config = options_of(reader, kHasIds, kIsOneHot);
  return std::make_shared<IoU>(kKind, kHasIds ? config : of_all_classes(config));
}

std::shared_ptr<Metric> make_binary(nn::ConfigReader& reader) {
  BinaryIoUConfig config{.threshold = reader.number("threshold", 0.5),
                         .integers = train::is_integer_type(reader.string("dtype", "int")),
                         .name = reader.name("")};
  if (const ConfigValue& ids = reader.value("target_class_ids"); !ids.is_null()) {
    config.target_class_ids.clear();
    for (const ConfigValue& id : ids.as_list("target_class_ids")) {
      config.target_class_ids.push_back(id.as_integer("target_class_ids"));
    }
  }
  return binary_iou(config);
}

constexpr train::MetricEntry kEntries[] = {
    {"BinaryIoU", "binary_io_u", make_binary},
    {"IoU", "io_u", make<Kind::iou>},
    {"MeanIoU", "mean_io_u", make<Kind::mean>},
    {"OneHotIoU", "one_hot_io_u", make<Kind::one_hot>},
    {"OneHotMeanIoU", "one_hot_mean_io_u", make<Kind::one_hot_mean>},
};

IoUConfig one_hot(IoUConfig config) {
  config.sparse_y_true = false;
  return config;
}

}  // namespace

std::span<const train::MetricEntry> train::overlap_metrics() { return kEntries; }

std::shared_ptr<Metric> iou(const IoUConfig& config) {
  return std::make_shared<IoU>(Kind::iou, config);
}
std::shared_ptr<Metric> mean_iou(const IoUConfig& config) {
  return std::make_shared<IoU>(Kind::mean, of_all_classes(config));
}
std::shared_ptr<Metric> one_hot_iou(const IoUConfig& config) {
  return std::make_shared<IoU>(Kind::one_hot, one_hot(config));
}
std::shared_ptr<Metric> one_hot_mean_iou(const IoUConfig& config) {
  return std::make_shared<IoU>(Kind::one_hot_mean, of_all_classes(one_hot(config)));
}
std::shared_ptr<Metric> binary_iou(const BinaryIoUConfig& config) {
  return std::make_shared<IoU>(Kind::binary,
                               IoUConfig{.num_classes = 2,
                                         .target_class_ids = config.target_class_ids,
                                         .integers = config.integers,
                                         .name = config.name},
                               config.threshold);
}

}  // namespace grouphead
