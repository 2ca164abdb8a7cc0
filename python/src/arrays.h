#pragma once

// Arrays of Python as views: NumPy's and whatever has the buffer protocol, PyTorch's through
// DLPack's C functions, all others through `__dlpack__`. Nothing is copied but what has no view.

#include <nanobind/nanobind.h>

#include <memory>
#include <string_view>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::python {

namespace nb = nanobind;

/// Where an argument stands, for messages: `[attention] q`.
struct Place {
  std::string_view operation;
  std::string_view operand;
};

/// Errors: `[operation] operand: expected ..., got ...` as Python's TypeError.
[[noreturn]] void throw_type_error(Place place, std::string_view expected, std::string_view got);
/// The same as the package's ShapeError.
[[noreturn]] void throw_shape_error(Place place, std::string_view expected, std::string_view got);

/// An array of the caller's, held while this lives.
class Array {
 public:
  /// None and default Arrays are absent views.
  /// Errors: TypeError for what is no array or has another element type than those of Dtype;
  /// ShapeError for memory that the CPU cannot read.
  static Array read(nb::handle object, Place place);
  /// To be written. Errors: as read(), and ShapeError for a read-only array, for elements that
  /// share memory, and for what would have to be copied.
  static Array write(nb::handle object, Place place);

  Array() = default;
  const ConstView& view() const noexcept { return view_; }
  /// Of what write() returned.
  View mutable_view() const {
    return {const_cast<void*>(view_.raw()), view_.dtype(), view_.shape(), view_.strides()};
  }

 private:
  Array(std::shared_ptr<void> owner, const ConstView& view)
      : owner_(std::move(owner)), view_(view) {}
  friend struct ArrayReader;

  std::shared_ptr<void> owner_;
  ConstView view_;
};

/// A new array of the same kind as `like`, of a type that `like`'s kind has: NumPy's, PyTorch's,
/// or what `from_dlpack` of its array namespace makes; of anything else NumPy's.
class NewArray {
 public:
  NewArray(nb::handle like, const Shape& shape, Dtype dtype);
  View view() const { return view_; }
  /// The finished array. Call it once.
  nb::object take();

 private:
  nb::handle like_;
  nb::object object_;  // null: `tensor_`, which take() hands over
  Array array_;
  Tensor tensor_;
  View view_;
};

/// What one of PyTorch's tensors in the CPU's memory shows for as long as it lives, without a call
/// into Python. Absent for anything else, and for element types that Dtype does not have.
ConstView tensor_view(nb::handle object);

/// A new tensor of PyTorch's.
struct NewTensor {
  nb::object object;
  View view;
};
/// Of [B, H, T, D]; `heads_last`: in memory [B, T, H, D]. `like` is one that has a tensor_view().
NewTensor new_heads(nb::handle like, const Shape& shape, Dtype dtype, bool heads_last);

/// Axes 1 and 2 exchanged: [B, H, T, D] as [B, T, H, D], and back.
template <class AnyView>
AnyView swapped(const AnyView& x) {
  if (x.rank() != 4) return x;
  Strides strides = x.strides();
  std::swap(strides[1], strides[2]);
  return {x.raw(), x.dtype(), {x.dim(0), x.dim(2), x.dim(1), x.dim(3)}, strides};
}

}  // namespace grouphead::python
