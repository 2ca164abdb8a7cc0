#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "grouphead/train/losses.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A number gathered over batches. Source: keras.metrics.Metric.
class Metric {
 public:
  static constexpr std::string_view kModule = "keras.metrics";
  /// From a Keras name (`binary_accuracy`, `mse`) or envelope; `accuracy` is Keras's Accuracy here,
  /// equality of numbers. Errors: ConfigError.
  static std::shared_ptr<Metric> from_config(const ConfigValue& identifier);

  virtual ~Metric() = default;
  Metric(const Metric&) = delete;
  Metric& operator=(const Metric&) = delete;

  const std::string& name() const noexcept { return name_; }
  void rename(std::string name) { name_ = std::move(name); }
  virtual std::string_view class_name() const = 0;
  virtual ConfigValue get_config() const;
  /// Whether more is better, which callbacks ask.
  virtual bool higher_is_better() const { return false; }

  /// Takes a batch into account. A mask multiplies the weights. Errors: ShapeError.
  virtual void update(Context& ctx, const LossOperands& operands) = 0;
  /// Of the batches since the last reset(); 0 for none.
  virtual double result() const = 0;
  virtual void reset() = 0;

 protected:
  explicit Metric(std::string name) : name_(std::move(name)) {}

 private:
  std::string name_;
};

struct MetricConfig {
  std::string name{};  ///< empty: Keras's default
};

/// The weighted mean of what it is given. Source: keras.metrics.Mean.
class Mean : public Metric {
 public:
  explicit Mean(const MetricConfig& config = {})
      : Metric(config.name.empty() ? "mean" : config.name) {}
  std::string_view class_name() const override { return "Mean"; }
  /// One number.
  void add(double value, double weight = 1);
  /// Of operands.prediction; no target is read. Each sample (first axis) counts with the mean of
  /// its values and weights, as in Keras.
  void update(Context& ctx, const LossOperands& operands) override;
  double result() const override { return count_ == 0 ? 0 : total_ / count_; }
  void reset() override { total_ = count_ = 0; }

 private:
  double total_ = 0;
  double count_ = 0;
};

struct BinaryAccuracyConfig {
  double threshold = 0.5;
  std::string name = "binary_accuracy";
};
struct LossMetricConfig {
  Loss loss{};
  std::string name{};  ///< of the metric; needed
};
struct PerplexityConfig {
  bool from_logits = false;
  std::optional<Index> mask_token_id{};  ///< labels that do not count
  std::string name = "perplexity";
};

// The metrics; each is a mean over the positions but perplexity.

/// Predictions that equal the target. Source: keras.metrics.Accuracy.
std::shared_ptr<Metric> accuracy(const MetricConfig& config = {});
/// (prediction > threshold) equals the target. Source: keras.metrics.BinaryAccuracy.
std::shared_ptr<Metric> binary_accuracy(const BinaryAccuracyConfig& config = {});
/// The largest prediction stands where the largest target does. Source:
/// keras.metrics.CategoricalAccuracy.
std::shared_ptr<Metric> categorical_accuracy(const MetricConfig& config = {});
/// The largest prediction stands at the label. Source: keras.metrics.SparseCategoricalAccuracy.
std::shared_ptr<Metric> sparse_categorical_accuracy(const MetricConfig& config = {});
/// The values of a loss, whatever its reduction, as Keras's metrics MeanSquaredError,
/// SparseCategoricalCrossentropy, ... Errors: ConfigError for a loss that ignores a class.
std::shared_ptr<Metric> mean_of(const LossMetricConfig& config);
/// exp(sum of cross entropies / number of labels), over all batches together: exp of the loss
/// `sparse_categorical_crossentropy` of all of them. Source: keras_hub.metrics.Perplexity.
std::shared_ptr<Metric> perplexity(const PerplexityConfig& config = {});

/// A metric by Keras's name, by its configuration, or as an object. Where compile() is given
/// `accuracy` or `acc`, the shapes of the first batch choose between the three kinds.
class MetricChoice {
 public:
  MetricChoice(const char* name)
      : choice_(ConfigValue(name)) {}  // NOLINT(google-explicit-constructor)
  MetricChoice(const ConfigValue& identifier)
      : choice_(identifier) {}  // NOLINT(google-explicit-constructor)
  MetricChoice(std::shared_ptr<Metric> metric)
      : choice_(std::move(metric)) {}  // NOLINT(google-explicit-constructor)

  /// For targets and predictions of these shapes. Errors: ConfigError.
  std::shared_ptr<Metric> resolve(const Shape& target, const Shape& prediction) const;
  /// What Keras's files hold of it.
  ConfigValue config() const;

 private:
  std::variant<ConfigValue, std::shared_ptr<Metric>> choice_;
};

}  // namespace grouphead
#pragma GCC visibility pop
