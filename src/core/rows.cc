#include "core/rows.h"

namespace grouphead::core {

ConstView as_rows(ConstView x) {
  if (!x.has_value() || x.rank() < 1) return {};
  const int last = x.rank() - 1;
  const Index width = x.dim(last);
  Index rows = 1;
  for (int axis = 0; axis < last; ++axis) rows *= x.dim(axis);
  if (x.size() == 0) return {x.raw(), x.dtype(), {rows, width}};
  if (width > 1 && x.stride(last) != 1) return {};
  Index apart = width;  // between two rows
  Index next = -1;      // what the stride of the axis in front has to be; -1: no row yet
  for (int axis = last - 1; axis >= 0; --axis) {
    if (x.dim(axis) == 1) continue;
    if (next < 0) {
      apart = x.stride(axis);
    } else if (x.stride(axis) != next) {
      return {};
    }
    next = x.stride(axis) * x.dim(axis);
  }
  if (apart < width) return {};
  return {x.raw(), x.dtype(), {rows, width}, Strides{apart, 1}};
}

bool has_spaced_rows(const ConstView& x) noexcept {
  if (!x.has_value() || x.rank() < 1) return false;
  if (x.is_contiguous()) return true;
  return x.rank() == 2 && x.stride(1) == 1 && x.stride(0) >= x.dim(1);
}

Index row_stride(const ConstView& x) noexcept {
  return x.is_contiguous() ? x.shape().back() : x.stride(0);
}

}  // namespace grouphead::core
