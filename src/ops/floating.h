#pragma once

// Loops that are written once for all floating element types.

#include <string_view>
#include <type_traits>

#include "core/check.h"
#include "grouphead/core/tensor.h"

namespace grouphead::ops {

template <class F>
double widened(F value) noexcept {
  if constexpr (std::is_same_v<F, Bf16> || std::is_same_v<F, F16>) {
    return to_float(value);
  } else {
    return value;
  }
}

template <class F>
F narrowed(double value) noexcept {
  if constexpr (std::is_same_v<F, Bf16>) {
    return to_bf16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<F, F16>) {
    return to_f16(static_cast<float>(value));
  } else {
    return static_cast<F>(value);
  }
}

/// body(F{}) for the C++ type of a floating dtype. Errors: ShapeError for other types.
template <class Body>
void with_floating(std::string_view operation, std::string_view operand, Dtype dtype, Body&& body) {
  switch (dtype) {
    case Dtype::f32:
      return body(float{});
    case Dtype::f64:
      return body(double{});
    case Dtype::bf16:
      return body(Bf16{});
    case Dtype::f16:
      return body(F16{});
    default:
      core::throw_shape_error(operation, operand, "a floating type", name_of(dtype));
  }
}

}  // namespace grouphead::ops
