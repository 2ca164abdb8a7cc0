#include "grouphead/core/tensor_functions.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/check.h"
#include "ops/floating.h"

namespace grouphead {
namespace {

// body(T{}) for the C++ type of any dtype.
template <class Body>
void with_type(Dtype dtype, Body&& body) {
  switch (dtype) {
    case Dtype::boolean:
      return body(bool{});
    case Dtype::u8:
      return body(std::uint8_t{});
    case Dtype::i32:
      return body(std::int32_t{});
    case Dtype::i64:
      return body(std::int64_t{});
    default:
      ops::with_floating("cast", "type", dtype, body);
  }
}

template <class To, class From>
To converted(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_integral_v<From> && std::is_integral_v<To> &&
                       !std::is_same_v<To, bool>) {
    const auto wide = static_cast<std::int64_t>(value);
    return static_cast<To>(std::clamp(wide, std::int64_t{std::numeric_limits<To>::min()},
                                      std::int64_t{std::numeric_limits<To>::max()}));
  } else {
    double number = 0;
    if constexpr (std::is_integral_v<From>) {
      number = static_cast<double>(value);
    } else {
      number = ops::widened(value);
    }
    if constexpr (std::is_same_v<To, bool>) {
      return number != 0;
    } else if constexpr (std::is_integral_v<To>) {
      if (!(number > static_cast<double>(std::numeric_limits<To>::min()))) {
        return std::isnan(number) ? To{0} : std::numeric_limits<To>::min();
      }
      if (number >= static_cast<double>(std::numeric_limits<To>::max())) {
        return std::numeric_limits<To>::max();
      }
      return static_cast<To>(number);
    } else {
      return ops::narrowed<To>(number);
    }
  }
}

void require_value(std::string_view operation, ConstView x) {
  if (!x.has_value()) core::throw_shape_error(operation, "x", "a tensor", "nothing");
}

void append_element(ConstView x, Index offset, std::string& text) {
  with_type(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T value = x.data<T>()[offset];
    if constexpr (std::is_same_v<T, bool>) {
      text += value ? "true" : "false";
    } else if constexpr (std::is_integral_v<T>) {
      text += std::to_string(value);
    } else {
      char buffer[32];
      const auto end = std::to_chars(buffer, buffer + sizeof buffer, ops::widened(value),
                                     std::chars_format::general, 6);
      text.append(buffer, end.ptr);
    }
  });
}

// Axes from `axis` on, in brackets.
void append_axis(ConstView x, int axis, Index offset, Index most, std::string& text) {
  if (axis == x.rank()) return append_element(x, offset, text);
  const Index size = x.dim(axis);
  const Index ends = std::max<Index>(1, most / 2);
  text += '[';
  for (Index i = 0; i < size; ++i) {
    if (i > 0) text += ", ";
    if (size > std::max<Index>(most, 2) && i == ends) {
      text += "..., ";
      i = size - ends;
    }
    append_axis(x, axis + 1, offset + i * x.stride(axis), most, text);
  }
  text += ']';
}

}  // namespace

Tensor contiguous(ConstView x) {
  require_value("contiguous", x);
  Tensor out(x.shape(), x.dtype());
  copy(x, out);
  return out;
}

Tensor cast(ConstView x, Dtype dtype) {
  require_value("cast", x);
  Tensor dense;
  if (!x.is_contiguous()) x = dense = contiguous(x);
  Tensor out(x.shape(), dtype);
  with_type(x.dtype(), [&](auto source) {
    using From = decltype(source);
    with_type(dtype, [&](auto target) {
      using To = decltype(target);
      std::transform(x.data<From>(), x.data<From>() + x.size(), out.data<To>(),
                     [](From value) { return converted<To>(value); });
    });
  });
  return out;
}

Tensor slice(ConstView x, int axis, Index begin, Index end) {
  require_value("slice", x);
  return contiguous(x.slice(axis, begin, end));
}

std::string to_string(ConstView x, Index most) {
  if (!x.has_value()) return "absent";
  std::string text = std::string(name_of(x.dtype())) + " " + x.shape().to_string() + " ";
  append_axis(x, 0, 0, most, text);
  return text;
}

}  // namespace grouphead
