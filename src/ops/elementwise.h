#pragma once

// Everything between the matrix products: each forward next to its backward. f32 through the
// kernels of the Context's level, f64 through the references. Tensors are contiguous unless said.

#include <vector>

#include "grouphead/activation.h"
#include "grouphead/context.h"
#include "grouphead/random.h"
#include "grouphead/rope.h"
#include "ops/linear.h"

namespace grouphead::ops {

/// y = gamma (x - mean) rstd + beta over the last axis, rstd = 1 / sqrt(variance + epsilon).
/// Shapes  x, y [..., M]; gamma, beta [M]; mean, rstd: one element a row, or absent. y may be x.
void layer_norm_forward(Context& ctx, ConstView x, ConstView gamma, ConstView beta, double epsilon,
                        View y, View mean, View rstd);
/// d_x as told by `write`; d_gamma, d_beta += in fixed blocks of 64 rows. Absent: not computed.
void layer_norm_backward(Context& ctx, ConstView x, ConstView gamma, ConstView mean, ConstView rstd,
                         ConstView d_y, Write write, View d_x, View d_gamma, View d_beta);

/// y = x (1 + erf(x / sqrt 2)) / 2
void gelu_forward(Context& ctx, ConstView x, View y);
/// d_x = d_y (Phi(x) + x phi(x)); d_x may be d_y.
void gelu_backward(Context& ctx, ConstView x, ConstView d_y, View d_x);

/// y = activation(x), softmax over the last axis; y may be x.
void activation_forward(Context& ctx, Activation activation, ConstView x, View y);
/// d_x from the activation's argument x; d_x may be d_y. Memory: for softmax its result again.
void activation_backward(Context& ctx, Activation activation, ConstView x, ConstView d_y, View d_x);

/// y = exp(x - max) / sum over the last axis; y may be x.
void softmax_forward(Context& ctx, ConstView x, View y);
/// d_x = y (d_y - sum(y d_y)) over the last axis, from the result y; d_x may be d_y.
void softmax_backward(Context& ctx, ConstView y, ConstView d_y, View d_x);

/// y = a + b; y may be a or b.
void add(Context& ctx, ConstView a, ConstView b, View y);

/// y = x / (1 - rate) where the element is kept, else 0; rate 1 keeps none. The factor is rounded
/// as for numbers of the type `grid`. Its own backward: the same call on the gradient. y may be x.
/// Kept is  philox: where word i % 4 of block i / 4 of the key is at least rate 2^32, for element i
///          threefry: where the uniform number of its word is below 1 - rate, bit for bit as in
///          keras.random.dropout on JAX
/// Errors  ConfigError unless 0 <= rate <= 1
void dropout(Context& ctx, ConstView x, double rate, RandomDraw draw, Dtype grid, View y);

/// y[row] = table[tokens[row]]. Shapes: tokens i32 with one element a row, table [V, M],
/// y [rows, M] in any shape.
/// Errors  ShapeError for a token outside [0, V)
void embedding_forward(Context& ctx, ConstView tokens, ConstView table, View y);
/// d_table[tokens[row]] += d_y[row], rows ascending.
void embedding_backward(Context& ctx, ConstView tokens, ConstView d_y, View d_table);

/// Cosines and sines of all positions below `positions`, in the element type `dtype`, angles
/// computed in double: [positions, D/2] each.
struct RopeTable {
  Tensor cos;
  Tensor sin;
  RopeLayout layout = RopeLayout::half;
};
RopeTable make_rope_table(Index positions, Index head_dim, const RopeConfig& config, Dtype dtype);

enum class Direction : std::uint8_t { forward, backward };
/// Rotates x [B, T, H, D] in place; row t has position first_position + t. `backward` is the
/// transpose, for gradients.
void rope(Context& ctx, const RopeTable& table, Index first_position, Direction direction, View x);

/// Mean of -log softmax(logits)[label] over the rows, and lse [rows] for the backward (absent: not
/// kept). Shapes  logits [rows, V], labels [rows] i32. Errors: ShapeError for a bad label.
double softmax_cross_entropy_forward(Context& ctx, ConstView logits, ConstView labels, View lse);
/// What rows are multiplied by: one number, or one each (f64 [rows]; a row of 0 gives zeros, even
/// for NaN).
struct RowScale {
  RowScale(double uniform_scale) : uniform(uniform_scale) {}  // NOLINT(google-explicit-constructor)
  explicit RowScale(ConstView scales) : of_rows(scales) {}
  double uniform = 1;
  ConstView of_rows{};
};
/// d_logits = (softmax(logits) - onehot(label)) * scale; d_logits may be logits.
void softmax_cross_entropy_backward(Context& ctx, ConstView logits, ConstView labels, ConstView lse,
                                    const RowScale& scale, View d_logits);

/// Sum of squares of all elements, summed in fixed blocks, in double.
double sum_of_squares(Context& ctx, ConstView x);
/// Sum of the products of all elements, summed in fixed blocks, in double.
double inner_product(Context& ctx, ConstView a, ConstView b);
/// y = a x; y may be x.
void scale(Context& ctx, ConstView x, double a, View y);

struct AdamWStep {
  double learning_rate;  ///< lr, for the decay
  double alpha;          ///< lr with bias correction
  double weight_decay, beta_1, beta_2, epsilon;
  double gradient_scale;  ///< from clipping; 1: none
};
/// One AdamW update of w with moments m and v. Source: keras.optimizers.AdamW.
void adamw(Context& ctx, const AdamWStep& step, ConstView gradient, View w, View m, View v);
/// The same with v_hat = max(v_hat, v) in v's place in the step.
void amsgrad(Context& ctx, const AdamWStep& step, ConstView gradient, View w, View m, View v,
             View v_hat);

struct SgdStep {
  double learning_rate;
  double weight_decay;
  double momentum;
  bool nesterov;
  double gradient_scale;
};
/// One step of w with velocity m; without m plain gradient descent. Source: keras.optimizers.SGD.
void sgd(Context& ctx, const SgdStep& step, ConstView gradient, View w, View m);

/// y = a x + b y.
void blend(Context& ctx, double a, ConstView x, double b, View y);
/// x = scale x, cut to [-limit, limit]; NaN stays NaN.
void clip(Context& ctx, double scale, double limit, View x);

}  // namespace grouphead::ops
