#pragma once

// One step of each algorithm of keras.optimizers but SGD and Adam. w is decayed first, then moved
// along g, the gradient times gradient_scale. f32 or f64, contiguous, states of w's type and size
// unless said. Blocks of elements are fixed: the same bits for any number of threads.

#include <array>

#include "grouphead/core/context.h"

namespace grouphead::ops {

struct OptimizerStep {
  double learning_rate;
  double decay;  ///< w -= decay w
  double gradient_scale;
};

struct RmspropNumbers {
  double rho, momentum, epsilon;
};
/// m and mean may be absent: no momentum, not centered.
void rmsprop(Context& ctx, const OptimizerStep& step, const RmspropNumbers& numbers,
             ConstView gradient, View w, View v, View m, View mean);

struct NadamNumbers {
  double beta_1, beta_2, epsilon;
  double m_factor, g_factor;  ///< of m and g in the corrected momentum
  double v_correction;        ///< 1 - beta_2^t
};
void nadam(Context& ctx, const OptimizerStep& step, const NadamNumbers& numbers, ConstView gradient,
           View w, View m, View v);

struct AdamaxNumbers {
  double beta_1, beta_2, epsilon;
  double correction;  ///< 1 - beta_1^t
};
void adamax(Context& ctx, const OptimizerStep& step, const AdamaxNumbers& numbers,
            ConstView gradient, View w, View m, View u);

void adagrad(Context& ctx, const OptimizerStep& step, double epsilon, ConstView gradient, View w,
             View sum);

void adadelta(Context& ctx, const OptimizerStep& step, double rho, double epsilon,
              ConstView gradient, View w, View squares, View changes);

struct FtrlNumbers {
  double power;  ///< -learning_rate_power
  double l1, l2, shrinkage;
};
void ftrl(Context& ctx, const OptimizerStep& step, const FtrlNumbers& numbers, ConstView gradient,
          View w, View sum, View linear);

void lion(Context& ctx, const OptimizerStep& step, double beta_1, double beta_2, ConstView gradient,
          View w, View m);

struct LambNumbers {
  double beta_1, beta_2, epsilon;
  double m_correction, v_correction;  ///< 1 - beta^t
};
/// The gradient's place holds the step afterwards.
void lamb(Context& ctx, const OptimizerStep& step, const LambNumbers& numbers, View gradient,
          View w, View m, View v);

struct AdafactorNumbers {
  double beta_2;  ///< of this step
  double epsilon_1, epsilon_2, clip_threshold;
  double largest_rate;  ///< the rate is at most this
};
/// rows [..., R] and columns [..., C] for w [..., R, C]; absent for vectors and numbers. The
/// gradient's place holds the step afterwards.
void adafactor(Context& ctx, const OptimizerStep& step, const AdafactorNumbers& numbers,
               View gradient, View w, View rows, View columns, View v);

struct MuonNumbers {
  double momentum;
  bool nesterov;
  std::array<double, 3> coefficients;  ///< a, b, c of x := a x + (b x x^T + c (x x^T)^2) x
  Index iterations;
  double factor;  ///< of the step
};
/// w [R, C]. The gradient's place is used.
void muon(Context& ctx, const OptimizerStep& step, const MuonNumbers& numbers, View gradient,
          View w, View m);

struct ScheduleFreeNumbers {
  double beta_1, beta_2, epsilon;
  double v_correction;  ///< 1 - beta_2^t
  double weight;        ///< 1 / t
};
void schedule_free(Context& ctx, const OptimizerStep& step, const ScheduleFreeNumbers& numbers,
                   ConstView gradient, View w, View z, View v);

}  // namespace grouphead::ops
