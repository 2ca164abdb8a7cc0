#include "ops/gated_unit.h"

#include <cmath>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

// NaN stays NaN.
template <class F>
F at_most(F value, F limit) {
  return value > limit ? limit : value;
}
template <class F>
F cut(F value, F limit) {
  return value < -limit ? -limit : at_most(value, limit);
}

template <class F>
F sigmoid(F x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace

void clamped_swiglu_forward(Context& ctx, const ClampedSwiGlu& unit, ConstView gate, ConstView up,
                            View y) {
  constexpr std::string_view kName = "clamped_swiglu";
  with_float_type(kName, "gate", gate, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "gate", gate, y.size(), kDtypeOf<F>);
    require_elements(kName, "up", up, y.size(), kDtypeOf<F>);
    require_elements(kName, "y", y, y.size(), kDtypeOf<F>);
    const auto alpha = static_cast<F>(unit.alpha);
    const auto limit = static_cast<F>(unit.limit);
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        const F g = at_most(gate.data<F>()[i], limit);
        const F u = cut(up.data<F>()[i], limit);
        y.data<F>()[i] = g * sigmoid(alpha * g) * (u + 1);
      }
    });
  });
}

void clamped_swiglu_backward(Context& ctx, const ClampedSwiGlu& unit, ConstView gate, ConstView up,
                             ConstView d_y, View d_gate, View d_up) {
  constexpr std::string_view kName = "clamped_swiglu_backward";
  with_float_type(kName, "gate", gate, [&](auto zero) {
    using F = decltype(zero);
    const Index count = gate.size();
    for (const auto& [name, view] : {std::pair<std::string_view, ConstView>{"gate", gate},
                                     {"up", up},
                                     {"d_y", d_y},
                                     {"d_gate", d_gate},
                                     {"d_up", d_up}}) {
      require_elements(kName, name, view, count, kDtypeOf<F>);
    }
    const auto alpha = static_cast<F>(unit.alpha);
    const auto limit = static_cast<F>(unit.limit);
    for_blocks(ctx, count, kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        const F full_gate = gate.data<F>()[i];
        const F full_up = up.data<F>()[i];
        const F g = at_most(full_gate, limit);
        const F u = cut(full_up, limit);
        const F s = sigmoid(alpha * g);
        const F d = d_y.data<F>()[i];
        d_gate.data<F>()[i] = full_gate > limit ? 0 : d * (u + 1) * s * (1 + alpha * g * (1 - s));
        d_up.data<F>()[i] = full_up > limit || full_up < -limit ? 0 : d * g * s;
      }
    });
  });
}

}  // namespace grouphead::ops
