#include "nn/recurrent/gate_product.h"

#include "nn/layer_checks.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

/// Of two or fewer axes, the last [begin, end).
template <class V>
V last_axis(V view, Index begin, Index end) {
  return view.has_value() ? view.slice(view.rank() - 1, begin, end) : view;
}

}  // namespace

GateProduct::GateProduct(Context& ctx, const Parameter& kernel, ConstView bias,
                         std::vector<Index> widths)
    : kernel_(kernel), bias_(bias), widths_(std::move(widths)) {
  Index first = 0;
  for (const Index width : widths_) {
    firsts_.push_back(first);
    first += width;
  }
  for (std::size_t i = 0; !is_whole() && i < widths_.size(); ++i) {
    auto part = std::make_unique<Part>();
    part->kernel = nn::copied(ctx, columns(kernel.numbers(), i));
    if (bias.has_value()) part->bias = nn::copied(ctx, columns(bias, i));
    parts_.push_back(std::move(part));
  }
}

ConstView GateProduct::columns(ConstView matrix, std::size_t part) const {
  return last_axis(matrix, firsts_[part], firsts_[part] + widths_[part]);
}
View GateProduct::columns(View matrix, std::size_t part) const {
  return last_axis(matrix, firsts_[part], firsts_[part] + widths_[part]);
}

std::optional<ops::RowProduct> GateProduct::row_product(Context& ctx, std::size_t part) const {
  if (is_whole()) {
    return ops::RowProduct::make(ctx, kernel_.numbers(), kernel_.packed(), bias_);
  }
  Part& own = *parts_[part];
  return ops::RowProduct::make(ctx, own.kernel, own.packed, own.bias);
}

void GateProduct::forward(Context& ctx, std::size_t part, ConstView x, View y) {
  if (is_whole()) {
    return ops::linear_forward(ctx, x, kernel_.numbers(), kernel_.packed(), bias_,
                               ops::Epilogue::none, y);
  }
  Part& own = *parts_[part];
  Tensor made = ctx.tensor({x.dim(0), widths_[part]}, x.dtype());
  ops::linear_forward(ctx, x, own.kernel, own.packed, own.bias, ops::Epilogue::none, made);
  ops::copy_elements(ctx, made, columns(y, part));
}

void GateProduct::backward_input(Context& ctx, std::size_t part, ConstView d_y, View d_x) {
  if (is_whole()) {
    return ops::linear_backward_input(ctx, d_y, kernel_.numbers(), kernel_.packed(),
                                      ops::Write::overwrite, d_x);
  }
  Part& own = *parts_[part];
  const Tensor d_own = nn::copied(ctx, columns(d_y, part));
  ops::linear_backward_input(ctx, d_own, own.kernel, own.packed, ops::Write::overwrite, d_x);
}

void GateProduct::backward_weights(Context& ctx, std::size_t part, ConstView x, ConstView d_y,
                                   View d_kernel, View d_bias) const {
  if (!d_kernel.has_value() && !d_bias.has_value()) return;
  if (is_whole()) return ops::linear_backward_weights(ctx, x, d_y, d_kernel, d_bias);
  const Tensor d_own = nn::copied(ctx, columns(d_y, part));
  Tensor kernel;
  Tensor bias;
  if (d_kernel.has_value()) kernel = ctx.zeros({x.dim(1), widths_[part]}, x.dtype());
  if (d_bias.has_value()) bias = ctx.zeros({widths_[part]}, x.dtype());
  ops::linear_backward_weights(ctx, x, d_own, kernel.has_value() ? kernel.view() : View(),
                               bias.has_value() ? bias.view() : View());
  if (d_kernel.has_value()) ops::add_elements(ctx, kernel, columns(d_kernel, part));
  if (d_bias.has_value()) ops::add_elements(ctx, bias, columns(d_bias, part));
}

}  // namespace grouphead::nn
