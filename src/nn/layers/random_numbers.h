#pragma once

// What the layers that change numbers at random make of one draw. Tensors are contiguous.

#include <vector>

#include "grouphead/core/random.h"
#include "grouphead/layers/layer.h"

namespace grouphead::nn {

/// The shape that Keras draws in: -1 an axis of the input's size, 1 an axis along which numbers
/// repeat; empty: the input's own.
class NoiseShape {
 public:
  NoiseShape(std::string_view layer, std::vector<Index> axes)
      : layer_(layer), axes_(std::move(axes)) {}
  bool is_whole() const noexcept { return axes_.empty(); }
  /// Errors: ShapeError unless it broadcasts to `input`.
  Shape of(const Shape& input) const;

 private:
  std::string_view layer_;
  std::vector<Index> axes_;
};

/// null: empty. Errors: ConfigError unless a list of nulls and numbers of 1 or more.
std::vector<Index> noise_shape_from(std::string_view layer, const ConfigValue& value);
ConfigValue noise_shape_config(const std::vector<Index>& axes);

/// y = a b, b of a's shape or repeated to it.
void multiply(Context& ctx, ConstView a, ConstView b, View y);
/// y = x / (1 - rate) where the draw keeps an element, 0 elsewhere. Of sequences that several
/// processes share out (SequenceScope) each drops what one would.
void drop(Context& ctx, double rate, const RandomDraw& draw, const NoiseShape& noise_shape,
          const DtypePolicy& policy, ConstView x, View y);
/// Numbers of N(mean, stddev^2) as drawn in policy.compute(), in policy.arithmetic().
Tensor normal_numbers(Context& ctx, const Shape& shape, double mean, double stddev, RandomKey key,
                      const DtypePolicy& policy);
/// y = a (x where kept, else lowest) + b, or the gradient: a x where kept, else 0.
void alpha_drop(Context& ctx, double rate, RandomKey key, const NoiseShape& noise_shape,
                bool is_gradient, ConstView x, View y);

}  // namespace grouphead::nn
