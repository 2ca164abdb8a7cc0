#include "ops/recurrent.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/bf16.h"
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
  float operator()(float x) const noexcept { return kernels::bf16_value(kernels::bf16_of(x)); }
};
struct ToF16 {
  float operator()(float x) const noexcept { return to_float(to_f16(x)); }
};

/// body(round) for numbers on a grid.
template <class F, class Body>
void with_rounding(Dtype grid, Body&& body) {
  if constexpr (std::is_same_v<F, float>) {
    if (grid == Dtype::bf16) return body(ToBf16{});
    if (grid == Dtype::f16) return body(ToF16{});
  }
  body(Exactly{});
}

/// z[g] = gate g of p + r, which have `gates` of them, for the first `count`.
template <class F, class Round>
void sum_gates(const StepMemory<F>& m, RowRange rows, Index gates, Index count, Round round) {
  for (Index row = rows.begin; row < rows.end; ++row) {
    for (Index gate = 0; gate < count; ++gate) {
      const F* p = m.p + (row * gates + gate) * m.units;
      const F* r = m.r + (row * gates + gate) * m.units;
      F* z = m.z + (gate * m.rows + row) * m.units;
      for (Index u = 0; u < m.units; ++u) z[u] = round(p[u] + r[u]);
    }
  }
}

/// The candidate's columns, the last of three gates', of a row.
template <class F>
F* candidate_of(F* gates, Index row, Index units) {
  return gates + (3 * row + 2) * units;
}

/// The other way: d_z[g] to the columns of gate `first` + g.
void join_gates(Context& ctx, ConstView d_z, Index first, View d_p) {
  const Index rows = d_z.dim(1);
  const Index units = d_z.dim(2);
  const Index width = d_p.dim(1);
  with_float_type(kOperation, "d_z", d_z, [&](auto zero) {
    using F = decltype(zero);
    const F* from = d_z.data<F>();
    F* to = d_p.data<F>();
    for_row_blocks(ctx, {rows, width}, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        for (Index gate = 0; gate < d_z.dim(0); ++gate) {
          std::copy_n(from + (gate * rows + row) * units, units,
                      to + row * width + (first + gate) * units);
        }
      }
    });
  });
}

View gates_of(View all, Index begin, Index end) { return all.slice(0, begin, end); }
ConstView gates_of(ConstView all, Index begin, Index end) { return all.slice(0, begin, end); }

/// y = activation(x) for rows of one [B, U], in blocks that the calling thread takes alone.
template <class F>
void activate(Context& ctx, Activation activation, Dtype grid, RowRange rows, Index units,
              const F* x, F* y) {
  const Index block = rows_per_block({rows.end, units});
  for (Index row = rows.begin; row < rows.end; row += block) {
    const Shape shape{std::min(block, rows.end - row), units};
    const View to(y + row * units, shape);
    activation_forward(ctx, activation, ConstView(x + row * units, shape), to);
    if (grid != to.dtype()) convert_rounded(to, grid, to);
  }
}

/// The same from z to a, for gates [first, end).
template <class F>
void activate_gates(Context& ctx, Activation activation, Dtype grid, const StepMemory<F>& m,
                    RowRange rows, Index first, Index end) {
  for (Index gate = first; gate < end; ++gate) {
    const Index place = gate * m.rows * m.units;
    activate(ctx, activation, grid, rows, m.units, m.z + place, m.a + place);
  }
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

template <class F>
void scale_rows(Dtype grid, const F* h, const F* mask, const F* r, RowRange rows, Index units,
                F* to) {
  with_rounding<F>(grid, [&](auto round) {
    for (Index i = rows.begin * units; i < rows.end * units; ++i) {
      const F dropped = mask == nullptr ? h[i] : round(h[i] * mask[i]);
      to[i] = r == nullptr ? dropped : round(dropped * r[i]);
    }
  });
}

template <class F>
void simple_step(Context& ctx, const StepRules& rules, const StepMemory<F>& m, RowRange rows) {
  with_rounding<F>(rules.grid, [&](auto round) { sum_gates(m, rows, 1, 1, round); });
  activate(ctx, rules.activation, rules.grid, rows, m.units, m.z, m.h);
  std::copy(m.h + rows.begin * m.units, m.h + rows.end * m.units, m.a + rows.begin * m.units);
}

void simple_step_backward(Context& ctx, const StepRules& rules, const StepSeen& kept, ConstView d_h,
                          View d_p) {
  copy(d_h, d_p);
  const Shape& shape = d_p.shape();
  activate_back(ctx, rules.activation, kept.z.reshaped(shape), kept.a.reshaped(shape), d_p);
}

template <class F>
void lstm_step(Context& ctx, const StepRules& rules, const StepMemory<F>& m, RowRange rows) {
  const Index n = m.rows * m.units;
  const Index begin = rows.begin * m.units;
  const Index end = rows.end * m.units;
  with_rounding<F>(rules.grid, [&](auto round) {
    sum_gates(m, rows, 4, 4, round);
    activate_gates(ctx, rules.recurrent_activation, rules.grid, m, rows, 0, 2);
    activate_gates(ctx, rules.activation, rules.grid, m, rows, 2, 3);
    activate_gates(ctx, rules.recurrent_activation, rules.grid, m, rows, 3, 4);
    const F* a = m.a;
    for (Index i = begin; i < end; ++i) {
      m.c[i] = round(round(a[n + i] * m.c_before[i]) + round(a[i] * a[2 * n + i]));
    }
    activate(ctx, rules.activation, rules.grid, rows, m.units, m.c, m.extra);
    for (Index i = begin; i < end; ++i) m.h[i] = round(a[3 * n + i] * m.extra[i]);
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

template <class F>
void gru_gates(Context& ctx, const StepRules& rules, const StepMemory<F>& m, RowRange rows) {
  with_rounding<F>(rules.grid, [&](auto round) { sum_gates(m, rows, 3, 2, round); });
  activate_gates(ctx, rules.recurrent_activation, rules.grid, m, rows, 0, 2);
}

template <class F>
void gru_candidate(Context& ctx, const StepRules& rules, bool reset_after, const StepMemory<F>& m,
                   RowRange rows) {
  const Index n = m.rows * m.units;
  const F* gates = m.a;
  F* z = m.z + 2 * n;
  with_rounding<F>(rules.grid, [&](auto round) {
    for (Index row = rows.begin; row < rows.end; ++row) {
      const F* p = candidate_of(m.p, row, m.units);
      const F* r = candidate_of(m.r, row, m.units);
      for (Index u = 0, i = row * m.units; u < m.units; ++u, ++i) {
        m.extra[i] = r[u];
        z[i] = round(p[u] + (reset_after ? round(gates[n + i] * r[u]) : r[u]));
      }
    }
    activate_gates(ctx, rules.activation, rules.grid, m, rows, 2, 3);
    for (Index i = rows.begin * m.units; i < rows.end * m.units; ++i) {
      m.h[i] =
          round(round(gates[i] * m.h_before[i]) + round(round(1 - gates[i]) * gates[2 * n + i]));
    }
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
      for (Index row = begin; row < end; ++row) {
        F* d_input = candidate_of(d_p.data<F>(), row, units);
        F* d_state = candidate_of(d_r.data<F>(), row, units);
        for (Index u = 0, i = row * units; u < units; ++u, ++i) {
          d_input[u] = d[2 * n + i];
          d_state[u] = reset_after ? d[2 * n + i] * a[n + i] : d[2 * n + i];
          if (reset_after) d[n + i] = d[2 * n + i] * inner[i];
        }
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

/// body(the row's first element) where mask is false.
template <class Body>
void for_hidden_rows(const bool* mask, RowRange rows, Index width, Body&& body) {
  for (Index row = rows.begin; row < rows.end; ++row) {
    if (!mask[row]) body(row * width);
  }
}

}  // namespace

template <class F>
void restore_rows(const bool* mask, const F* from, RowRange rows, Index width, F* to) {
  for_hidden_rows(mask, rows, width, [&](Index at) { std::copy_n(from + at, width, to + at); });
}

void clear_rows(ConstView mask, View rows) {
  with_float_type(kOperation, "rows", rows, [&](auto zero) {
    using F = decltype(zero);
    const Index width = rows.dim(1);
    for_hidden_rows(mask.data<bool>(), {0, rows.dim(0)}, width,
                    [&](Index at) { std::fill_n(rows.data<F>() + at, width, F{0}); });
  });
}

void move_rows(ConstView mask, View from, View to) {
  fill_zero(to);
  with_float_type(kOperation, "rows", from, [&](auto zero) {
    using F = decltype(zero);
    restore_rows(mask.data<bool>(), from.data<F>(), {0, from.dim(0)}, from.dim(1), to.data<F>());
  });
  clear_rows(mask, from);
}

template void scale_rows(Dtype, const float*, const float*, const float*, RowRange, Index, float*);
template void scale_rows(Dtype, const double*, const double*, const double*, RowRange, Index,
                         double*);
template void simple_step(Context&, const StepRules&, const StepMemory<float>&, RowRange);
template void simple_step(Context&, const StepRules&, const StepMemory<double>&, RowRange);
template void lstm_step(Context&, const StepRules&, const StepMemory<float>&, RowRange);
template void lstm_step(Context&, const StepRules&, const StepMemory<double>&, RowRange);
template void gru_gates(Context&, const StepRules&, const StepMemory<float>&, RowRange);
template void gru_gates(Context&, const StepRules&, const StepMemory<double>&, RowRange);
template void gru_candidate(Context&, const StepRules&, bool, const StepMemory<float>&, RowRange);
template void gru_candidate(Context&, const StepRules&, bool, const StepMemory<double>&, RowRange);
template void restore_rows(const bool*, const float*, RowRange, Index, float*);
template void restore_rows(const bool*, const double*, RowRange, Index, double*);

}  // namespace grouphead::ops
