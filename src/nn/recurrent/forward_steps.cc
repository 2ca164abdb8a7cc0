#include "nn/recurrent/forward_steps.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/context_impl.h"
#include "nn/recurrent/step.h"
#include "ops/convert.h"
#include "ops/rowwise.h"

namespace grouphead::nn {
namespace {

using ops::RowRange;

/// Weights of a kernel that a core's second-level cache holds beside the rest.
constexpr Index kSmallKernel = Index{1} << 18;
/// Rows of a tile of our products, about.
constexpr Index kTileRows = 8;

template <class F>
class Steps {
 public:
  Steps(Context& ctx, const RecurrentCell& cell, CellRun& run, const Tensor& p, const Tensor& mask)
      : ctx_(ctx),
        cell_(cell),
        run_(run),
        p_(p.data<F>()),
        mask_(mask.has_value() ? mask.data<bool>() : nullptr),
        rules_(rules_of(cell)),
        state_(ctx, cell, run),
        batch_(run.x.dim(1)),
        width_(cell.num_gates() * cell.units()),
        r_(ctx.tensor({batch_, width_}, cell.dtype())) {
    bool needs_input = false;
    for (std::size_t part = 0; part < state_.num_parts(); ++part) {
      masks_.push_back(state_.mask(part));
      needs_input = needs_input || masks_.back().has_value() || state_.is_reset(part);
    }
    if (needs_input) input_ = ctx.tensor({batch_, cell.units()}, cell.dtype());
    prepare_row_products();
  }

  void take_all() {
    const Index steps = run_.x.dim(0);
    if (products_.empty()) {
      for (Index s = 0; s < steps; ++s) take(s, {0, batch_});
      return;
    }
    const Index tiles = std::max<Index>(1, ops::num_blocks(batch_, kTileRows));
    const Index rows = ops::num_blocks(tiles, ctx_.num_threads()) * kTileRows;
    ops::for_blocks(ctx_, batch_, rows, [&](Index begin, Index end) {
      for (Index s = 0; s < steps; ++s) take(s, {begin, end});
    });
  }

 private:
  void prepare_row_products() {
    if (cell_.units() * width_ > kSmallKernel) return;
    for (std::size_t part = 0; part < state_.num_parts(); ++part) {
      const auto made = state_.product().row_product(ctx_, part);
      if (!made) return products_.clear();
      products_.push_back(*made);
    }
  }

  /// body(rows) by the calling thread or, where these are all rows of a shared step, by all.
  template <class Body>
  void each(RowRange rows, Body&& body) {
    if (!products_.empty()) return body(rows);
    ops::for_row_blocks(ctx_, {batch_, width_}, [&](Index begin, Index end) {
      body(RowRange{begin, end});
    });
  }

  ops::StepMemory<F> memory_of(Index s) {
    const Index state = batch_ * cell_.units();
    const Index place = run_.z.dim(0) == 1 ? 0 : s;
    F* const h = run_.h.data<F>() + s * state;
    F* const c = run_.c.has_value() ? run_.c.data<F>() + s * state : nullptr;
    return {.rows = batch_,
            .units = cell_.units(),
            .p = p_ + s * batch_ * width_,
            .r = r_.template data<F>(),
            .z = run_.z.data<F>() + place * batch_ * width_,
            .a = run_.a.data<F>() + place * batch_ * width_,
            .extra = run_.extra.data<F>() + place * state,
            .h_before = h,
            .h = h + state,
            .c_before = c,
            .c = c == nullptr ? nullptr : c + state};
  }

  /// The part's columns of r.
  void multiply(std::size_t part, const ops::StepMemory<F>& m, RowRange rows) {
    const F* x = m.h_before;
    if (masks_[part].has_value() || state_.is_reset(part)) {
      const F* const mask = masks_[part].has_value() ? masks_[part].template data<F>() : nullptr;
      const F* const gate = state_.is_reset(part) ? m.a + kResetGate * m.rows * m.units : nullptr;
      F* const input = input_.template data<F>();
      each(rows, [&](RowRange own) {
        ops::scale_rows(rules_.grid, m.h_before, mask, gate, own, m.units, input);
      });
      x = input;
    }
    if constexpr (std::is_same_v<F, float>) {
      if (!products_.empty()) {
        products_[part].multiply(rows.end - rows.begin, x + rows.begin * m.units,
                                 m.r + rows.begin * width_ + state_.product().first(part), width_);
      }
    }
    if (products_.empty()) {
      state_.product().forward(ctx_, part, ConstView(x, {m.rows, m.units}), r_);
    }
  }

  void round_products(RowRange rows) {
    if (rules_.grid == r_.dtype()) return;
    each(rows, [&](RowRange own) {
      const View made = r_.view().slice(0, own.begin, own.end);
      ops::convert_rounded(made, rules_.grid, made);
    });
  }

  void take(Index s, RowRange rows) {
    const ops::StepMemory<F> m = memory_of(s);
    const std::size_t last = state_.num_parts() - 1;
    for (std::size_t part = 0; part <= last; ++part) {
      if (!state_.is_reset(part)) multiply(part, m, rows);
    }
    round_products(rows);
    if (cell_.resets_before()) {
      each(rows, [&](RowRange own) { ops::gru_gates(ctx_, rules_, m, own); });
      multiply(last, m, rows);
      round_products(rows);
    }
    each(rows, [&](RowRange own) { finish(s, m, own); });
  }

  void finish(Index s, const ops::StepMemory<F>& m, RowRange rows) {
    if (cell_.kind() == CellKind::simple_rnn) {
      ops::simple_step(ctx_, rules_, m, rows);
    } else if (cell_.kind() == CellKind::lstm) {
      ops::lstm_step(ctx_, rules_, m, rows);
    } else {
      if (!cell_.resets_before()) ops::gru_gates(ctx_, rules_, m, rows);
      ops::gru_candidate(ctx_, rules_, !cell_.resets_before(), m, rows);
    }
    if (mask_ == nullptr) return;
    const bool* const mask = mask_ + s * batch_;
    ops::restore_rows(mask, m.h_before, rows, m.units, m.h);
    if (m.c != nullptr) ops::restore_rows(mask, m.c_before, rows, m.units, m.c);
  }

  Context& ctx_;
  const RecurrentCell& cell_;
  CellRun& run_;
  const F* p_;
  const bool* mask_;  // [S, B] or null
  ops::StepRules rules_;
  StateProduct state_;
  std::vector<Tensor> masks_;              // of the parts
  std::vector<ops::RowProduct> products_;  // of the parts; empty where all threads share a step
  Index batch_, width_;                    // B, G U
  Tensor r_;                               // [B, G U]
  Tensor input_;  // [B, U], where a part is multiplied with something else than h
};

}  // namespace

void take_steps(Context& ctx, const RecurrentCell& cell, CellRun& run, const Tensor& p,
                const Tensor& mask) {
  if (cell.dtype() == Dtype::f64) {
    Steps<double>(ctx, cell, run, p, mask).take_all();
  } else {
    Steps<float>(ctx, cell, run, p, mask).take_all();
  }
}

}  // namespace grouphead::nn
