#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "grouphead/layers/layer.h"
#include "ops/row_product.h"

namespace grouphead::nn {

/// y = x kernel + bias for a kernel [K, N] whose columns may be multiplied with different inputs:
/// parts of so many columns each. One part is the parameter as it is; several are copied out of it,
/// for one forward or backward pass.
class GateProduct {
 public:
  /// `bias` [N] or absent. Shapes: widths sum up to N.
  GateProduct(Context& ctx, const Parameter& kernel, ConstView bias, std::vector<Index> widths);

  std::size_t num_parts() const noexcept { return widths_.size(); }
  /// The part's first column.
  Index first(std::size_t part) const noexcept { return firsts_[part]; }

  /// forward() of the part for rows that the caller cuts; nothing where ops has none.
  std::optional<ops::RowProduct> row_product(Context& ctx, std::size_t part) const;

  /// The part's columns of y [rows, N] = x [rows, K] times its columns of the kernel, plus bias.
  void forward(Context& ctx, std::size_t part, ConstView x, View y);
  /// d_x [rows, K] = the part's columns of d_y times those of the kernel, transposed.
  void backward_input(Context& ctx, std::size_t part, ConstView d_y, View d_x);
  /// Adds to the part's columns of the gradients [K, N] and [N]; either may be absent.
  void backward_weights(Context& ctx, std::size_t part, ConstView x, ConstView d_y, View d_kernel,
                        View d_bias) const;

 private:
  struct Part {
    Tensor kernel, bias;
    ops::PackedWeights packed;
  };
  bool is_whole() const noexcept { return widths_.size() == 1; }
  ConstView columns(ConstView matrix, std::size_t part) const;
  View columns(View matrix, std::size_t part) const;

  const Parameter& kernel_;
  ConstView bias_;
  std::vector<Index> widths_, firsts_;
  std::vector<std::unique_ptr<Part>> parts_;  // of several
};

}  // namespace grouphead::nn
