#include "kernels/attention_reference.h"

#include <cmath>
#include <limits>

namespace grouphead::kernels {
namespace {

template <class F>
F dot(const F* a, const F* b, Index n) noexcept {
  F sum = 0;
  for (Index i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
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
    for (Index n = 0; n < p.Hkv; ++n) {
      const F* k = p.k.data + b * p.k.batch + (s - at) * p.k.time + n * p.k.head;
      const F* v = p.v.data + b * p.v.batch + (s - at) * p.v.time + n * p.v.head;
      const Index bn = b * p.Hkv + n;
      F* key = p.packed_keys(bn) + s / kPanelKeys * kPanelKeys * p.D + s % kPanelKeys;
      F* value = p.packed_values(bn) + s * width;
      for (Index d = 0; d < p.D; ++d) key[d * kPanelKeys] = k[d];
      for (Index d = 0; d < width; ++d) value[d] = d < p.Dv ? v[d] : F{0};
    }
  }
}

// Softmax state of one row: sum = sum_j exp(logit_j - max), out = sum_j exp(logit_j - max) v_j.
template <class F>
struct RowState {
  F max = std::numeric_limits<F>::lowest();  // finite: a leading -inf weighs 0 and makes no NaN
  F sum = 0;
};

// One row against the packed keys [begin, end) of head bn.
// Source: Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3.
template <class F>
RowState<F> attend(const AttentionProblem<F>& p, Index bn, const F* q, Index begin, Index end,
                   F* out) noexcept {
  const Index width = round_up(p.Dv, kPanelKeys);
  RowState<F> state;
  fill(out, p.Dv, F{0});
  for (Index s = begin; s < end; ++s) {
    const F* key = p.packed_keys(bn) + s / kPanelKeys * kPanelKeys * p.D + s % kPanelKeys;
    const F* value = p.packed_values(bn) + s * width;
    F logit = 0;
    for (Index d = 0; d < p.D; ++d) logit += p.scale * q[d] * key[d * kPanelKeys];
    const F now = logit < state.max ? state.max : logit;  // this order lets NaN through
    const F keep = std::exp(state.max - now);
    const F weight = std::exp(logit - now);
    state.sum = keep * state.sum + weight;
    for (Index d = 0; d < p.Dv; ++d) out[d] = keep * out[d] + weight * value[d];
    state.max = now;
  }
  return state;
}

// Divides by the sum; a row without weight is zero and has lse = +inf, which makes every
// exp(logit - lse) of the backward zero.
template <class F>
void finish(const AttentionProblem<F>& p, Index b, Index n, Index r, RowState<F> state) noexcept {
  F* out = p.row(p.out, b, n, r);
  for (Index d = 0; d < p.Dv; ++d) out[d] = state.sum == 0 ? F{0} : out[d] / state.sum;
  if (p.lse == nullptr) return;
  p.lse[p.statistic(b, n, r)] =
      state.sum == 0 ? std::numeric_limits<F>::infinity() : state.max + std::log(state.sum);
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
    finish(p, b, n, r, attend(p, bn, p.row(p.q, b, n, r), 0, p.limit(r), p.row(p.out, b, n, r)));
  }
}

template <class F>
void decode(const AttentionProblem<F>& p, Index unit, F* partial, F*) noexcept {
  const Index bn = unit / decode_chunks(p);
  const Index begin = unit % decode_chunks(p) * kDecodeKeys;
  const Index stride = decode_partial_size(p) / p.rows();
  for (Index r = 0; r < p.rows(); ++r) {
    F* out = partial + r * stride;
    const F* q = p.row(p.q, bn / p.Hkv, bn % p.Hkv, r);
    const Index end = min(begin + kDecodeKeys, p.limit(r));
    const RowState<F> state = attend(p, bn, q, begin, end, out);
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
      const F keep = std::exp(state.max - now);
      const F weight = std::exp(part[stride - 2] - now);
      state.sum = keep * state.sum + weight * part[stride - 1];
      for (Index d = 0; d < p.Dv; ++d) out[d] = keep * out[d] + weight * part[d];
      state.max = now;
    }
    finish(p, bn / p.Hkv, bn % p.Hkv, r, state);
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
  GradientScratch(const AttentionProblem<F>& p, F* scratch) noexcept
      : d_q(scratch), d_k(d_q + kGradientRows * p.D), d_v(d_k + kGradientKeys * p.D) {}
  F* d_q;  // [kGradientRows, D]
  F* d_k;  // [kGradientKeys, D]
  F* d_v;  // [kGradientKeys, Dv]
};

template <class F>
Index gradient_scratch(const AttentionProblem<F>& p) noexcept {
  return kGradientRows * p.D + kGradientKeys * (p.D + p.Dv);
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
  for (Index r = first; r < min(first + kGradientRows, p.rows()); ++r) {
    const F* q = p.row(p.q, b, n, r);
    const F* d_out = p.row(g.d_out, b, n, r);
    const F lse = p.lse[p.statistic(b, n, r)];
    const F delta = g.delta[p.statistic(b, n, r)];
    for (Index s = begin; s < min(begin + kGradientKeys, p.limit(r)); ++s) {
      const F* k = p.k.data + b * p.k.batch + s * p.k.time + n * p.k.head;
      const F* v = p.v.data + b * p.v.batch + s * p.v.time + n * p.v.head;
      // Forward: logit = scale q k, prob = exp(logit - lse), out += prob v.
      const F prob = std::exp(p.scale * dot(q, k, p.D) - lse);
      const F d_logit = prob * (dot(d_out, v, p.Dv) - delta);
      accumulate(p.scale * d_logit, k, p.D, own.d_q + (r - first) * p.D);
      accumulate(p.scale * d_logit, q, p.D, own.d_k + (s - begin) * p.D);
      accumulate(prob, d_out, p.Dv, own.d_v + (s - begin) * p.Dv);
    }
  }
}

template <class F>
void gradient_add(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                  Index tile, Index block, const F* scratch) noexcept {
  const Index first = block * kGradientRows;
  for (Index r = first; r < min(first + kGradientRows, p.rows()); ++r) {
    F* d_q = p.row(g.d_q, bn / p.Hkv, bn % p.Hkv, r);
    if (tile == 0) fill(d_q, p.D, F{0});
    accumulate(F{1}, scratch + (r - first) * p.D, p.D, d_q);
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
      .decode_scratch = no_scratch<F>,
      .decode = decode<F>,
      .decode_merge = decode_merge<F>,
      .gradient_delta = gradient_delta<F>,
      .gradient_scratch = gradient_scratch<F>,
      .gradient_begin = gradient_begin<F>,
      .gradient_block = gradient_block<F>,
      .gradient_add = gradient_add<F>,
      .gradient_end = gradient_end<F>,
  };
  return kTable;
}

template const AttentionKernels<float>& attention_reference<float>() noexcept;
template const AttentionKernels<double>& attention_reference<double>() noexcept;

}  // namespace grouphead::kernels
