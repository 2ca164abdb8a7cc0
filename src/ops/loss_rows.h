#pragma once

// What the losses over rows share: the walk over rows, and functions of probabilities.

#include <cmath>

#include "ops/row_losses.h"
#include "ops/rowwise.h"

namespace grouphead::ops {

// Keras keeps probabilities this far from 0 and 1: keras.config.epsilon().
inline constexpr double kLossEpsilon = 1e-7;

template <class F>
struct Clipped {
  F value;
  bool is_inside;  // else the gradient stops here
};
// NaN stays NaN.
template <class F>
Clipped<F> clip_probability(F p) noexcept {
  constexpr F low = static_cast<F>(kLossEpsilon);
  constexpr F high = static_cast<F>(1 - kLossEpsilon);
  if (p < low) return {low, false};
  if (p > high) return {high, false};
  return {p, true};
}

template <class F>
F loss_sigmoid(F x) noexcept {
  const F small = std::exp(-std::abs(x));
  return (x >= 0 ? F{1} : small) / (1 + small);
}

/// row(prediction, target, width, weight, d_prediction) -> value, for each row; d_prediction is
/// null where nobody asks for it, and is all zeros where the weight is 0. Targets are numbers, or
/// one label each row (`Target` std::int32_t).
template <class F, class Target = F, class Row>
void for_loss_rows(Context& ctx, const LossRows& rows, Row&& row) {
  const Rows size = rows_of("loss", "prediction", rows.prediction);
  constexpr bool kLabels = !std::is_same_v<F, Target>;
  const auto* prediction = rows.prediction.data<F>();
  const auto* target = rows.target.data<Target>();
  const auto* weights = rows.weights.has_value() ? rows.weights.data<double>() : nullptr;
  F* d_prediction = rows.d_prediction.has_value() ? rows.d_prediction.data<F>() : nullptr;
  F* values = rows.values.data<F>();
  for_row_blocks(ctx, size, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const Index at = r * size.width;
      const double weight = weights != nullptr ? weights[r] : rows.scale;
      F* d = d_prediction != nullptr ? d_prediction + at : nullptr;
      values[r] =
          row(prediction + at, target + (kLabels ? r : at), size.width, static_cast<F>(weight), d);
      if (d != nullptr && weight == 0) std::fill_n(d, size.width, F{0});
    }
  });
}

/// Errors: ShapeError for operands that do not belong together.
inline void check_loss_rows(std::string_view operation, const LossRows& rows, Index targets,
                            Dtype target_type) {
  const Rows size = rows_of(operation, "prediction", rows.prediction);
  const Dtype dtype = rows.prediction.dtype();
  require_elements(operation, "target", rows.target, targets, target_type);
  require_elements(operation, "values", rows.values, size.count, dtype);
  if (rows.weights.has_value()) {
    require_elements(operation, "weights", rows.weights, size.count, Dtype::f64);
  }
  if (rows.d_prediction.has_value()) {
    require_elements(operation, "d_prediction", rows.d_prediction, rows.prediction.size(), dtype);
  }
}

}  // namespace grouphead::ops
