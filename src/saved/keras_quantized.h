#pragma once

// Numbers of layers that Keras quantized, from their arrays and back.

#include <memory>
#include <string>
#include <vector>

#include "nn/quantized_numbers.h"
#include "saved/keras_store.h"

namespace grouphead::saved {

/// The arrays of one kernel or table.
struct QuantizedArrays {
  std::size_t variable = 0;  ///< which of the layer's
  KerasArray numbers{};
  KerasArray scale{};   ///< no file where the numbers are floating-point ones, as with float8
  KerasArray zero{};    ///< with groups alone: what stands for 0
  KerasArray groups{};  ///< the group of each row; of an Embedding of each column

  bool is_quantized() const noexcept { return scale.file != nullptr; }
  bool has_groups() const noexcept { return groups.file != nullptr; }
};

/// Those of a layer's arrays that are quantized numbers with what belongs to them, which are taken
/// out of the list. `expected` is how many variables the layer has; `ordered` has more. Empty where
/// they are not those of int8, int4 or float8 (whose kernels are floating-point numbers).
/// Source: variable_serialization_spec of keras.layers.Dense, EinsumDense, Embedding and
/// ReversibleEmbedding.
std::vector<QuantizedArrays> take_quantized(const Layer& layer, std::vector<KerasArray>& ordered,
                                            std::size_t expected);

/// Why the arrays are none of a variable of this layer and shape; empty: they are.
std::string problem_of(const QuantizedArrays& arrays, const Layer& layer, const Shape& shape);

/// The parameter's numbers. Errors: IoError for groups that there are not.
std::unique_ptr<nn::QuantizedNumbers> quantized_numbers(const QuantizedArrays& arrays,
                                                        const Layer& layer,
                                                        const Parameter& parameter);

/// An array of a layer as Keras's files have it.
struct StoredArray {
  ConstView numbers{};
  bool is_int8 = false;  ///< u8 whose bits are those of int8
};
/// Those of a layer with these variables, some of which are quantized, in Keras's order. `first`:
/// what stands for the first one's numbers; null: these themselves.
std::vector<StoredArray> stored_arrays(const std::vector<Parameter*>& variables,
                                       const nn::QuantizedNumbers* first = nullptr);

}  // namespace grouphead::saved
