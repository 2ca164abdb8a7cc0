#include "nn/layers/einsum.h"

#include <algorithm>

#include "core/check.h"
#include "nn/quantized_product.h"
#include "ops/byte_product.h"
#include "ops/linear.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

using core::throw_config_error;
using core::throw_shape_error;

constexpr std::string_view kDots = "...";

bool has(std::string_view letters, char letter) {
  return letters.find(letter) != std::string_view::npos;
}

bool are_letters(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  });
}

bool has_twins(std::string letters) {
  std::sort(letters.begin(), letters.end());
  return std::adjacent_find(letters.begin(), letters.end()) != letters.end();
}

bool strip_front(std::string& text) {
  if (!text.starts_with(kDots)) return false;
  text.erase(0, kDots.size());
  return true;
}
bool strip_back(std::string& text) {
  if (!text.ends_with(kDots)) return false;
  text.erase(text.size() - kDots.size());
  return true;
}

std::string with_ellipsis(const EinsumEquation& equation, const std::string& letters,
                          int input_rank) {
  std::string extra;
  const int count = input_rank - static_cast<int>(equation.input.size());
  for (int i = 0; i < count; ++i) extra.push_back(static_cast<char>('0' + i));
  return equation.left ? extra + letters : letters + extra;
}

bool is_identity(const std::vector<int>& order) {
  return std::is_sorted(order.begin(), order.end());
}

/// Matrix `index` of x [count, rows, columns].
template <class V>
V matrix(V x, Index index) {
  return x.slice(0, index, index + 1).reshaped({x.dim(1), x.dim(2)});
}

/// `shape` with 1 for its last `count` axes.
Shape with_ones(const Shape& shape, std::size_t count) {
  std::vector<Index> dims(shape.begin(), shape.end());
  std::fill(dims.end() - static_cast<std::ptrdiff_t>(count), dims.end(), 1);
  return Shape(std::span<const Index>(dims));
}

Index product(const Shape& shape, const std::vector<int>& order, std::size_t begin,
              std::size_t end) {
  Index size = 1;
  for (std::size_t i = begin; i < end; ++i) size *= shape[order[i]];
  return size;
}

}  // namespace

EinsumEquation EinsumEquation::parse(std::string_view layer, std::string_view text) {
  const auto refuse = [&](std::string_view expected) {
    throw_config_error(layer, "equation", expected, text);
  };
  const std::size_t comma = text.find(',');
  const std::size_t arrow = text.find("->");
  EinsumEquation equation;
  if (comma == std::string_view::npos || arrow == std::string_view::npos || arrow < comma) {
    refuse("X,Y->Z, ...X,Y->...Z or X...,Y->Z...");
  }
  equation.input = text.substr(0, comma);
  equation.kernel = text.substr(comma + 1, arrow - comma - 1);
  equation.output = text.substr(arrow + 2);
  equation.left = strip_front(equation.input);
  equation.right = strip_back(equation.input);
  const bool output_left = strip_front(equation.output);
  const bool output_right = strip_back(equation.output);
  if (equation.left != output_left || equation.right != output_right ||
      (equation.left && equation.right) || !are_letters(equation.input) ||
      !are_letters(equation.kernel) || !are_letters(equation.output)) {
    refuse("X,Y->Z, ...X,Y->...Z or X...,Y->Z...");
  }
  if (has_twins(equation.input) || has_twins(equation.kernel) || has_twins(equation.output)) {
    refuse("each letter once in an operand");
  }
  for (const char letter : equation.output) {
    if (!has(equation.input, letter) && !has(equation.kernel, letter)) {
      refuse("output letters that input or kernel have");
    }
  }
  for (const char letter : equation.kernel) {
    if (!has(equation.input, letter) && !has(equation.output, letter)) {
      refuse("kernel letters that input or output have");
    }
  }
  if (!equation.left && equation.output[0] != equation.input[0]) {
    refuse("the batch as first letter of input and output");
  }
  return equation;
}

std::string EinsumEquation::input_axes(int input_rank) const {
  return with_ellipsis(*this, input, input_rank);
}
std::string EinsumEquation::output_axes(int input_rank) const {
  return with_ellipsis(*this, output, input_rank);
}

EinsumShapes einsum_shapes(std::string_view layer, const EinsumEquation& equation,
                           std::span<const Index> output_shape, std::string_view bias_axes,
                           const Shape& input) {
  const bool has_ellipsis = equation.left || equation.right;
  const int letters = static_cast<int>(equation.input.size());
  const int elided = input.rank() - letters;
  if (elided < (equation.left ? 1 : 0) || (elided > 0 && !has_ellipsis)) {
    throw_shape_error(layer, "input", "the axes of " + equation.input, input.to_string());
  }
  const std::size_t implied = equation.left ? 0 : 1;  // the first axis is the batch
  if (output_shape.size() + implied != equation.output.size()) {
    throw_config_error(layer, "output_shape",
                       std::to_string(equation.output.size() - implied) + " axes",
                       std::to_string(output_shape.size()));
  }
  const auto size_in_input = [&](char letter) -> Index {
    const std::size_t at = equation.input.find(letter);
    if (at == std::string::npos) return -1;
    return input[static_cast<int>(at) + (equation.left ? elided : 0)];
  };
  const auto size_in_output = [&](char letter) -> Index {
    const std::size_t at = equation.output.find(letter);
    return at == std::string::npos || at < implied ? -1 : output_shape[at - implied];
  };
  const auto size_of_letter = [&](char letter) {
    const Index own = size_in_input(letter);
    const Index told = size_in_output(letter);
    if (own >= 0 && told >= 0 && own != told) {
      throw_shape_error(layer, "input", std::to_string(told) + " on axis " + letter,
                        input.to_string());
    }
    return std::max(own, told);
  };

  std::vector<Index> kernel;
  EinsumShapes shapes;
  shapes.fans = {1, 1};
  for (const char letter : equation.input) size_of_letter(letter);
  for (const char letter : equation.kernel) {
    const Index size = size_of_letter(letter);
    if (size < 1) {
      throw_shape_error(layer, "kernel",
                        std::string("a known size of 1 or more for axis ") + letter,
                        input.to_string());
    }
    kernel.push_back(size);
    (has(equation.output, letter) ? shapes.fans.out : shapes.fans.in) *= size;
  }
  std::vector<Index> output;
  for (const char letter : equation.output) output.push_back(size_of_letter(letter));
  std::vector<Index> bias;
  for (const char letter : bias_axes) {
    if (!has(equation.output, letter)) {
      throw_config_error(layer, "bias_axes", "letters of " + equation.output, bias_axes);
    }
  }
  for (std::size_t i = 0; i < equation.output.size(); ++i) {
    const bool is_axis = has(bias_axes, equation.output[i]);
    if (is_axis && output[i] < 1) {
      throw_shape_error(layer, "bias", "known sizes of 1 or more",
                        Shape::partial(output).to_string());
    }
    if (is_axis || !bias.empty()) bias.push_back(is_axis ? output[i] : 1);
  }
  const auto* first = input.begin() + (equation.left ? 0 : letters);
  output.insert(equation.left ? output.begin() : output.end(), first, first + elided);
  if (!bias.empty() && !equation.left)
    bias.resize(bias.size() + static_cast<std::size_t>(elided), 1);
  shapes.kernel = Shape(std::span<const Index>(kernel));
  shapes.bias = Shape(std::span<const Index>(bias));
  shapes.output = Shape::partial(output);
  return shapes;
}

Einsum::Einsum(const EinsumEquation& equation, int input_rank) {
  const std::string x = equation.input_axes(input_rank);
  const std::string& kernel = equation.kernel;
  const std::string y = equation.output_axes(input_rank);
  std::string shared, rows, depth, columns, summed;
  for (const char letter : y) {
    if (has(x, letter)) (has(kernel, letter) ? shared : rows).push_back(letter);
  }
  for (const char letter : kernel) {
    if (!has(y, letter)) depth.push_back(letter);
    if (!has(x, letter)) columns.push_back(letter);
  }
  for (const char letter : x) {
    if (!has(y, letter) && !has(kernel, letter)) summed.push_back(letter);
  }
  const auto order = [](const std::string& letters, const std::string& operand) {
    Axes axes;
    for (const char letter : letters) axes.push_back(static_cast<int>(operand.find(letter)));
    return axes;
  };
  x_order_ = order(shared + rows + depth + summed, x);
  kernel_order_ = order(shared + depth + columns, kernel);
  y_order_ = order(shared + rows + columns, y);
  num_shared_ = shared.size();
  num_rows_ = rows.size();
  num_depth_ = depth.size();
  num_summed_ = summed.size();
}

Einsum::Sizes Einsum::sizes(const Shape& x, const Shape& kernel) const {
  const std::size_t rows_end = num_shared_ + num_rows_;
  return {
      .batches = product(x, x_order_, 0, num_shared_),
      .rows = product(x, x_order_, num_shared_, rows_end),
      .depth = product(x, x_order_, rows_end, rows_end + num_depth_),
      .columns = product(kernel, kernel_order_, num_shared_ + num_depth_, kernel_order_.size())};
}

ConstView Einsum::input_rows(Context& ctx, ConstView x, const Sizes& n, Tensor& copy) const {
  if (is_identity(x_order_) && num_summed_ == 0) return x.reshaped({n.batches, n.rows, n.depth});
  const ConstView ordered = ops::permuted(x, x_order_);
  copy = ctx.tensor({n.batches, n.rows, n.depth}, x.dtype());
  const View target = copy.view().reshaped(with_ones(ordered.shape(), num_summed_));
  if (num_summed_ > 0) {
    ops::sum_to(ctx, ordered, 1, ops::Write::overwrite, target);
  } else {
    ops::copy_elements(ctx, ordered, target);
  }
  return copy;
}

ConstView Einsum::output_rows(Context& ctx, ConstView y, const Sizes& n, Tensor& copy) const {
  const Shape shape = {n.batches, n.rows, n.columns};
  if (is_identity(y_order_)) return y.reshaped(shape);
  const ConstView ordered = ops::permuted(y, y_order_);
  copy = ctx.tensor(shape, y.dtype());
  ops::copy_elements(ctx, ordered, copy.view().reshaped(ordered.shape()));
  return copy;
}

bool Einsum::has_transposed_kernel() const {
  Axes rotated(kernel_order_.begin() + static_cast<std::ptrdiff_t>(num_depth_),
               kernel_order_.end());
  rotated.insert(rotated.end(), kernel_order_.begin(),
                 kernel_order_.begin() + static_cast<std::ptrdiff_t>(num_depth_));
  return num_shared_ == 0 && is_identity(rotated);
}

bool Einsum::has_plain_kernel() const { return num_shared_ == 0 && is_identity(kernel_order_); }

template <class Body>
void Einsum::for_matrices(Context& ctx, const Parameter& kernel, const Sizes& n,
                          Body&& body) const {
  const ConstView numbers = kernel.numbers();
  if (has_plain_kernel()) return body(0, numbers.reshaped({n.depth, n.columns}), kernel.packed());
  const ConstView ordered = ops::permuted(numbers, kernel_order_);
  Tensor matrices = ctx.tensor({n.batches, n.depth, n.columns}, numbers.dtype());
  ops::copy_elements(ctx, ordered, matrices.view().reshaped(ordered.shape()));
  for (Index b = 0; b < n.batches; ++b) {
    ops::PackedWeights packed;
    body(b, matrix(std::as_const(matrices).view(), b), packed);
  }
}

void Einsum::forward_quantized(Context& ctx, ConstView x, const Parameter& kernel, View y) const {
  const Sizes n = sizes(x.shape(), kernel.shape());
  const Index rows = n.batches * n.rows;
  const Index summed = product(x.shape(), x_order_, x_order_.size() - num_summed_, x_order_.size());
  Tensor ordered;
  if (!is_identity(x_order_)) {
    const ConstView permuted = ops::permuted(x, x_order_);
    ordered = ctx.tensor(permuted.shape(), x.dtype());
    ops::copy_elements(ctx, permuted, ordered);
    x = std::as_const(ordered).view();
  }
  // One scale over all axes that the output has not.
  RoundedRows in = rounded_rows(ctx, kernel, x.reshaped({rows, n.depth * summed}));
  Tensor sums;
  if (num_summed_ > 0) {
    sums = ctx.tensor({rows, n.depth}, x.dtype());
    const ConstView parts = in.x.reshaped({rows, n.depth, summed});
    ops::sum_to(ctx, parts, 1, ops::Write::overwrite, sums.view().reshaped({rows, n.depth, 1}));
    in.x = std::as_const(sums).view();
  }
  Tensor result;
  if (!is_identity(y_order_)) result = ctx.tensor({rows, n.columns}, y.dtype());
  const View out = result.has_value() ? result.view() : y.reshaped({rows, n.columns});
  const bool is_table = kernel.quantized()->form() == QuantizedNumbers::Form::table;
  const bool is_transposed = is_table && has_transposed_kernel();
  if (is_transposed || has_plain_kernel()) {
    quantized_linear(ctx, in, kernel, is_transposed, {}, out);
  } else {
    const ConstView inputs = in.x.reshaped({n.batches, n.rows, n.depth});
    const View products = out.reshaped({n.batches, n.rows, n.columns});
    for_matrices(ctx, kernel, n, [&](Index b, ConstView weights, ops::PackedWeights& packed) {
      ops::linear_forward(ctx, matrix(inputs, b), weights, packed, {}, ops::Epilogue::none,
                          matrix(products, b));
    });
    if (in.scales.has_value()) ops::unscale(ctx, in.scales, {}, {}, out);
  }
  if (result.has_value()) copy_result(ctx, result, y);
}

void Einsum::copy_result(Context& ctx, View result, View y) const {
  const View ordered = ops::permuted(y, y_order_);
  ops::copy_elements(ctx, result.reshaped(ordered.shape()), ordered);
}

bool Einsum::forward(Context& ctx, ConstView x, const Parameter& kernel, ConstView bias,
                     View y) const {
  if (kernel.quantized() != nullptr) {
    forward_quantized(ctx, x, kernel, y);
    return false;
  }
  const Sizes n = sizes(x.shape(), kernel.shape());
  Tensor copied_x;
  Tensor result;
  const ConstView rows = input_rows(ctx, x, n, copied_x);
  if (!is_identity(y_order_)) result = ctx.tensor({n.batches, n.rows, n.columns}, y.dtype());
  const View out = result.has_value() ? result.view() : y.reshaped({n.batches, n.rows, n.columns});
  const bool adds_bias = bias.has_value() && !result.has_value() && num_shared_ == 0 &&
                         bias.size() == n.columns &&
                         bias.rank() == static_cast<int>(kernel_order_.size() - num_depth_);
  const ConstView added = adds_bias ? bias.reshaped({n.columns}) : ConstView();
  for_matrices(ctx, kernel, n, [&](Index b, ConstView weights, ops::PackedWeights& packed) {
    ops::linear_forward(ctx, matrix(rows, b), weights, packed, added, ops::Epilogue::none,
                        matrix(out, b));
  });
  if (result.has_value()) copy_result(ctx, result, y);
  return adds_bias;
}

void Einsum::backward(Context& ctx, ConstView x, const Parameter& kernel, ConstView d_y, View d_x,
                      View d_kernel) const {
  ops::require_whole_weights(kernel.packed());
  const Sizes n = sizes(x.shape(), kernel.shape());
  Tensor copied_y;
  const ConstView d_rows = output_rows(ctx, d_y, n, copied_y);
  if (d_kernel.has_value()) {
    Tensor copied_x;
    const ConstView rows = input_rows(ctx, x, n, copied_x);
    Tensor sums = ctx.zeros({n.batches, n.depth, n.columns}, d_y.dtype());
    for (Index b = 0; b < n.batches; ++b) {
      ops::linear_backward_weights(ctx, matrix(rows, b), matrix(d_rows, b), matrix(sums.view(), b),
                                   {});
    }
    const View target = ops::permuted(d_kernel, kernel_order_);
    ops::add_elements(ctx, sums.view().reshaped(target.shape()), target);
  }
  if (!d_x.has_value()) return;
  Tensor d_input = ctx.tensor({n.batches, n.rows, n.depth}, d_y.dtype());
  for_matrices(ctx, kernel, n, [&](Index b, ConstView weights, ops::PackedWeights& packed) {
    ops::linear_backward_input(ctx, matrix(d_rows, b), weights, packed, ops::Write::overwrite,
                               matrix(d_input.view(), b));
  });
  const View target = ops::permuted(d_x, x_order_);
  const ConstView source = d_input.view().reshaped(with_ones(target.shape(), num_summed_));
  ops::add_elements(ctx, ops::broadcast_to("einsum", source, target.shape()), target);
}

}  // namespace grouphead::nn
