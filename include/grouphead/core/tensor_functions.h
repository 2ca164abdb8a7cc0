#pragma once

// Copies of tensors in another form, and their text. For programs that prepare inputs or look at
// results; layers and functions take views of any strides themselves.

#include <string>

#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A contiguous copy. Errors, here and below: ShapeError for an absent view.
Tensor contiguous(ConstView x);

/// A copy in another element type. Floating values are rounded to nearest even; from floating to
/// integers they are cut towards zero, and what does not fit becomes the nearest that does (NaN 0);
/// bool is 0 or 1, and to bool everything but 0 is true.
Tensor cast(ConstView x, Dtype dtype);

/// A contiguous copy of elements [begin, end) of one axis. ConstView::slice() is the view.
Tensor slice(ConstView x, int axis, Index begin, Index end);

/// Type, shape and elements, `f32 [2, 3] [[1, 2, 3], [4, 5, 6]]`: 6 digits; of an axis longer than
/// `most` the first and last `most / 2` elements. An absent view is `absent`.
std::string to_string(ConstView x, Index most = 8);

}  // namespace grouphead
#pragma GCC visibility pop
