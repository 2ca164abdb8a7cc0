#include "ops/reduction.h"

#include <limits>
#include <type_traits>

#include "ops/strided.h"

namespace grouphead::ops {
namespace {

// Elements of the result that are summed side by side.
constexpr Index kLanes = 256;

/// The axes of x split into those that y keeps and those that are reduced.
struct Split {
  Shape kept, reduced;  // both of x's rank
  Strides y_strides{};

  Split(std::string_view operation, const ConstView& x, const ConstView& y) {
    const ConstView wide = broadcast_to(operation, y, x.shape());
    std::array<Index, kMaxRank> keep{};
    std::array<Index, kMaxRank> reduce{};
    const int skipped = x.rank() - y.rank();
    for (int axis = 0; axis < x.rank(); ++axis) {
      const auto i = static_cast<std::size_t>(axis);
      const bool is_kept = axis >= skipped && y.dim(axis - skipped) == x.dim(axis);
      keep[i] = is_kept ? x.dim(axis) : 1;
      reduce[i] = is_kept ? 1 : x.dim(axis);
    }
    const auto rank = static_cast<std::size_t>(x.rank());
    kept = Shape(std::span<const Index>(keep.data(), rank));
    reduced = Shape(std::span<const Index>(reduce.data(), rank));
    y_strides = wide.strides();
  }
};

/// For each element of y: finish(out, state) after step(state, x, offset in x) over its elements,
/// from `start`.
template <class A, class T, class Out, class Step, class Finish>
void reduce(Context& ctx, const Split& split, const ConstView& x, const T* in, Out* out, A start,
            Step&& step, Finish&& finish) {
  const Walk<2> kept(split.kept, {split.y_strides, x.strides()});
  const Walk<1> reduced(split.reduced, {x.strides()});
  const Index block = std::max<Index>(1, kBlockElements / std::max<Index>(1, reduced.size()));
  for_blocks(ctx, kept.size(), block, [&](Index begin, Index end) {
    kept.run(begin, end, [&](const auto& offsets, const auto& steps, Index count) {
      for (Index first = 0; first < count; first += kLanes) {
        const Index lanes = std::min(kLanes, count - first);
        const T* const from = in + offsets[1] + first * steps[1];
        const Index lane = steps[1];
        A state[kLanes];
        std::fill_n(state, lanes, start);
        reduced.run(0, reduced.size(), [&](const auto& at, const auto& by, Index run) {
          if (by[0] == 1 && lane != 1) {
            for (Index j = 0; j < lanes; ++j) {
              for (Index k = 0; k < run; ++k) step(state[j], from[j * lane + at[0] + k]);
            }
          } else {
            for (Index k = 0; k < run; ++k) {
              const T* const row = from + at[0] + k * by[0];
              for (Index j = 0; j < lanes; ++j) step(state[j], row[j * lane]);
            }
          }
        });
        Out* const to = out + offsets[0] + first * steps[0];
        for (Index j = 0; j < lanes; ++j) finish(to[j * steps[0]], state[j]);
      }
    });
  });
}

template <class T>
bool wins(Extreme extreme, T value, T best) noexcept {
  if constexpr (std::is_floating_point_v<T>) {
    if (value != value) return true;
    if (best != best) return false;
  }
  return extreme == Extreme::max ? value > best : value < best;
}

template <class T>
constexpr T identity(Extreme extreme) noexcept {
  using Limits = std::numeric_limits<T>;
  if constexpr (std::is_floating_point_v<T>) {
    return extreme == Extreme::max ? -Limits::infinity() : Limits::infinity();
  } else {
    return extreme == Extreme::max ? Limits::min() : Limits::max();
  }
}

}  // namespace

void sum_to(Context& ctx, ConstView x, double scale, Write write, View y) {
  if (scale == 1 && write == Write::add && x.shape() == y.shape()) return add_elements(ctx, x, y);
  const Split split("sum", x, y);
  with_float_type("sum", "x", x, [&](auto source) {
    with_float_type("sum", "y", y, [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      const bool adds = write == Write::add;
      reduce(
          ctx, split, x, x.data<From>(), y.data<To>(), 0.0,
          [](double& sum, From value) { sum += static_cast<double>(value); },
          [&](To& to, double sum) {
            const To value = static_cast<To>(sum * scale);
            to = adds ? to + value : value;
          });
    });
  });
}

void count_to(Context& ctx, ConstView x, View y) {
  const Split split("sum", x, y);
  core::require_dtype("sum", "y", y, Dtype::i64);
  const auto count = [&](auto zero) {
    using T = decltype(zero);
    reduce(
        ctx, split, x, x.data<T>(), y.data<Index>(), Index{0},
        [](Index& sum, T value) { sum += static_cast<Index>(value); },
        [](Index& to, Index sum) { to = sum; });
  };
  if (x.dtype() == Dtype::boolean) return count(bool{});
  core::require_dtype("sum", "x", x, Dtype::i64);
  count(Index{});
}

void extreme_to(Context& ctx, Extreme extreme, ConstView x, View y) {
  const Split split("max", x, y);
  core::require_dtype("max", "y", y, x.dtype());
  if (split.reduced.size() == 0 && split.kept.size() > 0 && x.dtype() != Dtype::boolean) {
    core::throw_shape_error("max", "x", "an element to reduce", x.shape().to_string());
  }
  const auto find = [&](auto zero) {
    using T = decltype(zero);
    reduce(
        ctx, split, x, x.data<T>(), y.data<T>(), identity<T>(extreme),
        [extreme](T& best, T value) {
          if (wins(extreme, value, best)) best = value;
        },
        [](T& to, T best) { to = best; });
  };
  if (x.dtype() == Dtype::boolean) return find(bool{});
  if (x.dtype() == Dtype::i64) return find(Index{});
  with_float_type("max", "x", x, find);
}

void add_extreme_gradient(Context& ctx, ConstView x, ConstView y, ConstView d_y, View d_x) {
  const Split split("max", x, y);
  with_float_type("max", "x", x, [&](auto zero) {
    using F = decltype(zero);
    // Each element of y is one unit's, and so are the elements of x under it.
    const Walk<4> kept(split.kept,
                       {broadcast_to("max", y, x.shape()).strides(),
                        broadcast_to("max", d_y, x.shape()).strides(), x.strides(), d_x.strides()});
    const Walk<2> reduced(split.reduced, {x.strides(), d_x.strides()});
    const F* in = x.data<F>();
    F* sum = d_x.data<F>();
    const Index block = std::max<Index>(1, kBlockElements / std::max<Index>(1, reduced.size()));
    const auto one = [&](F best, F gradient, Index x_at, Index d_at) {
      Index ties = 0;
      reduced.run(0, reduced.size(), [&](const auto& at, const auto& by, Index run) {
        for (Index k = 0; k < run; ++k) ties += in[x_at + at[0] + k * by[0]] == best ? 1 : 0;
      });
      reduced.run(0, reduced.size(), [&](const auto& at, const auto& by, Index run) {
        for (Index k = 0; k < run; ++k) {
          if (in[x_at + at[0] + k * by[0]] == best) {
            sum[d_at + at[1] + k * by[1]] += gradient / static_cast<F>(ties);
          }
        }
      });
    };
    for_blocks(ctx, kept.size(), block, [&](Index begin, Index end) {
      kept.run(begin, end, [&](const auto& at, const auto& by, Index count) {
        for (Index i = 0; i < count; ++i) {
          one(y.data<F>()[at[0] + i * by[0]], d_y.data<F>()[at[1] + i * by[1]], at[2] + i * by[2],
              at[3] + i * by[3]);
        }
      });
    });
  });
}

}  // namespace grouphead::ops
