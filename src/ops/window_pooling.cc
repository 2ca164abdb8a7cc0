#include "ops/window_pooling.h"

#include <array>
#include <limits>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

/// Channels of one unit of a backward pass; a unit owns them in one entry of the batch.
constexpr Index kUnitChannels = 64;

struct Problem {
  const Windows& windows;
  Index channels;
};

Problem check(std::string_view operation, const Windows& windows, const ConstView& x,
              const ConstView& y) {
  core::require_shape(operation, "x", x, {windows.batch, windows.rows.in, windows.columns.in, -1});
  core::require_contiguous(operation, "x", x);
  core::require_dense(operation, "y", y,
                      {windows.batch, windows.rows.out, windows.columns.out, x.dim(3)}, x.dtype());
  return {windows, x.dim(3)};
}

/// body(position) for the elements of x that the window (entry, i, j) has, row by row; how many.
template <class Body>
Index for_elements(const Windows& windows, Index entry, Index i, Index j, Body&& body) {
  const auto [top, bottom] = windows.rows.taps(i);
  const auto [low, high] = windows.columns.taps(j);
  for (Index r = top; r < bottom; ++r) {
    const Index line = (entry * windows.rows.in + windows.rows.first(i) + r) * windows.columns.in;
    for (Index c = low; c < high; ++c) body(line + windows.columns.first(j) + c);
  }
  return (bottom - top) * (high - low);
}

/// body(entry, i, j, window) for all windows, in blocks.
template <class Body>
void for_windows(Context& ctx, const Problem& problem, Body&& body) {
  const Windows& w = problem.windows;
  const Index work = w.taps() * problem.channels + 1;
  for_blocks(ctx, w.batch * w.outputs(), std::max<Index>(1, kBlockElements / work),
             [&](Index begin, Index end) {
               for (Index n = begin; n < end; ++n) {
                 body(n / w.outputs(), n / w.columns.out % w.rows.out, n % w.columns.out, n);
               }
             });
}

/// body(entry, first channel, channels) for the units of a backward pass.
template <class Body>
void for_channels(Context& ctx, const Problem& problem, Body&& body) {
  const Index across = num_blocks(problem.channels, kUnitChannels);
  ctx.impl().parallel_for(problem.windows.batch * across, [&](Index unit, int) {
    const Index first = unit % across * kUnitChannels;
    body(unit / across, first, std::min(kUnitChannels, problem.channels - first));
  });
}

template <class F>
void max_forward(Context& ctx, const Problem& problem, const F* x, F* y) {
  const Index channels = problem.channels;
  for_windows(ctx, problem, [&](Index entry, Index i, Index j, Index window) {
    F* const to = y + window * channels;
    std::fill_n(to, channels, -std::numeric_limits<F>::infinity());
    for_elements(problem.windows, entry, i, j, [&](Index position) {
      const F* const from = x + position * channels;
      for (Index m = 0; m < channels; ++m) {
        to[m] = from[m] > to[m] || from[m] != from[m] ? from[m] : to[m];
      }
    });
  });
}

/// Where the largest elements of a window are, for up to kUnitChannels channels.
template <class F>
struct Largest {
  std::array<F, kUnitChannels> value;
  std::array<Index, kUnitChannels> position;
};

template <class F>
void max_backward(Context& ctx, const Problem& problem, const F* x, const F* d_y, F* d_x) {
  const Windows& w = problem.windows;
  for_channels(ctx, problem, [&](Index entry, Index first, Index count) {
    Largest<F> largest;
    for (Index i = 0; i < w.rows.out; ++i) {
      for (Index j = 0; j < w.columns.out; ++j) {
        bool is_first = true;
        for_elements(w, entry, i, j, [&](Index position) {
          const F* const from = x + position * problem.channels + first;
          for (Index m = 0; m < count; ++m) {
            const auto at = static_cast<std::size_t>(m);
            if (!is_first && largest.value[at] >= from[m]) continue;
            largest.value[at] = from[m];
            largest.position[at] = position;
          }
          is_first = false;
        });
        const Index window = (entry * w.rows.out + i) * w.columns.out + j;
        const F* const from = d_y + window * problem.channels + first;
        for (Index m = 0; m < count; ++m) {
          d_x[largest.position[static_cast<std::size_t>(m)] * problem.channels + first + m] +=
              from[m];
        }
      }
    }
  });
}

template <class F>
void average_forward(Context& ctx, const Problem& problem, const F* x, F* y) {
  const Index channels = problem.channels;
  for_windows(ctx, problem, [&](Index entry, Index i, Index j, Index window) {
    F* const to = y + window * channels;
    std::fill_n(to, channels, F{0});
    const Index count = for_elements(problem.windows, entry, i, j, [&](Index position) {
      const F* const from = x + position * channels;
      for (Index m = 0; m < channels; ++m) to[m] += from[m];
    });
    for (Index m = 0; m < channels; ++m) to[m] /= static_cast<F>(count);
  });
}

template <class F>
void average_backward(Context& ctx, const Problem& problem, const F* d_y, F* d_x) {
  const Windows& w = problem.windows;
  for_channels(ctx, problem, [&](Index entry, Index first, Index count) {
    std::array<F, kUnitChannels> share;
    for (Index i = 0; i < w.rows.out; ++i) {
      for (Index j = 0; j < w.columns.out; ++j) {
        const Index window = (entry * w.rows.out + i) * w.columns.out + j;
        const F* const from = d_y + window * problem.channels + first;
        const Index area = for_elements(w, entry, i, j, [](Index) {});
        for (Index m = 0; m < count; ++m) {
          share[static_cast<std::size_t>(m)] = from[m] / static_cast<F>(area);
        }
        for_elements(w, entry, i, j, [&](Index position) {
          F* const to = d_x + position * problem.channels + first;
          for (Index m = 0; m < count; ++m) to[m] += share[static_cast<std::size_t>(m)];
        });
      }
    }
  });
}

}  // namespace

void max_pool_forward(Context& ctx, const Windows& windows, ConstView x, View y) {
  const Problem problem = check("max_pool", windows, x, y);
  with_float_type("max_pool", "x", x, [&](auto zero) {
    using F = decltype(zero);
    max_forward(ctx, problem, x.data<F>(), y.data<F>());
  });
}

void max_pool_backward(Context& ctx, const Windows& windows, ConstView x, ConstView d_y, View d_x) {
  const Problem problem = check("max_pool_backward", windows, x, d_y);
  check("max_pool_backward", windows, d_x, d_y);
  with_float_type("max_pool_backward", "x", x, [&](auto zero) {
    using F = decltype(zero);
    max_backward(ctx, problem, x.data<F>(), d_y.data<F>(), d_x.data<F>());
  });
}

void average_pool_forward(Context& ctx, const Windows& windows, ConstView x, View y) {
  const Problem problem = check("average_pool", windows, x, y);
  with_float_type("average_pool", "x", x, [&](auto zero) {
    using F = decltype(zero);
    average_forward(ctx, problem, x.data<F>(), y.data<F>());
  });
}

void average_pool_backward(Context& ctx, const Windows& windows, ConstView d_y, View d_x) {
  const Problem problem = check("average_pool_backward", windows, d_x, d_y);
  with_float_type("average_pool_backward", "d_y", d_y, [&](auto zero) {
    using F = decltype(zero);
    average_backward(ctx, problem, d_y.data<F>(), d_x.data<F>());
  });
}

}  // namespace grouphead::ops
