#pragma once

#include <string>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::tools::report {

/// For each layer a large picture, the mean of its heads with `bytes` at both sides, and a small
/// one for each head: row = query position, column = key position, the darker the more attention
/// (by the square root, so that small shares show). Self-contained HTML. Shapes  scores: one tensor
/// [1, H, T, S] (f32 or f64) per layer Errors  ShapeError
std::string attention_maps(const std::vector<Tensor>& scores, const std::string& bytes);

}  // namespace grouphead::tools::report
