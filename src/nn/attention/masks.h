#pragma once

// The masks of attention layers: their types, ranks, and how they fold onto [B', H, T, S].

#include "grouphead/core/context.h"
#include "nn/attention/axes.h"

namespace grouphead::nn {

/// `mask` as bool: integers keep where they are not 0; absent stays absent.
/// Errors: ShapeError for floating types: what is added to logits is attention_bias.
Tensor bool_mask(Context& ctx, std::string_view layer, std::string_view operand,
                 const Tensor& mask);

/// a and b, element by element; one of them where the other is absent. Equal shapes.
Tensor both(Context& ctx, const Tensor& a, const Tensor& b);

/// A mask [B, T] for B' batches of which each B' / B have the same: [B', T].
Tensor repeated(Context& ctx, const Tensor& mask, Index batches);

/// x, which broadcasts to `scores` (AttentionAxes::scores), as [B' or 1, H or 1, T or 1, S or 1].
/// Axes that x lacks stand before the query's. Where only some of the axes that become one are 1, x
/// is copied, unless it must share its elements (`in_place`).
/// Errors: ShapeError.
Tensor folded_mask(Context& ctx, std::string_view layer, std::string_view operand, const Tensor& x,
                   const Shape& scores, const AttentionAxes& axes, bool in_place);

}  // namespace grouphead::nn
