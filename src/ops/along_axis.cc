#include "ops/along_axis.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>

#include "ops/strided.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "along axis";

/// A contiguous tensor as [outer, length, inner].
struct Lines {
  Index outer = 1;
  Index length = 1;
  Index inner = 1;

  Lines(const ConstView& x, int axis) {
    core::require_contiguous(kName, "operand", x);
    if (axis < 0 || axis >= x.rank()) {
      core::throw_shape_error(kName, "axis", "one of the tensor", std::to_string(axis));
    }
    for (int i = 0; i < axis; ++i) outer *= x.dim(i);
    length = x.dim(axis);
    for (int i = axis + 1; i < x.rank(); ++i) inner *= x.dim(i);
  }
  Index count() const noexcept { return outer * inner; }
  /// Where the line starts; its elements are `inner` apart.
  Index start(Index line) const noexcept { return line / inner * length * inner + line % inner; }
};

void require_matching(const Lines& a, const Lines& b) {
  if (a.outer == b.outer && a.inner == b.inner) return;
  core::throw_shape_error(
      kName, "operands", "shapes that differ along the axis alone",
      std::to_string(a.count()) + " and " + std::to_string(b.count()) + " lines");
}

/// body(line) for all lines, in blocks of about kBlockElements elements.
template <class Body>
void for_lines(Context& ctx, const Lines& lines, Index length, Body&& body) {
  const Index block = std::max<Index>(1, kBlockElements / std::max<Index>(1, length));
  for_blocks(ctx, lines.count(), block, [&](Index begin, Index end) {
    for (Index line = begin; line < end; ++line) body(line);
  });
}

template <class T>
T filled_with(double fill) noexcept {
  if constexpr (std::is_same_v<T, Bf16>) {
    return to_bf16(static_cast<float>(fill));
  } else if constexpr (std::is_same_v<T, F16>) {
    return to_f16(static_cast<float>(fill));
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(fill);
  } else if constexpr (std::is_same_v<T, bool>) {
    return fill != 0;
  } else {
    // What a file calls int32 is computed with as i64.
    return fill == fill ? static_cast<T>(fill)
                        : static_cast<T>(std::numeric_limits<std::int32_t>::min());
  }
}

bool is_inside(Index index, Index length) noexcept { return index >= 0 && index < length; }

template <class Body>
void with_number_type(const ConstView& x, Body&& body) {
  if (x.dtype() == Dtype::i64) return body(Index{});
  if (x.dtype() == Dtype::boolean) return body(bool{});
  with_float_type(kName, "x", x, body);
}

template <class T>
bool is_nan(T value) noexcept {
  return value != value;
}

/// Ascending, NaN behind all numbers.
template <class T>
bool comes_before(T a, T b) noexcept {
  if (is_nan(a) || is_nan(b)) return !is_nan(a) && is_nan(b);
  return a < b;
}

}  // namespace

void pick(Context& ctx, ConstView x, int axis, std::span<const Index> indices, double fill,
          View y) {
  const Lines from(x, axis);
  const Lines to(y, axis);
  require_matching(from, to);
  core::require_dtype(kName, "y", y, x.dtype());
  const auto count = static_cast<Index>(indices.size());
  if (count != to.length) {
    core::throw_shape_error(kName, "indices", std::to_string(to.length), std::to_string(count));
  }
  const Index block = std::max<Index>(1, kBlockElements / std::max<Index>(1, to.inner));
  with_type(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    for_blocks(ctx, to.outer * count, block, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        const Index index = indices[static_cast<std::size_t>(row % count)];
        T* const target = out + row * to.inner;
        if (is_inside(index, from.length)) {
          std::copy_n(in + (row / count * from.length + index) * from.inner, from.inner, target);
        } else {
          std::fill_n(target, to.inner, filled_with<T>(fill));
        }
      }
    });
  });
}

void add_picked(Context& ctx, ConstView d_y, int axis, std::span<const Index> indices, View d_x) {
  const Lines from(d_x, axis);
  const Lines to(d_y, axis);
  require_matching(from, to);
  core::require_dtype(kName, "d_y", d_y, d_x.dtype());
  with_float_type(kName, "d_y", d_y, [&](auto zero) {
    using F = decltype(zero);
    const F* in = d_y.data<F>();
    F* out = d_x.data<F>();
    for_lines(ctx, from, to.length, [&](Index line) {
      const F* const gradient = in + to.start(line);
      F* const sum = out + from.start(line);
      for (Index j = 0; j < to.length; ++j) {
        const Index index = indices[static_cast<std::size_t>(j)];
        if (is_inside(index, from.length)) sum[index * from.inner] += gradient[j * to.inner];
      }
    });
  });
}

void pick_along(Context& ctx, ConstView x, int axis, ConstView indices, View y) {
  const Lines from(x, axis);
  const Lines to(y, axis);
  require_matching(from, to);
  core::require_dtype(kName, "y", y, x.dtype());
  require_elements(kName, "indices", indices, y.size(), Dtype::i64);
  const double missing = std::numeric_limits<double>::quiet_NaN();
  with_type(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    for_lines(ctx, to, to.length, [&](Index line) {
      const Index* const index = indices.data<Index>() + to.start(line);
      for (Index j = 0; j < to.length; ++j) {
        Index at = index[j * to.inner];
        if (at < 0) at += from.length;
        out[to.start(line) + j * to.inner] = is_inside(at, from.length)
                                                 ? in[from.start(line) + at * from.inner]
                                                 : filled_with<T>(missing);
      }
    });
  });
}

void add_picked_along(Context& ctx, ConstView d_y, int axis, ConstView indices, View d_x) {
  const Lines from(d_x, axis);
  const Lines to(d_y, axis);
  require_matching(from, to);
  core::require_dtype(kName, "d_y", d_y, d_x.dtype());
  require_elements(kName, "indices", indices, d_y.size(), Dtype::i64);
  with_float_type(kName, "d_y", d_y, [&](auto zero) {
    using F = decltype(zero);
    F* out = d_x.data<F>();
    for_lines(ctx, to, to.length, [&](Index line) {
      const Index* const index = indices.data<Index>() + to.start(line);
      const F* const gradient = d_y.data<F>() + to.start(line);
      for (Index j = 0; j < to.length; ++j) {
        Index at = index[j * to.inner];
        if (at < 0) at += from.length;
        if (!is_inside(at, from.length)) continue;
        out[from.start(line) + at * from.inner] += gradient[j * to.inner];
      }
    });
  });
}

void cumulate(Context& ctx, bool multiplies, ConstView x, int axis, View y) {
  const Lines lines(x, axis);
  require_elements(kName, "y", y, x.size(), x.dtype());
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    using Sum = std::conditional_t<std::is_same_v<T, Index>, std::uint64_t, double>;
    for_lines(ctx, lines, lines.length, [&](Index line) {
      const T* const in = x.data<T>() + lines.start(line);
      T* const out = y.data<T>() + lines.start(line);
      Sum sum = multiplies ? 1 : 0;
      for (Index j = 0; j < lines.length; ++j) {
        const auto next = static_cast<Sum>(in[j * lines.inner]);
        sum = multiplies ? sum * next : sum + next;
        out[j * lines.inner] = static_cast<T>(sum);
      }
    });
  };
  if (x.dtype() == Dtype::i64) return run(Index{});
  with_float_type(kName, "x", x, run);
}

void add_cumulated_gradient(Context& ctx, bool multiplies, ConstView x, ConstView d_y, int axis,
                            View d_x) {
  const Lines lines(d_x, axis);
  require_elements(kName, "d_y", d_y, d_x.size(), d_x.dtype());
  with_float_type(kName, "d_y", d_y, [&](auto zero) {
    using F = decltype(zero);
    for_lines(ctx, lines, lines.length, [&](Index line) {
      const Index start = lines.start(line);
      const auto at = [&](const F* data, Index j) {
        return static_cast<double>(data[start + j * lines.inner]);
      };
      // Of products: what stands before element j, times what later products make of its slope.
      std::vector<double> before(static_cast<std::size_t>(multiplies ? lines.length : 0), 1.0);
      for (std::size_t j = 1; j < before.size(); ++j) {
        before[j] = before[j - 1] * at(x.data<F>(), static_cast<Index>(j) - 1);
      }
      double later = 0;
      for (Index j = lines.length; j-- > 0;) {
        if (multiplies && j + 1 < lines.length) later *= at(x.data<F>(), j + 1);
        later += at(d_y.data<F>(), j);
        const double slope = multiplies ? before[static_cast<std::size_t>(j)] * later : later;
        d_x.data<F>()[start + j * lines.inner] += static_cast<F>(slope);
      }
    });
  });
}

void sort_order(Context& ctx, ConstView x, int axis, bool descends, View indices) {
  const Lines lines(x, axis);
  require_elements(kName, "indices", indices, x.size(), Dtype::i64);
  with_number_type(x, [&](auto zero) {
    using T = decltype(zero);
    for_lines(ctx, lines, lines.length, [&](Index line) {
      const T* const in = x.data<T>() + lines.start(line);
      std::vector<Index> order(static_cast<std::size_t>(lines.length));
      std::iota(order.begin(), order.end(), Index{0});
      std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
        const T first = in[a * lines.inner];
        const T second = in[b * lines.inner];
        return descends ? comes_before(second, first) : comes_before(first, second);
      });
      Index* const out = indices.data<Index>() + lines.start(line);
      for (Index j = 0; j < lines.length; ++j) {
        out[j * lines.inner] = order[static_cast<std::size_t>(j)];
      }
    });
  });
}

void extreme_place(Context& ctx, Extreme extreme, ConstView x, int axis, View indices) {
  const Lines lines(x, axis);
  require_elements(kName, "indices", indices, lines.count(), Dtype::i64);
  if (lines.length == 0 && lines.count() > 0) {
    core::throw_shape_error(kName, "x", "an element to choose", x.shape().to_string());
  }
  with_number_type(x, [&](auto zero) {
    using T = decltype(zero);
    for_lines(ctx, lines, lines.length, [&](Index line) {
      const T* const in = x.data<T>() + lines.start(line);
      Index best = 0;
      for (Index j = 1; j < lines.length && !is_nan(in[best * lines.inner]); ++j) {
        const T value = in[j * lines.inner];
        const T held = in[best * lines.inner];
        if (is_nan(value) || (extreme == Extreme::max ? value > held : value < held)) best = j;
      }
      indices.data<Index>()[line] = best;
    });
  });
}

}  // namespace grouphead::ops
