#include "ops/depthwise.h"

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

/// Windows of one sum of the weights' gradients before it is added.
constexpr Index kGradientWindows = 1024;

/// The loops, with D = N / M filters for each channel.
template <class F>
class Depthwise {
 public:
  explicit Depthwise(const ConvolutionProblem& problem)
      : rows_(problem.windows.rows),
        columns_(problem.windows.columns),
        channels_(problem.channels),
        filters_(problem.filters),
        multiplier_(problem.filters / problem.channels) {}

  /// y [N] of the window with this number.
  void forward(const F* x, const F* w, const F* bias, Index window, F* y) const {
    if (bias != nullptr) {
      std::copy_n(bias, filters_, y);
    } else {
      std::fill_n(y, filters_, F{0});
    }
    for_taps(window, [&](Index tap, Index position) {
      const F* const from = x + position * channels_;
      const F* const by = w + tap * filters_;
      if (multiplier_ == 1) {
        for (Index m = 0; m < channels_; ++m) y[m] += from[m] * by[m];
        return;
      }
      for_filters([&](Index m, Index n) { y[n] += from[m] * by[n]; });
    });
  }

  /// d_x [M] += at the position with this number.
  void add_input(const F* d_y, const F* w, Index position, F* d_x) const {
    const Index column = position % columns_.in;
    const Index row = position / columns_.in % rows_.in;
    const Index entry = position / columns_.in / rows_.in;
    for (Index r = 0; r < rows_.size; ++r) {
      const Index i = rows_.window_with(row, r);
      if (i < 0) continue;
      for (Index c = 0; c < columns_.size; ++c) {
        const Index j = columns_.window_with(column, c);
        if (j < 0) continue;
        const F* const from = d_y + ((entry * rows_.out + i) * columns_.out + j) * filters_;
        add_products(from, w + (r * columns_.size + c) * filters_, d_x);
      }
    }
  }

  /// d_w [Kh, Kw, N] += of the window with this number.
  void add_weights(const F* x, const F* d_y, Index window, F* d_w) const {
    for_taps(window, [&](Index tap, Index position) {
      const F* const from = x + position * channels_;
      F* const to = d_w + tap * filters_;
      if (multiplier_ == 1) {
        for (Index m = 0; m < channels_; ++m) to[m] += from[m] * d_y[m];
        return;
      }
      for_filters([&](Index m, Index n) { to[n] += from[m] * d_y[n]; });
    });
  }

 private:
  void add_products(const F* d_y, const F* w, F* d_x) const {
    if (multiplier_ == 1) {
      for (Index m = 0; m < channels_; ++m) d_x[m] += d_y[m] * w[m];
      return;
    }
    for_filters([&](Index m, Index n) { d_x[m] += d_y[n] * w[n]; });
  }

  /// body(channel, filter) for all filters.
  template <class Body>
  void for_filters(Body&& body) const {
    for (Index m = 0; m < channels_; ++m) {
      for (Index d = 0; d < multiplier_; ++d) body(m, m * multiplier_ + d);
    }
  }

  /// body(tap, position) for the elements that exist.
  template <class Body>
  void for_taps(Index window, Body&& body) const {
    const Index j = window % columns_.out;
    const Index i = window / columns_.out % rows_.out;
    const Index entry = window / columns_.out / rows_.out;
    const auto [top, bottom] = rows_.taps(i);
    const auto [low, high] = columns_.taps(j);
    for (Index r = top; r < bottom; ++r) {
      const Index row = rows_.first(i) + r * rows_.dilation;
      const Index line = (entry * rows_.in + row) * columns_.in + columns_.first(j);
      for (Index c = low; c < high; ++c) body(r * columns_.size + c, line + c * columns_.dilation);
    }
  }

  WindowAxis rows_, columns_;
  Index channels_, filters_, multiplier_;
};

Index per_unit(Index elements) { return std::max<Index>(1, kBlockElements / (elements + 1)); }

}  // namespace

void depthwise_forward(Context& ctx, const ConvolutionProblem& problem, ConstView x, ConstView w,
                       ConstView bias, View y) {
  const Windows& windows = problem.windows;
  const Index filters = problem.filters;
  with_float_type("convolution", "x", x, [&](auto zero) {
    using F = decltype(zero);
    const Depthwise<F> depthwise(problem);
    const F* const offsets = bias.has_value() ? bias.data<F>() : nullptr;
    for_blocks(ctx, windows.batch * windows.outputs(), per_unit(windows.taps() * filters),
               [&](Index begin, Index end) {
                 for (Index i = begin; i < end; ++i) {
                   depthwise.forward(x.data<F>(), w.data<F>(), offsets, i,
                                     y.data<F>() + i * filters);
                 }
               });
  });
}

void depthwise_backward_input(Context& ctx, const ConvolutionProblem& problem, ConstView d_y,
                              ConstView w, View d_x) {
  const Windows& windows = problem.windows;
  with_float_type("convolution_backward", "d_y", d_y, [&](auto zero) {
    using F = decltype(zero);
    const Depthwise<F> depthwise(problem);
    for_blocks(ctx, windows.batch * windows.inputs(), per_unit(windows.taps() * problem.filters),
               [&](Index begin, Index end) {
                 for (Index i = begin; i < end; ++i) {
                   depthwise.add_input(d_y.data<F>(), w.data<F>(), i,
                                       d_x.data<F>() + i * problem.channels);
                 }
               });
  });
}

void depthwise_backward_weights(Context& ctx, const ConvolutionProblem& problem, ConstView x,
                                ConstView d_y, View d_w, View d_bias) {
  const Windows& windows = problem.windows;
  const Index filters = problem.filters;
  const Index weights = windows.taps() * filters;
  with_float_type("convolution_backward", "x", x, [&](auto zero) {
    using F = decltype(zero);
    const Depthwise<F> depthwise(problem);
    const Index count = windows.batch * windows.outputs();
    const Index blocks = num_blocks(count, kGradientWindows);
    Tensor parts = ctx.zeros({blocks, weights + filters}, kDtypeOf<F>);
    F* const sums = parts.data<F>();
    for_blocks(ctx, count, kGradientWindows, [&](Index begin, Index end) {
      F* const part = sums + begin / kGradientWindows * (weights + filters);
      for (Index i = begin; i < end; ++i) {
        const F* const from = d_y.data<F>() + i * filters;
        if (d_w.has_value()) depthwise.add_weights(x.data<F>(), from, i, part);
        for (Index n = 0; n < filters; ++n) part[weights + n] += from[n];
      }
    });
    const auto& kernels = rowwise_kernels<F>(ctx);
    for (Index block = 0; block < blocks; ++block) {
      const F* const part = sums + block * (weights + filters);
      if (d_w.has_value()) kernels.add(d_w.data<F>(), part, weights, d_w.data<F>());
      if (d_bias.has_value()) {
        kernels.add(d_bias.data<F>(), part + weights, filters, d_bias.data<F>());
      }
    }
  });
}

}  // namespace grouphead::ops
