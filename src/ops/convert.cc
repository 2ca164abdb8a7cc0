#include "ops/convert.h"

#include <cmath>
#include <type_traits>

#include "kernels/cpu/bf16.h"
#include "ops/floating.h"
#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "convert";

/// body(T{}) for the C++ type of a dtype.
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
      return with_floating(kName, "operand", dtype, body);
  }
}

template <class To>
bool set_exactly(Index value, To& to) noexcept {
  if constexpr (std::is_integral_v<To>) {
    to = static_cast<To>(value);
    return static_cast<Index>(to) == value;
  } else {
    to = narrowed<To>(static_cast<double>(value));
    const double back = widened(to);
    constexpr double kTooLarge = 0x1p63;  // no integer: comparing would be undefined
    return back < kTooLarge && static_cast<Index>(back) == value;
  }
}

template <class To>
bool set_exactly(double value, To& to) noexcept {
  if constexpr (std::is_integral_v<To>) {
    constexpr double kTooLarge = 0x1p63;
    const bool is_integer = value >= -kTooLarge && value < kTooLarge && std::trunc(value) == value;
    return is_integer && set_exactly(static_cast<Index>(value), to);
  } else {
    to = narrowed<To>(value);
    return widened(to) == value || std::isnan(value);
  }
}

void require_pair(const ConstView& from, const View& to) {
  if (!from.has_value() || !to.has_value() || from.size() != to.size()) {
    core::throw_shape_error(kName, "target", from.shape().to_string(), to.shape().to_string());
  }
  core::require_contiguous(kName, "source", from);
  core::require_contiguous(kName, "target", to);
}

/// What layers of mixed_bfloat16 do most, as a loop that compilers turn into vectors.
void round_to_bf16(const float* x, Index count, float* y) noexcept {
  for (Index i = 0; i < count; ++i) y[i] = kernels::bf16_value(kernels::bf16_of(x[i]));
}

}  // namespace

void convert_rounded(ConstView from, Dtype grid, View to) {
  require_pair(from, to);
  if (from.dtype() == Dtype::f32 && to.dtype() == Dtype::f32 && grid == Dtype::bf16) {
    return round_to_bf16(from.data<float>(), from.size(), to.data<float>());
  }
  with_floating(kName, "source", from.dtype(), [&](auto source) {
    with_floating(kName, "type", grid, [&](auto on_grid) {
      with_floating(kName, "target", to.dtype(), [&](auto target) {
        using From = decltype(source);
        using Grid = decltype(on_grid);
        using To = decltype(target);
        const From* x = from.data<From>();
        To* y = to.data<To>();
        const Index count = from.size();
        for (Index i = 0; i < count; ++i) {
          y[i] = narrowed<To>(widened(narrowed<Grid>(widened(x[i]))));
        }
      });
    });
  });
}

void round_to(Context& ctx, Dtype grid, View x) {
  if (grid == x.dtype()) return;
  const View all = x.reshaped({x.size()});
  for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
    const View block = all.slice(0, begin, end);
    convert_rounded(block, grid, block);
  });
}

Index convert_exactly(ConstView from, View to) {
  require_pair(from, to);
  Index first = -1;
  with_type(from.dtype(), [&](auto source) {
    with_type(to.dtype(), [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      using Wide = std::conditional_t<std::is_integral_v<From>, Index, double>;
      const From* x = from.data<From>();
      To* y = to.data<To>();
      for (Index i = 0; i < from.size() && first < 0; ++i) {
        Wide value{};
        if constexpr (std::is_integral_v<From>) {
          value = x[i];
        } else {
          value = widened(x[i]);
        }
        if (!set_exactly(value, y[i])) first = i;
      }
    });
  });
  return first;
}

}  // namespace grouphead::ops
