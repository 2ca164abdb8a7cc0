#pragma once

#include "kernels/rowwise/rowwise.h"

namespace grouphead::kernels {

/// The definition of every elementwise kernel, in plain loops; sums are kept in double. F is float
/// or double.
template <class F>
const RowwiseKernels<F>& rowwise_reference() noexcept;

}  // namespace grouphead::kernels
