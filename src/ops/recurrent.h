#pragma once

// Steps of recurrent cells and their derivatives, but for the matrix products. B rows, U units, G
// gates. f32 or f64, contiguous unless said; `grid` is the type that Keras has the numbers in.

#include "grouphead/core/context.h"
#include "grouphead/layers/activation.h"

namespace grouphead::ops {

struct StepRules {
  Activation activation = Activation::tanh;
  Activation recurrent_activation = Activation::sigmoid;
  Dtype grid = Dtype::f32;
};

/// Rows [begin, end) of a batch.
struct RowRange {
  Index begin, end;
};

/// The numbers of one step.
template <class F>
struct StepMemory {
  Index rows, units;  ///< B, U
  const F* p;         ///< [B, G U], of the inputs
  F* r;               ///< [B, G U], of the states
  F *z, *a;           ///< [G, B, U]: arguments of the gates' activations, their results
  F* extra;           ///< [B, U]. LSTM: activation(c); GRU: the candidate's columns of r
  const F* h_before;  ///< [B, U]
  F* h;
  const F* c_before;  ///< [B, U], of LSTM
  F* c;
};

/// What a step keeps of them for its derivative.
struct StepSeen {
  ConstView z, a, extra;
};

// The steps write z, a, extra, h and c for some rows. They may run for other rows at the same time.

/// to = h, times mask and r unless null: what a state's kernel is multiplied with.
template <class F>
void scale_rows(Dtype grid, const F* h, const F* mask, const F* r, RowRange rows, Index units,
                F* to);

/// h = activation(p + r). G = 1.
template <class F>
void simple_step(Context& ctx, const StepRules& rules, const StepMemory<F>& m, RowRange rows);
/// d_p [B, U]
void simple_step_backward(Context& ctx, const StepRules& rules, const StepSeen& kept, ConstView d_h,
                          View d_p);

/// Gates i, f, g, o of p + r; c = f c_before + i g, h = o activation(c).
template <class F>
void lstm_step(Context& ctx, const StepRules& rules, const StepMemory<F>& m, RowRange rows);
/// d_c: of c, becomes that of c_before. d_p [B, 4 U]
void lstm_step_backward(Context& ctx, const StepRules& rules, const StepSeen& kept,
                        ConstView c_before, ConstView c, ConstView d_h, View d_c, View d_p);

/// The gates z and r of the first 2 U columns of p + r.
template <class F>
void gru_gates(Context& ctx, const StepRules& rules, const StepMemory<F>& m, RowRange rows);
/// h = z h_before + (1 - z) activation(p + t), with t the last U columns of r, times the gate r
/// with reset_after.
template <class F>
void gru_candidate(Context& ctx, const StepRules& rules, bool reset_after, const StepMemory<F>& m,
                   RowRange rows);
/// The last U columns of d_p and d_r, the derivative by the gates in d_a [3, B, U] (that of r with
/// reset_after alone) and the part of d_h_before that goes past them, which it replaces.
void gru_candidate_backward(Context& ctx, const StepRules& rules, bool reset_after,
                            const StepSeen& kept, ConstView h_before, ConstView d_h, View d_a,
                            View d_p, View d_r, View d_h_before);
/// The first 2 U columns of d_p and d_r, from d_a, which it changes.
void gru_gates_backward(Context& ctx, const StepRules& rules, const StepSeen& kept, View d_a,
                        View d_p, View d_r);

/// Rows of `to` [B, width] where mask [B] is false become those of `from`.
template <class F>
void restore_rows(const bool* mask, const F* from, RowRange rows, Index width, F* to);
/// Rows where mask [B] (bool) is false become 0.
void clear_rows(ConstView mask, View rows);
/// They move: `to` = them (else 0), and they become 0 in `from`.
void move_rows(ConstView mask, View from, View to);

}  // namespace grouphead::ops
