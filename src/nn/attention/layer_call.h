#pragma once

// What GroupQueryAttention and MultiHeadAttention do around the core.

#include "nn/attention/operands.h"

namespace grouphead::nn {

std::unique_ptr<CallArguments> attention_arguments(std::string_view layer,
                                                   const ConfigValue& keywords);
ConfigValue attention_arguments_config(const CallArguments* arguments);

/// Last axes of these shapes. Errors: ShapeError for an unknown or empty one.
AttentionWidths attention_widths(const AttentionRules& rules, const AttentionShapes& shapes);

std::vector<Shape> attention_output_shapes(const AttentionRules& rules, const AttentionAxes& axes,
                                           const AttentionShapes& shapes,
                                           const CallArguments* arguments);

std::vector<Value> attention_forward(Context& ctx, const AttentionCore& core,
                                     const AttentionRules& rules, const AttentionAxes& axes,
                                     const AttentionOperands& in, const Mode& mode,
                                     std::unique_ptr<Saved>* saved);
void attention_backward(Context& ctx, const AttentionCore& core, std::string_view layer,
                        Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                        Grads& grads);

}  // namespace grouphead::nn
