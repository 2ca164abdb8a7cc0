#pragma once

#include <optional>

#include "ops/packed_gemm.h"

namespace grouphead::ops {

/// y = x w + bias in f32, for rows that the caller cuts: once the weights are packed, any thread
/// may multiply, without taking memory. A row of y depends on its row of x alone; its bits may
/// differ from those of linear_forward().
class RowProduct {
 public:
  /// w [K, N] as in linear_forward(), packed now in the form that packed.form() asks for; bias [N]
  /// or absent. Both must outlive this. Nothing where the level of ctx has no kernels or the
  /// numbers are not f32.
  static std::optional<RowProduct> make(Context& ctx, ConstView w, PackedWeights& packed,
                                        ConstView bias);

  /// x [rows, K]; rows of y [rows, N] lie y_stride elements apart.
  void multiply(Index rows, const float* x, float* y, Index y_stride) const noexcept;

 private:
  RowProduct(const kernels::GemmKernels& table, Index depth, Index columns,
             const packed_gemm::AnyPanels& panels, const float* bias)
      : table_(&table), depth_(depth), columns_(columns), panels_(panels), bias_(bias) {}

  const kernels::GemmKernels* table_;
  Index depth_, columns_;
  packed_gemm::AnyPanels panels_;
  const float* bias_;  // or null
};

}  // namespace grouphead::ops
