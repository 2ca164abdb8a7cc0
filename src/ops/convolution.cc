#include "ops/convolution.h"

#include <memory>
#include <string>

#include "core/check.h"
#include "ops/depthwise.h"
#include "ops/patches.h"
#include "ops/strided.h"

namespace grouphead::ops {
namespace {

/// Elements of the patches that are in memory at a time.
constexpr Index kPatchElements = Index{1} << 19;
constexpr Index kFewestPatches = 64;

/// The products of one group.
struct Group {
  Index first_channel, channels;
  Index first_filter, filters;
};

/// A problem as matrices, and its cut into blocks of patches. By shape alone, and not by the batch.
struct Plan {
  explicit Plan(const ConvolutionProblem& given)
      : problem(given),
        windows(given.windows),
        patches(given.windows.batch * given.windows.outputs()),
        depth(given.windows.taps() * (given.channels / given.groups)) {
    const Index limit = std::max(kFewestPatches, kPatchElements / depth);
    const Index outputs = std::max<Index>(1, windows.outputs());
    const Index line = windows.rows.out > 1 ? windows.columns.out : 1;
    is_cut = outputs > limit;
    block = is_cut ? std::max<Index>(1, limit / line) * line : limit / outputs * outputs;
  }

  bool is_depthwise() const { return problem.groups > 1 && problem.channels == problem.groups; }
  /// Whether the patches are x as it lies.
  bool is_plain() const {
    const WindowAxis& c = windows.columns;
    return problem.groups == 1 && windows.rows.size == 1 && windows.rows.stride == 1 &&
           c.before == 0 && c.size == c.stride && (c.size == 1 || c.dilation == 1) &&
           c.in == c.out * c.size;
  }

  Group group(Index g) const {
    const Index channels = problem.channels / problem.groups;
    const Index filters = problem.filters / problem.groups;
    return {g * channels, channels, g * filters, filters};
  }

  Index largest_block() const { return std::min(block, patches); }

  /// body(first, count) for the blocks in turn: whole entries, or parts of one.
  template <class Body>
  void for_patches(Body&& body) const {
    const Index outputs = windows.outputs();
    const Index span = is_cut ? outputs : std::max<Index>(patches, 1);
    for (Index start = 0; start < patches; start += span) {
      for (Index first = 0; first < span; first += block) {
        body(start + first, std::min(block, span - first));
      }
    }
  }

  const ConvolutionProblem& problem;
  const Windows& windows;
  Index patches, depth;
  Index block = 1;
  bool is_cut = false;
};

void check(std::string_view operation, const Plan& plan, const ConstView& x, const ConstView& y) {
  const ConvolutionProblem& p = plan.problem;
  core::require_dense(operation, "x", x,
                      {p.windows.batch, p.windows.rows.in, p.windows.columns.in, p.channels},
                      x.dtype());
  core::require_dense(operation, "y", y,
                      {p.windows.batch, p.windows.rows.out, p.windows.columns.out, p.filters},
                      x.dtype());
}

/// The weights of a group [depth, filters]: part of a line in w, so they are copied.
Tensor weights_of(Context& ctx, const Plan& plan, const Group& group, ConstView w) {
  Tensor part = ctx.tensor({plan.depth, group.filters}, w.dtype());
  copy_elements(ctx,
                w.reshaped({plan.depth, plan.problem.filters})
                    .slice(1, group.first_filter, group.first_filter + group.filters),
                part);
  return part;
}

/// Rows and filters of a group in y or d_y.
template <class AnyView>
AnyView part_of(const Plan& plan, const Group& group, AnyView y, Index first, Index count) {
  return y.reshaped({plan.patches, plan.problem.filters})
      .slice(0, first, first + count)
      .slice(1, group.first_filter, group.first_filter + group.filters);
}

/// The rows of a group in d_y, contiguous.
ConstView rows_of_gradient(Context& ctx, const Plan& plan, const Group& group, ConstView d_y,
                           Index first, Index count, Tensor& buffer) {
  const ConstView part = part_of(plan, group, d_y, first, count);
  if (plan.problem.groups == 1) return part;
  const View rows = buffer.view().slice(0, 0, count);
  copy_elements(ctx, part, rows);
  return rows;
}

/// The kept copies of w where there is one group, else those of the group's.
struct GroupWeights {
  GroupWeights(Context& ctx, const Plan& plan, const Group& group, ConstView w,
               PackedWeights& packed_w)
      : matrix(w.reshaped({plan.depth * plan.problem.groups, group.filters})), packed(&packed_w) {
    if (plan.problem.groups == 1) return;
    copy = weights_of(ctx, plan, group, w);
    matrix = std::as_const(copy).view();
    own = std::make_unique<PackedWeights>();
    own->keep_as(packed_w.form());
    packed = own.get();
  }

  Tensor copy;
  std::unique_ptr<PackedWeights> own;
  ConstView matrix;
  PackedWeights* packed;
};

template <class F>
void forward(Context& ctx, const Plan& plan, const Group& group, ConstView x, const GroupWeights& w,
             ConstView bias, View y) {
  const Patches<F> patches(plan.windows, plan.problem.channels, group.first_channel,
                           group.channels);
  Tensor rows = ctx.tensor({plan.largest_block(), plan.depth}, x.dtype());
  const bool is_whole = plan.problem.groups == 1;
  Tensor products;
  if (!is_whole) products = ctx.tensor({plan.largest_block(), group.filters}, x.dtype());
  plan.for_patches([&](Index first, Index count) {
    patches.gather(ctx, x.data<F>(), first, count, rows.data<F>());
    const View to = part_of(plan, group, y, first, count);
    const View result = is_whole ? to : products.view().slice(0, 0, count);
    linear_forward(ctx, rows.view().slice(0, 0, count), w.matrix, *w.packed, bias, Epilogue::none,
                   result);
    if (!is_whole) copy_elements(ctx, result, to);
  });
}

template <class F>
void backward_input(Context& ctx, const Plan& plan, const Group& group, ConstView d_y,
                    const GroupWeights& w, View d_x) {
  const Patches<F> patches(plan.windows, plan.problem.channels, group.first_channel,
                           group.channels);
  Tensor rows = ctx.tensor({plan.largest_block(), plan.depth}, d_y.dtype());
  Tensor buffer = ctx.tensor({plan.largest_block(), group.filters}, d_y.dtype());
  plan.for_patches([&](Index first, Index count) {
    const ConstView d_rows = rows_of_gradient(ctx, plan, group, d_y, first, count, buffer);
    linear_backward_input(ctx, d_rows, w.matrix, *w.packed, Write::overwrite,
                          rows.view().slice(0, 0, count));
    patches.add(ctx, rows.data<F>(), first, count, d_x.data<F>());
  });
}

template <class F>
void backward_weights(Context& ctx, const Plan& plan, const Group& group, ConstView x,
                      ConstView d_y, View d_w, View d_bias) {
  const Patches<F> patches(plan.windows, plan.problem.channels, group.first_channel,
                           group.channels);
  const bool is_plain = plan.is_plain();
  Tensor rows;
  if (!is_plain) rows = ctx.tensor({plan.largest_block(), plan.depth}, x.dtype());
  Tensor buffer = ctx.tensor({plan.largest_block(), group.filters}, x.dtype());
  plan.for_patches([&](Index first, Index count) {
    const ConstView d_rows = rows_of_gradient(ctx, plan, group, d_y, first, count, buffer);
    if (is_plain) {
      const ConstView all = x.reshaped({plan.patches, plan.depth});
      return linear_backward_weights(ctx, all.slice(0, first, first + count), d_rows, d_w, d_bias);
    }
    patches.gather(ctx, x.data<F>(), first, count, rows.data<F>());
    linear_backward_weights(ctx, rows.view().slice(0, 0, count), d_rows, d_w, d_bias);
  });
}

}  // namespace

void convolution_forward(Context& ctx, const ConvolutionProblem& problem, ConstView x, ConstView w,
                         PackedWeights& packed, ConstView bias, View y) {
  const Plan plan(problem);
  check("convolution", plan, x, y);
  if (plan.patches == 0) return;
  if (plan.is_depthwise()) return depthwise_forward(ctx, problem, x, w, bias, y);
  if (plan.is_plain()) {
    return linear_forward(ctx, x.reshaped({plan.patches, plan.depth}),
                          w.reshaped({plan.depth, problem.filters}), packed, bias, Epilogue::none,
                          y.reshaped({plan.patches, problem.filters}));
  }
  for (Index g = 0; g < problem.groups; ++g) {
    const Group group = plan.group(g);
    const GroupWeights weights(ctx, plan, group, w, packed);
    const ConstView offsets =
        bias.has_value() ? bias.slice(0, group.first_filter, group.first_filter + group.filters)
                         : ConstView();
    with_float_type("convolution", "x", x, [&](auto zero) {
      forward<decltype(zero)>(ctx, plan, group, x, weights, offsets, y);
    });
  }
}

void convolution_backward_input(Context& ctx, const ConvolutionProblem& problem, ConstView d_y,
                                ConstView w, PackedWeights& packed, View d_x) {
  const Plan plan(problem);
  check("convolution_backward", plan, d_x, d_y);
  if (plan.patches == 0) return;
  if (plan.is_depthwise()) return depthwise_backward_input(ctx, problem, d_y, w, d_x);
  if (plan.is_plain()) {
    return linear_backward_input(ctx, d_y.reshaped({plan.patches, problem.filters}),
                                 w.reshaped({plan.depth, problem.filters}), packed, Write::add,
                                 d_x.reshaped({plan.patches, plan.depth}));
  }
  for (Index g = 0; g < problem.groups; ++g) {
    const Group group = plan.group(g);
    const GroupWeights weights(ctx, plan, group, w, packed);
    with_float_type("convolution_backward", "d_y", d_y, [&](auto zero) {
      backward_input<decltype(zero)>(ctx, plan, group, d_y, weights, d_x);
    });
  }
}

void convolution_backward_weights(Context& ctx, const ConvolutionProblem& problem, ConstView x,
                                  ConstView d_y, View d_w, View d_bias) {
  const Plan plan(problem);
  check("convolution_backward", plan, x, d_y);
  if (plan.patches == 0 || (!d_w.has_value() && !d_bias.has_value())) return;
  if (plan.is_depthwise()) return depthwise_backward_weights(ctx, problem, x, d_y, d_w, d_bias);
  const bool is_whole = problem.groups == 1;
  for (Index g = 0; g < problem.groups; ++g) {
    const Group group = plan.group(g);
    Tensor own;
    View d_weights;
    if (d_w.has_value()) {
      if (!is_whole) own = ctx.zeros({plan.depth, group.filters}, x.dtype());
      d_weights = is_whole ? d_w.reshaped({plan.depth, problem.filters}) : own.view();
    }
    const View d_offsets =
        d_bias.has_value() ? d_bias.slice(0, group.first_filter, group.first_filter + group.filters)
                           : View();
    with_float_type("convolution_backward", "x", x, [&](auto zero) {
      backward_weights<decltype(zero)>(ctx, plan, group, x, d_y, d_weights, d_offsets);
    });
    if (own.has_value()) {
      add_elements(ctx, own,
                   d_w.reshaped({plan.depth, problem.filters})
                       .slice(1, group.first_filter, group.first_filter + group.filters));
    }
  }
}

}  // namespace grouphead::ops
