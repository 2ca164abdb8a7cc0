#pragma once

#include <optional>

#include "grouphead/core/config_value.h"
#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace nn {
class QuantizationPlan;
}

/// What Keras's quantize() made of a layer: its kernel or table in 8 or 4 bits; or numbers that
/// stay as they are, and are rounded to those of 8-bit floating point where they are multiplied.
enum class QuantizationMode : std::uint8_t { int8, int4, float8 };

/// How a quantized layer rounds what it multiplies with its kernel: each row of its inputs becomes
/// whole numbers from `least` to `most`, with one scale, most / (max |x| + epsilon).
/// Source: keras.quantizers.AbsMaxQuantizer.
struct InputRounding {
  double least = -127;
  double most = 127;
  double epsilon = 1e-7;
};

/// A layer's quantization, from its dtype policy and `quantization_config`.
struct Quantization {
  QuantizationMode mode = QuantizationMode::int8;
  Index block_size = 0;                   ///< of int4: numbers with one scale; 0: an output's all
  std::optional<InputRounding> inputs{};  ///< none: inputs stay as they are
  Index amax_history_length = 1024;       ///< of float8
  ConfigValue config{};                   ///< Keras's `quantization_config`; null: none
};

/// What Keras's quantize(mode) takes: int8 rounds the inputs, int4 does not and has a scale for
/// each 128 numbers.
Quantization default_quantization(QuantizationMode mode);

/// A layer whose kernel or table may be quantized: by quantize() (models/quantize.h), or because it
/// is made from a configuration with a quantized policy, and gets its numbers in few bits when a
/// file is loaded. It computes as Keras's layer does: inputs are rounded, the product is one of
/// whole numbers, and is divided by the scales of both. Gradients of the inputs are those of the
/// kernel that the numbers stand for. Numbers in few bits are not trained; Parameter::edit() makes
/// floating-point numbers of them. With float8 the kernel is trained, and the scales follow the
/// histories of what is multiplied.
/// Source: keras.layers.Dense, EinsumDense, Embedding, ReversibleEmbedding, and the attention
/// layers, whose projections are quantized.
class HasQuantization {
 public:
  virtual ~HasQuantization() = default;
  /// Null where the configuration has none.
  virtual const Quantization* quantization() const noexcept = 0;
  /// Whether Keras quantizes such a layer so: no embedding to float8, and no layer whose activation
  /// is a layer.
  virtual bool takes_quantization(QuantizationMode mode) const = 0;
  /// Of a built layer that is not quantized, with Keras's `config`: quantize() calls it, and makes
  /// the changes of all layers when all are planned.
  virtual void plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) = 0;
};

/// Whether layers round their inputs as their quantization says, as Keras's do and as they do after
/// a file is loaded. Without, results are closer to those of the model before quantization.
/// Parameters that are not quantized stay as they are. Threads: not while a model runs.
void round_inputs(const ParameterList& parameters, bool rounds);

}  // namespace grouphead
#pragma GCC visibility pop
