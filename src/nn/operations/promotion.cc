#include "nn/operations/promotion.h"

#include <algorithm>

#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

// Position in Keras's order of types: a weak integer stands below all integers, a weak floating
// number between integers and floating types. bf16 and f16 share a place.
int rank_of(const OperandType& operand) noexcept {
  if (operand.is_weak && operand.dtype != Dtype::boolean) {
    return ops::is_floating(operand.dtype) ? 5 : 1;
  }
  switch (operand.dtype) {
    case Dtype::boolean:
      return 0;
    case Dtype::u8:
      return 2;
    case Dtype::i32:
      return 3;
    case Dtype::i64:
      return 4;
    case Dtype::bf16:
    case Dtype::f16:
      return 6;
    case Dtype::f32:
      return 7;
    case Dtype::f64:
      return 8;
  }
  return 8;
}

OperandType joined(const OperandType& a, const OperandType& b) noexcept {
  const bool is_mixed_16 = rank_of(a) == 6 && rank_of(b) == 6 && a.dtype != b.dtype;
  if (is_mixed_16) return {Dtype::f32, false};
  return rank_of(a) >= rank_of(b) ? a : b;
}

}  // namespace

Dtype result_type(std::span<const OperandType> operands) {
  if (operands.empty()) return Dtype::f32;
  OperandType sum = operands[0];
  for (const OperandType& operand : operands.subspan(1)) sum = joined(sum, operand);
  return sum.dtype;
}

Tensor as_type(Context& ctx, const Tensor& x, Dtype dtype) {
  if (x.dtype() == dtype) return x;
  Tensor converted = ctx.tensor(x.shape(), dtype);
  ops::cast(ctx, x, converted);
  return converted;
}

Tensor numbers_as(Context& ctx, const Tensor& x, Dtype dtype) {
  const Dtype arithmetic = arithmetic_type(dtype);
  return as_type(ctx, as_type(ctx, x, dtype), arithmetic);
}

}  // namespace grouphead::nn
