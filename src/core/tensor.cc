#include "grouphead/core/tensor.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "core/check.h"
#include "core/pool.h"

namespace grouphead {
namespace {

using core::throw_shape_error;

Strides row_major(const Shape& shape) noexcept {
  Strides strides{};
  Index stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  return strides;
}

// Calls visit(from, to, count) for each run of consecutive elements of the last axis.
template <class Visit>
void for_each_row(const Shape& shape, Visit&& visit) {
  if (shape.size() == 0) return;
  const int outer = std::max(0, shape.rank() - 1);
  std::array<Index, kMaxRank> at{};
  while (true) {
    visit(at);
    int axis = outer - 1;
    while (axis >= 0 && ++at[static_cast<std::size_t>(axis)] == shape[axis]) {
      at[static_cast<std::size_t>(axis)] = 0;
      --axis;
    }
    if (axis < 0) return;
  }
}

std::size_t bytes_of(const Shape& shape, Dtype dtype) {
  if (!shape.is_complete()) {
    throw_shape_error("tensor", "shape", "known sizes", shape.to_string());
  }
  return static_cast<std::size_t>(shape.size() * size_of(dtype));
}

Index offset_of(const ConstView& view, const std::array<Index, kMaxRank>& at) noexcept {
  Index offset = 0;
  for (int axis = 0; axis + 1 < view.rank(); ++axis) {
    offset += at[static_cast<std::size_t>(axis)] * view.stride(axis);
  }
  return offset;
}

}  // namespace

Index size_of(Dtype dtype) noexcept {
  switch (dtype) {
    case Dtype::f64:
    case Dtype::i64:
      return 8;
    case Dtype::f32:
    case Dtype::i32:
      return 4;
    case Dtype::bf16:
    case Dtype::f16:
      return 2;
    case Dtype::boolean:
    case Dtype::u8:
      return 1;
  }
  return 0;
}

std::string_view name_of(Dtype dtype) noexcept {
  static constexpr std::string_view kNames[] = {"f32",  "f64", "bf16", "f16",
                                                "bool", "u8",  "i32",  "i64"};
  const auto place = static_cast<std::size_t>(dtype);
  return place < std::size(kNames) ? kNames[place] : "unknown";
}

Bf16 to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return {static_cast<std::uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

float to_float(Bf16 value) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

F16 to_f16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
  const std::uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {static_cast<std::uint16_t>(sign | 0x7e00)};   // NaN
  if (magnitude >= 0x477ff000) return {static_cast<std::uint16_t>(sign | 0x7c00)};  // rounds to inf
  if (magnitude < 0x38800000) {  // below 2^-14: adding 0.5 leaves the rounded multiple of 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return {
        static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000))};
  }
  const std::uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000;
  return {static_cast<std::uint16_t>(sign | (rounded >> 13))};
}

float to_float(F16 value) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000) << 16;
  const std::uint32_t magnitude = value.bits & 0x7fff;
  if (magnitude >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | (magnitude << 13));
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;  // denormals included
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

Shape::Shape(std::span<const Index> dims) {
  if (dims.size() > kMaxRank) {
    throw_shape_error("shape", "rank", "at most " + std::to_string(kMaxRank),
                      std::to_string(dims.size()));
  }
  constexpr Index kMost = std::numeric_limits<Index>::max() / 16;
  Index size = 1;
  for (const Index dim : dims) {
    if (dim < 0) throw_shape_error("shape", "axis", "a size of 0 or more", std::to_string(dim));
    if (__builtin_mul_overflow(size, std::max<Index>(dim, 1), &size) || size > kMost) {
      throw_shape_error("shape", "size", "fewer than 2^59 elements", "more");
    }
    dims_[static_cast<std::size_t>(rank_++)] = dim;
  }
}

Shape Shape::partial(std::span<const Index> dims) {
  if (dims.size() > kMaxRank) return Shape(dims);  // says what is wrong
  Shape shape;
  std::array<Index, kMaxRank> known{};
  for (const Index dim : dims) {
    if (dim < -1) {
      throw_shape_error("shape", "axis", "a size of 0 or more, or -1", std::to_string(dim));
    }
    known[static_cast<std::size_t>(shape.rank_)] = std::max<Index>(dim, 1);
    shape.dims_[static_cast<std::size_t>(shape.rank_++)] = dim;
  }
  Shape(std::span<const Index>(known.data(), dims.size()));  // refuses too many elements
  return shape;
}

bool Shape::is_complete() const noexcept {
  return std::all_of(begin(), end(), [](Index dim) { return dim >= 0; });
}

Index Shape::size() const noexcept {
  Index size = 1;
  for (const Index dim : *this) size *= dim;
  return size;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string((*this)[axis]);
  }
  return text + "]";
}

detail::ViewLayout::ViewLayout(Dtype dtype, const Shape& shape)
    : ViewLayout(dtype, shape, row_major(shape)) {}

detail::ViewLayout::ViewLayout(Dtype dtype, const Shape& shape, const Strides& strides)
    : shape_(shape), strides_(strides), dtype_(dtype), present_(true) {
  if (!shape.is_complete()) throw_shape_error("view", "shape", "known sizes", shape.to_string());
}

bool detail::ViewLayout::is_contiguous() const noexcept {
  Index stride = 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    if (dim(axis) != 1 && this->stride(axis) != stride) return size() == 0;
    stride *= dim(axis);
  }
  return true;
}

void detail::ViewLayout::require_dtype(Dtype wanted) const {
  if (dtype_ != wanted) {
    throw_shape_error("view", "element type", name_of(wanted), name_of(dtype_));
  }
}

void detail::ViewLayout::require_reshape(const Shape& shape) const {
  if (!is_contiguous()) {
    throw_shape_error("reshape", "view", "contiguous elements", "a strided view");
  }
  if (shape.size() != size()) {
    throw_shape_error("reshape", "size", std::to_string(size()) + " elements", shape.to_string());
  }
}

Index detail::ViewLayout::slice_offset(int axis, Index begin, Index end) const {
  if (axis < 0 || axis >= rank() || begin < 0 || end < begin || end > dim(axis)) {
    throw_shape_error("slice", "range",
                      "part of axis " + std::to_string(axis) + " of " + shape_.to_string(),
                      std::to_string(begin) + " .. " + std::to_string(end));
  }
  return begin * stride(axis) * size_of(dtype_);
}

Shape detail::ViewLayout::slice_shape(int axis, Index begin, Index end) const {
  std::array<Index, kMaxRank> dims{};
  std::copy(shape_.begin(), shape_.end(), dims.begin());
  dims[static_cast<std::size_t>(axis)] = end - begin;
  return Shape(std::span<const Index>(dims.data(), static_cast<std::size_t>(rank())));
}

ConstView ConstView::reshaped(const Shape& shape) const {
  require_reshape(shape);
  return {data_, dtype(), shape};
}

ConstView ConstView::slice(int axis, Index begin, Index end) const {
  const Index offset = slice_offset(axis, begin, end);
  return {static_cast<const std::byte*>(data_) + offset, dtype(), slice_shape(axis, begin, end),
          strides()};
}

View View::reshaped(const Shape& shape) const {
  require_reshape(shape);
  return {data_, dtype(), shape};
}

View View::slice(int axis, Index begin, Index end) const {
  const Index offset = slice_offset(axis, begin, end);
  return {static_cast<std::byte*>(data_) + offset, dtype(), slice_shape(axis, begin, end),
          strides()};
}

void copy(ConstView from, View to) {
  if (from.shape() != to.shape()) {
    throw_shape_error("copy", "target", from.shape().to_string(), to.shape().to_string());
  }
  core::require_dtype("copy", "target", to, from.dtype());
  const auto width = static_cast<std::size_t>(size_of(from.dtype()));
  if (from.is_contiguous() && to.is_contiguous()) {
    if (from.bytes() > 0) std::memcpy(to.raw(), from.raw(), static_cast<std::size_t>(from.bytes()));
    return;
  }
  const int last = from.rank() - 1;
  for_each_row(from.shape(), [&](const std::array<Index, kMaxRank>& at) {
    const auto* source =
        static_cast<const std::byte*>(from.raw()) + offset_of(from, at) * static_cast<Index>(width);
    auto* target =
        static_cast<std::byte*>(to.raw()) + offset_of(to, at) * static_cast<Index>(width);
    for (Index i = 0; i < from.dim(last); ++i) {
      std::memcpy(target + i * to.stride(last) * static_cast<Index>(width),
                  source + i * from.stride(last) * static_cast<Index>(width), width);
    }
  });
}

void fill_zero(View view) {
  const auto width = static_cast<std::size_t>(size_of(view.dtype()));
  if (view.is_contiguous()) {
    if (view.bytes() > 0) std::memset(view.raw(), 0, static_cast<std::size_t>(view.bytes()));
    return;
  }
  const int last = view.rank() - 1;
  for_each_row(view.shape(), [&](const std::array<Index, kMaxRank>& at) {
    auto* target =
        static_cast<std::byte*>(view.raw()) + offset_of(view, at) * static_cast<Index>(width);
    if (view.stride(last) == 1) {
      std::memset(target, 0, static_cast<std::size_t>(view.dim(last)) * width);
      return;
    }
    for (Index i = 0; i < view.dim(last); ++i) {
      std::memset(target + i * view.stride(last) * static_cast<Index>(width), 0, width);
    }
  });
}

Tensor::Tensor(const Shape& shape, Dtype dtype)
    : storage_(core::allocate_storage(bytes_of(shape, dtype))),
      elements_(storage_->elements(), dtype, shape) {}

Tensor::Tensor(const Shape& shape, Dtype dtype, core::Pool& pool)
    : storage_(pool.take(bytes_of(shape, dtype))), elements_(storage_->elements(), dtype, shape) {}

Tensor::Tensor(View elements, std::shared_ptr<const void> owner)
    : Tensor(wrap(elements, std::move(owner))) {
  read_only_ = false;
}

Tensor Tensor::wrap(ConstView elements, std::shared_ptr<const void> owner) {
  if (!elements.has_value()) throw_shape_error("tensor", "elements", "a view", "none");
  core::require_contiguous("tensor", "elements", elements);
  const auto width = static_cast<std::size_t>(size_of(elements.dtype()));
  if (std::bit_cast<std::uintptr_t>(elements.raw()) % width != 0) {
    throw_shape_error("tensor", "elements", "an address of whole elements", "another");
  }
  Tensor out;
  out.elements_ = elements;
  out.read_only_ = true;
  out.storage_ = core::allocate_storage(0);
  out.storage_->owner = std::move(owner);
  return out;
}

void Tensor::refuse_writing() const {
  throw_shape_error("tensor", "write access", "memory that may be written", "const memory");
}

Tensor::Tensor(const Tensor& other) noexcept
    : storage_(other.storage_), elements_(other.elements_), read_only_(other.read_only_) {
  if (storage_ != nullptr) storage_->references.fetch_add(1, std::memory_order_relaxed);
}

Tensor::Tensor(Tensor&& other) noexcept
    : storage_(std::exchange(other.storage_, nullptr)),
      elements_(std::exchange(other.elements_, ConstView())),
      read_only_(std::exchange(other.read_only_, false)) {}

Tensor& Tensor::operator=(Tensor other) noexcept {
  std::swap(storage_, other.storage_);
  std::swap(elements_, other.elements_);
  std::swap(read_only_, other.read_only_);
  return *this;
}

Tensor::~Tensor() { core::release_storage(storage_); }

Tensor Tensor::zeros(const Shape& shape, Dtype dtype) {
  Tensor out(shape, dtype);
  fill_zero(out);
  return out;
}

void Tensor::assign(const void* values, Index count) {
  if (count != size()) {
    throw_shape_error("tensor", "values", std::to_string(size()) + " for " + shape().to_string(),
                      std::to_string(count));
  }
  if (bytes() > 0) std::memcpy(writable().raw(), values, static_cast<std::size_t>(bytes()));
}

Tensor Tensor::clone() const {
  if (!has_value()) return {};
  Tensor out(shape(), dtype());
  copy(*this, out);
  return out;
}

Tensor Tensor::reshaped(const Shape& shape) const {
  Tensor out(*this);
  out.elements_ = elements_.reshaped(shape);
  return out;
}

}  // namespace grouphead
