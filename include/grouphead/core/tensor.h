#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "grouphead/core/error.h"

#pragma GCC visibility push(default)
namespace grouphead {

using Index = std::int64_t;

/// Element types. `bf16` and `f16` are storage types: values are computed in f32.
enum class Dtype : int { f32, f64, bf16, f16, boolean, u8, i32, i64 };

/// Bytes of one element.
Index size_of(Dtype dtype) noexcept;
/// The name used in messages and problem strings: `f32`, `bool`, ...
std::string_view name_of(Dtype dtype) noexcept;

struct Bf16 {
  std::uint16_t bits;
};
struct F16 {
  std::uint16_t bits;
};

/// Rounds to nearest even; NaN stays NaN.
Bf16 to_bf16(float value) noexcept;
F16 to_f16(float value) noexcept;
float to_float(Bf16 value) noexcept;
float to_float(F16 value) noexcept;

namespace detail {
template <class T>
inline constexpr bool kNoDtype = false;

template <class T>
constexpr Dtype dtype_of() {
  if constexpr (std::is_same_v<T, float>) {
    return Dtype::f32;
  } else if constexpr (std::is_same_v<T, double>) {
    return Dtype::f64;
  } else if constexpr (std::is_same_v<T, Bf16>) {
    return Dtype::bf16;
  } else if constexpr (std::is_same_v<T, F16>) {
    return Dtype::f16;
  } else if constexpr (std::is_same_v<T, bool>) {
    return Dtype::boolean;
  } else if constexpr (std::is_same_v<T, std::uint8_t>) {
    return Dtype::u8;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return Dtype::i32;
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return Dtype::i64;
  } else {
    static_assert(kNoDtype<T>, "not an element type of a tensor");
  }
}
}  // namespace detail

/// The Dtype of a C++ element type.
template <class T>
inline constexpr Dtype kDtypeOf = detail::dtype_of<std::remove_cv_t<T>>();

inline constexpr int kMaxRank = 8;

/// Sizes of up to kMaxRank axes, outermost first. A value: no allocation.
class Shape {
 public:
  Shape() = default;
  /// Errors: ShapeError when an axis is negative, the rank exceeds kMaxRank, or the number of
  /// elements overflows.
  Shape(std::initializer_list<Index> dims)
      : Shape(std::span<const Index>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const Index> dims);
  /// A shape with axes of unknown size, -1, as symbolic tensors and build() have them; no tensor
  /// has such a shape. Errors: ShapeError, as above where the known axes overflow.
  static Shape partial(std::span<const Index> dims);
  static Shape partial(std::initializer_list<Index> dims) {
    return partial(std::span<const Index>(dims.begin(), dims.size()));
  }

  /// Whether every axis is known.
  bool is_complete() const noexcept;
  int rank() const noexcept { return rank_; }
  Index operator[](int axis) const noexcept { return dims_[static_cast<std::size_t>(axis)]; }
  Index back() const noexcept { return dims_[static_cast<std::size_t>(rank_ - 1)]; }
  const Index* begin() const noexcept { return dims_.data(); }
  const Index* end() const noexcept { return dims_.data() + rank_; }
  /// Number of elements; 1 for rank 0. Of complete shapes only.
  Index size() const noexcept;
  /// `[2, 3, 4]`
  std::string to_string() const;
  friend bool operator==(const Shape& a, const Shape& b) noexcept {
    return a.rank_ == b.rank_ && a.dims_ == b.dims_;
  }

 private:
  std::array<Index, kMaxRank> dims_{};
  int rank_ = 0;
};

using Strides = std::array<Index, kMaxRank>;

namespace detail {
/// What views of const and of mutable memory share: everything but the memory.
class ViewLayout {
 public:
  bool has_value() const noexcept { return present_; }
  Dtype dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  int rank() const noexcept { return shape_.rank(); }
  Index dim(int axis) const noexcept { return shape_[axis]; }
  Index stride(int axis) const noexcept { return strides_[static_cast<std::size_t>(axis)]; }
  const Strides& strides() const noexcept { return strides_; }
  /// Number of elements; 0 for an absent view.
  Index size() const noexcept { return present_ ? shape_.size() : 0; }
  Index bytes() const noexcept { return size() * size_of(dtype_); }
  bool is_contiguous() const noexcept;

 protected:
  ViewLayout() = default;
  ViewLayout(Dtype dtype, const Shape& shape);
  ViewLayout(Dtype dtype, const Shape& shape, const Strides& strides);
  ViewLayout(const ViewLayout&) = default;
  ViewLayout& operator=(const ViewLayout&) = default;
  ~ViewLayout() = default;

  void require_dtype(Dtype wanted) const;
  void require_reshape(const Shape& shape) const;
  /// Bytes in front of element `begin` of an axis.
  Index slice_offset(int axis, Index begin, Index end) const;
  Shape slice_shape(int axis, Index begin, Index end) const;

 private:
  Shape shape_;
  Strides strides_{};
  Dtype dtype_ = Dtype::f32;
  bool present_ = false;
};
}  // namespace detail

/// Read access to elements owned by somebody else. A default view is absent (`has_value()` false),
/// which is how optional operands are left out. Strides count elements.
class ConstView : public detail::ViewLayout {
 public:
  ConstView() = default;
  /// Row-major over `data`, which holds at least shape.size() elements. Errors, here and below:
  /// ShapeError for a shape with unknown axes.
  template <class T>
  ConstView(const T* data, const Shape& shape) : ConstView(data, kDtypeOf<T>, shape) {}
  ConstView(const void* data, Dtype dtype, const Shape& shape)
      : ViewLayout(dtype, shape), data_(data) {}
  ConstView(const void* data, Dtype dtype, const Shape& shape, const Strides& strides)
      : ViewLayout(dtype, shape, strides), data_(data) {}

  const void* raw() const noexcept { return data_; }
  /// Errors: ShapeError when T is not the element type.
  template <class T>
  const T* data() const {
    require_dtype(kDtypeOf<T>);
    return static_cast<const T*>(data_);
  }

  /// The same elements under another shape of equal size. Errors: ShapeError; needs contiguity.
  ConstView reshaped(const Shape& shape) const;
  /// Elements [begin, end) of one axis. Errors: ShapeError.
  ConstView slice(int axis, Index begin, Index end) const;

 private:
  friend class View;
  ConstView(const ViewLayout& layout, const void* data) : ViewLayout(layout), data_(data) {}

  const void* data_ = nullptr;
};

/// Read and write access, made from mutable memory alone. Converts to ConstView.
class View : public detail::ViewLayout {
 public:
  View() = default;
  template <class T>
  requires(!std::is_const_v<T>) View(T* data, const Shape& shape)
      : View(data, kDtypeOf<T>, shape) {}
  View(void* data, Dtype dtype, const Shape& shape) : ViewLayout(dtype, shape), data_(data) {}
  View(void* data, Dtype dtype, const Shape& shape, const Strides& strides)
      : ViewLayout(dtype, shape, strides), data_(data) {}

  operator ConstView() const {  // NOLINT(google-explicit-constructor)
    return {*this, data_};
  }
  void* raw() const noexcept { return data_; }
  template <class T>
  T* data() const {
    require_dtype(kDtypeOf<T>);
    return static_cast<T*>(data_);
  }
  View reshaped(const Shape& shape) const;
  View slice(int axis, Index begin, Index end) const;

 private:
  friend class Tensor;
  View(const ViewLayout& layout, void* data) : ViewLayout(layout), data_(data) {}

  void* data_ = nullptr;
};

/// Copies elements between views of equal shape and dtype, any strides. Errors: ShapeError.
void copy(ConstView from, View to);
/// Sets every element to zero.
void fill_zero(View view);

namespace core {
struct Storage;
class Pool;
}  // namespace core

/// Contiguous elements with shared ownership: copying a Tensor is cheap and shares the elements,
/// `clone()` copies them. Elements are 64-byte aligned, unless they are somebody else's. A default
/// Tensor is absent: `has_value()` is false and it has no elements.
///
/// Views and data() are good for as long as a tensor shares the elements: view(), data() and a View
/// cannot be taken of a temporary.
///
/// Threads: the handle counts references atomically; elements are guarded by the caller.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised elements on the heap. Inside a computation, Context::tensor() reuses memory.
  explicit Tensor(const Shape& shape, Dtype dtype = Dtype::f32);
  /// The same from a pool; see Context::tensor().
  Tensor(const Shape& shape, Dtype dtype, core::Pool& pool);
  /// Elements of somebody else, a mapped file's for example: `owner` lives as long as a tensor
  /// shares them. Errors: ShapeError for a view that is absent, not contiguous, or not aligned to
  /// its element type.
  Tensor(View elements, std::shared_ptr<const void> owner);
  Tensor(const Tensor& other) noexcept;
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor other) noexcept;
  ~Tensor();

  static Tensor zeros(const Shape& shape, Dtype dtype = Dtype::f32);
  /// Row-major copy of `values`. Errors: ShapeError when the count does not fit.
  template <class T>
  static Tensor from(const Shape& shape, std::span<const T> values) {
    Tensor out(shape, kDtypeOf<T>);
    out.assign(values.data(), static_cast<Index>(values.size()));
    return out;
  }
  static Tensor from(const Shape& shape, std::initializer_list<float> values) {
    return from(shape, std::span<const float>(values.begin(), values.size()));
  }
  /// Somebody else's elements for reading, without a copy: an input of a layer over your own const
  /// memory. Without `owner` the memory must outlive every tensor that shares it. Asking it for
  /// write access (a View, or data() of a non-const Tensor) throws ShapeError; reading through a
  /// ConstView or a const Tensor, sharing and clone() work. Errors: as above.
  static Tensor wrap(ConstView elements, std::shared_ptr<const void> owner = {});

  bool has_value() const noexcept { return elements_.has_value(); }
  bool is_read_only() const noexcept { return read_only_; }
  const Shape& shape() const noexcept { return elements_.shape(); }
  Dtype dtype() const noexcept { return elements_.dtype(); }
  int rank() const noexcept { return elements_.rank(); }
  Index dim(int axis) const noexcept { return elements_.dim(axis); }
  Index size() const noexcept { return elements_.size(); }
  Index bytes() const noexcept { return elements_.bytes(); }

  View view() & { return writable(); }
  ConstView view() const& noexcept { return elements_; }
  ConstView view() const&& = delete;
  operator View() & { return writable(); }  // NOLINT(google-explicit-constructor)
  /// Of a temporary too, as an argument: it lives until the call returns.
  operator ConstView() & noexcept { return elements_; }       // NOLINT(google-explicit-constructor)
  operator ConstView() const& noexcept { return elements_; }  // NOLINT(google-explicit-constructor)
  template <class T>
  T* data() & {
    require_writable();
    return const_cast<T*>(elements_.data<T>());
  }
  template <class T>
  const T* data() const& {
    return elements_.data<T>();
  }
  template <class T>
  const T* data() const&& = delete;

  Tensor clone() const;
  /// Shares the elements under another shape. Errors: ShapeError.
  Tensor reshaped(const Shape& shape) const;

 private:
  void assign(const void* values, Index count);
  void require_writable() const {
    if (read_only_) refuse_writing();
  }
  [[noreturn]] void refuse_writing() const;
  // Elements that are not read-only came from mutable memory.
  View writable() const {
    require_writable();
    return {elements_, const_cast<void*>(elements_.raw())};
  }

  core::Storage* storage_ = nullptr;
  ConstView elements_;
  bool read_only_ = false;
};

}  // namespace grouphead
#pragma GCC visibility pop
