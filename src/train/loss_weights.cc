#include "train/loss_weights.h"

#include "core/check.h"
#include "train/operands.h"

namespace grouphead::train {
namespace {

constexpr std::string_view kName = "loss";

double quotient(double a, double b) noexcept { return b == 0 ? 0 : a / b; }  // divide_no_nan

bool is_average(Reduction reduction) noexcept {
  return reduction == Reduction::sum_over_batch_size || reduction == Reduction::mean;
}

/// weights[i] *= the operand's number at i, whose ranks are brought together first.
void multiply(Context& ctx, std::string_view what, ConstView operand, Shape values,
              std::vector<double>& weights) {
  const Numbers numbers(ctx, operand, Dtype::f64);
  Shape shape = operand.shape();
  align_ranks(values, shape);
  const Broadcast place(kName, what, shape, values);
  const double* factors = numbers.view().data<double>();
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] *= factors[place(static_cast<Index>(i))];
}

double sum_of(Context& ctx, ConstView view) {
  const Numbers numbers(ctx, view, Dtype::f64);
  double sum = 0;
  for (Index i = 0; i < view.size(); ++i) sum += numbers.view().data<double>()[i];
  return sum;
}

/// 1 where both masks are true.
std::vector<double> visible(Context& ctx, const Shape& values, ConstView a, ConstView b) {
  std::vector<double> weights(static_cast<std::size_t>(values.size()), 1);
  if (a.has_value()) multiply(ctx, "mask", a, values, weights);
  if (b.has_value()) multiply(ctx, "mask", b, values, weights);
  return weights;
}

}  // namespace

LossWeights loss_weights(Context& ctx, const Shape& values, ConstView sample_weight,
                         ConstView prediction_mask, ConstView value_mask, Reduction reduction) {
  const auto count = static_cast<double>(values.size());
  const bool has_mask = prediction_mask.has_value() || value_mask.has_value();
  if (!has_mask && !sample_weight.has_value()) {
    const bool divides = reduction != Reduction::sum && reduction != Reduction::none;
    return {.uniform = divides ? quotient(1, count) : 1};
  }
  std::vector<double> weights = visible(ctx, values, prediction_mask, value_mask);
  double num_visible = 0;
  for (const double weight : weights) num_visible += weight;
  if (sample_weight.has_value()) multiply(ctx, "sample_weight", sample_weight, values, weights);

  double factor = 1;
  // A mask makes the average one over the visible values, whatever the weights.
  if (is_average(reduction)) factor = quotient(1, has_mask ? num_visible : count);
  if (reduction == Reduction::mean_with_sample_weight) {
    double divisor = 0;
    for (const double weight : weights) divisor += weight;
    // Keras sums the weights as they came, before they repeat along an axis.
    if (!has_mask) divisor = sum_of(ctx, sample_weight);
    factor = quotient(1, divisor);
  }
  LossWeights out{.of_values = ctx.tensor(values, Dtype::f64)};
  for (std::size_t i = 0; i < weights.size(); ++i) {
    out.of_values.data<double>()[i] = weights[i] * factor;
  }
  return out;
}

}  // namespace grouphead::train
