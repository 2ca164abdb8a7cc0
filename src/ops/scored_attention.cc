#include "ops/scored_attention.h"

#include <cmath>
#include <limits>

#include "ops/dropout.h"
#include "ops/keep_rule.h"
#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr Index kTileKeys = 16;
constexpr Index kBlockRows = 8;  // queries of one unit

template <class F>
constexpr F kInfinity = std::numeric_limits<F>::infinity();

/// Sums in double, so that differences of logits and of cotangents keep their digits; in four
/// chains, which the compiler may keep in lanes.
template <class F>
F dot(const F* a, const F* b, Index count) noexcept {
  double sums[4] = {};
  Index i = 0;
  for (; i + 4 <= count; i += 4) {
    for (Index lane = 0; lane < 4; ++lane) {
      sums[lane] += static_cast<double>(a[i + lane]) * b[i + lane];
    }
  }
  for (; i < count; ++i) sums[0] += static_cast<double>(a[i]) * b[i];
  return static_cast<F>((sums[0] + sums[2]) + (sums[1] + sums[3]));
}

template <class F>
void add_scaled(F a, const F* x, Index count, F* y) noexcept {
  for (Index i = 0; i < count; ++i) y[i] += a * x[i];
}

/// One call: its operands, and what a single query sees.
template <class F>
class Problem {
 public:
  Problem(ConstView q, ConstView k, ConstView v, const ScoredAttentionOptions& options)
      : B(q.dim(0)),
        T(q.dim(1)),
        S(k.dim(1)),
        D(q.dim(2)),
        Dv(v.dim(2)),
        q_(q.data<F>()),
        k_(k.data<F>()),
        v_(v.data<F>()),
        weights_(options.rule == ScoreRule::additive ? options.weights.data<F>() : nullptr),
        mask_(options.key_mask.has_value() ? options.key_mask.data<bool>() : nullptr),
        is_causal_(options.causal),
        only_fully_masked_(options.rows == ScoredRows::fully_masked),
        grid_(options.grid),
        rate_(options.dropout_rate),
        keep_rule_(keep_rule(options.dropout_rate, options.draw)) {
    for (Index b = 0; b < B; ++b) {
      Index first = 0;
      while (mask_ != nullptr && first < S && !mask_[b * S + first]) ++first;
      first_visible_.push_back(first);
    }
  }

  const F* query(Index row) const noexcept { return q_ + row * D; }
  const F* key(Index b, Index j) const noexcept { return k_ + (b * S + j) * D; }
  const F* value(Index b, Index j) const noexcept { return v_ + (b * S + j) * Dv; }
  const F* weights() const noexcept { return weights_; }
  bool is_additive() const noexcept { return weights_ != nullptr; }

  /// `row` counts queries over the batches.
  bool is_fully_masked(Index row) const noexcept {
    return first_visible_[static_cast<std::size_t>(row / T)] >= causal_limit(row);
  }
  bool is_wanted(Index row) const noexcept { return !only_fully_masked_ || is_fully_masked(row); }
  /// Keys from here on take no part.
  Index limit(Index row) const noexcept { return is_fully_masked(row) ? S : causal_limit(row); }
  bool takes_part(Index row, Index j) const noexcept {
    if (is_fully_masked(row)) return true;
    return j < causal_limit(row) && (mask_ == nullptr || mask_[row / T * S + j]);
  }
  /// What dropout multiplies a probability by.
  double kept(Index row, Index j) const noexcept {
    if (rate_ == 0) return 1;
    if (rate_ == 1 || !keep_rule_.keeps(static_cast<std::uint64_t>(row * S + j))) return 0;
    return 1 / (1 - rate_);
  }

  /// The logits of `row` against keys [begin, begin + count), -inf for those that take no part.
  /// `tile` [kTileKeys, D] keeps the hyperbolic tangents of the additive rule.
  void logits(Index row, Index begin, Index count, F* tile, F* out) const noexcept {
    const Index b = row / T;
    const bool fully_masked = is_fully_masked(row);
    for (Index j = 0; j < count; ++j) {
      if (!fully_masked && !takes_part(row, begin + j)) {
        out[j] = -kInfinity<F>;
        continue;
      }
      const F logit = is_additive() ? additive(query(row), key(b, begin + j), tile + j * D)
                                    : dot(query(row), key(b, begin + j), D);
      out[j] = fully_masked ? lowered(logit) : logit;
    }
  }

  const Index B, T, S, D, Dv;

 private:
  Index causal_limit(Index row) const noexcept { return is_causal_ ? std::min(S, row % T + 1) : S; }

  F additive(const F* q, const F* k, F* tangents) const noexcept {
    for (Index d = 0; d < D; ++d) tangents[d] = std::tanh(q[d] + k[d]);
    return dot(weights_, tangents, D);
  }

  F lowered(F logit) const noexcept {
    if (grid_ == Dtype::f16) {
      // Below the lowest number of f16 all would be -inf, and their softmax NaN.
      const auto rounded = to_float(to_f16(static_cast<float>(logit) - 65504.0F));
      return rounded < -65504.0F ? F{-65504} : static_cast<F>(rounded);
    }
    if (grid_ == Dtype::bf16) {
      return static_cast<F>(to_float(to_bf16(static_cast<float>(logit) - 1e9F)));
    }
    return logit - static_cast<F>(1e9);
  }

  const F* q_;
  const F* k_;
  const F* v_;
  const F* weights_;  // null: the dot rule
  const bool* mask_;  // null: all keys are real
  bool is_causal_;
  bool only_fully_masked_;
  Dtype grid_;
  double rate_;
  kernels::KeepRule keep_rule_;
  std::vector<Index> first_visible_;  // of each batch; S: none
};

/// Softmax of one row, key tile by key tile. A NaN logit may be lost in the maximum: it enters by
/// its own exponential.
template <class F>
void forward_row(const Problem<F>& p, Index row, F* tile, F* out, F& max, F& inverse, F* scores) {
  const Index b = row / p.T;
  F logits[kTileKeys];
  F sum = 0;
  max = -kInfinity<F>;
  std::fill_n(out, p.Dv, F{0});
  for (Index begin = 0; begin < p.limit(row); begin += kTileKeys) {
    const Index count = std::min(kTileKeys, p.limit(row) - begin);
    p.logits(row, begin, count, tile, logits);
    const F raised = std::max(max, *std::max_element(logits, logits + count));
    if (raised != max) {
      const F keep = std::exp(max - raised);
      sum *= keep;
      for (Index d = 0; d < p.Dv; ++d) out[d] *= keep;
      max = raised;
    }
    for (Index j = 0; j < count; ++j) {
      if (scores != nullptr) scores[begin + j] = logits[j];
      if (!p.takes_part(row, begin + j)) continue;
      const F weight = std::exp(logits[j] - max);
      sum += weight;
      const F kept = weight * static_cast<F>(p.kept(row, begin + j));
      if (kept != 0) add_scaled(kept, p.value(b, begin + j), p.Dv, out);
    }
  }
  inverse = sum == 0 ? F{0} : 1 / sum;
  for (Index d = 0; d < p.Dv; ++d) out[d] *= inverse;
  if (scores == nullptr) return;
  for (Index j = 0; j < p.S; ++j) {
    const bool takes_part = j < p.limit(row) && p.takes_part(row, j);
    scores[j] =
        takes_part ? std::exp(scores[j] - max) * inverse * static_cast<F>(p.kept(row, j)) : F{0};
  }
}

/// What the backward knows of one row.
template <class F>
struct RowGradient {
  const F* d_out;
  const F* d_scores;  // null: none
  F max, inverse;
  F delta;  // sum over the keys of probability times its cotangent
};

template <class F>
struct TileGradient {
  F kept[kTileKeys];      // the factor of the value
  F d_logits[kTileKeys];  // 0 for keys that take no part
};

/// One row against one tile of keys; `tile` gets the tangents.
template <class F>
void tile_gradient(const Problem<F>& p, Index row, Index begin, Index count,
                   const RowGradient<F>& g, F* tile, TileGradient<F>& out) {
  F logits[kTileKeys];
  p.logits(row, begin, count, tile, logits);
  for (Index j = 0; j < count; ++j) {
    out.kept[j] = 0;
    out.d_logits[j] = 0;
    if (!p.takes_part(row, begin + j)) continue;
    const F probability = std::exp(logits[j] - g.max) * g.inverse;
    const F kept = static_cast<F>(p.kept(row, begin + j));
    F cotangent = g.d_scores == nullptr ? F{0} : g.d_scores[begin + j];
    if (kept != 0) cotangent += dot(g.d_out, p.value(row / p.T, begin + j), p.Dv);
    out.kept[j] = probability * kept;
    // The softmax of one key is constant, to the bit.
    const F share = kept * cotangent;
    out.d_logits[j] = probability * (share - (probability == 1 ? share : g.delta));
  }
}

template <class F>
class Backward {
 public:
  Backward(Context& ctx, const Problem<F>& p, ConstView out, ConstView max, ConstView inverse,
           ConstView scores, const ScoredGradients& g)
      : p_(p),
        g_(g),
        max_(max.data<F>()),
        inverse_(inverse.data<F>()),
        delta_(ctx.tensor({p.B, p.T}, kDtypeOf<F>)) {
    const F* o = out.data<F>();
    const F* s = g.d_scores.has_value() ? scores.data<F>() : nullptr;
    for_blocks(ctx, p.B * p.T, kBlockRows, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        F sum = dot(o + row * p.Dv, d_out(row), p.Dv);
        if (s != nullptr) sum += dot(s + row * p.S, d_scores(row), p.S);
        delta_.data<F>()[row] = sum;
      }
    });
  }

  /// d_q, and the sums for d_weights of each block of rows, which are added in order.
  void queries(Context& ctx) {
    const bool has_weights = g_.d_weights.has_value();
    const Index blocks = num_blocks(p_.B * p_.T, kBlockRows);
    Tensor parts = ctx.zeros({blocks, has_weights ? p_.D : 0}, kDtypeOf<F>);
    F* sums = parts.data<F>();
    F* d_q = g_.d_q.template data<F>();
    ctx.impl().parallel_for(blocks, [&](Index block, int slot) {
      F* tile = ctx.impl().scratch<F>(slot, kTileKeys * p_.D);
      const Index end = std::min(p_.B * p_.T, (block + 1) * kBlockRows);
      for (Index row = block * kBlockRows; row < end; ++row) {
        if (!p_.is_wanted(row)) continue;
        query(row, tile, d_q + row * p_.D, has_weights ? sums + block * p_.D : nullptr);
      }
    });
    for (Index block = 0; block < blocks && has_weights; ++block) {
      add_scaled(F{1}, sums + block * p_.D, p_.D, g_.d_weights.template data<F>());
    }
  }

  /// d_k and d_v: a tile of keys against all queries of its batch.
  void keys(Context& ctx) {
    const Index tiles = num_blocks(p_.S, kTileKeys);
    ctx.impl().parallel_for(p_.B * tiles, [&](Index unit, int slot) {
      F* tile = ctx.impl().scratch<F>(slot, kTileKeys * p_.D);
      const Index b = unit / tiles;
      const Index begin = unit % tiles * kTileKeys;
      for (Index row = b * p_.T; row < (b + 1) * p_.T; ++row) {
        if (p_.is_wanted(row) && begin < p_.limit(row)) key_tile(row, begin, tile);
      }
    });
  }

 private:
  const F* d_out(Index row) const { return g_.d_out.data<F>() + row * p_.Dv; }
  const F* d_scores(Index row) const {
    return g_.d_scores.has_value() ? g_.d_scores.data<F>() + row * p_.S : nullptr;
  }
  RowGradient<F> row_gradient(Index row) const {
    return {d_out(row), d_scores(row), max_[row], inverse_[row], delta_.data<F>()[row]};
  }

  void query(Index row, F* tile, F* d_q, F* d_weights) const {
    TileGradient<F> found;
    for (Index begin = 0; begin < p_.limit(row); begin += kTileKeys) {
      const Index count = std::min(kTileKeys, p_.limit(row) - begin);
      tile_gradient(p_, row, begin, count, row_gradient(row), tile, found);
      for (Index j = 0; j < count; ++j) {
        if (!p_.takes_part(row, begin + j)) continue;
        const F d = found.d_logits[j];
        if (p_.is_additive()) {
          add_tangent_gradient(d, tile + j * p_.D, d_q);
          if (d_weights != nullptr) add_scaled(d, tile + j * p_.D, p_.D, d_weights);
        } else {
          add_scaled(d, p_.key(row / p_.T, begin + j), p_.D, d_q);
        }
      }
    }
  }

  void key_tile(Index row, Index begin, F* tile) const {
    const Index b = row / p_.T;
    const Index count = std::min(kTileKeys, p_.limit(row) - begin);
    TileGradient<F> found;
    tile_gradient(p_, row, begin, count, row_gradient(row), tile, found);
    for (Index j = 0; j < count; ++j) {
      if (!p_.takes_part(row, begin + j)) continue;
      F* d_k = g_.d_k.template data<F>() + (b * p_.S + begin + j) * p_.D;
      F* d_v = g_.d_v.template data<F>() + (b * p_.S + begin + j) * p_.Dv;
      add_scaled(found.kept[j], d_out(row), p_.Dv, d_v);
      if (p_.is_additive()) {
        add_tangent_gradient(found.d_logits[j], tile + j * p_.D, d_k);
      } else {
        add_scaled(found.d_logits[j], p_.query(row), p_.D, d_k);
      }
    }
  }

  /// tanh' = 1 - tanh^2
  void add_tangent_gradient(F d_logit, const F* tangents, F* sum) const noexcept {
    const F* w = p_.weights();
    for (Index d = 0; d < p_.D; ++d) {
      sum[d] += d_logit * w[d] * ((1 - tangents[d]) * (1 + tangents[d]));
    }
  }

  const Problem<F>& p_;
  const ScoredGradients& g_;
  const F* max_;
  const F* inverse_;
  Tensor delta_;  // [B, T]
};

void check_operands(std::string_view name, ConstView q, ConstView k, ConstView v,
                    const ScoredAttentionOptions& options) {
  core::require_shape(name, "q", q, {-1, -1, -1});
  const Index B = q.dim(0);
  const Index D = q.dim(2);
  core::require_dense(name, "q", q, {B, q.dim(1), D}, q.dtype());
  core::require_dense(name, "k", k, {B, -1, D}, q.dtype());
  core::require_dense(name, "v", v, {B, k.dim(1), -1}, q.dtype());
  if (options.key_mask.has_value()) {
    core::require_dense(name, "key_mask", options.key_mask, {B, k.dim(1)}, Dtype::boolean);
  }
  if (options.rule == ScoreRule::additive) {
    core::require_dense(name, "weights", options.weights, {D}, q.dtype());
  }
}

}  // namespace

bool has_fully_masked_rows(const ScoredAttentionOptions& options, Index B, Index T, Index S) {
  if (B == 0 || T == 0 || S == 0 || !options.key_mask.has_value()) return false;
  const bool* mask = options.key_mask.data<bool>();
  // The first query of a causal call sees the first key alone.
  const Index seen = options.causal ? 1 : S;
  for (Index b = 0; b < B; ++b) {
    if (std::none_of(mask + b * S, mask + b * S + seen, [](bool real) { return real; }))
      return true;
  }
  return false;
}

void scored_attention_forward(Context& ctx, ConstView q, ConstView k, ConstView v,
                              const ScoredAttentionOptions& options, View out, View max,
                              View inverse, View scores) {
  constexpr std::string_view kName = "scored_attention";
  check_operands(kName, q, k, v, options);
  const Index B = q.dim(0);
  const Index T = q.dim(1);
  core::require_dense(kName, "out", out, {B, T, v.dim(2)}, q.dtype());
  core::require_dense(kName, "max", max, {B, T}, q.dtype());
  core::require_dense(kName, "inverse", inverse, {B, T}, q.dtype());
  if (scores.has_value()) {
    core::require_dense(kName, "scores", scores, {B, T, k.dim(1)}, q.dtype());
  }
  with_float_type(kName, "q", q, [&](auto zero) {
    using F = decltype(zero);
    const Problem<F> p(q, k, v, options);
    F* all_scores = scores.has_value() ? scores.data<F>() : nullptr;
    ctx.impl().parallel_for(num_blocks(B * T, kBlockRows), [&](Index block, int slot) {
      F* tile = ctx.impl().scratch<F>(slot, kTileKeys * p.D);
      const Index end = std::min(B * T, (block + 1) * kBlockRows);
      for (Index row = block * kBlockRows; row < end; ++row) {
        if (!p.is_wanted(row)) continue;
        forward_row(p, row, tile, out.data<F>() + row * p.Dv, max.data<F>()[row],
                    inverse.data<F>()[row],
                    all_scores == nullptr ? nullptr : all_scores + row * p.S);
      }
    });
  });
}

void scored_attention_backward(Context& ctx, ConstView q, ConstView k, ConstView v, ConstView out,
                               ConstView max, ConstView inverse, ConstView scores,
                               const ScoredAttentionOptions& options,
                               const ScoredGradients& gradients) {
  constexpr std::string_view kName = "scored_attention_backward";
  check_operands(kName, q, k, v, options);
  const Dtype dtype = q.dtype();
  const Shape rows = {q.dim(0), q.dim(1), v.dim(2)};
  core::require_dense(kName, "d_out", gradients.d_out, {rows[0], rows[1], rows[2]}, dtype);
  core::require_dense(kName, "d_q", gradients.d_q, {rows[0], rows[1], q.dim(2)}, dtype);
  core::require_dense(kName, "d_k", gradients.d_k, {rows[0], k.dim(1), k.dim(2)}, dtype);
  core::require_dense(kName, "d_v", gradients.d_v, {rows[0], k.dim(1), v.dim(2)}, dtype);
  with_float_type(kName, "q", q, [&](auto zero) {
    using F = decltype(zero);
    const Problem<F> p(q, k, v, options);
    Backward<F> backward(ctx, p, out, max, inverse, scores, gradients);
    backward.queries(ctx);
    backward.keys(ctx);
  });
}

}  // namespace grouphead::ops
