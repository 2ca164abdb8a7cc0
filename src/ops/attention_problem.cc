#include "ops/attention_problem.h"

#include <string>

#include "core/check.h"

namespace grouphead::ops {

using detail::throw_shape_error;

void check_heads(std::string_view operation, std::string_view operand, ConstView x, Index b,
                 Index t, Index h, Index d, Dtype dtype) {
  detail::require_shape(operation, operand, x, {b, t, h, d});
  detail::require_dtype(operation, operand, x, dtype);
  if (x.dim(3) > 1 && x.stride(3) != 1) {
    throw_shape_error(operation, operand, "a contiguous last axis",
                      "stride " + std::to_string(x.stride(3)));
  }
}

void check_queries(std::string_view operation, std::string_view operand, ConstView q,
                   Index num_key_value_heads) {
  detail::require_shape(operation, operand, q, {-1, -1, -1, -1});
  if (q.dtype() != Dtype::f32 && q.dtype() != Dtype::f64) {
    throw_shape_error(operation, operand, "f32 or f64", name_of(q.dtype()));
  }
  check_heads(operation, operand, q, -1, -1, -1, -1, q.dtype());
  if (q.dim(3) < 1) throw_shape_error(operation, operand, "a head dim of 1 or more", "0");
  if (num_key_value_heads < 1 || q.dim(2) < 1 || q.dim(2) % num_key_value_heads != 0) {
    throw_shape_error(operation, operand,
                      "heads in a multiple of " + std::to_string(num_key_value_heads),
                      std::to_string(q.dim(2)));
  }
}

}  // namespace grouphead::ops
