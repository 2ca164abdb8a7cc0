#pragma once

// Where the arrays of a quantized kernel or table have what, and such arrays made of a parameter.

#include <memory>
#include <string_view>
#include <vector>

#include "nn/quantized_numbers.h"

namespace grouphead::nn {

struct QuantizedLayout {
  QuantizedNumbers::Form form = QuantizedNumbers::Form::kernel;
  Index rows = 0;  ///< of the matrix that numbers of 4 bits form
  Index columns = 0;
  Shape scale{};                       ///< shape of the scales in 8 bits
  std::vector<Index> scale_strides{};  ///< in 8 bits, as QuantizedNumbers takes them
};

/// Of a kernel [K, N], or of one whose last axes are the outputs; `scale` is the scales' shape.
QuantizedLayout kernel_layout(Index rows, Index columns, const Shape& scale);
/// Of a table [V, M].
QuantizedLayout table_layout(const Shape& shape);
/// Of the table [M, V] of a ReversibleEmbedding without tied weights.
QuantizedLayout reversed_layout(const Shape& shape);
/// Of an einsum's kernel of this shape; axes of an ellipsis are letters here.
/// Source: keras.layers.EinsumDense, `_analyze_quantization_info` and `_get_kernel_scale_shape`.
QuantizedLayout einsum_layout(std::string_view kernel, std::string_view output, const Shape& shape,
                              QuantizationMode mode);

/// The parameter's value in 8 or 4 bits, as Keras's quantize() makes it.
/// Source: keras.layers.Dense.quantize, EinsumDense.quantize, Embedding.quantize.
std::unique_ptr<QuantizedNumbers> quantized(const Parameter& parameter,
                                            const QuantizedLayout& layout, const Quantization& how);

}  // namespace grouphead::nn
