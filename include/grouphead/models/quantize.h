#pragma once

#include <string>
#include <vector>

#include "grouphead/layers/quantization.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Quantizes what Keras quantizes in a built layer or model: Dense, EinsumDense, Embedding,
/// ReversibleEmbedding and the projections of attention layers, at any depth, each to the numbers
/// and scales that Keras makes. Others stay as they are, so does an Embedding in float8. The
/// numbers are not trained from here on; compile afterwards. Returns the names of the layers in the
/// order of the model. float8 layers of a TimeDistributed stay, which Keras marks and does not
/// compute so. `how.config` is made from the rest. Errors: ConfigError before build(); for a layer
/// that is quantized already; for int8 in float16, and of an einsum whose scales Keras cannot
/// arrange (abc,bxyc->ayx); for float8 with LoRA; for int4 in blocks with inputs that are rounded;
/// for a rounding that Keras has not. Nothing is changed then, nor where memory runs out: until the
/// end both the old and the new numbers are there. Threads: not while a model runs.
/// Source: keras.Model.quantize, keras.Layer.quantize.
std::vector<std::string> quantize(Layer& layer, const Quantization& how);
/// With Keras's defaults: default_quantization().
std::vector<std::string> quantize(Layer& layer, QuantizationMode mode);

}  // namespace grouphead
#pragma GCC visibility pop
