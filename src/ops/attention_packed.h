#pragma once

// Problems on keys and values that are packed first, in one region of work with what follows.

#include <span>

#include "ops/attention_sequences.h"

namespace grouphead::ops {

/// The sizes and options of a sequence, of the operands of the whole call.
template <class F>
kernels::AttentionProblem<F> sizes_of(const Sequence& s, const ConstView& q, const ConstView& k,
                                      const ConstView& v) {
  kernels::AttentionProblem<F> p;
  p.whole = s.whole;
  p.B = s.end_entry - s.first_entry;
  p.T = s.end_query - s.first_query, p.Hq = q.dim(2), p.D = q.dim(3);
  p.S = s.end_key - s.first_key, p.Hkv = k.dim(2), p.Dv = v.dim(3);
  set_options(s.options(), p);
  return p;
}

template <class F>
void set_operands(const Sequence& s, const ConstView& q, const ConstView& k, const ConstView& v,
                  kernels::AttentionProblem<F>& p) {
  p.q = heads_of<F>(s.queries(q)), p.k = heads_of<F>(s.keys(k)), p.v = heads_of<F>(s.keys(v));
}

/// Where the units of each problem begin. One problem alone, as most calls are, costs no memory.
class UnitStarts {
 public:
  /// units_of(problem): how many it has.
  template <class F, class Units>
  UnitStarts(Context& ctx, std::span<const kernels::AttentionProblem<F>> problems,
             const Units& units_of)
      : count_(static_cast<Index>(problems.size())) {
    if (count_ > 1) memory_ = ctx.tensor({count_}, Dtype::i64);
    for (Index i = 0; i < count_; ++i) {
      if (count_ > 1) memory_.data<Index>()[i] = units_;
      units_ += units_of(problems[static_cast<std::size_t>(i)]);
    }
  }
  Index units() const noexcept { return units_; }
  Index begin(Index problem) const noexcept { return problem == 0 ? 0 : starts()[problem]; }
  /// The problem that a unit belongs to.
  Index problem_of(Index unit) const noexcept {
    if (count_ == 1) return 0;
    return std::upper_bound(starts(), starts() + count_, unit) - starts() - 1;
  }

 private:
  const Index* starts() const noexcept { return memory_.data<Index>(); }

  Index count_;
  Index units_ = 0;
  Tensor memory_;  // absent for one
};

/// pack(problem, unit) for all tiles of keys and values, then body(problem, unit, slot) for every
/// forward_units() of every problem. One region for all: the rows of a batch entry start as soon as
/// its keys are packed. Of several problems each has one entry.
template <class F, class Pack, class Body>
void for_packed_units(Context& ctx, std::span<const kernels::AttentionProblem<F>> problems,
                      const Pack& pack, const Body& body) {
  using Problem = kernels::AttentionProblem<F>;
  const UnitStarts packs(ctx, problems,
                         [](const Problem& p) { return p.B * kernels::pack_tiles(p, Index{0}); });
  const UnitStarts rows(ctx, problems, [](const Problem& p) { return kernels::forward_units(p); });
  Index entries = 0;
  double flops = 0;
  for (const Problem& p : problems) {
    entries += p.B;
    flops += forward_flops(p);
  }
  Progress packed(ctx, entries);
  for_units(ctx, packs.units() + rows.units(), flops, [&](Index unit, int slot) {
    const bool is_pack = unit < packs.units();
    const UnitStarts& starts = is_pack ? packs : rows;
    const Index place = is_pack ? unit : unit - packs.units();
    const Index problem = starts.problem_of(place);
    const Problem& p = problems[static_cast<std::size_t>(problem)];
    const Index tiles = kernels::pack_tiles(p, Index{0});
    const Index own = place - starts.begin(problem);
    if (is_pack) {
      pack(p, own);
      packed.add(problem + own / tiles);
    } else {
      packed.wait_for(problem + own / (kernels::forward_units(p) / p.B), tiles);
      body(p, own, slot);
    }
  });
}

/// The packed keys of all problems, and their values if they have any; as long as this lives.
template <class F>
class PackedMemory {
 public:
  PackedMemory(Context& ctx, std::span<kernels::AttentionProblem<F>> problems) {
    Index keys = 0;
    Index values = 0;
    const auto for_sizes = [&](const auto& body) {
      for (kernels::AttentionProblem<F>& p : problems) {
        p.packed.capacity = kernels::round_up(p.S, kernels::kPanelKeys);
        const Index rows = p.B * p.Hkv * p.packed.capacity;
        body(p, rows * p.D, rows * kernels::round_up(p.Dv, kernels::kPanelKeys));
      }
    };
    for_sizes([&](const auto& p, Index key_size, Index value_size) {
      keys += key_size;
      if (p.v.data != nullptr) values += value_size;
    });
    keys_ = ctx.tensor({keys}, kDtypeOf<F>);
    values_ = ctx.tensor({values}, kDtypeOf<F>);
    F* next_keys = keys_.template data<F>();
    F* next_values = values_.template data<F>();
    for_sizes([&](auto& p, Index key_size, Index value_size) {
      p.packed.keys = next_keys;
      next_keys += key_size;
      if (p.v.data == nullptr) return;
      p.packed.values = next_values;
      next_values += value_size;
    });
  }

 private:
  Tensor keys_, values_;
};

/// body(problem, unit, slot) for every forward_units(), of packed keys and values.
template <class F, class Body>
void with_packed(Context& ctx, std::span<kernels::AttentionProblem<F>> problems, const Body& body) {
  const kernels::AttentionKernels<F>& table = kernels_of<F>(ctx);
  const PackedMemory<F> memory(ctx, problems);
  for_packed_units<F>(
      ctx, problems,
      [&](const kernels::AttentionProblem<F>& p, Index unit) { table.pack(p, 0, unit); }, body);
}

}  // namespace grouphead::ops
