#pragma once

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// 8-bit floating point: e4m3 without infinities, up to 448; e5m2, up to 57344.
enum class Float8Kind : std::uint8_t { e4m3, e5m2 };

/// y = scale times the number of 8 bits next to x / scale. Shapes: x and y alike, contiguous, f32
/// or f64; y may be x. Source: keras.quantizers.quantize_and_dequantize.
void round_to_float8(Context& ctx, ConstView x, double scale, Float8Kind kind, View y);

}  // namespace grouphead::ops
