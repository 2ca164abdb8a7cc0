#include <cmath>
#include <vector>

#include "core/check.h"
#include "ops/attention_packed.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionProblem;

// The problems of a call, and what they point to.
template <class F>
struct Problems {
  std::vector<AttentionProblem<F>> all;
  std::vector<Tensor> fully_masked;

  /// set(problem, its sequence) for those that have queries.
  template <class Set>
  Problems(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
           const AttentionOptions& options, const Set& set) {
    const Index count = num_sequences(options, q);
    all.reserve(static_cast<std::size_t>(count));
    for (Index n = 0; n < count; ++n) {
      const Sequence s = sequence_of(options, q, k.dim(1), n);
      AttentionProblem<F> p = sizes_of<F>(s, q, k, v);
      if (p.B * p.rows() == 0) continue;
      set_operands(s, q, k, v, p);
      set(p, s);
      if (Tensor note = note_fully_masked_queries(ctx, s.options(), p); note.has_value()) {
        fully_masked.push_back(std::move(note));
      }
      all.push_back(p);
    }
  }
};

// run(table, problem, unit, scratch) for every forward_units() of all problems.
template <class F, class Run>
void run_units(Context& ctx, Problems<F>& problems,
               Index (*scratch_of)(const AttentionProblem<F>&) noexcept, const Run& run) {
  Index scratch = 0;
  for (const AttentionProblem<F>& p : problems.all) scratch = std::max(scratch, scratch_of(p));
  reserve_scratch<F>(ctx, scratch);
  with_packed<F>(ctx, problems.all, [&](const AttentionProblem<F>& p, Index unit, int slot) {
    run(p, unit, ctx.impl().scratch<F>(slot, scratch));
  });
}

}  // namespace

template <class F>
void forward_wide(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                  const AttentionOptions& options, const View& out, const View& statistics) {
  zero_queries_of_none(options, out, 1);
  if (statistics.has_value()) zero_queries_of_none(options, statistics, 3);
  Problems<F> problems(ctx, q, k, v, options, [&](AttentionProblem<F>& p, const Sequence& s) {
    p.out = mutable_heads_of<F>(s.queries(out));
    if (statistics.has_value()) set_statistics(statistics, p);
  });
  const kernels::AttentionKernels<F>& table = kernels_of<F>(ctx);
  run_units<F>(ctx, problems, table.forward_scratch, table.forward);
}

template <class F>
void scores_wide(Context& ctx, const ConstView& q, const ConstView& k,
                 const AttentionOptions& options, const ConstView& statistics, const View& scores) {
  if (has_sequences(options)) fill_zero(scores);
  Problems<F> problems(ctx, q, k, k, options, [&](AttentionProblem<F>& p, const Sequence&) {
    p.v.data = nullptr;
    set_statistics(statistics, p);
    p.scores = scores.data<F>();
  });
  const kernels::AttentionKernels<F>& table = kernels_of<F>(ctx);
  run_units<F>(ctx, problems, table.scores_scratch, table.scores);
}

template void forward_wide<float>(Context&, const ConstView&, const ConstView&, const ConstView&,
                                  const AttentionOptions&, const View&, const View&);
template void forward_wide<double>(Context&, const ConstView&, const ConstView&, const ConstView&,
                                   const AttentionOptions&, const View&, const View&);
template void scores_wide<float>(Context&, const ConstView&, const ConstView&,
                                 const AttentionOptions&, const ConstView&, const View&);
template void scores_wide<double>(Context&, const ConstView&, const ConstView&,
                                  const AttentionOptions&, const ConstView&, const View&);

}  // namespace grouphead::ops
