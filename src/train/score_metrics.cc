// Metrics of sums over classes and positions.

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/number_text.h"
#include "train/metric_entries.h"
#include "train/operands.h"

namespace grouphead {
namespace {

using train::Counted;
using train::Numbers;

constexpr double kEpsilon = 1e-7;  // keras.config.epsilon()

std::string name_or(const std::string& given, const char* name) {
  return given.empty() ? name : given;
}

// ---- Means -------------------------------------------------------------------------------------

class RootMeanSquaredError final : public Metric {
 public:
  explicit RootMeanSquaredError(const MetricConfig& config)
      : Metric(name_or(config.name, "root_mean_squared_error")) {}
  std::string_view class_name() const override { return "RootMeanSquaredError"; }
  void update(Context& ctx, const LossOperands& operands) override {
    Shape shape = operands.prediction.shape();
    Shape target_shape = operands.target.shape();
    train::align_ranks(target_shape, shape);
    if (target_shape != shape) {
      core::throw_shape_error(name(), "target", shape.to_string(), target_shape.to_string());
    }
    const Numbers target(ctx, operands.target, Dtype::f64);
    const Numbers prediction(ctx, operands.prediction, Dtype::f64);
    Tensor squares = ctx.tensor(shape, Dtype::f64);
    for (Index i = 0; i < squares.size(); ++i) {
      const double e = prediction.view().data<double>()[i] - target.view().data<double>()[i];
      squares.data<double>()[i] = e * e;
    }
    mean_.update(ctx, {.target = {},
                       .prediction = squares,
                       .mask = operands.mask,
                       .sample_weight = operands.sample_weight});
  }
  double result() const override { return std::sqrt(mean_.result()); }
  void reset() override { mean_.reset(); }
  std::vector<std::span<double>> sums() override { return mean_.sums(); }

 private:
  Mean mean_;
};

/// A loss's values under a metric's name, with a sign.
class SignedLoss final : public train::MeanOfValues {
 public:
  SignedLoss(std::string name, std::string_view class_name, Loss loss, double sign)
      : MeanOfValues(std::move(name)),
        class_name_(class_name),
        loss_(std::move(loss)),
        sign_(sign) {}
  std::string_view class_name() const override { return class_name_; }
  bool higher_is_better() const override { return sign_ < 0; }

 private:
  Tensor values_of(Context& ctx, const LossOperands& operands) const override {
    const Tensor values = loss_->values(ctx, operands);
    const Numbers numbers(ctx, values, Dtype::f64);
    Tensor turned = ctx.tensor(values.shape(), Dtype::f64);
    for (Index i = 0; i < turned.size(); ++i) {
      turned.data<double>()[i] = sign_ * numbers.view().data<double>()[i];
    }
    return turned;
  }
  std::string_view class_name_;
  Loss loss_;
  double sign_;
};

/// 1 where fewer than k predictions are larger than that of the target's class.
class TopK final : public train::MeanOfValues {
 public:
  TopK(const TopKConfig& config, bool takes_labels)
      : MeanOfValues(name_or(config.name, takes_labels ? "sparse_top_k_categorical_accuracy"
                                                       : "top_k_categorical_accuracy")),
        k_(config.k),
        takes_labels_(takes_labels) {
    core::require_positive(class_name(), "k", k_);
  }
  std::string_view class_name() const override {
    return takes_labels_ ? "SparseTopKCategoricalAccuracy" : "TopKCategoricalAccuracy";
  }
  bool higher_is_better() const override { return true; }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    config.set("k", k_);
    return config;
  }

 private:
  Tensor values_of(Context& ctx, const LossOperands& operands) const override {
    const Shape& classes = operands.prediction.shape();
    if (classes.rank() < 1 || classes.back() < 1) {
      core::throw_shape_error(name(), "prediction", "[..., C] with C >= 1", classes.to_string());
    }
    const Shape shape = train::without_last_axis(classes);
    const Index wanted = takes_labels_ ? shape.size() : classes.size();
    if (!operands.target.has_value() || operands.target.size() != wanted) {
      core::throw_shape_error(name(), "target", std::to_string(wanted) + " numbers",
                              operands.target.shape().to_string());
    }
    const Numbers target(ctx, operands.target, Dtype::f64);
    const Numbers prediction(ctx, operands.prediction, Dtype::f64);
    const Index width = classes.back();
    Tensor values = ctx.tensor(shape, Dtype::f64);
    for (Index i = 0; i < values.size(); ++i) {
      const double* row = prediction.view().data<double>() + i * width;
      const double* t = target.view().data<double>();
      const double label =
          takes_labels_ ? t[i]
                        : static_cast<double>(std::max_element(t + i * width, t + (i + 1) * width) -
                                              (t + i * width));
      const bool is_class = label >= 0 && label < static_cast<double>(width);
      Index larger = 0;
      for (Index j = 0; is_class && j < width; ++j) {
        larger += row[j] > row[static_cast<Index>(label)] ? 1 : 0;
      }
      const bool is_number = is_class && !std::isnan(row[static_cast<Index>(label)]);
      values.data<double>()[i] = is_number && larger < k_ ? 1 : 0;
    }
    return values;
  }
  Index k_;
  bool takes_labels_;
};

// ---- Sums of each class ------------------------------------------------------------------------

void require_matrix(const Metric& metric, const LossOperands& operands) {
  if (operands.prediction.rank() == 2) return;
  core::throw_shape_error(metric.name(), "prediction", "[B, C]",
                          operands.prediction.shape().to_string());
}

/// Column sums that start at the first batch.
struct Sums {
  std::vector<double> numbers{};
  double& at(std::size_t i) {
    if (numbers.size() <= i) numbers.resize(i + 1, 0);
    return numbers[i];
  }
};

class FBeta final : public Metric {
 public:
  FBeta(const FBetaScoreConfig& config, bool is_f1)
      : Metric(name_or(config.name, is_f1 ? "f1_score" : "fbeta_score")),
        config_(config),
        is_f1_(is_f1) {
    const auto& average = config.average;
    if (average != "micro" && average != "macro" && average != "weighted") {
      core::throw_config_error(class_name(), "average", "micro, macro or weighted",
                               average.empty() ? "none, which is a number of each class" : average);
    }
    if (!(config.beta > 0 && std::isfinite(config.beta)) || (is_f1 && config.beta != 1)) {
      core::throw_config_error(class_name(), "beta", is_f1 ? "1" : "a finite number above 0",
                               core::number_text(config.beta));
    }
    if (config.threshold && !(*config.threshold > 0 && *config.threshold <= 1)) {
      core::throw_config_error(class_name(), "threshold", "a number in (0, 1]",
                               core::number_text(*config.threshold));
    }
  }
  std::string_view class_name() const override { return is_f1_ ? "F1Score" : "FBetaScore"; }
  bool higher_is_better() const override { return true; }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    config.set("average", config_.average);
    if (!is_f1_) config.set("beta", config_.beta);
    config.set("threshold", train::or_null(config_.threshold));
    return config;
  }
  void update(Context& ctx, const LossOperands& operands) override {
    require_matrix(*this, operands);
    const Counted rows = train::counted(ctx, name(), operands);
    const auto width = static_cast<std::size_t>(rows.width);
    for (std::size_t row = 0; row < rows.target.size(); row += width) {
      const auto* x = rows.prediction.data() + row;
      const double highest = *std::max_element(x, x + width);
      for (std::size_t i = 0; i < width; ++i) {
        const bool is_own = x[i] >= highest && std::abs(x[i]) > 1e-9;
        const double positive = (config_.threshold ? x[i] > *config_.threshold : is_own) ? 1 : 0;
        const double target = rows.target[row + i];
        const double weight = rows.weight[row + i];
        const std::size_t column = config_.average == "micro" ? 0 : i;
        hits_.at(column) += weight * positive * target;
        false_.at(column) += weight * positive * (1 - target);
        missed_.at(column) += weight * (1 - positive) * target;
        targets_.at(column) += weight * target;
      }
    }
  }
  double result() const override {
    const double square = config_.beta * config_.beta;
    double total = 0;
    for (const double target : targets_.numbers) total += target;
    double score = 0;
    const std::size_t count = hits_.numbers.size();
    for (std::size_t i = 0; i < count; ++i) {
      const double hits = hits_.numbers[i];
      const double precision = hits / (hits + false_.numbers[i] + kEpsilon);
      const double recall = hits / (hits + missed_.numbers[i] + kEpsilon);
      const double mean = precision * recall / (square * precision + recall + kEpsilon);
      const double weight = config_.average == "weighted" ? targets_.numbers[i] / (total + kEpsilon)
                                                          : 1 / static_cast<double>(count);
      score += weight * mean * (1 + square);
    }
    return score;
  }
  void reset() override { hits_ = false_ = missed_ = targets_ = {}; }
  std::vector<std::span<double>> sums() override {
    return {hits_.numbers, false_.numbers, missed_.numbers, targets_.numbers};
  }

 private:
  FBetaScoreConfig config_;
  bool is_f1_;
  Sums hits_, false_, missed_, targets_;
};

class R2 final : public Metric {
 public:
  explicit R2(const R2ScoreConfig& config)
      : Metric(name_or(config.name, "r2_score")), config_(config) {
    if (config.class_aggregation != "uniform_average" &&
        config.class_aggregation != "variance_weighted_average") {
      core::throw_config_error("R2Score", "class_aggregation",
                               "uniform_average or variance_weighted_average",
                               config.class_aggregation);
    }
    if (config.num_regressors < 0) {
      core::throw_config_error("R2Score", "num_regressors", "0 or more",
                               std::to_string(config.num_regressors));
    }
  }
  std::string_view class_name() const override { return "R2Score"; }
  bool higher_is_better() const override { return true; }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    config.set("class_aggregation", config_.class_aggregation);
    config.set("num_regressors", config_.num_regressors);
    return config;
  }
  void update(Context& ctx, const LossOperands& operands) override {
    require_matrix(*this, operands);
    const Counted rows = train::counted(ctx, name(), operands);
    for (std::size_t i = 0; i < rows.target.size(); ++i) {
      const std::size_t column = i % static_cast<std::size_t>(rows.width);
      const double t = rows.target[i];
      const double e = t - rows.prediction[i];
      sum_.at(column) += t * rows.weight[i];
      squares_.at(column) += t * t * rows.weight[i];
      errors_.at(column) += e * e * rows.weight[i];
      count_.at(column) += rows.weight[i];
    }
    samples_ += static_cast<double>(rows.target.size());
  }
  double result() const override {
    const std::size_t count = sum_.numbers.size();
    if (count == 0) return 0;
    double plain = 0;
    double weighted = 0;
    double totals = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double mean = sum_.numbers[i] / count_.numbers[i];
      const double total = squares_.numbers[i] - sum_.numbers[i] * mean;
      const double raw = 1 - errors_.numbers[i] / total;
      const double score = std::isinf(raw) ? 0 : raw;
      plain += score;
      weighted += total * score;
      totals += total;
    }
    const bool is_uniform = config_.class_aggregation == "uniform_average";
    const double score = is_uniform ? plain / static_cast<double>(count) : weighted / totals;
    const auto regressors = static_cast<double>(config_.num_regressors);
    if (regressors == 0 || regressors >= samples_ - 1) return score;
    return 1 - (1 - score) * (samples_ - 1) / (samples_ - regressors - 1);
  }
  void reset() override {
    sum_ = squares_ = errors_ = count_ = {};
    samples_ = 0;
  }
  std::vector<std::span<double>> sums() override {
    if (sum_.numbers.empty()) return {};
    return {sum_.numbers, squares_.numbers, errors_.numbers, count_.numbers, {&samples_, 1}};
  }

 private:
  R2ScoreConfig config_;
  Sums sum_, squares_, errors_, count_;
  double samples_ = 0;
};

// ---- From configurations -----------------------------------------------------------------------

std::shared_ptr<Metric> make_rmse(nn::ConfigReader& reader) {
  return root_mean_squared_error({.name = reader.name("")});
}

std::shared_ptr<Metric> make_cosine(nn::ConfigReader& reader) {
  const Index axis = reader.integer("axis", -1);
  if (axis != -1) {
    core::throw_config_error("CosineSimilarity", "axis", "the last axis, -1", std::to_string(axis));
  }
  return cosine_similarity_metric({.name = reader.name("")});
}

std::shared_ptr<Metric> make_log_cosh(nn::ConfigReader& reader) {
  return std::make_shared<SignedLoss>(reader.name("logcosh"), "LogCoshError", log_cosh(), 1);
}

template <bool kLabels>
std::shared_ptr<Metric> make_top_k(nn::ConfigReader& reader) {
  const TopKConfig config{.k = reader.integer("k", 5), .name = reader.name("")};
  if (kLabels && reader.boolean("from_sorted_ids", false)) {
    core::throw_config_error("SparseTopKCategoricalAccuracy", "from_sorted_ids", "false", "true");
  }
  return std::make_shared<TopK>(config, kLabels);
}

template <bool kF1>
std::shared_ptr<Metric> make_fbeta(nn::ConfigReader& reader) {
  FBetaScoreConfig config{.average = reader.string("average", ""),
                          .threshold = train::number_or_null(reader, "threshold"),
                          .name = reader.name("")};
  if (!kF1) config.beta = reader.number("beta", 1);
  return std::make_shared<FBeta>(config, kF1);
}

std::shared_ptr<Metric> make_r2(nn::ConfigReader& reader) {
  R2ScoreConfig config{.num_regressors = reader.integer("num_regressors", 0),
                       .name = reader.name("")};
  if (reader.has("class_aggregation")) {
    config.class_aggregation = reader.value("class_aggregation").as_string("class_aggregation");
  }
  return std::make_shared<R2>(config);
}

constexpr train::MetricEntry kEntries[] = {
    {"CosineSimilarity", "cosine_similarity", make_cosine},
    {"F1Score", "f1_score", make_fbeta<true>},
    {"FBetaScore", "f_beta_score", make_fbeta<false>},
    {"LogCoshError", "log_cosh_error", make_log_cosh},
    {"R2Score", "r2_score", make_r2},
    {"RootMeanSquaredError", "root_mean_squared_error", make_rmse},
    {"SparseTopKCategoricalAccuracy", "sparse_top_k_categorical_accuracy", make_top_k<true>},
    {"TopKCategoricalAccuracy", "top_k_categorical_accuracy", make_top_k<false>},
};

}  // namespace

std::span<const train::MetricEntry> train::score_metrics() { return kEntries; }

std::shared_ptr<Metric> root_mean_squared_error(const MetricConfig& config) {
  return std::make_shared<RootMeanSquaredError>(config);
}
std::shared_ptr<Metric> cosine_similarity_metric(const MetricConfig& config) {
  return std::make_shared<SignedLoss>(name_or(config.name, "cosine_similarity"), "CosineSimilarity",
                                      cosine_similarity(), -1);
}
std::shared_ptr<Metric> top_k_categorical_accuracy(const TopKConfig& config) {
  return std::make_shared<TopK>(config, false);
}
std::shared_ptr<Metric> sparse_top_k_categorical_accuracy(const TopKConfig& config) {
  return std::make_shared<TopK>(config, true);
}
std::shared_ptr<Metric> fbeta_score(const FBetaScoreConfig& config) {
  return std::make_shared<FBeta>(config, false);
}
std::shared_ptr<Metric> f1_score(const FBetaScoreConfig& config) {
  return std::make_shared<FBeta>(config, true);
}
std::shared_ptr<Metric> r2_score(const R2ScoreConfig& config) {
  return std::make_shared<R2>(config);
}

}  // namespace grouphead
