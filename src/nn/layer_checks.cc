#include "nn/layer_checks.h"

namespace grouphead::nn {

using core::throw_config_error;
using core::throw_shape_error;

void require_float(std::string_view layer, Dtype dtype) {
  if (dtype != Dtype::f32 && dtype != Dtype::f64) {
    throw_config_error(layer, "dtype", "f32 or f64", name_of(dtype));
  }
}

void require_unbuilt(std::string_view layer, bool is_built) {
  if (is_built) throw_config_error(layer, "build", "one call", "a second one");
}

void require_built(std::string_view layer, bool is_built) {
  if (!is_built) throw_config_error(layer, "parameters", "build() before the first call", "none");
}

void require_count(std::string_view layer, std::string_view what, std::size_t count,
                   std::size_t low, std::size_t high) {
  if (count >= low && count <= high) return;
  std::string expected = std::to_string(low);
  if (high > low) expected.append(" to ").append(std::to_string(high));
  throw_shape_error(layer, what, expected, std::to_string(count));
}

void require_last_axis(std::string_view layer, const Shape& shape, Index width) {
  const bool fits = shape.rank() >= 1 && (width < 0 || shape.back() < 0 || shape.back() == width);
  if (fits) return;
  throw_shape_error(layer, "input", "[..., " + (width < 0 ? "*" : std::to_string(width)) + "]",
                    shape.to_string());
}

void require_last_axis(std::string_view layer, const ConstView& x, Index width, Dtype dtype) {
  if (!x.has_value()) throw_shape_error(layer, "input", "a tensor", "nothing");
  require_last_axis(layer, x.shape(), width);
  core::require_dtype(layer, "input", x, dtype);
}

Index built_width(std::string_view layer, std::span<const Shape> inputs) {
  require_count(layer, "number of inputs", inputs.size(), 1, 1);
  if (inputs[0].rank() < 1 || inputs[0].back() < 1) {
    throw_shape_error(layer, "input", "a last axis of 1 or more", inputs[0].to_string());
  }
  return inputs[0].back();
}

void require_no_mask(std::string_view layer, std::string_view operand, const Value& value) {
  if (value.mask) throw_shape_error(layer, operand, "no mask", "one");
}

void throw_foreign_saved(std::string_view layer) {
  throw_config_error(layer, "saved", "what this layer's forward() kept", "another layer's");
}

}  // namespace grouphead::nn
