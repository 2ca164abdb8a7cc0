#pragma once

#include <functional>
#include <span>

#include "grouphead/core/context.h"
#include "grouphead/core/tensor.h"

namespace grouphead::ops {

/// w := w wanted(norm) / (1e-7 + norm) with the norms of w over `axes` (negative ones count from
/// the last; none: the norm of each number alone). f32 or f64, contiguous; the norms are summed in
/// double and rounded. Errors: ShapeError for an axis that w does not have or that stands there
/// twice.
void rescale_norms(Context& ctx, std::span<const Index> axes,
                   const std::function<double(double norm)>& wanted, View w);

/// w := max(w, 0); NaN stays.
void clip_negative(Context& ctx, View w);

}  // namespace grouphead::ops
