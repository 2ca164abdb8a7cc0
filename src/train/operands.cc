#include "train/operands.h"

#include <cmath>
#include <type_traits>
#include <utility>

#include "core/check.h"
#include "ops/convert.h"

namespace grouphead::train {
namespace {

/// body(value_at) with a function from an element's place to its number, for any type.
template <class Body>
void with_elements(const ConstView& from, Body&& body) {
  const auto plain = [&](const auto* values) {
    body([values](Index i) { return static_cast<double>(values[i]); });
  };
  const auto half = [&](const auto* values) {
    body([values](Index i) { return static_cast<double>(to_float(values[i])); });
  };
  switch (from.dtype()) {
    case Dtype::f32:
      return plain(from.data<float>());
    case Dtype::f64:
      return plain(from.data<double>());
    case Dtype::bf16:
      return half(from.data<Bf16>());
    case Dtype::f16:
      return half(from.data<F16>());
    case Dtype::boolean:
      return plain(from.data<bool>());
    case Dtype::u8:
      return plain(from.data<std::uint8_t>());
    case Dtype::i32:
      return plain(from.data<std::int32_t>());
    case Dtype::i64:
      return plain(from.data<std::int64_t>());
  }
}

template <class To>
To number_as(double value) noexcept {
  if constexpr (std::is_same_v<To, std::int32_t>) {
    constexpr double kLimit = 2147483648.0;
    return value > -kLimit && value < kLimit ? static_cast<To>(value) : -1;
  } else {
    return static_cast<To>(value);
  }
}

template <class To>
void convert(const ConstView& from, To* to) {
  with_elements(from, [&](auto value_at) {
    for (Index i = 0; i < from.size(); ++i) to[i] = number_as<To>(value_at(i));
  });
}

}  // namespace

Numbers::Numbers(Context& ctx, ConstView from, Dtype dtype) : view_(from) {
  Tensor dense;
  if (!from.is_contiguous()) {
    dense = ctx.tensor(from.shape(), from.dtype());
    copy(from, dense);
    copy_ = dense;
    view_ = std::as_const(copy_).view();
  }
  if (view_.dtype() == dtype) return;
  Tensor converted = ctx.tensor(from.shape(), dtype);
  if (dtype == Dtype::f32) convert(view_, converted.data<float>());
  if (dtype == Dtype::f64) convert(view_, converted.data<double>());
  if (dtype == Dtype::i32) convert(view_, converted.data<std::int32_t>());
  copy_ = std::move(converted);
  view_ = std::as_const(copy_).view();
}

Dtype arithmetic_of(std::string_view operation, const ConstView& prediction) {
  if (!prediction.has_value() || !ops::is_floating(prediction.dtype())) {
    core::throw_shape_error(operation, "prediction", "a floating type",
                            prediction.has_value() ? name_of(prediction.dtype()) : "nothing");
  }
  return prediction.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32;
}

Shape without_last_axis(const Shape& shape) {
  return Shape(std::span<const Index>(shape.begin(), static_cast<std::size_t>(shape.rank() - 1)));
}

Shape with_axis_of_one(const Shape& shape) {
  std::array<Index, kMaxRank + 1> dims{};
  std::copy(shape.begin(), shape.end(), dims.begin());
  dims[static_cast<std::size_t>(shape.rank())] = 1;
  return Shape(std::span<const Index>(dims.data(), static_cast<std::size_t>(shape.rank() + 1)));
}

void align_ranks(Shape& a, Shape& b) {
  Shape& longer = a.rank() > b.rank() ? a : b;
  Shape& shorter = a.rank() > b.rank() ? b : a;
  if (longer.rank() != shorter.rank() + 1 || longer.back() != 1) return;
  if (shorter.rank() == 1) {
    shorter = with_axis_of_one(shorter);
  } else {
    longer = without_last_axis(longer);
  }
}

Broadcast::Broadcast(std::string_view operation, std::string_view operand, const Shape& from,
                     const Shape& to)
    : to_(to) {
  Index stride = 1;
  bool fits = from.rank() == to.rank() || from.size() == 1;
  for (int axis = from.rank() - 1; fits && axis >= 0 && from.size() != 1; --axis) {
    if (from[axis] != 1) strides_[static_cast<std::size_t>(axis)] = stride;
    fits = from[axis] == 1 || from[axis] == to[axis];
    stride *= from[axis];
  }
  if (!fits) {
    core::throw_shape_error(operation, operand, to.to_string() + ", or 1 where it repeats",
                            from.to_string());
  }
}

Index Broadcast::operator()(Index i) const noexcept {
  Index place = 0;
  for (int axis = to_.rank() - 1; axis >= 0; --axis) {
    place += i % to_[axis] * strides_[static_cast<std::size_t>(axis)];
    i /= to_[axis];
  }
  return place;
}

}  // namespace grouphead::train
