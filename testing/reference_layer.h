#pragma once

// A layer in f32 next to the same one in f64, which runs on the plain references.

#include "grouphead/layers/layer.h"
#include "testing/problem.h"

namespace grouphead::testing {

/// Gives `to` the numbers of `from`, whose parameters are the same in another element type.
void copy_parameters(Context& ctx, const Layer& from, Layer& to);

/// Rounds f64 weights, rows of `columns`, as packed ones of `form` are: bf16, or u8 for 8-bit
/// numbers with a scale for each column.
void round_weights(View weights, Index columns, Dtype form);

/// The same for all kernels of a language model.
void round_kernels(Layer& model, Dtype form);

/// Inputs that a kernel sums over, as rows of its matrix: the head and its dims of
/// attention_output, else the first axis.
Index kernel_columns(std::string_view path, const Parameter& kernel);

/// Bound of numbers of this magnitude at the end of a path of `length` additions. The factor over
/// Case::check()'s 2 is for what lies between the sums: normalisation divides by a spread below 1.
double path_bound(Dtype dtype, double length, double magnitude);

}  // namespace grouphead::testing
