// The softmax of one row and its gradient, between the products of the backward. Included once per
// target.

#if defined(GROUPHEAD_KERNELS_ATTENTION_BACKWARD_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_BACKWARD_ROW_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_BACKWARD_ROW_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_BACKWARD_ROW_INL_H_
#endif

#include "kernels/attention/visibility-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

constexpr Index kProbRow = kGradientKeys + 16;  // not a multiple of 64: see kLogitRow

// Where gradient_block leaves gradients of logits for gradient_add_bias, [kGradientRows][kProbRow],
// if there is a bias: behind the share of d_q.
static HWY_INLINE const float* biased_gradients(const AttentionProblem<float>& p,
                                                const float* scratch) {
  return scratch + kGradientRows * round_up(p.D, kPanelKeys);
}

// Whether delta is summed here, sum_j prob d_prob, instead of sum_d out d_out: where one tile has
// all keys. The sum then has the very roundings of what it is subtracted from, which matters where
// the softmax is sharp. Dropout would be drawn twice for it.
static HWY_INLINE bool has_own_delta(const AttentionProblem<float>& p) {
  return p.S <= kGradientKeys && !p.is_part && !p.dropout.active;
}

// A row of a block against a tile of keys.
struct GradientRow {
  float* probs;     // products q k, then probabilities times what dropout does to them
  float* d_logits;  // products d_out v, then gradients of the products q k
  float* d_biased;  // the same of the logits; d_logits where these do not differ
  float top, inverse, delta;
};

// Probabilities and gradients of logits from the two products of `row`, which is row i of a strip;
// zeros for what it does not see of the first `keys` keys.
template <int kRows>
static HWY_INLINE void gradient_row(const AttentionProblem<float>& p,
                                    const AttentionGradients<float>& g, const GradientRow& row,
                                    const StripMemory<kRows>& strip, Index b, const RowPlace& place,
                                    const Visibility<kRows>& visibility, int i, Index first_key,
                                    Index keys) {
  const RowLogits logits_of(p, b, place, first_key, visibility, i, strip);
  const RowSoftmax softmax(row.top, row.inverse);
  const Index element = p.element(p.place(b, place.h, place.t), first_key);
  float* probs = row.probs;
  float* d_logits = row.d_logits;
  float* d_biased = row.d_biased;
  const Vector one = hn::Set(kFloats, 1.0F);
  const bool has_biased = d_biased != d_logits;
  // body(c, its LogitForm, which keys from c on are hidden, probabilities, their gradients, what
  // dropout does, derivative of the logits by the products)
  const auto for_keys = [&](Index begin, Index end, const auto& body) HWY_ATTR {
    const float* d_scores = g.d_scores == nullptr ? nullptr
                                                  : row_part(g.d_scores + element, 1, begin, end,
                                                             p.S - first_key, strip.d_scores);
    const float* kept = p.dropout.active
                            ? kept_of(p, b, place, first_key + begin, end - begin, strip.kept)
                            : nullptr;
    logits_of.for_vectors(begin, end, [&](Index c, const auto& form) HWY_ATTR {
      Vector logit = hn::LoadU(kFloats, probs + c);
      Vector slope = one;
      const auto hidden = form(c, logit, &slope);
      const Vector prob = form.seen(hidden, softmax(logit));
      Vector d_prob = hn::LoadU(kFloats, d_logits + c);
      if (kept == nullptr && d_scores == nullptr) {
        return body(c, form, hidden, prob, d_prob, one, slope);
      }
      const Vector scale = kept == nullptr ? one : load(kept + c - begin, kLanes);
      d_prob = hn::Mul(d_prob, scale);
      if (d_scores != nullptr) d_prob = hn::Add(d_prob, hn::LoadU(kFloats, d_scores + c));
      body(c, form, hidden, prob, d_prob, scale, slope);
    });
  };
  Vector delta = hn::Set(kFloats, row.delta);
  if (has_own_delta(p)) {
    Vector sum = hn::Zero(kFloats);
    for (Index n = 0; n < visibility.num_segments; ++n) {
      for_keys(visibility.segments[n].begin, round_up(visibility.segments[n].end, kLanes),
               [&](Index, const auto& form, auto hidden, Vector prob, Vector d_prob, Vector, Vector)
                   HWY_ATTR { sum = hn::MulAdd(prob, form.seen(hidden, d_prob), sum); });
    }
    delta = hn::SumOfLanes(kFloats, sum);
  }
  Index done = 0;
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const Index begin = visibility.segments[n].begin;
    const Index end = round_up(visibility.segments[n].end, kLanes);
    for (float* x : {probs, d_logits, d_biased}) fill(x + done, begin - done, 0.0F);
    done = end;
    for_keys(begin, end,
             [&](Index c, const auto& form, auto hidden, Vector prob, Vector d_prob, Vector scale,
                 Vector slope) HWY_ATTR {
               // The softmax of one key is constant: dropout must leave nothing of its gradient.
               const Vector here = hn::IfThenElse(hn::Eq(prob, one), d_prob, delta);
               Vector d_logit = form.seen(hidden, hn::Mul(prob, hn::Sub(d_prob, here)));
               if (place.fully_masked) d_logit = hn::Zero(kFloats);
               hn::StoreU(hn::Mul(prob, scale), kFloats, probs + c);
               if (has_biased) hn::StoreU(d_logit, kFloats, d_biased + c);
               hn::StoreU(hn::Mul(d_logit, slope), kFloats, d_logits + c);
             });
  }
  for (float* x : {probs, d_logits, d_biased}) fill(x + done, keys - done, 0.0F);
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
