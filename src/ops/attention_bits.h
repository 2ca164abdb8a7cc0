#pragma once

// bf16 operands as the kernels for them take them.

#include "kernels/attention/bf16.h"
#include "ops/attention_sequences.h"

namespace grouphead::ops {

/// Null where the level has none.
inline const kernels::Bf16Kernels* bf16_kernels_of(Context& ctx) noexcept {
  return kernels::bf16_kernels(static_cast<kernels::Level>(ctx.isa()));
}

inline kernels::Heads<const std::uint16_t> bits_of(const ConstView& x) {
  return {static_cast<const std::uint16_t*>(x.raw()), x.stride(0), x.stride(1), x.stride(2)};
}

/// Those of one sequence; the backward reads the `out` that the forward wrote.
inline kernels::Bf16Operands bf16_operands(const Sequence& s, const ConstView& q,
                                           const ConstView& k, const ConstView& v,
                                           const ConstView& out) {
  const auto [data, batch, time, head] = bits_of(s.queries(out));
  kernels::Bf16Operands o;
  o.q = bits_of(s.queries(q)), o.k = bits_of(s.keys(k)), o.v = bits_of(s.keys(v));
  o.out = {const_cast<std::uint16_t*>(data), batch, time, head};
  return o;
}

}  // namespace grouphead::ops
