#pragma once

// Keras's rules for the type of a result. A literal of a program (2, 0.5) is weak: it takes the
// type of what it meets, unless it is floating and the other is not. Source:
// keras.backend.result_type.

#include <span>

#include "grouphead/core/context.h"

namespace grouphead::nn {

/// The type of an operand, with `is_weak` of a literal: i32 an integer, f32 a floating number.
struct OperandType {
  Dtype dtype = Dtype::f32;
  bool is_weak = false;
};

/// The smallest type that holds all: bool, then integers, then floating types; bf16 with f16 gives
/// f32. Of no operand f32.
Dtype result_type(std::span<const OperandType> operands);

/// The type in which elementwise functions handle numbers of `dtype`: f64, f32 for the other
/// floating types, i64 for integers, bool.
constexpr Dtype arithmetic_type(Dtype dtype) noexcept {
  switch (dtype) {
    case Dtype::f64:
    case Dtype::boolean:
      return dtype;
    case Dtype::u8:
    case Dtype::i32:
    case Dtype::i64:
      return Dtype::i64;
    default:
      return Dtype::f32;
  }
}

/// x as `dtype`; x itself where it is that already.
Tensor as_type(Context& ctx, const Tensor& x, Dtype dtype);
/// x cast to `dtype`, in arithmetic_type(dtype).
Tensor numbers_as(Context& ctx, const Tensor& x, Dtype dtype);

}  // namespace grouphead::nn
