// Probabilities again, from the softmax that the forward left: to write them, or to weigh a
// cotangent of them. Included once per target.

#if defined(GROUPHEAD_KERNELS_ATTENTION_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_SCORES_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_SCORES_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_SCORES_INL_H_
#endif

#include "kernels/attention/forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

static Index scores_scratch(const AttentionProblem<float>& p) noexcept {
  return ForwardScratch::size(p);
}

// visit(row of the unit, its place in [B, Hq, T], its visibility, first key of the tile,
// probabilities) for every row of a unit and tile of which its strip sees any; keys that the row
// does not see have probability 0.
template <class Visit>
static HWY_INLINE void for_probabilities(const AttentionProblem<float>& p, Index unit,
                                         float* scratch, const Visit& visit) {
  const FlushToZero flush;
  const Index blocks = ceil_div(p.rows(), kForwardRows);
  const Index bn = unit / blocks;
  const Index b = bn / p.Hkv;
  const Index first = unit % blocks * kForwardRows;
  const Index rows = min(kForwardRows, p.rows() - first);
  const Index strips = ceil_div(rows, kStripRows);
  const ForwardScratch w(p, scratch);
  RowPlace places[kForwardRows];
  find_places(p, bn, first, strips * kStripRows, places);
  const auto visit_strip = [&](Index strip, const Visibility<>& visibility, Index s) {
    const Index row = strip * kStripRows;
    segment_products(visibility, w.q + row * w.q_row, w.q_row, p.packed_keys(bn) + s * p.D, p.D,
                     w.logits, kLogitRow, w.maxima);
    for (int i = 0; i < kStripRows && row + i < rows; ++i) {
      const Index place = p.statistic(b, bn % p.Hkv, first + row + i);
      const RowSoftmax softmax(p.tops[place], inverse_of(p.sums[place]));
      const RowLogits logits_of(p, b, places[row + i], s, visibility, i, w.strip);
      float* x = w.logits + i * kLogitRow;
      for (Index n = 0; n < visibility.num_segments; ++n) {
        const auto [begin, end] = visibility.segments[n];
        logits_of.for_vectors(begin, end, [&](Index c, const auto& form) HWY_ATTR {
          Vector logit = hn::LoadU(kFloats, x + c);
          const auto hidden = form(c, logit);
          hn::StoreU(form.seen(hidden, softmax(logit)), kFloats, x + c);
        });
      }
      visit(row + i, place, visibility, s, x);
    }
  };
  for_seen_strips(w, p, bn, first, strips, places, visit_strip);
}

static void scores(const AttentionProblem<float>& p, Index unit, float* scratch) noexcept {
  const Index blocks = ceil_div(p.rows(), kForwardRows);
  const Index bn = unit / blocks;
  const Index first = unit % blocks * kForwardRows;
  for (Index r = first; r < min(first + kForwardRows, p.rows()); ++r) {
    float* row = p.scores + p.element(p.statistic(bn / p.Hkv, bn % p.Hkv, r), 0);
    for (Index s = 0; s < p.S; ++s) row[s] = 0.0F;
  }
  for_probabilities(
      p, unit, scratch,
      [&](Index, Index place, const Visibility<>& visibility, Index first_key, const float* x) {
        float* row = p.scores + p.element(place, first_key);
        for (Index n = 0; n < visibility.num_segments; ++n) {
          const auto [begin, end] = visibility.segments[n];
          copy_row(x + begin, end - begin, end - begin, 1.0F, row + begin);
        }
      });
}

static void gradient_scores(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                            Index unit, float* scratch) noexcept {
  const ForwardScratch w(p, scratch);
  fill(w.weights, kForwardRows * kLanes, 0.0F);
  for_probabilities(
      p, unit, scratch,
      [&](Index row, Index place, const Visibility<>& visibility, Index first_key, const float* x) {
        const float* d_row = g.d_scores + p.element(place, first_key);
        Vector sum = hn::LoadU(kFloats, w.weights + row * kLanes);
        for (Index n = 0; n < visibility.num_segments; ++n) {
          const auto [begin, end] = visibility.segments[n];
          const float* d_scores = row_part(d_row, 1, begin, end, p.S - first_key, w.strip.d_scores);
          for (Index c = begin; c < end; c += kLanes) {
            sum = hn::MulAdd(hn::LoadU(kFloats, x + c), hn::LoadU(kFloats, d_scores + c), sum);
          }
        }
        hn::StoreU(sum, kFloats, w.weights + row * kLanes);
      });
  const Index blocks = ceil_div(p.rows(), kForwardRows);
  const Index bn = unit / blocks;
  const Index first = unit % blocks * kForwardRows;
  for (Index r = first; r < min(first + kForwardRows, p.rows()); ++r) {
    const float* sums = w.weights + (r - first) * kLanes;
    g.delta[p.statistic(bn / p.Hkv, bn % p.Hkv, r)] +=
        hn::GetLane(hn::SumOfLanes(kFloats, hn::LoadU(kFloats, sums)));
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
