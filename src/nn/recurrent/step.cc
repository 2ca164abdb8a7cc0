#include "nn/recurrent/step.h"

#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"

namespace grouphead::nn {
namespace {

template <class V>
V without_first_axis(V one) {
  const Shape& shape = one.shape();
  return one.reshaped(Shape(std::span<const Index>(shape.begin() + 1, shape.end())));
}

std::vector<Index> equal_parts(const RecurrentCell& cell) {
  return std::vector<Index>(static_cast<std::size_t>(cell.num_gates()), cell.units());
}

std::vector<Index> state_parts(const RecurrentCell& cell, const StepMasks& masks) {
  if (masks.h.size() > 1) return equal_parts(cell);
  if (cell.resets_before()) return {2 * cell.units(), cell.units()};
  return {cell.num_gates() * cell.units()};
}

/// The bias of the inputs or, of GRU with reset_after, of the states.
ConstView bias_of(const RecurrentCell& cell, bool of_state) {
  if (cell.bias() == nullptr || (of_state && !cell.has_state_bias())) return {};
  const ConstView bias = cell.bias()->numbers();
  if (bias.rank() == 1) return bias;
  const ConstView row = bias.slice(0, of_state ? 1 : 0, of_state ? 2 : 1);
  return row.reshaped({row.size()});
}

ops::StepSeen seen_of(const CellRun& run, Index s) {
  return {step_of(run.z.view(), s), step_of(run.a.view(), s), step_of(run.extra.view(), s)};
}

ConstView gate_r(ConstView gates) { return step_of(gates, kResetGate); }

}  // namespace

ConstView step_of(ConstView all, Index s) { return without_first_axis(all.slice(0, s, s + 1)); }
View step_of(View all, Index s) { return without_first_axis(all.slice(0, s, s + 1)); }

ops::StepRules rules_of(const RecurrentCell& cell) {
  return {cell.options().activation, cell.options().recurrent_activation, cell.grid()};
}

GateProduct input_product(Context& ctx, const RecurrentCell& cell, const StepMasks& masks) {
  std::vector<Index> parts{cell.num_gates() * cell.units()};
  if (masks.x.size() > 1) parts = equal_parts(cell);
  return {ctx, cell.kernel(), bias_of(cell, false), std::move(parts)};
}

StateProduct::StateProduct(Context& ctx, const RecurrentCell& cell, const CellRun& run)
    : ctx_(ctx),
      cell_(cell),
      run_(run),
      product_(ctx, cell.recurrent_kernel(), bias_of(cell, true), state_parts(cell, run.masks)) {}

Tensor StateProduct::mask(std::size_t part) const {
  const std::vector<Tensor>& masks = run_.masks.h;
  if (masks.empty()) return {};
  return masks.size() == 1 ? masks[0] : masks[part];
}

Tensor StateProduct::input(std::size_t part, ConstView h, ConstView r) const {
  Tensor made = ctx_.tensor(h.shape(), h.dtype());
  const auto round = [&] {
    if (cell_.grid() != made.dtype()) ops::convert_rounded(made, cell_.grid(), made);
  };
  const Tensor dropped = mask(part);
  if (dropped.has_value()) {
    ops::binary_forward(ctx_, ops::Binary::multiply, h, dropped, made);
    round();
  }
  if (r.has_value()) {
    const ConstView from = dropped.has_value() ? ConstView(made) : h;
    ops::binary_forward(ctx_, ops::Binary::multiply, from, r, made);
    round();
  }
  return made;
}

StepBackward::StepBackward(Context& ctx, const RecurrentCell& cell, const CellRun& run)
    : ctx_(ctx), cell_(cell), run_(run), rules_(rules_of(cell)), state_(ctx, cell, run) {
  const Shape gates{run.x.dim(0), run.x.dim(1), cell.num_gates() * cell.units()};
  const Shape state{run.x.dim(1), cell.units()};
  d_p_ = ctx.tensor(gates, cell.dtype());
  if (cell.kind() == CellKind::gru) d_r_ = ctx.tensor(gates, cell.dtype());
  past_h_ = ctx.tensor(state, cell.dtype());
  if (cell.kind() == CellKind::lstm) past_c_ = ctx.tensor(state, cell.dtype());
  d_before_ = ctx.tensor(state, cell.dtype());
  d_product_ = ctx.tensor(state, cell.dtype());
}

void StepBackward::take(Index s, const Tensor& mask, View d_h, View d_c) {
  // What belongs to masked rows goes past the step.
  if (mask.has_value()) {
    const ConstView row = step_of(mask.view(), s);
    ops::move_rows(row, d_h, past_h_);
    if (past_c_.has_value()) ops::move_rows(row, d_c, past_c_);
  }
  gates_back(s, d_h, d_c);
  if (mask.has_value()) {
    ops::add(ctx_, d_h, past_h_, d_h);
    if (past_c_.has_value()) ops::add(ctx_, d_c, past_c_, d_c);
  }
}

void StepBackward::gates_back(Index s, View d_h, View d_c) {
  const ops::StepSeen kept = seen_of(run_, s);
  const View d_p = step_of(d_p_.view(), s);
  if (cell_.kind() == CellKind::gru) return gru_back(s, kept, d_h);
  if (cell_.kind() == CellKind::simple_rnn) {
    ops::simple_step_backward(ctx_, rules_, kept, d_h, d_p);
  } else {
    ops::lstm_step_backward(ctx_, rules_, kept, step_of(run_.c.view(), s),
                            step_of(run_.c.view(), s + 1), d_h, d_c, d_p);
  }
  fill_zero(d_h);
  for (std::size_t part = 0; part < state_.num_parts(); ++part) add_product(part, d_p, d_h);
}

void StepBackward::gru_back(Index s, const ops::StepSeen& kept, View d_h) {
  const ConstView before = step_of(run_.h.view(), s);
  const View d_p = step_of(d_p_.view(), s);
  const View d_r = step_of(d_r_.view(), s);
  Tensor d_a = ctx_.tensor(kept.a.shape(), cell_.dtype());
  ops::gru_candidate_backward(ctx_, rules_, !cell_.resets_before(), kept, before, d_h, d_a, d_p,
                              d_r, d_before_);
  copy(d_before_, d_h);
  if (cell_.resets_before()) {
    const std::size_t last = state_.num_parts() - 1;
    state_.product().backward_input(ctx_, last, d_r, d_product_);
    const Tensor dropped =
        state_.mask(last).has_value() ? state_.input(last, before, {}) : Tensor();
    const ConstView used = dropped.has_value() ? ConstView(dropped) : before;
    ops::binary_forward(ctx_, ops::Binary::multiply, d_product_, used,
                        step_of(d_a.view(), kResetGate));
    ops::binary_forward(ctx_, ops::Binary::multiply, d_product_, gate_r(kept.a), d_product_);
    if (dropped.has_value()) {
      ops::binary_forward(ctx_, ops::Binary::multiply, d_product_, state_.mask(last), d_product_);
    }
    ops::add(ctx_, d_h, d_product_, d_h);
  }
  ops::gru_gates_backward(ctx_, rules_, kept, d_a, d_p, d_r);
  for (std::size_t part = 0; part < state_.num_parts(); ++part) {
    if (!state_.is_reset(part)) add_product(part, d_r, d_h);
  }
}

void StepBackward::add_product(std::size_t part, ConstView d_r, View d_h) {
  state_.product().backward_input(ctx_, part, d_r, d_product_);
  const Tensor dropped = state_.mask(part);
  if (dropped.has_value()) {
    ops::binary_forward(ctx_, ops::Binary::multiply, d_product_, dropped, d_product_);
  }
  ops::add(ctx_, d_h, d_product_, d_h);
}

void StepBackward::add_weight_gradients(Grads& grads) {
  const View d_kernel = grads.of(cell_.recurrent_kernel());
  View d_bias;
  if (cell_.has_state_bias()) d_bias = grads.of(*cell_.bias());
  if (d_bias.has_value()) d_bias = d_bias.slice(0, 1, 2).reshaped({d_bias.dim(1)});
  const ConstView before = run_.h.view().slice(0, 0, run_.x.dim(0));
  const Shape rows{before.dim(0) * before.dim(1), before.dim(2)};
  const ConstView d_rows = d_r().view().reshaped({rows[0], d_r().dim(2)});
  for (std::size_t part = 0; part < state_.num_parts(); ++part) {
    Tensor input;
    ConstView r;
    if (state_.is_reset(part)) {
      const ConstView gate = run_.a.view().slice(1, kResetGate, kResetGate + 1);
      r = ConstView(gate.raw(), gate.dtype(), {gate.dim(0), gate.dim(2), gate.dim(3)},
                    {gate.stride(0), gate.stride(2), gate.stride(3)});
    }
    if (r.has_value() || state_.mask(part).has_value()) input = state_.input(part, before, r);
    const ConstView used = input.has_value() ? ConstView(input) : before;
    state_.product().backward_weights(ctx_, part, used.reshaped(rows), d_rows, d_kernel, d_bias);
  }
}

}  // namespace grouphead::nn
