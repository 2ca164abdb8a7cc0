#pragma once

// The steps of a cell backward: its products with the state's kernel around what ops/recurrent.h
// does; and what the steps forward share with them.

#include "nn/recurrent/gate_product.h"
#include "nn/recurrent/recurrence.h"
#include "ops/recurrent.h"

namespace grouphead::nn {

/// GRU's gate that multiplies the state.
inline constexpr Index kResetGate = 1;

/// Element s of the first axis, without this axis.
ConstView step_of(ConstView all, Index s);
View step_of(View all, Index s);

ops::StepRules rules_of(const RecurrentCell& cell);

/// x W in one part, or one for each gate where each has its mask.
GateProduct input_product(Context& ctx, const RecurrentCell& cell, const StepMasks& masks);

/// The products of the state: which parts they have, and with what each is multiplied.
class StateProduct {
 public:
  StateProduct(Context& ctx, const RecurrentCell& cell, const CellRun& run);

  std::size_t num_parts() const noexcept { return product_.num_parts(); }
  GateProduct& product() noexcept { return product_; }
  /// Whether the part's input is the state times the gate r.
  bool is_reset(std::size_t part) const noexcept {
    return cell_.resets_before() && part + 1 == product_.num_parts();
  }
  /// The mask of the part; absent without dropout.
  Tensor mask(std::size_t part) const;
  /// h [..., B, U] times the mask and, with r given, r.
  Tensor input(std::size_t part, ConstView h, ConstView r) const;

 private:
  Context& ctx_;
  const RecurrentCell& cell_;
  const CellRun& run_;
  GateProduct product_;
};

class StepBackward {
 public:
  StepBackward(Context& ctx, const RecurrentCell& cell, const CellRun& run);
  /// d_h and d_c: from those of the step's results to those of what it had before.
  void take(Index s, const Tensor& mask, View d_h, View d_c);
  void add_weight_gradients(Grads& grads);
  /// [S, B, G U]; of the state's product the same, but for GRU.
  const Tensor& d_p() const noexcept { return d_p_; }

 private:
  void gates_back(Index s, View d_h, View d_c);
  void gru_back(Index s, const ops::StepSeen& kept, View d_h);
  void add_product(std::size_t part, ConstView d_r, View d_h);
  const Tensor& d_r() const noexcept { return d_r_.has_value() ? d_r_ : d_p_; }

  Context& ctx_;
  const RecurrentCell& cell_;
  const CellRun& run_;
  ops::StepRules rules_;
  StateProduct state_;
  Tensor d_p_, d_r_;
  Tensor past_h_, past_c_, d_before_, d_product_;  // [B, U]
};

}  // namespace grouphead::nn
