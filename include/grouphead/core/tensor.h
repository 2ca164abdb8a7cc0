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

/// Element types. `bf16` and `f16` are storage types: numbers are computed in f32.
enum class Dtype : std::uint8_t { f32, f64, bf16, f16, boolean, u8, i32, i64 };

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
  /// has such a shape. Errors: ShapeError.
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

/// Read access to elements owned by somebody else. A default view is absent (`has_value()` false),
/// which is how optional operands are left out. Strides count elements.
class ConstView {
 public:
  ConstView() = default;
  /// Row-major over `data`, which holds at least shape.size() elements.
  template <class T>
  ConstView(const T* data, const Shape& shape) : ConstView(data, kDtypeOf<T>, shape) {}
  ConstView(const void* data, Dtype dtype, const Shape& shape);
  ConstView(const void* data, Dtype dtype, const Shape& shape, const Strides& strides);

  bool has_value() const noexcept { return present_; }
  Dtype dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  int rank() const noexcept { return shape_.rank(); }
  Index dim(int axis) const noexcept { return shape_[axis]; }
  Index stride(int axis) const noexcept { return strides_[static_cast<std::size_t>(axis)]; }
  const Strides& strides() const noexcept { return strides_; }
  Index size() const noexcept { return shape_.size(); }
  Index bytes() const noexcept { return size() * size_of(dtype_); }
  bool is_contiguous() const noexcept;

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

 protected:
  void require_dtype(Dtype wanted) const;

  void* data_ = nullptr;
  Shape shape_;
  Strides strides_{};
  Dtype dtype_ = Dtype::f32;
  bool present_ = false;
};

/// Read and write access. Converts to ConstView.
class View : public ConstView {
 public:
  View() = default;
  template <class T>
  View(T* data, const Shape& shape) : ConstView(data, shape) {}
  View(void* data, Dtype dtype, const Shape& shape) : ConstView(data, dtype, shape) {}
  View(void* data, Dtype dtype, const Shape& shape, const Strides& strides)
      : ConstView(data, dtype, shape, strides) {}

  void* raw() const noexcept { return data_; }
  template <class T>
  T* data() const {
    require_dtype(kDtypeOf<T>);
    return static_cast<T*>(data_);
  }
  View reshaped(const Shape& shape) const;
  View slice(int axis, Index begin, Index end) const;
};

/// Copies elements between views of equal shape and dtype, any strides. Errors: ShapeError.
void copy(ConstView from, View to);
/// Sets every element to zero.
void fill_zero(View view);

namespace detail {
struct Storage;
class Pool;
}  // namespace detail

/// Contiguous elements with shared ownership: copying a Tensor is cheap and shares the elements,
/// `clone()` copies them. Elements are 64-byte aligned, unless they are somebody else's.
///
/// Threads: the handle counts references atomically; elements are guarded by the caller.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised elements on the heap. Inside a computation, Context::tensor() reuses memory.
  explicit Tensor(const Shape& shape, Dtype dtype = Dtype::f32);
  /// The same from a pool; see Context::tensor().
  Tensor(const Shape& shape, Dtype dtype, detail::Pool& pool);
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

  bool has_value() const noexcept { return view_.has_value(); }
  const Shape& shape() const noexcept { return view_.shape(); }
  Dtype dtype() const noexcept { return view_.dtype(); }
  int rank() const noexcept { return view_.rank(); }
  Index dim(int axis) const noexcept { return view_.dim(axis); }
  Index size() const noexcept { return view_.size(); }
  Index bytes() const noexcept { return view_.bytes(); }

  View view() noexcept { return view_; }
  ConstView view() const noexcept { return view_; }
  operator View() noexcept { return view_; }             // NOLINT(google-explicit-constructor)
  operator ConstView() noexcept { return view_; }        // NOLINT(google-explicit-constructor)
  operator ConstView() const noexcept { return view_; }  // NOLINT(google-explicit-constructor)
  template <class T>
  T* data() {
    return view_.data<T>();
  }
  template <class T>
  const T* data() const {
    return view_.data<T>();
  }

  Tensor clone() const;
  /// Shares the elements under another shape. Errors: ShapeError.
  Tensor reshaped(const Shape& shape) const;

 private:
  void assign(const void* values, Index count);

  detail::Storage* storage_ = nullptr;
  View view_;
};

}  // namespace grouphead
#pragma GCC visibility pop
