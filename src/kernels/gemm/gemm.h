#pragma once

#include <cstdint>

#include "kernels/cpu/level.h"
#include "kernels/gemm/reference.h"

namespace grouphead::kernels {

/// Columns of b in panels of GemmKernels::panel: row d of panel p begins at data + p * panel_stride
/// + d * row_stride. Elements are float, or fewer bits that are widened in registers: std::uint16_t
/// for bf16, std::int8_t for integers.
template <class Element>
struct Panels {
  const Element* data;
  Index panel_stride;
  Index row_stride;
  const float* scales = nullptr;  // of each column: a sum is multiplied with it; null: 1
  bool in_memory = false;  // the product asks for them ahead: no cache has them, it takes few
                           // rows, and row_stride is GemmKernels::panel
};

/// Matrix products of one instruction-set level. Each element of c is summed over blocks of 512
/// ascending depths, each block from zero by ascending multiply-adds; so its bits depend on its row
/// of a and its column of b alone, however the product is cut.
struct GemmKernels {
  Index panel;      // columns
  Index vector;     // of which multiply() reads so many at a time
  Index tile_rows;  // rows that multiply() takes at a time

  /// b [depth, columns] into panels with row_stride `panel` and panel_stride depth * panel; columns
  /// after the last are zero.
  void (*pack)(Index depth, Index columns, Matrix<const float> b, float* panels) noexcept;

  /// The first operand of multiply() from its transpose [depth, rows]: tiles of `tile_rows` rows,
  /// one every tile_stride, whose element (r, d) is tile[d * tile_rows + r].
  void (*pack_transposed)(Index depth, Index rows, const float* a, Index a_stride, float* tiles,
                          Index tile_stride) noexcept;

  /// c = a b + bias (null: none), or c += a b + bias. Whole vectors of panels are read.
  template <class Element>
  using Multiply = void(Index rows, Index columns, Index depth, Matrix<const float> a,
                        Panels<Element> b, const float* bias, bool add, float* c,
                        Index c_stride) noexcept;
  Multiply<float>* multiply;
  Multiply<std::uint16_t>* multiply_bf16;
  Multiply<std::int8_t>* multiply_int8;

  /// sums[j] += the sum of column j of a [rows, columns], rows ascending from zero.
  void (*add_column_sums)(Index rows, Index columns, const float* a, Index a_stride,
                          float* sums) noexcept;
};

/// The product with weights of this element type.
template <class Element>
GemmKernels::Multiply<Element>* multiply_of(const GemmKernels& table) noexcept {
  if constexpr (sizeof(Element) == sizeof(float)) {
    return table.multiply;
  } else if constexpr (sizeof(Element) == sizeof(std::uint16_t)) {
    return table.multiply_bf16;
  } else {
    return table.multiply_int8;
  }
}

/// Null for Level::ref, whose products are the functions of gemm_reference.h.
const GemmKernels* gemm_kernels(Level level) noexcept;

}  // namespace grouphead::kernels
