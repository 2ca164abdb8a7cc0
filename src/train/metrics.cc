#include "grouphead/train/metrics.h"

#include <cmath>

#include "core/check.h"
#include "nn/config_reader.h"
#include "nn/own_classes.h"
#include "train/loss_entries.h"
#include "train/metric_entries.h"
#include "train/operands.h"

namespace grouphead {
namespace {

using train::Numbers;

constexpr std::string_view kName = "metric";

/// Weights of values: sample weights times the mask, whose ranks are brought together.
struct Weights {
  Shape shape;
  std::vector<double> numbers;
};

Weights weights_of(Context& ctx, ConstView sample_weight, ConstView mask) {
  const bool both = sample_weight.has_value() && mask.has_value();
  const ConstView first = mask.has_value() ? mask : sample_weight;
  const Numbers numbers(ctx, first, Dtype::f64);
  const double* begin = numbers.view().data<double>();
  Weights weights{first.shape(), std::vector<double>(begin, begin + first.size())};
  if (!both) return weights;
  Shape shape = sample_weight.shape();
  train::align_ranks(weights.shape, shape);
  const train::Broadcast place(kName, "sample_weight", shape, weights.shape);
  const Numbers factors(ctx, sample_weight, Dtype::f64);
  for (std::size_t i = 0; i < weights.numbers.size(); ++i) {
    weights.numbers[i] *= factors.view().data<double>()[place(static_cast<Index>(i))];
  }
  return weights;
}

/// Values whose axes beyond the first `rank` are averaged away.
std::vector<double> averaged(const double* values, Shape& shape, int rank) {
  Index inner = 1;
  while (shape.rank() > rank) {
    inner *= shape.back();
    shape = train::without_last_axis(shape);
  }
  std::vector<double> means(static_cast<std::size_t>(shape.size()), 0);
  for (std::size_t i = 0; i < means.size(); ++i) {
    const double* row = values + static_cast<Index>(i) * inner;
    for (Index j = 0; j < inner; ++j) means[i] += row[j];
    means[i] /= static_cast<double>(inner);
  }
  return means;
}

}  // namespace

ConfigValue Metric::get_config() const {
  return ConfigValue::Object{{"name", name_}, {"dtype", "float32"}};
}

void Mean::add(double value, double weight) {
  total_ += value * weight;
  count_ += weight;
}

// Source: keras.src.metrics.reduction_metrics.reduce_to_samplewise_values.
void Mean::update(Context& ctx, const LossOperands& operands) {
  const Numbers numbers(ctx, operands.prediction, Dtype::f64);
  const double* values = numbers.view().data<double>();
  Shape shape = operands.prediction.shape();
  if (shape.size() == 0) return;
  if (!operands.mask.has_value() && !operands.sample_weight.has_value()) {
    for (const double mean : averaged(values, shape, std::min(shape.rank(), 1))) add(mean);
    return;
  }
  Weights weights = weights_of(ctx, operands.sample_weight, operands.mask);
  train::align_ranks(shape, weights.shape);
  const std::vector<double> means = averaged(values, shape, weights.shape.rank());
  const train::Broadcast place(kName, "sample_weight", weights.shape, shape);
  const Index samples = shape.rank() > 0 ? shape[0] : 1;
  const double inner = static_cast<double>(shape.size()) / static_cast<double>(samples);
  for (std::size_t i = 0; i < means.size(); ++i) {
    const double weight = weights.numbers[static_cast<std::size_t>(place(static_cast<Index>(i)))];
    if (weight != 0) add(means[i], weight / inner);
  }
}

namespace {

// ---- Metrics that are means --------------------------------------------------------------------

using train::MeanOfValues;

/// 1 where prediction, or whether it is above a threshold, equals the target.
class Equality final : public MeanOfValues {
 public:
  Equality(std::string name, std::optional<double> threshold)
      : MeanOfValues(std::move(name)), threshold_(threshold) {}
  std::string_view class_name() const override {
    return threshold_ ? "BinaryAccuracy" : "Accuracy";
  }
  bool higher_is_better() const override { return true; }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    if (threshold_) config.set("threshold", *threshold_);
    return config;
  }

 private:
  Tensor values_of(Context& ctx, const LossOperands& operands) const override {
    Shape target_shape = operands.target.shape();
    Shape shape = operands.prediction.shape();
    train::align_ranks(target_shape, shape);
    if (target_shape != shape) {
      core::throw_shape_error(name(), "target", shape.to_string(), target_shape.to_string());
    }
    const Numbers target(ctx, operands.target, Dtype::f64);
    const Numbers prediction(ctx, operands.prediction, Dtype::f64);
    Tensor values = ctx.tensor(shape, Dtype::f64);
    for (Index i = 0; i < values.size(); ++i) {
      const double got = prediction.view().data<double>()[i];
      const double label = threshold_ ? (got > *threshold_ ? 1 : 0) : got;
      values.data<double>()[i] = target.view().data<double>()[i] == label ? 1 : 0;
    }
    return values;
  }
  std::optional<double> threshold_;
};

/// The place of the largest number, the first of them; NaN counts as the largest.
Index largest(const double* row, Index width) noexcept {
  Index best = 0;
  for (Index i = 1; i < width; ++i) {
    if (row[i] > row[best] || (std::isnan(row[i]) && !std::isnan(row[best]))) best = i;
  }
  return best;
}

/// 1 where the class of the largest prediction is the target's.
class ClassAccuracy final : public MeanOfValues {
 public:
  ClassAccuracy(std::string name, bool takes_labels)
      : MeanOfValues(std::move(name)), takes_labels_(takes_labels) {}
  std::string_view class_name() const override {
    return takes_labels_ ? "SparseCategoricalAccuracy" : "CategoricalAccuracy";
  }
  bool higher_is_better() const override { return true; }

 private:
  Tensor values_of(Context& ctx, const LossOperands& operands) const override {
    const Shape& classes = operands.prediction.shape();
    if (classes.rank() < 1 || classes.back() < 1) {
      core::throw_shape_error(name(), "prediction", "[..., C] with C >= 1", classes.to_string());
    }
    Shape shape = train::without_last_axis(classes);
    Shape target_shape = operands.target.shape();
    const bool has_axis = target_shape.rank() == classes.rank() && target_shape.back() == 1;
    if (takes_labels_ && has_axis) target_shape = train::without_last_axis(target_shape);
    const Shape& wanted = takes_labels_ ? shape : classes;
    if (target_shape != wanted) {
      core::throw_shape_error(name(), "target", wanted.to_string(),
                              operands.target.shape().to_string());
    }
    const Numbers target(ctx, operands.target, Dtype::f64);
    const Numbers prediction(ctx, operands.prediction, Dtype::f64);
    const Index width = classes.back();
    if (shape.rank() > 1 && shape.back() == 1 && takes_labels_) {
      shape = train::without_last_axis(shape);
    }
    Tensor values = ctx.tensor(shape, Dtype::f64);
    const double* labels = target.view().data<double>();
    for (Index i = 0; i < values.size(); ++i) {
      const Index got = largest(prediction.view().data<double>() + i * width, width);
      const double label =
          takes_labels_ ? labels[i] : static_cast<double>(largest(labels + i * width, width));
      values.data<double>()[i] = label == static_cast<double>(got) ? 1 : 0;
    }
    return values;
  }
  bool takes_labels_;
};

class LossMetric final : public MeanOfValues {
 public:
  LossMetric(Loss loss, std::string name) : MeanOfValues(std::move(name)), loss_(std::move(loss)) {
    if (!loss_->get_config()["ignore_class"].is_null()) {
      core::throw_config_error("metric", "ignore_class", "none; give weights of 0 instead",
                               loss_->get_config()["ignore_class"].to_string());
    }
  }
  std::string_view class_name() const override { return loss_->class_name(); }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    const ConfigValue options = loss_->get_config();
    for (const auto& [key, value] : options.as_object("config")) {
      const bool is_kept = key != "reduction" && key != "name" &&
                           !(key == "axis" && class_name() == "BinaryCrossentropy");
      if (is_kept) config.set(key, value);
    }
    if (class_name() == "SparseCategoricalCrossentropy") config.set("axis", -1);
    return config;
  }

 private:
  Tensor values_of(Context& ctx, const LossOperands& operands) const override {
    return loss_->values(ctx, operands);
  }
  Loss loss_;
};

// ---- Perplexity --------------------------------------------------------------------------------

class PerplexityMetric final : public Metric {
 public:
  explicit PerplexityMetric(const PerplexityConfig& config)
      : Metric(config.name),
        config_(config),
        loss_(sparse_categorical_crossentropy({.from_logits = config.from_logits,
                                               .ignore_class = config.mask_token_id,
                                               .reduction = Reduction::sum})) {}
  std::string_view class_name() const override { return "Perplexity"; }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    config.set("from_logits", config_.from_logits);
    config.set("mask_token_id",
               config_.mask_token_id ? ConfigValue(*config_.mask_token_id) : ConfigValue());
    return config;
  }
  void update(Context& ctx, const LossOperands& operands) override {
    sum_ += loss_->value(ctx, operands);
    count_ += counted(ctx, operands);
  }
  double result() const override { return count_ == 0 ? 0 : std::exp(sum_ / count_); }
  void reset() override { sum_ = count_ = 0; }
  std::vector<std::span<double>> sums() override { return {{&sum_, 1}, {&count_, 1}}; }

 private:
  /// Number of labels that count, by their weights.
  double counted(Context& ctx, const LossOperands& operands) const {
    const Numbers labels(ctx, operands.target, Dtype::i32);
    const Shape& shape = operands.target.shape();
    Weights weights{shape, {}};
    if (operands.mask.has_value() || operands.sample_weight.has_value()) {
      weights = weights_of(ctx, operands.sample_weight, operands.mask);
    }
    const bool has_weights = !weights.numbers.empty();
    const train::Broadcast place(name(), "sample_weight", weights.shape, shape);
    double sum = 0;
    for (Index i = 0; i < shape.size(); ++i) {
      const bool counts =
          !config_.mask_token_id || labels.view().data<std::int32_t>()[i] != *config_.mask_token_id;
      if (counts) sum += has_weights ? weights.numbers[static_cast<std::size_t>(place(i))] : 1;
    }
    return sum;
  }

  PerplexityConfig config_;
  Loss loss_;
  double sum_ = 0;
  double count_ = 0;
};

// ---- From configurations -----------------------------------------------------------------------

bool is_upper(char c) noexcept { return c >= 'A' && c <= 'Z'; }

/// CamelCase as snake_case; capitals in a row are one word, `KLDivergence` is `kl_divergence`.
std::string snake_case(std::string_view name) {
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool ends_capitals = i + 1 < name.size() && !is_upper(name[i + 1]);
    if (i > 0 && is_upper(name[i]) && (ends_capitals || !is_upper(name[i - 1]))) out += '_';
    out += is_upper(name[i]) ? static_cast<char>(name[i] - 'A' + 'a') : name[i];
  }
  return out;
}

std::string name_or(const MetricConfig& config, const char* name) {
  return config.name.empty() ? name : config.name;
}

nn::OwnClasses<detail::MetricMaker>& own_metrics() {
  static nn::OwnClasses<detail::MetricMaker> metrics("register_metric");
  return metrics;
}

[[noreturn]] void throw_unknown(const std::string& name) {
  if (nn::is_own_name(name)) {
    core::throw_config_error("metric", "name", "one that register_metric() was given", name);
  }
  std::string known =
      "Accuracy, BinaryAccuracy, CategoricalAccuracy, Mean, Perplexity, "
      "SparseCategoricalAccuracy, ";
  for (const auto entries : train::metric_tables()) {
    for (const train::MetricEntry& entry : entries) known.append(entry.class_name).append(", ");
  }
  core::throw_config_error("metric", "name", known + "or a loss (" + LossRule::known_names() + ")",
                           name);
}

/// The loss's class with the metric's options, which lack its type and reduction.
std::shared_ptr<Metric> make_loss_metric(const std::string& name, const ConfigValue& config) {
  ConfigValue options = ConfigValue::Object{};
  if (!config.is_null()) {
    for (const auto& [key, value] : config.as_object("config")) {
      if (key != "dtype") options.set(key, value);
    }
  }
  if (!LossRule::is_known(name)) throw_unknown(name);
  if (train::is_own_function(name)) {
    return mean_of({.loss = ConfigValue(name), .name = name.substr(name.find('>') + 1)});
  }
  const Loss loss = ConfigValue(ConfigValue::Object{{"class_name", name}, {"config", options}});
  const ConfigValue& given = options["name"];
  return mean_of(
      {.loss = loss,
       .name = given.is_null() ? snake_case(loss->class_name()) : given.as_string("name")});
}

std::shared_ptr<Metric> make_metric(const std::string& identifier, const ConfigValue& config) {
  const std::string name = snake_case(identifier);
  nn::ConfigReader reader(identifier, config);
  reader.value("dtype");
  std::shared_ptr<Metric> metric;
  if (name == "accuracy") metric = accuracy();
  if (name == "categorical_accuracy") metric = categorical_accuracy();
  if (name == "sparse_categorical_accuracy") metric = sparse_categorical_accuracy();
  if (name == "binary_accuracy")
    metric = binary_accuracy({.threshold = reader.number("threshold", 0.5)});
  if (name == "mean") metric = std::make_shared<Mean>();
  if (name == "perplexity") {
    PerplexityConfig options{.from_logits = reader.boolean("from_logits", false)};
    const ConfigValue& token = reader.value("mask_token_id");
    if (!token.is_null()) options.mask_token_id = token.as_integer("mask_token_id");
    metric = perplexity(options);
  }
  if (const train::MetricEntry* entry = train::find_metric(identifier); !metric && entry) {
    metric = entry->make(reader);
  }
  if (!metric) return make_loss_metric(identifier, config);
  metric->rename(reader.name(metric->name()));
  reader.finish();
  return metric;
}

}  // namespace

const train::MetricEntry* train::find_metric(std::string_view name) {
  for (const auto entries : metric_tables()) {
    for (const MetricEntry& entry : entries) {
      if (entry.class_name == name || entry.alias == name) return &entry;
    }
  }
  return nullptr;
}

std::shared_ptr<Metric> accuracy(const MetricConfig& config) {
  return std::make_shared<Equality>(name_or(config, "accuracy"), std::nullopt);
}
std::shared_ptr<Metric> binary_accuracy(const BinaryAccuracyConfig& config) {
  return std::make_shared<Equality>(config.name, config.threshold);
}
std::shared_ptr<Metric> categorical_accuracy(const MetricConfig& config) {
  return std::make_shared<ClassAccuracy>(name_or(config, "categorical_accuracy"), false);
}
std::shared_ptr<Metric> sparse_categorical_accuracy(const MetricConfig& config) {
  return std::make_shared<ClassAccuracy>(name_or(config, "sparse_categorical_accuracy"), true);
}
std::shared_ptr<Metric> mean_of(const LossMetricConfig& config) {
  return std::make_shared<LossMetric>(config.loss, config.name);
}
std::shared_ptr<Metric> perplexity(const PerplexityConfig& config) {
  return std::make_shared<PerplexityMetric>(config);
}

void detail::register_metric(const std::string& name, std::type_index type, MetricMaker make) {
  own_metrics().add(name, type, std::move(make));
}

std::shared_ptr<Metric> Metric::from_config(const ConfigValue& identifier) {
  if (identifier.is_string()) return make_metric(identifier.as_string("metric"), {});
  const std::string own = nn::own_name_in(identifier);
  if (const auto make = own_metrics().find(own)) return make(identifier["config"]);
  return make_metric(nn::is_own_name(own) ? own : identifier["class_name"].as_string("class_name"),
                     identifier["config"]);
}

MetricChoice::MetricChoice(const char* name) : identifier_(name) {}
MetricChoice::MetricChoice(const ConfigValue& identifier) : identifier_(identifier) {}
MetricChoice::MetricChoice(std::shared_ptr<Metric> metric) : metric_(std::move(metric)) {}

void MetricChoice::require_known() const {
  if (metric_) return;
  const std::string own = identifier_.is_object() ? nn::own_name_in(identifier_) : std::string();
  const std::string name = nn::is_own_name(own)      ? own
                           : identifier_.is_string() ? identifier_.as_string("metric")
                                                     : std::string();
  if (nn::is_own_name(name) && !own_metrics().find(name) && !train::is_own_function(name)) {
    throw_unknown(name);
  }
}

ConfigValue MetricChoice::config() const {
  if (!metric_) {
    const bool is_function =
        identifier_.is_string() && train::is_own_function(identifier_.as_string("metric"));
    return is_function ? train::function_envelope(identifier_.as_string("metric")) : identifier_;
  }
  const Metric& metric = *metric_;
  if (const std::string name = own_metrics().name_of(typeid(metric)); !name.empty()) {
    return nn::own_envelope(name, metric.get_config());
  }
  return config_envelope(Metric::kModule, metric.class_name(), metric.get_config());
}

// Source: keras.src.trainers.compile_utils.get_metric.
std::shared_ptr<Metric> MetricChoice::resolve(const Shape& target, const Shape& prediction) const {
  if (metric_) return metric_;
  if (!identifier_.is_string()) return Metric::from_config(identifier_);
  const std::string& name = identifier_.as_string("metric");
  std::shared_ptr<Metric> metric;
  if (name == "accuracy" || name == "acc") {
    const bool is_binary = prediction.back() == 1;
    const bool is_sparse =
        target.rank() < prediction.rank() || (target.back() == 1 && prediction.back() > 1);
    metric = is_binary   ? binary_accuracy()
             : is_sparse ? sparse_categorical_accuracy()
                         : categorical_accuracy();
  } else {
    metric = Metric::from_config(identifier_);
  }
  if (train::is_own_function(name)) return metric;
  metric->rename(name);
  return metric;
}

}  // namespace grouphead
