#include "kernels/attention/reference.h"

#include <cmath>
#include <limits>

#include "kernels/attention/reference_query.h"
#include "kernels/cpu/scratch.h"

namespace grouphead::kernels {
namespace {

template <class F>
F dot(const F* a, const F* b, Index n) noexcept {
  F sum = 0;
  for (Index i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// scale q k in base 2; the elements of k are `step` apart. One order of roundings for the forward
// and the backward, which then weigh a key alike to the bit.
template <class F>
F scaled_product(const AttentionProblem<F>& p, const F* q, const F* k, Index step) noexcept {
  F product = 0;
  for (Index d = 0; d < p.D; ++d) product += p.scale * kReferenceLog2E<F> * q[d] * k[d * step];
  return product;
}

template <class F>
void fill(F* x, Index n, F value) noexcept {
  for (Index i = 0; i < n; ++i) x[i] = value;
}

// y += a x
template <class F>
void accumulate(F a, const F* x, Index n, F* y) noexcept {
  for (Index i = 0; i < n; ++i) y[i] += a * x[i];
}

template <class F>
void pack(const AttentionProblem<F>& p, Index at, Index unit) noexcept {
  const Index b = unit / pack_tiles(p, at);
  const Index tile = at / kPackKeys + unit % pack_tiles(p, at);
  const Index width = round_up(p.Dv, kPanelKeys);
  for (Index s = max(at, tile * kPackKeys); s < min(at + p.S, (tile + 1) * kPackKeys); ++s) {
    const Index place = p.packed.table.position(s);
    for (Index n = 0; n < p.Hkv; ++n) {
      const F* k = p.k.data + b * p.k.batch + (s - at) * p.k.time + n * p.k.head;
      const Index bn = b * p.Hkv + n;
      F* key = p.packed_keys(bn) + place / kPanelKeys * kPanelKeys * p.D + place % kPanelKeys;
      for (Index d = 0; d < p.D; ++d) key[d * kPanelKeys] = k[d];
      if (p.v.data == nullptr) continue;
      const F* v = p.v.data + b * p.v.batch + (s - at) * p.v.time + n * p.v.head;
      F* value = p.packed_values(bn) + place * width;
      for (Index d = 0; d < width; ++d) value[d] = d < p.Dv ? v[d] : F{0};
    }
  }
}

// Softmax state of one row: sum = sum_j 2^(logit_j - max), out = sum_j 2^(logit_j - max) v_j.
template <class F>
struct RowState {
  F max = std::numeric_limits<F>::lowest();  // finite: a leading -inf weighs 0 and makes no NaN
  F sum = 0;
};

// scaled_product() with a packed key
template <class F>
F packed_product(const AttentionProblem<F>& p, Index bn, const F* q, Index s) noexcept {
  const Index place = p.packed.table.position(s);
  const F* key = p.packed_keys(bn) + place / kPanelKeys * kPanelKeys * p.D + place % kPanelKeys;
  return scaled_product(p, q, key, kPanelKeys);
}

// Row r against the packed keys [begin, end) of head bn.
// Source: Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3.
template <class F>
RowState<F> attend(const AttentionProblem<F>& p, Index bn, Index r, Index begin, Index end,
                   F* out) noexcept {
  const Index width = round_up(p.Dv, kPanelKeys);
  const ReferenceQuery<F> query(p, bn, r);
  const F* q = p.row(p.q, bn / p.Hkv, bn % p.Hkv, r);
  RowState<F> state;
  fill(out, p.Dv, F{0});
  const Range keys = query.within(begin, end);
  for (Index s = keys.begin; s < keys.end; ++s) {
    if (!query.attends(s)) continue;
    const F* value = p.packed_values(bn) + p.packed.table.position(s) * width;
    const F logit = query.logit(packed_product(p, bn, q, s), s);
    const F now = logit < state.max ? state.max : logit;  // this order lets NaN through
    const F keep = std::exp2(state.max - now);
    const F weight = std::exp2(logit - now);
    state.sum = keep * state.sum + weight;
    const F share = weight * query.kept(s);
    for (Index d = 0; d < p.Dv; ++d) out[d] = keep * out[d] + share * value[d];
    state.max = now;
  }
  return state;
}

// Divides by the sum, of which the head's sink is a part; a row without weight is zero.
template <class F>
void finish(const AttentionProblem<F>& p, Index bn, Index r, RowState<F> state) noexcept {
  F* out = p.row(p.out, bn / p.Hkv, bn % p.Hkv, r);
  F share = 1;
  if (p.sinks != nullptr) {
    const F sink = p.sinks[p.head(bn % p.Hkv, r)] * kReferenceLog2E<F>;
    const F top = state.sum == 0 || sink > state.max ? sink : state.max;
    share = state.sum == 0 ? F{0} : std::exp2(state.max - top);
    const bool is_absent = sink == -std::numeric_limits<F>::infinity();
    state.sum = state.sum * share + (is_absent ? F{0} : std::exp2(sink - top));
    state.max = top;
  }
  for (Index d = 0; d < p.Dv; ++d) {
    out[d] = state.sum == 0 || share == 0 ? F{0} : share * out[d] / state.sum;
  }
  p.note_softmax(bn, r, state.max, state.sum);
}

template <class F>
Index no_scratch(const AttentionProblem<F>&) noexcept {
  return 0;
}

template <class F>
void forward(const AttentionProblem<F>& p, Index unit, F*) noexcept {
  const Index blocks = ceil_div(p.rows(), kForwardRows);
  const Index bn = unit / blocks;
  const Index b = bn / p.Hkv;
  const Index n = bn % p.Hkv;
  const Index first = unit % blocks * kForwardRows;
  for (Index r = first; r < min(first + kForwardRows, p.rows()); ++r) {
    finish(p, bn, r, attend(p, bn, r, 0, p.S, p.row(p.out, b, n, r)));
  }
}

template <class F>
F probability(const AttentionProblem<F>& p, Index place, F logit) noexcept {
  return p.sums[place] == 0 ? F{0} : std::exp2(logit - p.tops[place]) / p.sums[place];
}

// visit(place in [B, Hq, T], s, prob) for every row and key of a unit.
template <class F, class Visit>
void for_probabilities(const AttentionProblem<F>& p, Index unit, const Visit& visit) noexcept {
  const Index blocks = ceil_div(p.rows(), kForwardRows);
  const Index bn = unit / blocks;
  const Index first = unit % blocks * kForwardRows;
  for (Index r = first; r < min(first + kForwardRows, p.rows()); ++r) {
    const ReferenceQuery<F> query(p, bn, r);
    const F* q = p.row(p.q, bn / p.Hkv, bn % p.Hkv, r);
    const Index place = p.statistic(bn / p.Hkv, bn % p.Hkv, r);
    for (Index s = 0; s < p.S; ++s) {
      if (!query.attends(s)) {
        visit(place, s, F{0});
        continue;
      }
      visit(place, s, probability(p, place, query.logit(packed_product(p, bn, q, s), s)));
    }
  }
}

template <class F>
void scores(const AttentionProblem<F>& p, Index unit, F*) noexcept {
  for_probabilities(p, unit,
                    [&](Index place, Index s, F prob) { p.scores[p.element(place, s)] = prob; });
}

template <class F>
void gradient_scores(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index unit,
                     F*) noexcept {
  for_probabilities(p, unit, [&](Index place, Index s, F prob) {
    g.delta[place] += prob * g.d_scores[p.element(place, s)];
  });
}

template <class F>
void decode(const AttentionProblem<F>& p, Index unit, F* partial, F*) noexcept {
  const Index bn = unit / decode_chunks(p);
  const Index begin = unit % decode_chunks(p) * kDecodeKeys;
  const Index stride = decode_partial_size(p) / p.rows();
  for (Index r = 0; r < p.rows(); ++r) {
    F* out = partial + r * stride;
    const Index end = min(begin + kDecodeKeys, p.S);
    const RowState<F> state = attend(p, bn, r, begin, end, out);
    out[stride - 2] = state.max;
    out[stride - 1] = state.sum;
  }
}

template <class F>
void decode_merge(const AttentionProblem<F>& p, Index bn, const F* partials) noexcept {
  const Index size = decode_partial_size(p);
  const Index stride = size / p.rows();
  for (Index r = 0; r < p.rows(); ++r) {
    F* out = p.row(p.out, bn / p.Hkv, bn % p.Hkv, r);
    fill(out, p.Dv, F{0});
    RowState<F> state;
    for (Index c = 0; c < decode_chunks(p); ++c) {
      const F* part = partials + (bn * decode_chunks(p) + c) * size + r * stride;
      const F now = part[stride - 2] < state.max ? state.max : part[stride - 2];
      const F keep = std::exp2(state.max - now);
      const F weight = std::exp2(part[stride - 2] - now);
      state.sum = keep * state.sum + weight * part[stride - 1];
      for (Index d = 0; d < p.Dv; ++d) out[d] = keep * out[d] + weight * part[d];
      state.max = now;
    }
    finish(p, bn, r, state);
  }
}

template <class F>
void gradient_delta(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                    Index block) noexcept {
  const Index b = bn / p.Hkv;
  const Index n = bn % p.Hkv;
  for (Index r = block * kGradientRows; r < min((block + 1) * kGradientRows, p.rows()); ++r) {
    g.delta[p.statistic(b, n, r)] = dot<F>(p.row(p.out, b, n, r), p.row(g.d_out, b, n, r), p.Dv);
  }
}

// Scratch of a gradient unit.
template <class F>
struct GradientScratch {
  GradientScratch(const AttentionProblem<F>& p, F* memory) noexcept
      : GradientScratch(p, ScratchCarver<F>(memory)) {}

  F* d_q;       // [kGradientRows, D]
  F* d_k;       // [kGradientKeys, D]
  F* d_v;       // [kGradientKeys, Dv]
  F* d_logits;  // [kGradientRows, kGradientKeys]
  Index used;

 private:
  GradientScratch(const AttentionProblem<F>& p, ScratchCarver<F> memory) noexcept
      : d_q(memory.take(kGradientRows * p.D)),
        d_k(memory.take(kGradientKeys * p.D)),
        d_v(memory.take(kGradientKeys * p.Dv)),
        d_logits(memory.take(kGradientRows * kGradientKeys)),
        used(memory.used()) {}
};

template <class F>
Index gradient_scratch(const AttentionProblem<F>& p) noexcept {
  return GradientScratch<F>(p, nullptr).used;
}

template <class F>
void gradient_begin(const AttentionProblem<F>& p, Index, Index, F* scratch) noexcept {
  fill(scratch, gradient_scratch(p), F{0});
}

template <class F>
void gradient_block(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                    Index tile, Index block, F* scratch) noexcept {
  const GradientScratch<F> own(p, scratch);
  const Index b = bn / p.Hkv;
  const Index n = bn % p.Hkv;
  const Index begin = tile * kGradientKeys;
  const Index first = block * kGradientRows;
  fill(own.d_q, kGradientRows * p.D, F{0});
  fill(own.d_logits, kGradientRows * kGradientKeys, F{0});
  for (Index r = first; r < min(first + kGradientRows, p.rows()); ++r) {
    const ReferenceQuery<F> query(p, bn, r);
    const F* q = p.row(p.q, b, n, r);
    const F* d_out = p.row(g.d_out, b, n, r);
    const Index place = p.statistic(b, n, r);
    const Range keys = query.within(begin, min(begin + kGradientKeys, p.S));
    for (Index s = keys.begin; s < keys.end; ++s) {
      if (!query.attends(s)) continue;
      const F* k = p.k.data + b * p.k.batch + s * p.k.time + n * p.k.head;
      const F* v = p.v.data + b * p.v.batch + s * p.v.time + n * p.v.head;
      // Forward: logit = capped(scale q k) + bias, prob = exp(logit) / sum, out += kept prob v.
      const F product = scaled_product(p, q, k, 1);
      const F prob = probability(p, place, query.logit(product, s));
      const F kept = query.kept(s);
      accumulate(kept * prob, d_out, p.Dv, own.d_v + (s - begin) * p.Dv);
      if (query.fully_masked()) continue;
      F d_prob = kept * dot(d_out, v, p.Dv);
      if (g.d_scores != nullptr) d_prob += g.d_scores[p.element(place, s)];
      // The softmax of one key is constant, to the bit.
      const F d_logit = prob * (d_prob - (prob == 1 ? d_prob : g.delta[place]));
      own.d_logits[(r - first) * kGradientKeys + s - begin] = d_logit;
      const F d_product = p.scale * d_logit * query.slope(product);
      accumulate(d_product, k, p.D, own.d_q + (r - first) * p.D);
      accumulate(d_product, q, p.D, own.d_k + (s - begin) * p.D);
    }
  }
}

template <class F>
void gradient_add(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                  Index block, bool is_first, const F* scratch) noexcept {
  const Index first = block * kGradientRows;
  for (Index r = first; r < min(first + kGradientRows, p.rows()); ++r) {
    F* d_q = p.row(g.d_q, bn / p.Hkv, bn % p.Hkv, r);
    if (is_first) fill(d_q, p.D, F{0});
    accumulate(F{1}, scratch + (r - first) * p.D, p.D, d_q);
  }
}

template <class F>
void gradient_add_bias(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                       Index tile, Index block, const F* scratch) noexcept {
  const F* d_logits = GradientScratch<F>(p, const_cast<F*>(scratch)).d_logits;
  const Index begin = tile * kGradientKeys;
  const Index first = block * kGradientRows;
  for (Index r = first; r < min(first + kGradientRows, p.rows()); ++r) {
    F* d_bias = p.grid_row(g.d_bias, bn / p.Hkv, bn % p.Hkv, r);
    const F* share = d_logits + (r - first) * kGradientKeys;
    const Index keys = min(kGradientKeys, p.S - begin);
    for (Index j = 0; j < keys; ++j) d_bias[g.d_bias.key == 0 ? 0 : begin + j] += share[j];
  }
}

template <class F>
void gradient_end(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                  Index tile, F* scratch) noexcept {
  const GradientScratch<F> own(p, scratch);
  const Index b = bn / p.Hkv;
  const Index n = bn % p.Hkv;
  const Index begin = tile * kGradientKeys;
  for (Index s = begin; s < min(begin + kGradientKeys, p.S); ++s) {
    F* d_k = g.d_k.data + b * g.d_k.batch + s * g.d_k.time + n * g.d_k.head;
    F* d_v = g.d_v.data + b * g.d_v.batch + s * g.d_v.time + n * g.d_v.head;
    for (Index d = 0; d < p.D; ++d) d_k[d] = own.d_k[(s - begin) * p.D + d];
    for (Index d = 0; d < p.Dv; ++d) d_v[d] = own.d_v[(s - begin) * p.Dv + d];
  }
}

}  // namespace

template <class F>
const AttentionKernels<F>& attention_reference() noexcept {
  static constexpr AttentionKernels<F> kTable = {
      .pack = pack<F>,
      .forward_scratch = no_scratch<F>,
      .forward = forward<F>,
      .scores_scratch = no_scratch<F>,
      .scores = scores<F>,
      .decode_scratch = no_scratch<F>,
      .decode = decode<F>,
      .decode_merge = decode_merge<F>,
      .gradient_delta = gradient_delta<F>,
      .gradient_scores = gradient_scores<F>,
      .gradient_scratch = gradient_scratch<F>,
      .gradient_begin = gradient_begin<F>,
      .gradient_block = gradient_block<F>,
      .gradient_add = gradient_add<F>,
      .gradient_add_bias = gradient_add_bias<F>,
      .gradient_end = gradient_end<F>,
  };
  return kTable;
}

template const AttentionKernels<float>& attention_reference<float>() noexcept;
template const AttentionKernels<double>& attention_reference<double>() noexcept;

}  // namespace grouphead::kernels
