#pragma once

#include "grouphead/core/context.h"

namespace grouphead::testing {

/// Standard normal numbers, a function of seed, shape and element; the f64 tensor holds the numbers
/// of the f32 one, the bf16 tensor these rounded. From a pool of prime size, so that gigabytes cost
/// no more than a copy.
Tensor random_tensor(Context& ctx, const Shape& shape, Dtype dtype, Index seed);
/// Whole numbers in [0, limit), i32.
Tensor random_tokens(Context& ctx, const Shape& shape, Index limit, Index seed);

/// The same numbers in another floating type.
Tensor convert(Context& ctx, ConstView x, Dtype dtype);

}  // namespace grouphead::testing
