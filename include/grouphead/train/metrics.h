#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeindex>
#include <vector>

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
  /// The numbers that update() adds to, where result() follows from their sums over all batches: so
  /// processes that share out a batch know the result of all. None: each has that of its own part.
  virtual std::vector<std::span<double>> sums() { return {}; }

 protected:
  explicit Metric(std::string name) : name_(std::move(name)) {}

 private:
  std::string name_;
};

namespace detail {
using MetricMaker = std::function<std::shared_ptr<Metric>(const ConfigValue& config)>;
void register_metric(const std::string& name, std::type_index type, MetricMaker make);
}  // namespace detail

/// Makes a metric of yours known, as register_loss() does a loss. The class has
///
///     static std::shared_ptr<MyMetric> from_config(const ConfigValue& config);
///
/// Errors: ConfigError for a name of another form than `package>Class`, or that another class has.
template <class M>
void register_metric(const std::string& name) {
  static_assert(std::is_base_of_v<Metric, M>);
  static_assert(std::is_convertible_v<decltype(M::from_config(ConfigValue())), std::shared_ptr<M>>,
                "the class needs from_config() of its own");
  detail::register_metric(name, typeid(M), [](const ConfigValue& config) {
    return std::shared_ptr<Metric>(M::from_config(config));
  });
}

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
  std::vector<std::span<double>> sums() override { return {{&total_, 1}, {&count_, 1}}; }

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

/// sqrt of the mean of squared errors. Source: keras.metrics.RootMeanSquaredError.
std::shared_ptr<Metric> root_mean_squared_error(const MetricConfig& config = {});
/// The cosine of target and prediction. Source: keras.metrics.CosineSimilarity.
std::shared_ptr<Metric> cosine_similarity_metric(const MetricConfig& config = {});

struct TopKConfig {
  Index k = 5;
  std::string name{};  ///< empty: Keras's default
};
/// The target's class is one of the k likeliest. Source: keras.metrics.TopKCategoricalAccuracy.
std::shared_ptr<Metric> top_k_categorical_accuracy(const TopKConfig& config = {});
/// Source: keras.metrics.SparseTopKCategoricalAccuracy.
std::shared_ptr<Metric> sparse_top_k_categorical_accuracy(const TopKConfig& config = {});

/// What counts as positive: predictions above the threshold. Masks are not read.
struct ConfusionConfig {
  std::optional<double> threshold{};  ///< none: 0.5, or with top_k any
  std::optional<Index> top_k{};       ///< precision, recall: only the k highest of the last axis
  std::optional<Index> class_id{};    ///< precision, recall: of the last axis this one alone
  std::string name{};                 ///< empty: Keras's default
};
std::shared_ptr<Metric> precision(const ConfusionConfig& config = {});  ///< keras.metrics.Precision
std::shared_ptr<Metric> recall(const ConfusionConfig& config = {});     ///< keras.metrics.Recall
// Errors: ConfigError with top_k or class_id, which Keras's do not take.
std::shared_ptr<Metric> true_positives(const ConfusionConfig& config = {});
std::shared_ptr<Metric> true_negatives(const ConfusionConfig& config = {});
std::shared_ptr<Metric> false_positives(const ConfusionConfig& config = {});
std::shared_ptr<Metric> false_negatives(const ConfusionConfig& config = {});

struct AtConfig {
  double value = 0;  ///< what is asked of the other number, in [0, 1]
  Index num_thresholds = 200;
  std::optional<Index> class_id{};
  std::string name{};  ///< empty: Keras's default
};
// The best of one number where the other is `value` or more. Source: the classes of keras.metrics.
std::shared_ptr<Metric> sensitivity_at_specificity(const AtConfig& config);
std::shared_ptr<Metric> specificity_at_sensitivity(const AtConfig& config);
std::shared_ptr<Metric> precision_at_recall(const AtConfig& config);
std::shared_ptr<Metric> recall_at_precision(const AtConfig& config);

struct AUCConfig {
  Index num_thresholds = 200;
  std::string curve = "ROC";                       ///< `PR`, `PRGAIN`
  std::string summation_method = "interpolation";  ///< `minoring`, `majoring`
  std::vector<double> thresholds{};                ///< in (0, 1), in num_thresholds' place
  bool multi_label = false;  ///< the mean of a curve for each label, of predictions [B, labels]
  std::optional<Index> num_labels{};    ///< with multi_label; none: those of the first batch
  std::vector<double> label_weights{};  ///< of the mean; without multi_label of the predictions
  bool from_logits = false;
  std::string name{};  ///< empty: Keras's default
};
/// The area under a curve by Riemann sums. Source: keras.metrics.AUC.
std::shared_ptr<Metric> auc(const AUCConfig& config = {});

struct FBetaScoreConfig {
  std::string average{};  ///< `micro`, `macro` or `weighted`; needed, as there is one number
  double beta = 1;
  std::optional<double> threshold{};  ///< none: the highest prediction of a row is its class
  std::string name{};                 ///< empty: Keras's default
};
/// Source: keras.metrics.FBetaScore.
std::shared_ptr<Metric> fbeta_score(const FBetaScoreConfig& config);
/// Source: keras.metrics.F1Score. Errors: ConfigError for another beta than 1.
std::shared_ptr<Metric> f1_score(const FBetaScoreConfig& config);

struct R2ScoreConfig {
  std::string class_aggregation = "uniform_average";  ///< or `variance_weighted_average`
  Index num_regressors = 0;
  std::string name{};  ///< empty: Keras's default
};
/// Source: keras.metrics.R2Score.
std::shared_ptr<Metric> r2_score(const R2ScoreConfig& config = {});

struct IoUConfig {
  Index num_classes = 0;
  std::vector<Index> target_class_ids{};  ///< the classes of the mean; not of the mean metrics
  std::optional<Index> ignore_class{};    ///< targets that do not count
  bool sparse_y_true = true;  ///< targets are classes, else [..., C]; the one-hot metrics set it
  bool sparse_y_pred = true;  ///< predictions are; of the one-hot metrics Keras's default is false
  bool integers = true;       ///< weights and classes lose their fractions, Keras's dtype `int`
  std::string name{};         ///< empty: Keras's default
};
// Intersections over unions of the classes of targets and predictions, the mean of those that there
// are. Weights are 1 number, or one for each class of the targets. Source: the classes of
// keras.metrics. Errors: ConfigError for classes that are none of num_classes.
std::shared_ptr<Metric> iou(const IoUConfig& config);
std::shared_ptr<Metric> mean_iou(const IoUConfig& config);
std::shared_ptr<Metric> one_hot_iou(const IoUConfig& config);
std::shared_ptr<Metric> one_hot_mean_iou(const IoUConfig& config);

struct BinaryIoUConfig {
  std::vector<Index> target_class_ids = {0, 1};
  double threshold = 0.5;  ///< predictions from here on are class 1
  bool integers = true;    ///< as in IoUConfig
  std::string name{};      ///< empty: Keras's default
};
/// Source: keras.metrics.BinaryIoU.
std::shared_ptr<Metric> binary_iou(const BinaryIoUConfig& config = {});

/// The correlation of target and prediction along the last axis. Source:
/// keras.metrics.PearsonCorrelation.
std::shared_ptr<Metric> pearson_correlation(const MetricConfig& config = {});
/// Lin's coefficient, with Keras's covariance: both are taken from the prediction's mean. Source:
/// keras.metrics.ConcordanceCorrelation.
std::shared_ptr<Metric> concordance_correlation(const MetricConfig& config = {});
/// The weighted sum of predictions; no target is read. Source: keras.metrics.Sum.
std::shared_ptr<Metric> sum_metric(const MetricConfig& config = {});

/// A metric by Keras's name, by its configuration, or as an object. Where compile() is given
/// `accuracy` or `acc`, the shapes of the first batch choose between the three kinds.
class MetricChoice {
 public:
  MetricChoice(const char* name);                // NOLINT(google-explicit-constructor)
  MetricChoice(const ConfigValue& identifier);   // NOLINT(google-explicit-constructor)
  MetricChoice(std::shared_ptr<Metric> metric);  // NOLINT(google-explicit-constructor)

  /// For targets and predictions of these shapes. Errors: ConfigError.
  std::shared_ptr<Metric> resolve(const Shape& target, const Shape& prediction) const;
  /// What Keras's files hold of it.
  ConfigValue config() const;
  /// Errors: ConfigError for a name or a class that this library does not have.
  void require_known() const;

 private:
  std::shared_ptr<Metric> metric_;  // none: what identifier_ says
  ConfigValue identifier_;
};

}  // namespace grouphead
#pragma GCC visibility pop
