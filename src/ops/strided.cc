#include "ops/strided.h"

#include <cmath>
#include <limits>

namespace grouphead::ops {
namespace {

void require_same_shape(std::string_view operation, const ConstView& from, const ConstView& to) {
  if (!from.has_value() || from.shape() != to.shape()) {
    core::throw_shape_error(operation, "source", to.shape().to_string(),
                            from.has_value() ? from.shape().to_string() : "nothing");
  }
}

template <class T>
constexpr bool kIs16Bit = std::is_same_v<T, Bf16> || std::is_same_v<T, F16>;

template <class To, class From>
To clamped(From value) noexcept {
  using Limits = std::numeric_limits<To>;
  if (value != value) return 0;
  if (value <= static_cast<From>(Limits::min())) return Limits::min();
  if (value >= static_cast<From>(Limits::max())) return Limits::max();
  return static_cast<To>(value);
}

template <class To, class From>
To cast_one(From value) noexcept {
  if constexpr (kIs16Bit<From>) {
    return cast_one<To>(to_float(value));
  } else if constexpr (std::is_same_v<To, Bf16>) {
    return to_bf16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, F16>) {
    return to_f16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != From{0};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return clamped<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

std::vector<Index> permuted_dims(const Shape& shape, std::span<const int> order) {
  std::vector<Index> dims;
  for (const int axis : order) dims.push_back(shape[axis]);
  return dims;
}

Strides permuted_strides(const ConstView& x, std::span<const int> order) {
  Strides strides{};
  for (std::size_t i = 0; i < order.size(); ++i) strides[i] = x.stride(order[i]);
  return strides;
}

}  // namespace

Shape broadcast_shape(std::string_view operation, const Shape& a, const Shape& b) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  std::vector<Index> dims(longer.begin(), longer.end());
  const int skipped = longer.rank() - shorter.rank();
  for (int axis = 0; axis < shorter.rank(); ++axis) {
    Index& dim = dims[static_cast<std::size_t>(axis + skipped)];
    const Index other = shorter[axis];
    if (dim == other || other == 1) continue;
    if (dim == 1) {
      dim = other;
    } else if (dim < 0 || other < 0) {
      dim = std::max(dim, other);  // the known size, where one is known
    } else {
      core::throw_shape_error(operation, "operands", "shapes that broadcast",
                              a.to_string() + " and " + b.to_string());
    }
  }
  return Shape::partial(dims);
}

ConstView broadcast_to(std::string_view operation, ConstView x, const Shape& shape) {
  const int skipped = shape.rank() - x.rank();
  bool fits = skipped >= 0;
  Strides strides{};
  for (int axis = 0; axis < x.rank() && fits; ++axis) {
    fits = x.dim(axis) == shape[axis + skipped] || x.dim(axis) == 1;
    if (x.dim(axis) != 1) strides[static_cast<std::size_t>(axis + skipped)] = x.stride(axis);
  }
  if (!fits) {
    core::throw_shape_error(operation, "operand", "a shape that broadcasts to " + shape.to_string(),
                            x.shape().to_string());
  }
  return {x.raw(), x.dtype(), shape, strides};
}

ConstView permuted(ConstView x, std::span<const int> order) {
  return {x.raw(), x.dtype(), permuted(x.shape(), order), permuted_strides(x, order)};
}

View permuted(View x, std::span<const int> order) {
  return {x.raw(), x.dtype(), permuted(x.shape(), order), permuted_strides(x, order)};
}

Shape permuted(const Shape& shape, std::span<const int> order) {
  return Shape::partial(permuted_dims(shape, order));
}

void cast(Context& ctx, ConstView from, View to) {
  require_same_shape("cast", from, to);
  const Walk<2> walk(to.shape(), {to.strides(), from.strides()});
  with_type(from.dtype(), [&](auto source) {
    with_type(to.dtype(), [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      const From* x = from.data<From>();
      To* y = to.data<To>();
      for_runs(ctx, walk, [&](const auto& offsets, const auto& steps, Index count) {
        To* out = y + offsets[0];
        const From* in = x + offsets[1];
        for (Index i = 0; i < count; ++i) out[i * steps[0]] = cast_one<To>(in[i * steps[1]]);
      });
    });
  });
}

void copy_elements(Context& ctx, ConstView from, View to) {
  require_same_shape("copy", from, to);
  core::require_dtype("copy", "source", from, to.dtype());
  const Walk<2> walk(to.shape(), {to.strides(), from.strides()});
  with_type(to.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* x = from.data<T>();
    T* y = to.data<T>();
    for_runs(ctx, walk, [&](const auto& offsets, const auto& steps, Index count) {
      T* out = y + offsets[0];
      const T* in = x + offsets[1];
      if (steps[0] == 1 && steps[1] == 1) {
        std::copy_n(in, count, out);
      } else {
        for (Index i = 0; i < count; ++i) out[i * steps[0]] = in[i * steps[1]];
      }
    });
  });
}

void add_elements(Context& ctx, ConstView from, View to) {
  require_same_shape("add", from, to);
  const Walk<2> walk(to.shape(), {to.strides(), from.strides()});
  with_float_type("add", "source", from, [&](auto source) {
    with_float_type("add", "target", to, [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      const From* x = from.data<From>();
      To* y = to.data<To>();
      for_runs(ctx, walk, [&](const auto& offsets, const auto& steps, Index count) {
        To* out = y + offsets[0];
        const From* in = x + offsets[1];
        if (steps[0] == 1 && steps[1] == 1) {
          for (Index i = 0; i < count; ++i) out[i] += static_cast<To>(in[i]);
        } else {
          for (Index i = 0; i < count; ++i) out[i * steps[0]] += static_cast<To>(in[i * steps[1]]);
        }
      });
    });
  });
}

}  // namespace grouphead::ops
