#pragma once

// The tables of metrics, and what their rows of targets and predictions are.

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "grouphead/train/metrics.h"
#include "nn/config_reader.h"

namespace grouphead::train {

struct MetricEntry {
  std::string_view class_name;
  std::string_view alias;  ///< Keras's name of it in snake case
  std::shared_ptr<Metric> (*make)(nn::ConfigReader& reader);
};
/// Metrics of counts: true and false, positive and negative.
std::span<const MetricEntry> confusion_metrics();
/// The area under a curve of counts.
std::span<const MetricEntry> area_metrics();
/// Metrics of sums over classes and positions.
std::span<const MetricEntry> score_metrics();
/// Intersections over unions.
std::span<const MetricEntry> overlap_metrics();
/// Correlations and sums.
std::span<const MetricEntry> mean_metrics();
/// All of them.
inline std::array<std::span<const MetricEntry>, 5> metric_tables() {
  return {confusion_metrics(), area_metrics(), score_metrics(), overlap_metrics(), mean_metrics()};
}

/// Targets and predictions of one shape, with a weight of each, in double.
struct Counted {
  std::vector<double> target, prediction, weight;
  Index width = 1;  ///< of the last axis
};
/// Weights are per sample, or of all but the last axis, or of all elements.
/// Errors: ShapeError for other shapes.
Counted counted(Context& ctx, std::string_view metric, const LossOperands& operands);

/// A metric by its class's name or its own. Null where no table has it.
const MetricEntry* find_metric(std::string_view name);

/// The mean of values that a target and a prediction give.
class MeanOfValues : public Metric {
 public:
  using Metric::Metric;
  void update(Context& ctx, const LossOperands& operands) override {
    const Tensor values = values_of(ctx, operands);
    mean_.update(
        ctx,
        {.prediction = values, .mask = operands.mask, .sample_weight = operands.sample_weight});
  }
  double result() const override { return mean_.result(); }
  void reset() override { mean_.reset(); }
  std::vector<std::span<double>> sums() override { return mean_.sums(); }

 private:
  virtual Tensor values_of(Context& ctx, const LossOperands& operands) const = 0;
  Mean mean_;
};

/// Of Keras's names of types.
bool is_integer_type(std::string_view dtype);
std::optional<double> number_or_null(nn::ConfigReader& reader, std::string_view key);
std::optional<Index> integer_or_null(nn::ConfigReader& reader, std::string_view key);
template <class T>
ConfigValue or_null(const std::optional<T>& value) {
  return value ? ConfigValue(*value) : ConfigValue();
}

}  // namespace grouphead::train
