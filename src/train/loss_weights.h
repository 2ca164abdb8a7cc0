#pragma once

#include <optional>
#include <vector>

#include "grouphead/train/losses.h"

namespace grouphead::train {

/// What each value of a loss counts in the reduced one: weights, masks and the reduction's divisor
/// in one number.
struct LossWeights {
  double uniform = 1;
  Tensor of_values{};  ///< f64, one each; absent: `uniform` for all
};

/// `values` is the shape of the unreduced values. Masks are those attached to the prediction and to
/// the values themselves (an ignored class); absent where there is none.
/// Errors: ShapeError for masks and weights that do not fit.
/// Source: keras.src.losses.loss.reduce_weighted_values.
LossWeights loss_weights(Context& ctx, const Shape& values, ConstView sample_weight,
                         ConstView prediction_mask, ConstView value_mask, Reduction reduction);

}  // namespace grouphead::train
