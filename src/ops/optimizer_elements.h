#pragma once

// Optimizer steps of each element alone.

#include <array>

#include "ops/rowwise.h"

namespace grouphead::ops {

/// body(F{}, begin, end) for blocks of w, in parallel, where every operand has w's type and size.
template <class Body>
void for_elements(Context& ctx, std::string_view operation, const View& w,
                  std::initializer_list<ConstView> others, Body&& body) {
  with_float_type(operation, "w", w, [&](auto zero) {
    using F = decltype(zero);
    require_elements(operation, "w", w, w.size(), kDtypeOf<F>);
    for (const ConstView& other : others) {
      require_elements(operation, "operand", other, w.size(), kDtypeOf<F>);
    }
    for_blocks(ctx, w.size(), kBlockElements,
               [&](Index begin, Index end) { body(F{}, begin, end); });
  });
}

}  // namespace grouphead::ops
