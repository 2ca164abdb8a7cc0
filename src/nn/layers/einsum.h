#pragma once

// Keras's einsum of an input and a kernel, as a matrix product around which axes are reordered.

#include <span>
#include <string>
#include <vector>

#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"

namespace grouphead::nn {

/// `abc,cd->abd`, `...x,xy->...y` or `ab...,bc->ac...`, letters only. An ellipsis stands for any
/// number of axes, at the same side of input and output.
struct EinsumEquation {
  std::string input, kernel, output;
  bool left = false;   ///< an ellipsis before the letters
  bool right = false;  ///< an ellipsis behind them

  /// Errors: ConfigError for other forms; a letter twice in one operand; an output letter that
  /// neither input nor kernel has, or a kernel letter that neither input nor output has.
  static EinsumEquation parse(std::string_view layer, std::string_view text);
  /// The operands' letters; the axes that an ellipsis stands for get some that no equation has.
  std::string input_axes(int input_rank) const;
  std::string output_axes(int input_rank) const;
};

/// What a layer makes for one input shape.
struct EinsumShapes {
  Shape kernel;
  Shape bias;  ///< of rank 0 without bias axes
  Shape output;
  Fans fans;  ///< kernel axes that are summed over, and those that the output has
};

/// `output_shape` has the output's axes but the first (with an ellipsis on the left: but those it
/// stands for), -1 for those the input tells. Errors: ShapeError for inputs that do not fit;
/// ConfigError for bias axes that the output has not.
EinsumShapes einsum_shapes(std::string_view layer, const EinsumEquation& equation,
                           std::span<const Index> output_shape, std::string_view bias_axes,
                           const Shape& input);

/// Axes of the operands, by what becomes of them: of all three, of input and kernel (summed over),
/// of input and output, of kernel and output, of the input alone (summed first).
class Einsum {
 public:
  Einsum(const EinsumEquation& equation, int input_rank);

  /// y = einsum(x, kernel), contiguous; y += bias where the product can add it, which is told.
  bool forward(Context& ctx, ConstView x, const Parameter& kernel, ConstView bias, View y) const;
  /// Adds to d_x and d_kernel; either may be absent.
  void backward(Context& ctx, ConstView x, const Parameter& kernel, ConstView d_y, View d_x,
                View d_kernel) const;

 private:
  struct Sizes {
    Index batches, rows, depth, columns;
  };
  using Axes = std::vector<int>;

  Sizes sizes(const Shape& x, const Shape& kernel) const;
  // x as [batches, rows, depth] and y as [batches, rows, columns]: themselves, or `copy`.
  ConstView input_rows(Context& ctx, ConstView x, const Sizes& n, Tensor& copy) const;
  ConstView output_rows(Context& ctx, ConstView y, const Sizes& n, Tensor& copy) const;
  /// The kernel in its order is one matrix, whose packed form is kept.
  bool has_plain_kernel() const;
  /// It is the transpose of that matrix.
  bool has_transposed_kernel() const;
  /// forward() of a quantized kernel, whose bias is added behind it.
  void forward_quantized(Context& ctx, ConstView x, const Parameter& kernel, View y) const;
  void copy_result(Context& ctx, View result, View y) const;
  /// body(b, weights, packed) for the kernel's matrices [depth, columns].
  template <class Body>
  void for_matrices(Context& ctx, const Parameter& kernel, const Sizes& n, Body&& body) const;

  // Orders of axes: shared ones, then rows' or depth's, then depth's or columns'.
  Axes x_order_, kernel_order_, y_order_;
  std::size_t num_shared_ = 0, num_rows_ = 0, num_depth_ = 0, num_summed_ = 0;
};

}  // namespace grouphead::nn
