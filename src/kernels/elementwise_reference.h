#pragma once

#include "kernels/elementwise.h"

namespace grouphead::kernels {

/// The definition of every elementwise kernel, in plain loops; sums are kept in double. F is float
/// or double.
template <class F>
const ElementwiseKernels<F>& elementwise_reference() noexcept;

}  // namespace grouphead::kernels
