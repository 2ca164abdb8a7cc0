// How a loss is computed from its operands: shapes brought together, weights, the reduction.

#include "grouphead/train/losses.h"

#include "core/check.h"
#include "train/loss_weights.h"
#include "train/operands.h"

namespace grouphead {
namespace {

struct ReductionName {
  Reduction reduction;
  std::string_view name;
};
constexpr ReductionName kReductions[] = {
    {Reduction::sum_over_batch_size, "sum_over_batch_size"},
    {Reduction::sum, "sum"},
    {Reduction::mean, "mean"},
    {Reduction::mean_with_sample_weight, "mean_with_sample_weight"},
    {Reduction::none, "none"},
};

}  // namespace

std::string_view name_of(Reduction reduction) noexcept {
  return kReductions[static_cast<std::size_t>(reduction)].name;
}

Reduction reduction_from_config(const ConfigValue& identifier) {
  if (identifier.is_null()) return Reduction::none;
  for (const auto& [reduction, name] : kReductions) {
    if (identifier.is_string() && identifier.as_string("reduction") == name) return reduction;
  }
  core::throw_config_error("loss", "reduction",
                           "sum_over_batch_size, sum, mean, mean_with_sample_weight or none",
                           identifier.to_string());
}

/// Operands as rows, in the type that the loss is computed in.
struct LossRule::Prepared {
  train::Numbers prediction;
  train::Numbers target;
  Shape values_shape;
  Tensor valid{};  // bool, which values count; absent: all
  LossRows rows{};
};

namespace {

Shape value_axes(std::string_view loss, const Shape& prediction, int count) {
  if (count < 0 || count >= prediction.rank()) {
    core::throw_shape_error(loss, "prediction", "the axes that one value is made of",
                            prediction.to_string());
  }
  return Shape(std::span<const Index>(prediction.begin(), static_cast<std::size_t>(count)));
}

}  // namespace

LossRule::Prepared LossRule::prepared(Context& ctx, const LossOperands& operands) const {
  const ConstView& prediction = operands.prediction;
  const Dtype dtype = train::arithmetic_of(name_, prediction);
  Shape prediction_shape = prediction.shape();
  Shape target_shape = operands.target.shape();
  train::align_ranks(target_shape, prediction_shape);
  if (prediction_shape.rank() < 1 || prediction_shape.back() < 1) {
    core::throw_shape_error(name_, "prediction", "[..., C] with C >= 1",
                            prediction.shape().to_string());
  }
  const bool has_numbers = targets() == LossTargets::numbers;
  Prepared out{
      .prediction = train::Numbers(ctx, prediction, dtype),
      .target = train::Numbers(ctx, operands.target, has_numbers ? dtype : Dtype::i32),
      .values_shape = value_axes(name_, prediction_shape, num_value_axes(prediction_shape))};
  Shape wanted = prediction_shape;
  if (targets() == LossTargets::labels || targets() == LossTargets::any_labels) {
    const bool has_axis =
        target_shape.rank() == prediction_shape.rank() && target_shape.back() == 1;
    if (has_axis) target_shape = train::without_last_axis(target_shape);
    wanted = out.values_shape;
  } else if (targets() == LossTargets::label_rows && target_shape.rank() == 2) {
    wanted = {out.values_shape.size(), target_shape.back()};
  }
  if (!operands.target.has_value() || target_shape != wanted) {
    core::throw_shape_error(
        name_, "target", wanted.to_string(),
        operands.target.has_value() ? operands.target.shape().to_string() : "nothing");
  }
  const Index rows = out.values_shape.size();
  const Index width = rows == 0 ? prediction_shape.back() : prediction_shape.size() / rows;
  out.rows.prediction = out.prediction.view().reshaped({rows, width});
  out.rows.classes = prediction_shape.back();
  if (targets() != LossTargets::label_rows) {
    out.rows.target = out.target.view().reshaped(has_numbers ? Shape{rows, width} : Shape{rows});
  } else {
    out.rows.target = out.target.view();
  }
  return out;
}

namespace {

double element(const ConstView& values, Index i) {
  return values.dtype() == Dtype::f64 ? values.data<double>()[i]
                                      : static_cast<double>(values.data<float>()[i]);
}

Tensor positive_values(Context& ctx, ConstView values) {
  Tensor valid = ctx.tensor(values.shape(), Dtype::boolean);
  for (Index i = 0; i < values.size(); ++i) valid.data<bool>()[i] = element(values, i) > 0;
  return valid;
}

/// Which labels are not the ignored one.
Tensor other_labels(Context& ctx, ConstView labels, Index ignored) {
  Tensor valid = ctx.tensor(labels.shape(), Dtype::boolean);
  for (Index i = 0; i < labels.size(); ++i) {
    valid.data<bool>()[i] = labels.data<std::int32_t>()[i] != ignored;
  }
  return valid;
}

/// Labels where 0 stands for those that do not count, which may be no class at all.
Tensor counted_labels(Context& ctx, ConstView labels, const Tensor& weights) {
  Tensor out = ctx.tensor(labels.shape(), Dtype::i32);
  for (Index i = 0; i < labels.size(); ++i) {
    const bool counts = weights.data<double>()[i] != 0;
    out.data<std::int32_t>()[i] = counts ? labels.data<std::int32_t>()[i] : 0;
  }
  return out;
}

}  // namespace

LossResult LossRule::run(Context& ctx, const LossOperands& operands,
                         std::optional<double> gradient_scale) const {
  Prepared problem = prepared(ctx, operands);
  LossRows& rows = problem.rows;
  if (ignored_class()) problem.valid = other_labels(ctx, rows.target, *ignored_class());
  const Shape& shape = problem.values_shape;
  Tensor values = ctx.tensor(shape, rows.prediction.dtype());
  rows.values = values.view().reshaped({shape.size()});
  if (counts_positive_values()) {
    evaluate(ctx, rows);
    problem.valid = positive_values(ctx, rows.values);
  }
  train::LossWeights weights = train::loss_weights(
      ctx, shape, operands.sample_weight, operands.mask,
      problem.valid.has_value() ? problem.valid.view().reshaped(shape) : ConstView(), reduction_);
  Tensor labels;
  if (targets() == LossTargets::labels && weights.of_values.has_value()) {
    labels = counted_labels(ctx, rows.target, weights.of_values);
    rows.target = std::as_const(labels).view();
  }
  LossResult result;
  Tensor scaled;
  if (gradient_scale) {
    result.d_prediction = ctx.tensor(operands.prediction.shape(), rows.prediction.dtype());
    rows.d_prediction = result.d_prediction.view().reshaped(rows.prediction.shape());
    rows.scale = weights.uniform * *gradient_scale;
    if (weights.of_values.has_value()) {
      scaled = ctx.tensor({shape.size()}, Dtype::f64);
      for (Index i = 0; i < shape.size(); ++i) {
        scaled.data<double>()[i] = weights.of_values.data<double>()[i] * *gradient_scale;
      }
      rows.weights = std::as_const(scaled).view();
    }
  }
  evaluate(ctx, rows);

  double sum = 0;
  Tensor weighted;
  if (reduction_ == Reduction::none) weighted = ctx.tensor(shape, Dtype::f64);
  for (Index i = 0; i < shape.size(); ++i) {
    const double weight =
        weights.of_values.has_value() ? weights.of_values.data<double>()[i] : weights.uniform;
    const double value = weight == 0 ? 0 : weight * element(rows.values, i);
    if (weighted.has_value()) weighted.data<double>()[i] = value;
    sum += value;
  }
  result.value = sum;
  result.values = std::move(weighted);
  return result;
}

double LossRule::value(Context& ctx, const LossOperands& operands) const {
  return run(ctx, operands, {}).value;
}

LossResult LossRule::value_and_gradient(Context& ctx, const LossOperands& operands,
                                        double gradient_scale) const {
  return run(ctx, operands, gradient_scale);
}

Tensor LossRule::values(Context& ctx, const LossOperands& operands) const {
  Prepared problem = prepared(ctx, operands);
  Tensor values = ctx.tensor(problem.values_shape, problem.rows.prediction.dtype());
  problem.rows.values = values.view().reshaped({values.size()});
  evaluate(ctx, problem.rows);
  return values;
}

ConfigValue LossRule::get_config() const {
  return ConfigValue::Object{{"name", name_}, {"reduction", name_of(reduction_)}};
}

}  // namespace grouphead
