#pragma once

// The operands of attention layers by name, and the call they make for the core.

#include <array>

#include "nn/attention/axes.h"
#include "nn/attention/core.h"

namespace grouphead::nn {

/// Order of the operands.
enum AttentionOperand : std::size_t {
  kQuery,
  kValue,
  kKey,
  kQueryMask,
  kValueMask,
  kKeyMask,
  kAttentionMask,
  kAttentionBias,
  kNumOperands
};

inline constexpr std::array<std::string_view, kNumOperands> kAttentionOperandNames = {
    "query",    "value",          "key",           "query_mask", "value_mask",
    "key_mask", "attention_mask", "attention_bias"};

/// What a layer's configuration says about a call.
struct AttentionRules {
  std::string_view layer;  ///< in messages
  Index num_heads = 1;     ///< Hq
  double dropout = 0;
  bool causal = false;  ///< always
  std::optional<Index> window{};
  MaskedRows masked_rows = MaskedRows::keras;
  bool flash_attention = false;
  bool honours_query_mask = true;  ///< MultiHeadAttention: only the one attached to query
  Shape output_shape{};            ///< last axes of y; rank 0: as wide as the query
};

/// What a call was given for one operand.
struct GivenOperand {
  LayerInput input{};
  std::optional<Tensor> mask{};  ///< attached to it
};

/// All of them; those that were not given are absent.
struct AttentionOperands {
  std::array<GivenOperand, kNumOperands> given{};
  std::size_t count = kNumOperands;  ///< of the call's inputs, absent ones included
  const GivenOperand& operator[](AttentionOperand which) const noexcept { return given[which]; }
  bool has(AttentionOperand which) const noexcept { return given[which].input.has_value(); }
};
AttentionOperands attention_operands(std::span<const Value> values);
/// Errors: ShapeError unless there are 1 to 8 inputs.
void require_operands(std::string_view layer, const AttentionOperands& in);

/// Shapes of query, value and key.
using AttentionShapes = std::array<Shape, 3>;

/// The shapes, value standing in where no key is given and query for both.
/// Errors: ShapeError unless there are 1 to 8 inputs.
AttentionShapes attention_shapes(std::string_view layer, std::span<const Shape> inputs);
AttentionShapes attention_shapes(const AttentionOperands& in);

/// Errors: ShapeError unless batch axes are equal in all three and lengths in value and key, where
/// known.
void require_shapes(const AttentionRules& rules, const AttentionAxes& axes,
                    const AttentionShapes& shapes);

/// The call of operands whose shapes fit; `is_kept`: its query, key and value are tensors, for the
/// backward pass. Errors: ShapeError for masks.
AttentionCall attention_call(Context& ctx, const AttentionRules& rules, const AttentionAxes& axes,
                             const AttentionOperands& in, const AttentionShapes& shapes,
                             const AttentionArguments& arguments, bool is_kept);

}  // namespace grouphead::nn
