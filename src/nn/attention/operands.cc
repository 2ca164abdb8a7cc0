#include "nn/attention/operands.h"

#include <algorithm>

#include "nn/attention/masks.h"
#include "nn/layer_checks.h"

namespace grouphead::nn {
namespace {

// The mask given for x, else the one attached to x.
Tensor mask_of(Context& ctx, std::string_view layer, const AttentionOperands& in,
               AttentionOperand x, AttentionOperand mask) {
  if (in.has(mask)) {
    return bool_mask(ctx, layer, kAttentionOperandNames[mask], in[mask].input.tensor(ctx));
  }
  return in[x].mask.value_or(Tensor());
}

// Which positions are real: [B, T] and [B, S], or absent.
struct Positions {
  Tensor query_mask;
  Tensor key_mask;
};

// A mask of positions on axis 1 of x.
void require_positions(const AttentionRules& rules, const AttentionAxes& axes,
                       AttentionOperand which, const Tensor& mask, const Shape& x) {
  if (!mask.has_value()) return;
  if (!axes.is_axis_1()) {
    core::throw_shape_error(
        rules.layer, kAttentionOperandNames[which],
        "none, for masks of positions count along axis 1 and attention does not",
        mask.shape().to_string());
  }
  core::require_dense(rules.layer, kAttentionOperandNames[which], mask, {x[0], x[1]},
                      Dtype::boolean);
}

Positions position_masks(Context& ctx, const AttentionRules& rules, const AttentionAxes& axes,
                         const AttentionOperands& in, const AttentionShapes& shapes) {
  const std::string_view layer = rules.layer;
  // Keras's MultiHeadAttention overwrites the argument by the attached mask.
  const Tensor query = rules.honours_query_mask ? mask_of(ctx, layer, in, kQuery, kQueryMask)
                                                : in[kQuery].mask.value_or(Tensor());
  const bool value_is_query = !in.has(kValue);
  const Tensor value = mask_of(ctx, layer, in, value_is_query ? kQuery : kValue, kValueMask);
  const Tensor key = mask_of(ctx, layer, in, kKey, kKeyMask);
  require_positions(rules, axes, kQueryMask, query, shapes[0]);
  require_positions(rules, axes, kValueMask, value, shapes[1]);
  require_positions(rules, axes, kKeyMask, key, shapes[2]);
  return {query, both(ctx, value, key)};
}

// Keras builds causal masks and windows from the lengths of axis 1.
void require_order(const AttentionRules& rules, const AttentionAxes& axes, std::string_view what,
                   const AttentionShapes& shapes) {
  if (axes.is_axis_1()) return;
  bool fits = axes.num_attention_axes() == 1;
  for (const Shape& x : shapes) {
    fits = fits && x[static_cast<int>(axes.axes()[0])] == x[1];
  }
  if (!fits) {
    core::throw_shape_error(rules.layer, what,
                            "one attention axis, as long as axis 1 in all inputs",
                            shapes[0].to_string() + " and " + shapes[1].to_string());
  }
}

MaskedRows masked_rows_of(const AttentionRules& rules, bool return_scores, int rank) {
  if (rules.masked_rows == MaskedRows::zeros) return MaskedRows::zeros;
  if (rules.masked_rows == MaskedRows::uniform) return MaskedRows::uniform;
  const bool is_fused = rules.dropout == 0 && !return_scores && rank == 3;
  return is_fused ? MaskedRows::uniform : MaskedRows::zeros;
}

void fold_masks(Context& ctx, const AttentionRules& rules, const AttentionAxes& axes,
                const AttentionOperands& in, const AttentionShapes& shapes, AttentionCall& call) {
  const Tensor mask = bool_mask(ctx, rules.layer, kAttentionOperandNames[kAttentionMask],
                                in[kAttentionMask].input.tensor(ctx));
  const Tensor bias = in[kAttentionBias].input.tensor(ctx);
  const Positions positions = position_masks(ctx, rules, axes, in, shapes);
  const bool has_positions = positions.query_mask.has_value() || positions.key_mask.has_value();
  // Keras aligns [B, T, 1] with such a mask from the right: the batch would meet the heads.
  if (has_positions && mask.has_value() && mask.rank() > 3 && shapes[0][0] != 1) {
    core::throw_shape_error(rules.layer, kAttentionOperandNames[kAttentionMask],
                            "rank 2 or 3 next to masks of query, value or key",
                            mask.shape().to_string());
  }
  call.query_mask = repeated(ctx, positions.query_mask, call.query.shape()[0]);
  call.key_mask = repeated(ctx, positions.key_mask, call.query.shape()[0]);
  if (!mask.has_value() && !bias.has_value()) return;
  const Shape scores = axes.scores(shapes[0], rules.num_heads, shapes[1]);
  call.attention_mask = folded_mask(ctx, rules.layer, kAttentionOperandNames[kAttentionMask], mask,
                                    scores, axes, false);
  call.attention_bias = folded_mask(ctx, rules.layer, kAttentionOperandNames[kAttentionBias], bias,
                                    scores, axes, true);
  if (bias.has_value()) {
    core::require_dtype(rules.layer, kAttentionOperandNames[kAttentionBias], bias,
                        call.query.dtype());
  }
}

}  // namespace

AttentionOperands attention_operands(std::span<const Value> values) {
  AttentionOperands operands;
  operands.count = values.size();
  for (std::size_t i = 0; i < std::min<std::size_t>(values.size(), kNumOperands); ++i) {
    operands.given[i] = {values[i].tensor, values[i].mask};
  }
  return operands;
}

void require_operands(std::string_view layer, const AttentionOperands& in) {
  nn::require_count(layer, "number of inputs", in.count, 1, kNumOperands);
}

AttentionShapes attention_shapes(std::string_view layer, std::span<const Shape> inputs) {
  nn::require_count(layer, "number of inputs", inputs.size(), 1, kNumOperands);
  const Shape& query = inputs[kQuery];
  const Shape& value = inputs.size() > kValue && inputs[kValue].rank() > 0 ? inputs[kValue] : query;
  const Shape& key = inputs.size() > kKey && inputs[kKey].rank() > 0 ? inputs[kKey] : value;
  return {query, value, key};
}

AttentionShapes attention_shapes(const AttentionOperands& in) {
  const Shape& query = in[kQuery].input.shape();
  const Shape& value = in.has(kValue) ? in[kValue].input.shape() : query;
  return {query, value, in.has(kKey) ? in[kKey].input.shape() : value};
}

void require_shapes(const AttentionRules& rules, const AttentionAxes& axes,
                    const AttentionShapes& shapes) {
  const auto& [query, value, key] = shapes;
  const std::size_t rank = static_cast<std::size_t>(axes.rank());
  const std::array<Index, kMaxRank> any = {-1, -1, -1, -1, -1, -1, -1, -1};
  core::require_shape(rules.layer, "query", query, std::span(any).first(rank));

  std::array<Index, kMaxRank> expected = any;
  const auto require = [&](std::string_view operand, const Shape& x) {
    std::array<Index, kMaxRank> known = expected;  // where x knows its own
    for (int i = 0; i < std::min(x.rank(), axes.rank()); ++i) {
      if (x[i] < 0) known[static_cast<std::size_t>(i)] = -1;
    }
    core::require_shape(rules.layer, operand, x, std::span<const Index>(known).first(rank));
  };
  for (const Index axis : axes.batch_axes()) {
    expected[static_cast<std::size_t>(axis)] = query[static_cast<int>(axis)];
  }
  require("value", value);
  std::copy(value.begin(), value.end() - 1, expected.begin());
  require("key", key);
}

AttentionCall attention_call(Context& ctx, const AttentionRules& rules, const AttentionAxes& axes,
                             const AttentionOperands& in, const AttentionShapes& shapes,
                             const AttentionArguments& arguments, bool is_kept) {
  AttentionCall call;
  call.query = axes.fold(ctx, in[kQuery].input, is_kept);
  call.value = in.has(kValue) ? axes.fold(ctx, in[kValue].input, is_kept) : call.query;
  call.key = in.has(kKey) ? axes.fold(ctx, in[kKey].input, is_kept) : call.value;
  fold_masks(ctx, rules, axes, in, shapes, call);
  call.causal = rules.causal || arguments.use_causal_mask;
  call.causal_offset = arguments.causal_offset;
  call.window = rules.window;
  if (call.causal) require_order(rules, axes, "use_causal_mask", shapes);
  if (rules.window) require_order(rules, axes, "sliding_window", shapes);
  call.return_scores = arguments.return_attention_scores;
  call.masked_rows = masked_rows_of(rules, call.return_scores, axes.rank());
  call.batch = shapes[0][0];
  return call;
}

}  // namespace grouphead::nn
