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

/// What a step keeps for its derivative.
template <class V>
struct StepNumbers {
  V z{};      ///< arguments of the gates' activations [G, B, U]
  V a{};      ///< their results [G, B, U]
  V extra{};  ///< LSTM: activation(c'); GRU: what r is multiplied with, or the product of r h
};
using StepKept = StepNumbers<View>;
using StepSeen = StepNumbers<ConstView>;

/// h = activation(p + r). p and r [B, U].
void simple_step(Context& ctx, const StepRules& rules, ConstView p, ConstView r,
                 const StepKept& keep, View h);
/// d_p [B, U]
void simple_step_backward(Context& ctx, const StepRules& rules, const StepSeen& kept, ConstView d_h,
                          View d_p);

/// Gates i, f, g, o of p + r [B, 4 U]; c = f c_before + i g, h = o activation(c).
void lstm_step(Context& ctx, const StepRules& rules, ConstView p, ConstView r, ConstView c_before,
               const StepKept& keep, View c, View h);
/// d_c: of c, becomes that of c_before. d_p [B, 4 U]
void lstm_step_backward(Context& ctx, const StepRules& rules, const StepSeen& kept,
                        ConstView c_before, ConstView c, ConstView d_h, View d_c, View d_p);

/// The gates z and r of the first 2 U columns of p + r.
void gru_gates(Context& ctx, const StepRules& rules, ConstView p, ConstView r,
               const StepKept& keep);
/// h = z h_before + (1 - z) activation(p + t), with t the last U columns of r, times the gate r
/// with reset_after.
void gru_candidate(Context& ctx, const StepRules& rules, bool reset_after, ConstView p, ConstView r,
                   ConstView h_before, const StepKept& keep, View h);
/// The last U columns of d_p and d_r, the derivative by the gates in d_a [3, B, U] (that of r with
/// reset_after alone) and the part of d_h_before that goes past them, which it replaces.
void gru_candidate_backward(Context& ctx, const StepRules& rules, bool reset_after,
                            const StepSeen& kept, ConstView h_before, ConstView d_h, View d_a,
                            View d_p, View d_r, View d_h_before);
/// The first 2 U columns of d_p and d_r, from d_a, which it changes.
void gru_gates_backward(Context& ctx, const StepRules& rules, const StepSeen& kept, View d_a,
                        View d_p, View d_r);

/// Rows b of `to` [B, U] where mask [B] (bool) is false become those of `from`.
void restore_rows(Context& ctx, ConstView mask, ConstView from, View to);
/// Rows where mask is false become 0.
void clear_rows(Context& ctx, ConstView mask, View rows);
/// Rows where mask is false move: to = them (else 0), and they become 0 in `from`.
void move_rows(Context& ctx, ConstView mask, View from, View to);

}  // namespace grouphead::ops
