#pragma once

#include "grouphead/core/tensor.h"

namespace grouphead::core {

/// x [..., K] as a matrix [R, K] in place, where rows are contiguous each and evenly spaced, K
/// elements or more apart; else nothing. Of a matrix of one row, or without elements, the rows
/// count as dense.
ConstView as_rows(ConstView x);

/// Whether x is contiguous or a matrix as as_rows() gives.
bool has_spaced_rows(const ConstView& x) noexcept;
/// Elements between two rows of such a view, of rank 1 or more.
Index row_stride(const ConstView& x) noexcept;

}  // namespace grouphead::core
