#include "nn/recurrent/recurrence.h"

#include "nn/recurrent/forward_steps.h"
#include "nn/recurrent/step.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

/// Axes [0, 1] of a tensor as one.
ConstView as_rows(ConstView steps) {
  return steps.reshaped({steps.dim(0) * steps.dim(1), steps.dim(2)});
}
View as_rows(View steps) { return steps.reshaped({steps.dim(0) * steps.dim(1), steps.dim(2)}); }

/// x [S, B, F] times mask [B, F].
Tensor masked(Context& ctx, const RecurrentCell& cell, ConstView x, const Tensor& mask) {
  Tensor y = ctx.tensor(x.shape(), x.dtype());
  ops::binary_forward(ctx, ops::Binary::multiply, x, mask, y);
  if (cell.grid() != y.dtype()) ops::convert_rounded(y, cell.grid(), y);
  return y;
}

bool has_mask_each(const RecurrentCell& cell, const StepMasks& masks) {
  return cell.num_gates() > 1 && masks.x.size() > 1;
}

/// p [S, B, G U] = x W + b.
Tensor project(Context& ctx, const RecurrentCell& cell, const CellRun& run) {
  const Index columns = cell.num_gates() * cell.units();
  Tensor p = ctx.tensor({run.x.dim(0), run.x.dim(1), columns}, run.x.dtype());
  GateProduct product = input_product(ctx, cell, run.masks);
  for (std::size_t part = 0; part < product.num_parts(); ++part) {
    const bool is_each = has_mask_each(cell, run.masks);
    const Tensor x = is_each ? masked(ctx, cell, run.x, run.masks.x[part]) : run.x;
    product.forward(ctx, part, as_rows(x), as_rows(p.view()));
  }
  if (cell.grid() != p.dtype()) ops::convert_rounded(p, cell.grid(), p);
  return p;
}

void project_back(Context& ctx, const RecurrentCell& cell, const CellRun& run, const Tensor& d_p,
                  View d_x, Grads& grads) {
  GateProduct product = input_product(ctx, cell, run.masks);
  const View d_kernel = grads.of(cell.kernel());
  View d_bias = cell.bias() != nullptr ? grads.of(*cell.bias()) : View();
  if (d_bias.has_value() && d_bias.rank() == 2) d_bias = d_bias.slice(0, 0, 1);
  if (d_bias.has_value()) d_bias = d_bias.reshaped({d_bias.size()});
  const bool is_each = has_mask_each(cell, run.masks);
  if (is_each && d_x.has_value()) fill_zero(d_x);
  for (std::size_t part = 0; part < product.num_parts(); ++part) {
    const Tensor x = is_each ? masked(ctx, cell, run.x, run.masks.x[part]) : run.x;
    product.backward_weights(ctx, part, as_rows(x), as_rows(d_p), d_kernel, d_bias);
    if (!d_x.has_value()) continue;
    if (run.masks.x.empty()) {
      product.backward_input(ctx, part, as_rows(d_p), as_rows(d_x));
      continue;
    }
    Tensor d_masked = ctx.tensor(d_x.shape(), d_x.dtype());
    product.backward_input(ctx, part, as_rows(d_p), as_rows(d_masked.view()));
    ops::binary_forward(ctx, ops::Binary::multiply, d_masked, run.masks.x[part], d_masked);
    if (is_each) {
      ops::add(ctx, d_x, d_masked, d_x);
    } else {
      copy(d_masked, d_x);
    }
  }
}

}  // namespace

CellRun run_cell(Context& ctx, const RecurrentCell& cell, const Tensor& x, const Tensor& mask,
                 const Tensor& h0, const Tensor& c0, StepMasks masks, bool keeps) {
  const Index steps = x.dim(0);
  const Index rows = x.dim(1);
  const Index units = cell.units();
  CellRun run{.masks = std::move(masks), .x = x};
  if (run.masks.x.size() == 1) run.x = masked(ctx, cell, x, run.masks.x[0]);
  run.h = ctx.tensor({steps + 1, rows, units}, cell.dtype());
  copy(h0, run.h.view().slice(0, 0, 1).reshaped(h0.shape()));
  if (cell.kind() == CellKind::lstm) {
    run.c = ctx.tensor({steps + 1, rows, units}, cell.dtype());
    copy(c0, run.c.view().slice(0, 0, 1).reshaped(c0.shape()));
  }
  const Index kept = keeps ? steps : 1;
  run.z = ctx.tensor({kept, cell.num_gates(), rows, units}, cell.dtype());
  run.a = ctx.tensor({kept, cell.num_gates(), rows, units}, cell.dtype());
  run.extra = ctx.tensor({kept, rows, units}, cell.dtype());
  const Tensor p = project(ctx, cell, run);
  take_steps(ctx, cell, run, p, mask);
  return run;
}

void run_cell_back(Context& ctx, const RecurrentCell& cell, const CellRun& run, const Tensor& mask,
                   ConstView d_steps, View d_h, View d_c, View d_x, Grads& grads) {
  ops::require_whole_weights(cell.kernel().packed());
  ops::require_whole_weights(cell.recurrent_kernel().packed());
  StepBackward step(ctx, cell, run);
  for (Index s = run.x.dim(0) - 1; s >= 0; --s) {
    if (d_steps.has_value()) ops::add(ctx, d_h, step_of(d_steps, s), d_h);
    step.take(s, mask, d_h, d_c);
  }
  step.add_weight_gradients(grads);
  project_back(ctx, cell, run, step.d_p(), d_x, grads);
}

}  // namespace grouphead::nn
