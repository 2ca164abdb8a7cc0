// Correlations along the last axis, and sums.

#include <cmath>

#include "core/check.h"
#include "train/loss_entries.h"
#include "train/metric_entries.h"
#include "train/operands.h"

namespace grouphead {

bool train::is_integer_type(std::string_view dtype) {
  return dtype.starts_with("int") || dtype.starts_with("uint");
}

namespace {

using train::Counted;
using train::Numbers;

constexpr double kEpsilon = 1e-7;  // keras.config.epsilon()

enum class Kind : std::uint8_t { pearson, concordance };

struct Moments {
  double mean = 0;
  double variance = 0;
};
Moments moments_of(const double* row, Index width) {
  Moments moments;
  for (Index i = 0; i < width; ++i) moments.mean += row[i];
  moments.mean /= static_cast<double>(width);
  for (Index i = 0; i < width; ++i) {
    const double apart = row[i] - moments.mean;
    moments.variance += apart * apart;
  }
  moments.variance /= static_cast<double>(width);
  return moments;
}

double pearson(const double* t, const double* p, Index width) {
  const Moments target = moments_of(t, width);
  const Moments prediction = moments_of(p, width);
  double sum = 0;
  for (Index i = 0; i < width; ++i) sum += (t[i] - target.mean) * (p[i] - prediction.mean);
  return sum / static_cast<double>(width) /
         (std::sqrt(target.variance) * std::sqrt(prediction.variance));
}

// As in Keras, the target's distances are from the prediction's mean too.
double concordance(const double* t, const double* p, Index width) {
  const Moments target = moments_of(t, width);
  const Moments prediction = moments_of(p, width);
  double sum = 0;
  for (Index i = 0; i < width; ++i) sum += (t[i] - prediction.mean) * (p[i] - prediction.mean);
  const double apart = target.mean - prediction.mean;
  return 2 * sum / static_cast<double>(width) /
         (target.variance + prediction.variance + apart * apart + kEpsilon);
}

class Correlation final : public train::MeanOfValues {
 public:
  Correlation(Kind kind, const MetricConfig& config)
      : MeanOfValues(!config.name.empty()    ? config.name
                     : kind == Kind::pearson ? "pearson_correlation"
                                             : "concordance_correlation"),
        kind_(kind) {}
  std::string_view class_name() const override {
    return kind_ == Kind::pearson ? "PearsonCorrelation" : "ConcordanceCorrelation";
  }
  bool higher_is_better() const override { return true; }
  ConfigValue get_config() const override {
    ConfigValue config = Metric::get_config();
    config.set("axis", -1);
    return config;
  }

 private:
  Tensor values_of(Context& ctx, const LossOperands& operands) const override {
    Shape shape = operands.prediction.shape();
    Shape target_shape = operands.target.shape();
    train::align_ranks(target_shape, shape);
    if (shape.rank() < 1 || shape.back() < 1 || target_shape != shape) {
      core::throw_shape_error(name(), "target", shape.to_string() + " of one axis or more",
                              target_shape.to_string());
    }
    const Numbers target(ctx, operands.target, Dtype::f64);
    const Numbers prediction(ctx, operands.prediction, Dtype::f64);
    const Index width = shape.back();
    Tensor values = ctx.tensor(train::without_last_axis(shape), Dtype::f64);
    for (Index i = 0; i < values.size(); ++i) {
      const double* t = target.view().data<double>() + i * width;
      const double* p = prediction.view().data<double>() + i * width;
      values.data<double>()[i] =
          kind_ == Kind::pearson ? pearson(t, p, width) : concordance(t, p, width);
    }
    return values;
  }
  Kind kind_;
};

template <Kind kKind>
std::shared_ptr<Metric> make_correlation(nn::ConfigReader& reader) {
  train::require_last_axis(reader, "correlation");
  return std::make_shared<Correlation>(kKind, MetricConfig{.name = reader.name("")});
}

class Sum final : public Metric {
 public:
  explicit Sum(const MetricConfig& config) : Metric(config.name.empty() ? "sum" : config.name) {}
  std::string_view class_name() const override { return "Sum"; }
  void update(Context& ctx, const LossOperands& operands) override {
    const Counted rows = train::counted(ctx, name(),
                                        {.target = operands.prediction,
                                         .prediction = operands.prediction,
                                         .mask = {},
                                         .sample_weight = operands.sample_weight});
    for (std::size_t i = 0; i < rows.prediction.size(); ++i) {
      total_ += rows.prediction[i] * rows.weight[i];
    }
  }
  double result() const override { return total_; }
  void reset() override { total_ = 0; }
  std::vector<std::span<double>> sums() override { return {{&total_, 1}}; }

 private:
  double total_ = 0;
};

std::shared_ptr<Metric> make_sum(nn::ConfigReader& reader) {
  return std::make_shared<Sum>(MetricConfig{.name = reader.name("")});
}

constexpr train::MetricEntry kEntries[] = {
    {"ConcordanceCorrelation", "concordance_correlation", make_correlation<Kind::concordance>},
    {"PearsonCorrelation", "pearson_correlation", make_correlation<Kind::pearson>},
    {"Sum", "sum", make_sum},
};

}  // namespace

std::span<const train::MetricEntry> train::mean_metrics() { return kEntries; }

std::shared_ptr<Metric> pearson_correlation(const MetricConfig& config) {
  return std::make_shared<Correlation>(Kind::pearson, config);
}
std::shared_ptr<Metric> concordance_correlation(const MetricConfig& config) {
  return std::make_shared<Correlation>(Kind::concordance, config);
}
std::shared_ptr<Metric> sum_metric(const MetricConfig& config) {
  return std::make_shared<Sum>(config);
}

}  // namespace grouphead
