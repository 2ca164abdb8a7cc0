#include "ops/broadcasting.h"

#include <cmath>

#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "elementwise";

[[noreturn]] void throw_type(Dtype dtype) {
  core::throw_shape_error(kName, "operand", "a type that the function takes", name_of(dtype));
}

template <class T>
constexpr bool kIsInteger = std::is_same_v<T, Index>;

// body(T{}) for the types that elementwise functions compute in.
template <class Body>
void with_number_type(Dtype dtype, Body&& body) {
  if (dtype == Dtype::f32) return body(float{});
  if (dtype == Dtype::f64) return body(double{});
  if (dtype == Dtype::i64) return body(Index{});
  if (dtype == Dtype::boolean) return body(bool{});
  throw_type(dtype);
}

// y[i] = function(a[i], b[i]).
template <class T, class Out, class Function>
void map_two(Context& ctx, const ConstView& a, const ConstView& b, const View& y,
             Function&& function) {
  const ConstView wide_a = broadcast_to(kName, a, y.shape());
  const ConstView wide_b = broadcast_to(kName, b, y.shape());
  const Walk<3> walk(y.shape(), {y.strides(), wide_a.strides(), wide_b.strides()});
  const T* in_a = a.data<T>();
  const T* in_b = b.data<T>();
  Out* out = y.data<Out>();
  for_runs(ctx, walk, [&](const auto& at, const auto& by, Index count) {
    Out* const to = out + at[0];
    const T* const x1 = in_a + at[1];
    const T* const x2 = in_b + at[2];
    if (by[0] == 1 && by[1] == 1 && by[2] == 1) {
      for (Index i = 0; i < count; ++i) to[i] = function(x1[i], x2[i]);
    } else if (by[0] == 1 && by[1] == 1 && by[2] == 0) {
      const T second = x2[0];
      for (Index i = 0; i < count; ++i) to[i] = function(x1[i], second);
    } else {
      for (Index i = 0; i < count; ++i) {
        to[i * by[0]] = function(x1[i * by[1]], x2[i * by[2]]);
      }
    }
  });
}

template <class T>
T floor_quotient(T a, T b) noexcept {
  if constexpr (kIsInteger<T>) {
    if (b == 0) return a < 0 ? 0 : -1;
    if (b == -1) return static_cast<Index>(-static_cast<std::uint64_t>(a));
    const T quotient = a / b;
    return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
  } else {
    return std::floor(a / b);
  }
}

template <class T>
T modulo(T a, T b) noexcept {
  if constexpr (kIsInteger<T>) {
    if (b == 0 || b == -1) return 0;
    const T rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  } else {
    const T rest = std::fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  }
}

template <class T>
T raised(T a, T b) noexcept {
  if constexpr (kIsInteger<T>) {
    if (b < 0) return a == 1 ? 1 : (a == -1 ? (b % 2 == 0 ? 1 : -1) : 0);
    std::uint64_t result = 1;
    auto base = static_cast<std::uint64_t>(a);
    for (auto rest = static_cast<std::uint64_t>(b); rest > 0; rest >>= 1) {
      if ((rest & 1) != 0) result *= base;
      base *= base;
    }
    return static_cast<Index>(result);
  } else {
    return b == T{2} ? a * a : std::pow(a, b);
  }
}

// The larger (or smaller) of two; NaN when one is.
template <bool Larger, class T>
T extreme(T a, T b) noexcept {
  if constexpr (std::is_floating_point_v<T>) {
    if (a != a) return a;
    if (b != b) return b;
  }
  return (Larger ? b > a : b < a) ? b : a;
}

// Two's complement, without overflow of a signed type.
template <class T, class Function>
T wrapped(T a, T b, Function&& function) noexcept {
  if constexpr (kIsInteger<T>) {
    return static_cast<Index>(
        function(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)));
  } else {
    return function(a, b);
  }
}

template <class T>
T value_of(Binary kind, T a, T b) noexcept {
  switch (kind) {
    case Binary::add:
      return wrapped(a, b, [](auto x, auto y) { return x + y; });
    case Binary::divide:
      if constexpr (std::is_floating_point_v<T>) return a / b;
      break;
    case Binary::floor_divide:
      return floor_quotient(a, b);
    case Binary::maximum:
      return extreme<true>(a, b);
    case Binary::minimum:
      return extreme<false>(a, b);
    case Binary::mod:
      return modulo(a, b);
    case Binary::multiply:
      return wrapped(a, b, [](auto x, auto y) { return x * y; });
    case Binary::power:
      return raised(a, b);
    case Binary::subtract:
      return wrapped(a, b, [](auto x, auto y) { return x - y; });
  }
  return a;
}

// function(constant) for the kind: loops see one function each.
template <class Body>
void with_kind(Binary kind, Body&& body) {
  switch (kind) {
    case Binary::add:
      return body(std::integral_constant<Binary, Binary::add>{});
    case Binary::divide:
      return body(std::integral_constant<Binary, Binary::divide>{});
    case Binary::floor_divide:
      return body(std::integral_constant<Binary, Binary::floor_divide>{});
    case Binary::maximum:
      return body(std::integral_constant<Binary, Binary::maximum>{});
    case Binary::minimum:
      return body(std::integral_constant<Binary, Binary::minimum>{});
    case Binary::mod:
      return body(std::integral_constant<Binary, Binary::mod>{});
    case Binary::multiply:
      return body(std::integral_constant<Binary, Binary::multiply>{});
    case Binary::power:
      return body(std::integral_constant<Binary, Binary::power>{});
    case Binary::subtract:
      return body(std::integral_constant<Binary, Binary::subtract>{});
  }
}

// df/da, or df/db. Ties of the larger and smaller of two count half.
template <class F>
F slope_of(Binary kind, bool second, F a, F b) noexcept {
  const F mine = second ? b : a;
  const F other = second ? a : b;
  switch (kind) {
    case Binary::add:
      return 1;
    case Binary::subtract:
      return second ? -1 : 1;
    case Binary::multiply:
      return other;
    case Binary::divide:
      return second ? -a / b / b : 1 / b;
    case Binary::maximum:
      return mine > other ? F{1} : (mine == other ? F{0.5} : F{0});
    case Binary::minimum:
      return mine < other ? F{1} : (mine == other ? F{0.5} : F{0});
    case Binary::mod:
      return second ? -std::floor(a / b) : F{1};
    case Binary::floor_divide:
      return 0;
    case Binary::power:
      if (second)
        return a == 0 ? (b < 0 ? std::log(a) * std::pow(a, b) : F{0})
                      : std::log(a) * std::pow(a, b);
      return b == 0 ? F{0} : b * raised(a, b - 1);
  }
  return 0;
}

// d_x += the sum of d_y * slope over what broadcasting repeated.
template <bool Second>
void add_gradient(Context& ctx, Binary kind, const ConstView& a, const ConstView& b,
                  const ConstView& d_y, View d_x) {
  if (!d_x.has_value()) return;
  if (kind == Binary::floor_divide) return;
  if (kind == Binary::add) return sum_to(ctx, d_y, 1, Write::add, d_x);
  if (kind == Binary::subtract) return sum_to(ctx, d_y, Second ? -1 : 1, Write::add, d_x);
  Tensor slopes = ctx.tensor(d_y.shape(), d_y.dtype());
  with_float_type(kName, "d_y", d_y, [&](auto zero) {
    using F = decltype(zero);
    with_kind(kind, [&](auto constant) {
      using Kind = decltype(constant);
      map_two<F, F>(ctx, a, b, slopes,
                    [](F x1, F x2) { return slope_of(Kind::value, Second, x1, x2); });
    });
    map_two<F, F>(ctx, slopes, d_y, slopes, [](F slope, F gradient) { return slope * gradient; });
  });
  sum_to(ctx, slopes, 1, Write::add, d_x);
}

}  // namespace

void binary_forward(Context& ctx, Binary kind, ConstView a, ConstView b, View y) {
  if (y.dtype() == Dtype::boolean) {
    const bool takes_bool = kind == Binary::add || kind == Binary::multiply ||
                            kind == Binary::maximum || kind == Binary::minimum;
    if (!takes_bool) throw_type(y.dtype());
    const bool is_or = kind == Binary::add || kind == Binary::maximum;
    return combine(ctx, is_or ? Logical::either : Logical::both, a, b, y);
  }
  if (y.dtype() == Dtype::i64 && kind == Binary::divide) throw_type(y.dtype());
  with_number_type(y.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!std::is_same_v<T, bool>) {
      with_kind(kind, [&](auto constant) {
        using Kind = decltype(constant);
        map_two<T, T>(ctx, a, b, y, [](T x1, T x2) { return value_of(Kind::value, x1, x2); });
      });
    }
  });
}

void binary_backward(Context& ctx, Binary kind, ConstView a, ConstView b, ConstView d_y, View d_a,
                     View d_b) {
  add_gradient<false>(ctx, kind, a, b, d_y, d_a);
  add_gradient<true>(ctx, kind, a, b, d_y, d_b);
}

void compare(Context& ctx, Comparison kind, ConstView a, ConstView b, View y) {
  with_number_type(a.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto run = [&](auto&& function) { map_two<T, bool>(ctx, a, b, y, function); };
    switch (kind) {
      case Comparison::equal:
        return run([](T x1, T x2) { return x1 == x2; });
      case Comparison::greater:
        return run([](T x1, T x2) { return x1 > x2; });
      case Comparison::greater_equal:
        return run([](T x1, T x2) { return x1 >= x2; });
      case Comparison::less:
        return run([](T x1, T x2) { return x1 < x2; });
      case Comparison::less_equal:
        return run([](T x1, T x2) { return x1 <= x2; });
      case Comparison::not_equal:
        return run([](T x1, T x2) { return x1 != x2; });
    }
  });
}

void combine(Context& ctx, Logical kind, ConstView a, ConstView b, View y) {
  switch (kind) {
    case Logical::both:
      return map_two<bool, bool>(ctx, a, b, y, [](bool p, bool q) { return p && q; });
    case Logical::either:
      return map_two<bool, bool>(ctx, a, b, y, [](bool p, bool q) { return p || q; });
    case Logical::exactly_one:
      return map_two<bool, bool>(ctx, a, b, y, [](bool p, bool q) { return p != q; });
  }
}

void invert(Context& ctx, ConstView x, View y) {
  require_elements(kName, "x", x, y.size(), Dtype::boolean);
  require_elements(kName, "y", y, x.size(), Dtype::boolean);
  const bool* in = x.data<bool>();
  bool* out = y.data<bool>();
  for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) out[i] = !in[i];
  });
}

void select(Context& ctx, ConstView condition, ConstView a, ConstView b, View y) {
  const ConstView wide = broadcast_to(kName, condition, y.shape());
  const ConstView wide_a = broadcast_to(kName, a, y.shape());
  const ConstView wide_b = broadcast_to(kName, b, y.shape());
  const Walk<4> walk(y.shape(), {y.strides(), wide.strides(), wide_a.strides(), wide_b.strides()});
  const bool* chosen = condition.data<bool>();
  with_number_type(y.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* yes = a.data<T>();
    const T* no = b.data<T>();
    T* out = y.data<T>();
    for_runs(ctx, walk, [&](const auto& at, const auto& by, Index count) {
      for (Index i = 0; i < count; ++i) {
        out[at[0] + i * by[0]] =
            chosen[at[1] + i * by[1]] ? yes[at[2] + i * by[2]] : no[at[3] + i * by[3]];
      }
    });
  });
}

}  // namespace grouphead::ops
