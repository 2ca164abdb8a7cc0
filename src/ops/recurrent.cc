#include "ops/recurrent.h"

#include <algorithm>
#include <type_traits>

#include "kernels/rowwise/saturating.h"
#include "ops/activation.h"
#include "ops/convert.h"
#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kOperation = "recurrent_step";

struct Exactly {
  template <class F>
  F operator()(F x) const noexcept {
    return x;
  }
};
struct ToBf16 {
  float operator()(float x) const noexcept { return to_float(to_bf16(x)); }
};
struct ToF16 {
  float operator()(float x) const noexcept { return to_float(to_f16(x)); }
};

/// body(F{}, round) for the float type of `view` and the numbers that `grid` has.
template <class Body>
void with_numbers(const ConstView& view, Dtype grid, Body&& body) {
  with_float_type(kOperation, "state", view, [&](auto zero) {
    if constexpr (std::is_same_v<decltype(zero), float>) {
      if (grid == Dtype::bf16) return body(zero, ToBf16{});
      if (grid == Dtype::f16) return body(zero, ToF16{});
    }
    body(zero, Exactly{});
  });
}

/// Rows of p and r have `gates` matrices of U columns; gate `first` + g of their sum becomes z[g].
void sum_gates(Context& ctx, ConstView p, ConstView r, Index first, Dtype grid, View z) {
  const Index count = z.dim(0);
  const Index rows = z.dim(1);
  const Index units = z.dim(2);
  const Index width = p.dim(1);
  with_numbers(z, grid, [&](auto zero, auto round) {
    using F = decltype(zero);
    for_row_blocks(ctx, {rows, width}, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        for (Index gate = 0; gate < count; ++gate) {
          const Index from = row * width + (first + gate) * units;
          F* to = z.data<F>() + (gate * rows + row) * units;
          for (Index u = 0; u < units; ++u) {
            to[u] = round(p.data<F>()[from + u] + r.data<F>()[from + u]);
          }
        }
      }
    });
  });
}

/// The other way: d_z[g] to the columns of gate `first` + g.
void join_gates(Context& ctx, ConstView d_z, Index first, View d_p) {
  const Index rows = d_z.dim(1);
  const Index units = d_z.dim(2);
  const Index width = d_p.dim(1);
  with_float_type(kOperation, "d_z", d_z, [&](auto zero) {
    using F = decltype(zero);
    for_row_blocks(ctx, {rows, width}, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        for (Index gate = 0; gate < d_z.dim(0); ++gate) {
          std::copy_n(d_z.data<F>() + (gate * rows + row) * units, units,
                      d_p.data<F>() + row * width + (first + gate) * units);
        }
      }
    });
  });
}

View gates_of(View all, Index begin, Index end) { return all.slice(0, begin, end); }
ConstView gates_of(ConstView all, Index begin, Index end) { return all.slice(0, begin, end); }

/// The kernel of an activation on f32; null where there is none.
auto kernel_of(const Context& ctx, Activation activation) noexcept
    -> void (*)(const float*, Index, float*) noexcept {
  const auto& kernels = kernels::saturating_kernels(static_cast<kernels::Level>(ctx.isa()));
  if (activation == Activation::sigmoid) return kernels.sigmoid;
  return activation == Activation::tanh ? kernels.tanh : nullptr;
}

void activate(Context& ctx, Activation activation, Dtype grid, ConstView x, View y) {
  if (const auto kernel = kernel_of(ctx, activation);
      kernel != nullptr && x.dtype() == Dtype::f32) {
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      kernel(x.data<float>() + begin, end - begin, y.data<float>() + begin);
    });
  } else {
    activation_forward(ctx, activation, x, y);
  }
  if (grid != y.dtype()) convert_rounded(y, grid, y);
}

/// d_x from the argument x and the result y, in place. Of sigmoid and tanh y (1 - y) and
/// (1 - y) (1 + y), as JAX has them.
void activate_back(Context& ctx, Activation activation, ConstView x, ConstView y, View d) {
  const bool is_sigmoid = activation == Activation::sigmoid;
  if (!is_sigmoid && activation != Activation::tanh) {
    return activation_backward(ctx, activation, x, d, d);
  }
  with_float_type(kOperation, "d", d, [&](auto zero) {
    using F = decltype(zero);
    const F* made = y.data<F>();
    F* to = d.data<F>();
    for_blocks(ctx, d.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        to[i] *= (is_sigmoid ? made[i] : 1 + made[i]) * (1 - made[i]);
      }
    });
  });
}

/// body(i) for the elements of one [B, U] matrix.
template <class Body>
void for_elements(Context& ctx, const ConstView& like, Body&& body) {
  for_blocks(ctx, like.size(), kBlockElements, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) body(i);
  });
}

}  // namespace

void simple_step(Context& ctx, const StepRules& rules, ConstView p, ConstView r,
                 const StepKept& keep, View h) {
  sum_gates(ctx, p, r, 0, rules.grid, keep.z);
  activate(ctx, rules.activation, rules.grid, keep.z.reshaped(h.shape()), h);
  copy(h, keep.a.reshaped(h.shape()));
}

void simple_step_backward(Context& ctx, const StepRules& rules, const StepSeen& kept, ConstView d_h,
                          View d_p) {
  copy(d_h, d_p);
  const Shape& shape = d_p.shape();
  activate_back(ctx, rules.activation, kept.z.reshaped(shape), kept.a.reshaped(shape), d_p);
}

void lstm_step(Context& ctx, const StepRules& rules, ConstView p, ConstView r, ConstView c_before,
               const StepKept& keep, View c, View h) {
  sum_gates(ctx, p, r, 0, rules.grid, keep.z);
  activate(ctx, rules.recurrent_activation, rules.grid, gates_of(keep.z, 0, 2),
           gates_of(keep.a, 0, 2));
  activate(ctx, rules.activation, rules.grid, gates_of(keep.z, 2, 3), gates_of(keep.a, 2, 3));
  activate(ctx, rules.recurrent_activation, rules.grid, gates_of(keep.z, 3, 4),
           gates_of(keep.a, 3, 4));
  with_numbers(h, rules.grid, [&](auto zero, auto round) {
    using F = decltype(zero);
    const Index n = h.size();
    const F* a = keep.a.data<F>();
    const F* before = c_before.data<F>();
    F* carry = c.data<F>();
    for_elements(ctx, h, [&](Index i) {
      carry[i] = round(round(a[n + i] * before[i]) + round(a[i] * a[2 * n + i]));
    });
    activate(ctx, rules.activation, rules.grid, c, keep.extra);
    const F* active = keep.extra.data<F>();
    F* out = h.data<F>();
    for_elements(ctx, h, [&](Index i) { out[i] = round(a[3 * n + i] * active[i]); });
  });
}

void lstm_step_backward(Context& ctx, const StepRules& rules, const StepSeen& kept,
                        ConstView c_before, ConstView c, ConstView d_h, View d_c, View d_p) {
  Tensor d_z = ctx.tensor(kept.z.shape(), d_h.dtype());
  Tensor d_active = ctx.tensor(d_h.shape(), d_h.dtype());
  with_float_type(kOperation, "d_h", d_h, [&](auto zero) {
    using F = decltype(zero);
    const Index n = d_h.size();
    const F* a = kept.a.data<F>();
    const F* active = kept.extra.data<F>();
    const F* d_out = d_h.data<F>();
    F* d_gates = d_z.data<F>();
    F* d_first = d_active.data<F>();
    for_elements(ctx, d_h, [&](Index i) {
      d_gates[3 * n + i] = d_out[i] * active[i];
      d_first[i] = d_out[i] * a[3 * n + i];
    });
    activate_back(ctx, rules.activation, c, kept.extra, d_active);
    const F* before = c_before.data<F>();
    F* d_carry = d_c.data<F>();
    for_elements(ctx, d_h, [&](Index i) {
      const F d = d_carry[i] + d_first[i];
      d_gates[i] = d * a[2 * n + i];
      d_gates[n + i] = d * before[i];
      d_gates[2 * n + i] = d * a[i];
      d_carry[i] = d * a[n + i];
    });
  });
  const View d = d_z;
  const auto back = [&](Activation activation, Index begin, Index end) {
    activate_back(ctx, activation, gates_of(kept.z, begin, end), gates_of(kept.a, begin, end),
                  gates_of(d, begin, end));
  };
  back(rules.recurrent_activation, 0, 2);
  back(rules.activation, 2, 3);
  back(rules.recurrent_activation, 3, 4);
  join_gates(ctx, d_z, 0, d_p);
}

void gru_gates(Context& ctx, const StepRules& rules, ConstView p, ConstView r,
               const StepKept& keep) {
  sum_gates(ctx, p, r, 0, rules.grid, gates_of(keep.z, 0, 2));
  activate(ctx, rules.recurrent_activation, rules.grid, gates_of(keep.z, 0, 2),
           gates_of(keep.a, 0, 2));
}

void gru_candidate(Context& ctx, const StepRules& rules, bool reset_after, ConstView p, ConstView r,
                   ConstView h_before, const StepKept& keep, View h) {
  const Index rows = h.dim(0);
  const Index units = h.dim(1);
  with_numbers(h, rules.grid, [&](auto zero, auto round) {
    using F = decltype(zero);
    const Index n = h.size();
    const F* gates = keep.a.data<F>();
    F* z = keep.z.data<F>() + 2 * n;
    F* inner = keep.extra.data<F>();
    for_row_blocks(ctx, {rows, units}, [&](Index begin, Index end) {
      for (Index i = begin * units; i < end * units; ++i) {
        const Index at = (i / units) * 3 * units + 2 * units + i % units;
        inner[i] = r.data<F>()[at];
        const F t = reset_after ? round(gates[n + i] * inner[i]) : inner[i];
        z[i] = round(p.data<F>()[at] + t);
      }
    });
    activate(ctx, rules.activation, rules.grid, gates_of(keep.z, 2, 3), gates_of(keep.a, 2, 3));
    const F* before = h_before.data<F>();
    F* out = h.data<F>();
    for_elements(ctx, h, [&](Index i) {
      out[i] = round(round(gates[i] * before[i]) + round(round(1 - gates[i]) * gates[2 * n + i]));
    });
  });
}

void gru_candidate_backward(Context& ctx, const StepRules& rules, bool reset_after,
                            const StepSeen& kept, ConstView h_before, ConstView d_h, View d_a,
                            View d_p, View d_r, View d_h_before) {
  const Index rows = d_h.dim(0);
  const Index units = d_h.dim(1);
  with_float_type(kOperation, "d_h", d_h, [&](auto zero) {
    using F = decltype(zero);
    const Index n = d_h.size();
    const F* a = kept.a.data<F>();
    const F* before = h_before.data<F>();
    const F* d_out = d_h.data<F>();
    F* d = d_a.data<F>();
    F* d_past = d_h_before.data<F>();
    for_elements(ctx, d_h, [&](Index i) {
      d[i] = d_out[i] * (before[i] - a[2 * n + i]);
      d[2 * n + i] = d_out[i] * (1 - a[i]);
      d_past[i] = d_out[i] * a[i];
    });
    activate_back(ctx, rules.activation, gates_of(kept.z, 2, 3), gates_of(kept.a, 2, 3),
                  gates_of(d_a, 2, 3));
    const F* inner = kept.extra.data<F>();
    for_row_blocks(ctx, {rows, units}, [&](Index begin, Index end) {
      for (Index i = begin * units; i < end * units; ++i) {
        const Index at = (i / units) * 3 * units + 2 * units + i % units;
        d_p.data<F>()[at] = d[2 * n + i];
        d_r.data<F>()[at] = reset_after ? d[2 * n + i] * a[n + i] : d[2 * n + i];
        if (reset_after) d[n + i] = d[2 * n + i] * inner[i];
      }
    });
  });
}

void gru_gates_backward(Context& ctx, const StepRules& rules, const StepSeen& kept, View d_a,
                        View d_p, View d_r) {
  const View d = gates_of(d_a, 0, 2);
  activate_back(ctx, rules.recurrent_activation, gates_of(kept.z, 0, 2), gates_of(kept.a, 0, 2), d);
  join_gates(ctx, d, 0, d_p);
  join_gates(ctx, d, 0, d_r);
}

namespace {

/// body(elements of the row, its number) where mask is false.
template <class Body>
void for_hidden_rows(const ConstView& mask, const ConstView& rows, Body&& body) {
  const Index width = rows.dim(1);
  for (Index row = 0; row < rows.dim(0); ++row) {
    if (!mask.data<bool>()[row]) body(row * width, width);
  }
}

}  // namespace

void restore_rows(Context& /*ctx*/, ConstView mask, ConstView from, View to) {
  with_float_type(kOperation, "state", to, [&](auto zero) {
    using F = decltype(zero);
    for_hidden_rows(mask, to, [&](Index at, Index width) {
      std::copy_n(from.data<F>() + at, width, to.data<F>() + at);
    });
  });
}

void clear_rows(Context& /*ctx*/, ConstView mask, View rows) {
  with_float_type(kOperation, "rows", rows, [&](auto zero) {
    using F = decltype(zero);
    for_hidden_rows(mask, rows,
                    [&](Index at, Index width) { std::fill_n(rows.data<F>() + at, width, F{0}); });
  });
}

void move_rows(Context& ctx, ConstView mask, View from, View to) {
  fill_zero(to);
  restore_rows(ctx, mask, from, to);
  clear_rows(ctx, mask, from);
}

}  // namespace grouphead::ops
