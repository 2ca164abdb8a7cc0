#pragma once

// Numbers of layers that Keras quantized, as the floating-point numbers that they stand for.

#include <optional>
#include <string>
#include <vector>

#include "grouphead/layers/layer.h"
#include "saved/keras_store.h"

namespace grouphead::saved {

/// The arrays of one kernel or table; `scale` has no file where it is not quantized.
struct QuantizedArrays {
  KerasArray numbers{};
  KerasArray scale{};
  KerasArray zero{};    ///< with groups alone: what stands for 0
  KerasArray groups{};  ///< the group of each row; of an Embedding of each column

  bool is_quantized() const noexcept { return scale.file != nullptr; }
  bool has_groups() const noexcept { return groups.file != nullptr; }
};

/// The first of a layer's arrays with those that belong to it, which are taken out of the list.
/// `expected` is how many variables the layer has; `ordered` has more. Nothing where they are not
/// those of int8, int4 or float8 (whose kernels are floating-point numbers).
/// Source: variable_serialization_spec of keras.layers.Dense, EinsumDense and Embedding.
std::optional<QuantizedArrays> take_quantized(std::vector<KerasArray>& ordered,
                                              std::size_t expected);

/// Why the arrays are none of a variable of this layer and shape; empty: they are.
std::string problem_of(const QuantizedArrays& arrays, const Layer& layer, const Shape& shape);

/// The numbers that Keras computes with, [shape], in f64. Errors: IoError for groups that there
/// are not.
Tensor dequantized(const QuantizedArrays& arrays, const Layer& layer, const Shape& shape);

}  // namespace grouphead::saved
