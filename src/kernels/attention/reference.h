#pragma once

#include "kernels/attention/problem.h"

namespace grouphead::kernels {

/// Plain loops in the order of the formulas, in the element type. F is float or double.
template <class F>
const AttentionKernels<F>& attention_reference() noexcept;

}  // namespace grouphead::kernels
