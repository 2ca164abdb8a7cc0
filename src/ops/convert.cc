#include "ops/convert.h"

#include "core/check.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "convert";

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

/// body(F{}) for the C++ type of a floating dtype.
template <class Body>
void with_floating(std::string_view operand, Dtype dtype, Body&& body) {
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
      detail::throw_shape_error(kName, operand, "a floating type", name_of(dtype));
  }
}

}  // namespace

void convert_rounded(ConstView from, Dtype grid, View to) {
  if (!from.has_value() || !to.has_value() || from.size() != to.size()) {
    detail::throw_shape_error(kName, "target", from.shape().to_string(), to.shape().to_string());
  }
  detail::require_contiguous(kName, "source", from);
  detail::require_contiguous(kName, "target", to);
  with_floating("source", from.dtype(), [&](auto source) {
    with_floating("type", grid, [&](auto on_grid) {
      with_floating("target", to.dtype(), [&](auto target) {
        using From = decltype(source);
        using Grid = decltype(on_grid);
        using To = decltype(target);
        const From* x = from.data<From>();
        To* y = to.data<To>();
        for (Index i = 0; i < from.size(); ++i) {
          y[i] = narrowed<To>(widened(narrowed<Grid>(widened(x[i]))));
        }
      });
    });
  });
}

}  // namespace grouphead::ops
