#pragma once

// The forward on bf16 numbers by vdpbf16ps: products and sums in f32, probabilities rounded to bf16
// for their product with the values. No options but causality.

#include "kernels/attention.h"

namespace grouphead::kernels {

/// Operands of an AttentionProblem<float>, which has the sizes, scale, causality and the softmax.
/// Packed: keys [B, Hkv, capacity / 16, D / 2, 16, 2] with dims in pairs, D rounded up, and values
/// [B, Hkv, capacity / 2, width, 2] with positions in pairs, width = Dv rounded up to 16. As the
/// tiles of a bf16 cache.
struct Bf16Operands {
  Heads<const std::uint16_t> q, k, v;
  Heads<std::uint16_t> out;
  PackedHeads<std::uint16_t> packed;

  std::uint16_t* packed_keys(const AttentionProblem<float>& p, Index bn) const noexcept {
    return packed.keys + bn * packed.capacity * round_up(p.D, 2);
  }
  std::uint16_t* packed_values(const AttentionProblem<float>& p, Index bn) const noexcept {
    return packed.values + bn * packed.capacity * round_up(p.Dv, kPanelKeys);
  }
};

/// Units and scratch as those of AttentionKernels.
struct Bf16Kernels {
  void (*pack)(const AttentionProblem<float>& p, const Bf16Operands& o, Index unit) noexcept;
  Index (*forward_scratch)(const AttentionProblem<float>& p) noexcept;
  void (*forward)(const AttentionProblem<float>& p, const Bf16Operands& o, Index unit,
                  float* scratch) noexcept;
};

/// Null below level avx3_bf16. The scale must be positive.
const Bf16Kernels* bf16_kernels(Level level) noexcept;

}  // namespace grouphead::kernels
