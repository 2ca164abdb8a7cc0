#pragma once

// Attention on bf16 values by instructions for them: products and sums in f32; probabilities, and
// in the backward gradients of logits, are rounded to bf16 for their products.

#include "kernels/attention/problem.h"

namespace grouphead::kernels {

/// Operands of an AttentionProblem<float>, which has the sizes, options and the softmax. Packed
/// numbers lie as the kernels of one table want them; a key has key_row of them, a value value_row.
struct Bf16Operands {
  Heads<const std::uint16_t> q, k, v, d_out;
  Heads<std::uint16_t> out;
  PackedHeads<std::uint16_t> packed;
  Index key_row = 0, value_row = 0;

  std::uint16_t* packed_keys(Index bn) const noexcept {
    return packed.keys + bn * packed.capacity * key_row;
  }
  std::uint16_t* packed_values(Index bn) const noexcept {
    return packed.values + bn * packed.capacity * value_row;
  }
};

/// Units and scratch as those of AttentionKernels.
struct Bf16Kernels {
  Index (*key_row)(const AttentionProblem<float>& p) noexcept;
  Index (*value_row)(const AttentionProblem<float>& p) noexcept;
  void (*pack)(const AttentionProblem<float>& p, const Bf16Operands& o, Index unit) noexcept;
  Index (*forward_scratch)(const AttentionProblem<float>& p) noexcept;
  void (*forward)(const AttentionProblem<float>& p, const Bf16Operands& o, Index unit,
                  float* scratch) noexcept;

  /// The gradients are f32. The steps of AttentionKernels that are not here are those of its level.
  void (*gradient_delta)(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                         const Bf16Operands& o, Index bn, Index block) noexcept;
  Index (*gradient_scratch)(const AttentionProblem<float>& p) noexcept;
  void (*gradient_begin)(const AttentionProblem<float>& p, const Bf16Operands& o, Index bn,
                         Index tile, float* scratch) noexcept;
  void (*gradient_block)(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                         const Bf16Operands& o, Index bn, Index tile, Index block,
                         float* scratch) noexcept;
  void (*gradient_end)(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                       Index bn, Index tile, float* scratch) noexcept;
};

/// Null below level avx3_bf16; of level avx3_amx also where that is not available.
const Bf16Kernels* bf16_kernels(Level level) noexcept;
/// Those of level avx3_amx; null where this build has none.
const Bf16Kernels* amx_kernels() noexcept;

}  // namespace grouphead::kernels
