// The backward by recomputation: one tile of keys against all rows, block by block, with five
// products (S, dP, dQ, dV, dK) per pair of tiles. Included once per target.
// Source: Dao et al. 2022, arXiv:2205.14135, algorithm 4.

#if defined(GROUPHEAD_KERNELS_ATTENTION_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_BACKWARD_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_BACKWARD_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_BACKWARD_INL_H_
#endif

#include "kernels/attention/backward_memory-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// sums[i] = a_i b_i, each by one chain of multiply-adds like the elements of Tile. So out dO has
// the roundings of dP: where a row's softmax is all but one key's, out is its value, and dP - delta
// the zero it should be.
template <int M>
static HWY_INLINE void chained_dots(const float* const* a, const float* const* b, Index n,
                                    float* sums) {
  constexpr hn::CappedTag<float, 1> kOne;
  Held<hn::CappedTag<float, 1>> chains[M];
  HWY_UNROLL(16)
  for (int i = 0; i < M; ++i) chains[i] = hn::Zero(kOne);
  for (Index d = 0; d < n; ++d) {
    HWY_UNROLL(16)
    for (int i = 0; i < M; ++i) {
      chains[i] = hn::MulAdd(hn::LoadU(kOne, a[i] + d), hn::LoadU(kOne, b[i] + d), chains[i]);
    }
  }
  HWY_UNROLL(16)
  for (int i = 0; i < M; ++i) sums[i] = hn::GetLane(chains[i]);
}

static void gradient_delta(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                           Index bn, Index block) noexcept {
  const Index first = block * kGradientRows;
  const Index end = min(first + kGradientRows, p.rows());
  RowCursor<float> out(p, p.out, bn, first);
  RowCursor<const float> d_out(p, g.d_out, bn, first);
  RowCursor<float> delta(p, statistics(p, g.delta), bn, first);
  constexpr int kRows = 8;  // as many chains as hide the latency of one
  for (Index r = first; r < end; r += kRows) {
    const float* a[kRows];
    const float* b[kRows];
    float sums[kRows];
    const Index count = min(kRows, end - r);
    for (Index i = 0; i < kRows; ++i) {
      a[i] = out.get(), b[i] = d_out.get();
      if (r + i + 1 < end) out.next(), d_out.next();
    }
    chained_dots<kRows>(a, b, p.Dv, sums);
    for (Index i = 0; i < count; ++i, delta.next()) *delta.get() = sums[i];
  }
}

// P = softmax(S) and dS = P (dP - delta) of one strip for grouped `keys`, then its share of
// dQ = dS K.
static HWY_INLINE void gradient_strip(const GradientScratch& w, const AttentionProblem<float>& p,
                                      const Visible& seen, Index row, Index keys,
                                      BlockPrefetcher& ahead) {
  float* probs = w.probs + row * kProbRow;
  float* d_logits = w.d_logits + row * kProbRow;
  const auto prefetch = [&]() HWY_ATTR { ahead.prefetch_one(); };
  logit_strip(w.q + row * w.dp, w.dp, w.k_panels, p.D, seen, probs, kProbRow, w.unused, prefetch);
  logit_strip(w.d_out + row * w.dvp, w.dvp, w.v_panels, p.Dv, seen, d_logits, kProbRow, w.unused,
              prefetch);
  for (int i = 0; i < kStripRows; ++i) {
    const Index limit = i < seen.rows ? seen.limits[i] : 0;
    const Index columns = round_up(limit, kLanes);
    const RowSoftmax softmax(w.tops[row + i], w.inverses[row + i]);
    float* prob_at = probs + i * kProbRow;
    float* d_logit_at = d_logits + i * kProbRow;
    // Of the last vector the row may see a part: the rest is no NaN, whatever lies there.
    if (limit % kLanes != 0) {
      const auto sees = hn::FirstN(kFloats, static_cast<std::size_t>(limit % kLanes));
      float* last = d_logit_at + columns - kLanes;
      hn::StoreU(hn::IfThenElseZero(sees, hn::LoadU(kFloats, last)), kFloats, last);
    }
    Vector own_delta = hn::Zero(kFloats);
    for (Index c = 0; c < columns; c += kLanes) {
      const Vector prob = softmax(hn::LoadU(kFloats, prob_at + c));
      own_delta = hn::MulAdd(prob, hn::LoadU(kFloats, d_logit_at + c), own_delta);
      hn::StoreU(prob, kFloats, prob_at + c);
    }
    const Vector delta =
        has_own_delta(p) ? hn::SumOfLanes(kFloats, own_delta) : set(w.delta[row + i]);
    for (Index c = 0; c < columns; c += kLanes) {
      const Vector d_prob = hn::LoadU(kFloats, d_logit_at + c);
      hn::StoreU(hn::Mul(hn::LoadU(kFloats, prob_at + c), hn::Sub(d_prob, delta)), kFloats,
                 d_logit_at + c);
    }
    fill(probs + i * kProbRow + columns, keys - columns, 0.0F);
    fill(d_logits + i * kProbRow + columns, keys - columns, 0.0F);
    if (limit % kLanes == 0) continue;
    for (float* last : {prob_at + columns - kLanes, d_logit_at + columns - kLanes}) {
      const auto sees = hn::FirstN(kFloats, static_cast<std::size_t>(limit % kLanes));
      hn::StoreU(hn::IfThenElseZero(sees, hn::LoadU(kFloats, last)), kFloats, last);
    }
  }
  float* d_q = w.d_q + row * w.dp;
  seen_product(w.dp, d_logits, kProbRow, w.k_rows, w.dp, seen, nullptr, d_q, w.dp);
}

// gradient_strip() with options.
static HWY_NOINLINE void gradient_strip_with_options(const GradientScratch& w,
                                                     const AttentionProblem<float>& p,
                                                     const AttentionGradients<float>& g, Index b,
                                                     const RowPlace* places,
                                                     const Visibility<>& visibility, Index row,
                                                     Index first_key, BlockPrefetcher& ahead) {
  prefetch_bias(p, b, places + row, first_key, visibility);
  segment_products(visibility, w.q + row * w.dp, w.dp, w.k_panels, p.D, w.probs + row * kProbRow,
                   kProbRow, w.unused);
  segment_products(visibility, w.d_out + row * w.dvp, w.dvp, w.v_panels, p.Dv,
                   w.d_logits + row * kProbRow, kProbRow, w.unused);
  for (int i = 0; i < kStripRows; ++i) {
    ahead.prefetch_one();
    gradient_row(p, g, w.row(row + i), w.strip, b, places[row + i], visibility, i, first_key,
                 grouped_keys(p, first_key));
  }
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const auto [begin, end] = visibility.segments[n];
    for (Index i = row; i < row + kStripRows; i += group_rows(w.dp)) {
      group_product(w.dp, w.d_logits + i * kProbRow + begin, kProbRow, 1, w.k_rows + begin * w.dp,
                    w.dp, end - begin, kKeep, w.d_q + i * w.dp, w.dp);
    }
  }
}

// dV += P^T dO and dK += dS^T Q for kKeyGroup keys from j on and rows [begin, end) of a block.
static HWY_INLINE void add_to_keys(const GradientScratch& w, Index j, Index begin, Index end) {
  for (Index i = j; i < j + kKeyGroup; i += group_rows(w.dvp)) {
    group_product(w.dvp, w.probs + begin * kProbRow + i, 1, kProbRow, w.d_out + begin * w.dvp,
                  w.dvp, end - begin, kKeep, w.d_v + i * w.dvp, w.dvp);
  }
  for (Index i = j; i < j + kKeyGroup; i += group_rows(w.dp)) {
    group_product(w.dp, w.d_logits + begin * kProbRow + i, 1, kProbRow, w.q + begin * w.dp, w.dp,
                  end - begin, kKeep, w.d_k + i * w.dp, w.dp);
  }
}

static HWY_INLINE bool are_finite(const float* x, Index n) {  // n: whole vectors
  auto finite = hn::Eq(hn::Zero(kFloats), hn::Zero(kFloats));
  for (Index i = 0; i < n; i += kLanes) {
    const Vector v = hn::LoadU(kFloats, x + i);
    finite = hn::And(finite, hn::Eq(hn::Sub(v, v), hn::Zero(kFloats)));
  }
  return hn::AllTrue(kFloats, finite);
}

// What row i of a block gives to those of `keys` keys that it gives anything to.
static HWY_NOINLINE void add_row_to_keys(const GradientScratch& w, const AttentionProblem<float>& p,
                                         const AttentionGradients<float>& g, Index bn, Index first,
                                         Index i, Index keys) {
  const float* q = p.row(p.q, bn / p.Hkv, bn % p.Hkv, first + i);
  const float* d_out = p.row(g.d_out, bn / p.Hkv, bn % p.Hkv, first + i);
  for (Index j = 0; j < keys; ++j) {
    const float prob = w.probs[i * kProbRow + j];
    for (Index d = 0; prob != 0.0F && d < p.Dv; ++d) w.d_v[j * w.dvp + d] += prob * d_out[d];
    const float d_logit = w.d_logits[i * kProbRow + j];
    for (Index d = 0; d_logit != 0.0F && d < p.D; ++d) {
      w.d_k[j * w.dp + d] += d_logit * (p.scale * kLog2E) * q[d];
    }
  }
}

// Takes the rows [begin, end) of a block whose q or d_out is not finite out of its products with
// keys, where they would reach keys that they do not see as 0 NaN.
static HWY_INLINE void set_apart_not_finite(const GradientScratch& w,
                                            const AttentionProblem<float>& p,
                                            const AttentionGradients<float>& g, Index bn,
                                            Index first, Index begin, Index end, Index keys) {
  for (Index i = begin; i < end; ++i) {
    if (are_finite(w.q + i * w.dp, w.dp) && are_finite(w.d_out + i * w.dvp, w.dvp)) continue;
    fill(w.q + i * w.dp, w.dp, 0.0F);
    fill(w.d_out + i * w.dvp, w.dvp, 0.0F);
    if (first + i < p.rows()) add_row_to_keys(w, p, g, bn, first, i, keys);
  }
}

static HWY_NOINLINE void gradient_block_with_options(const GradientScratch& w,
                                                     const AttentionProblem<float>& p,
                                                     const AttentionGradients<float>& g, Index bn,
                                                     Index first_key, Index first, Index padded) {
  constexpr Index kStrips = kGradientRows / kStripRows;
  const Index b = bn / p.Hkv;
  RowPlace places[kGradientRows];
  find_places(p, bn, first, padded, places);
  BlockPrefetcher ahead(p, g, bn, first);
  Visibility<> visibility;
  std::uint32_t groups[kStrips];  // which kKeyGroup keys a strip sees any of, a bit for each
  static_assert(kGradientKeys / kKeyGroup <= 32);
  for (Index row = 0; row < padded; row += kStripRows) {
    std::uint32_t& seen = groups[row / kStripRows];
    seen = 0;
    look(p, b, places + row, first_key, kGradientKeys, w.strip, visibility);
    if (visibility.num_segments == 0) {
      for (float* x : {w.probs, w.d_logits, w.d_biased}) {
        fill(x + row * kProbRow, kStripRows * kProbRow, 0.0F);
      }
      continue;
    }
    gradient_strip_with_options(w, p, g, b, places, visibility, row, first_key, ahead);
    for (Index n = 0; n < visibility.num_segments; ++n) {
      const auto [begin, end] = visibility.segments[n];
      for (Index x = begin / kKeyGroup; x * kKeyGroup < end; ++x) seen |= 1U << x;
    }
  }
  const Index keys = min(kGradientKeys, p.S - first_key);
  set_apart_not_finite(w, p, g, bn, first, 0, padded, keys);
  for (Index j = 0; j < keys; j += kKeyGroup) {
    const auto sees = [&](Index row) {
      return row < padded && (groups[row / kStripRows] >> j / kKeyGroup & 1) != 0;
    };
    for (Index row = 0; row < padded; row += kStripRows) {
      if (!sees(row)) continue;
      const Index begin = row;
      while (sees(row)) row += kStripRows;
      add_to_keys(w, j, begin, row);
    }
  }
}

static void gradient_block(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                           Index bn, Index tile, Index block, float* scratch) noexcept {
  const FlushToZero flush;
  const GradientScratch w(p, scratch);
  const Index first_key = tile * kGradientKeys;
  const Index first = block * kGradientRows;
  const Index rows = min(kGradientRows, p.rows() - first);
  const Index padded = round_up(rows, kStripRows);
  load_block(w, p, g, bn, first, padded);
  fill(w.d_q, padded * w.dp, 0.0F);
  if (has_options(p) || g.d_scores != nullptr) {
    gradient_block_with_options(w, p, g, bn, first_key, first, padded);
    return;
  }
  BlockPrefetcher ahead(p, g, bn, first);
  Index limits[kGradientRows];
  row_limits(p, first, padded, limits);
  for (Index row = 0; row < padded; row += kStripRows) {
    const Visible seen =
        visible_keys(limits + row, p.rows() - first - row, first_key, kGradientKeys);
    if (seen.any()) gradient_strip(w, p, seen, row, grouped_keys(p, first_key), ahead);
  }
  // From the first row on that sees key j.
  const Index keys = min(kGradientKeys, p.S - first_key);
  Index row = 0;
  while (row < rows && limits[row] <= first_key) ++row;
  set_apart_not_finite(w, p, g, bn, first, row, rows, keys);
  for (Index j = 0; j < keys; j += kKeyGroup) {
    while (row < rows && limits[row] <= first_key + j) ++row;
    add_to_keys(w, j, row, rows);
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
