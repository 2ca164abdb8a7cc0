#pragma once

// Numbers of files in the type that they are computed with.

#include "grouphead/core/tensor.h"

namespace grouphead::saved {

/// The elements, of any type, in double.
Tensor as_f64(const Tensor& from);

}  // namespace grouphead::saved
