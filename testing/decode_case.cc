#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "ops/attention.h"
#include "testing/cache_contents.h"
#include "testing/cases.h"
#include "testing/inputs.h"
#include "testing/masks.h"
#include "testing/oracle.h"

namespace grouphead::testing {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

KvCache make_cache(Context& ctx, const Problem& p) {
  KvCacheConfig config{.batch = p.B,
                       .num_key_value_heads = p.Hkv,
                       .head_dim = p.D,
                       .capacity = p.S,
                       .dtype = p.cache,
                       .value_dim = p.Dv};
  if (p.form == CacheForm::ring) config.window = p.window;
  if (p.form == CacheForm::paged) config.num_blocks = p.B * ((p.S + 63) / 64);
  return {ctx, config};
}

// Keys [begins[b], lengths[b]) are what each query sees.
struct SeenKeys {
  std::vector<Index> begins, lengths;
};

SeenKeys seen_keys(const Problem& p) {
  SeenKeys seen{std::vector<Index>(at(p.B), 0), std::vector<Index>(at(p.B), p.S)};
  if (p.window != 0)
    std::fill(seen.begins.begin(), seen.begins.end(), std::max(p.S - p.window, Index{0}));
  if (!p.lengths) return seen;
  const Tensor lengths = make_lengths(p);
  std::copy_n(lengths.data<Index>(), p.B, seen.lengths.begin());
  return seen;
}

// How far rounding carries the numbers of a cache: half a unit of bf16, or of a scale.
double half_unit(double number, const Tensor& scales, Index i) {
  return scales.has_value() ? scales.data<double>()[i] / 2 : std::abs(number) * 0x1p-8;
}

/// For each output how far what the cache rounds may carry it from exact keys and values, to first
/// order: sum_j p_j ((v_j - out) d_logit_j + d_v_j), with each d_logit the sum of its roundings.
/// These are independent and of either sign, so their squares add up: six times the root, where
/// each is taken as large as it can be, is more than ten standard deviations. `rounds_queries`:
/// these are rounded to 8 bits too.
Tensor cache_bounds(ConstView q, const Tensor& k, const Tensor& v, const CacheContents& held,
                    const Tensor& out, const SeenKeys& seen, bool rounds_queries) {
  const Index B = q.dim(0), Hq = q.dim(2), D = q.dim(3);
  const Index S = k.dim(1), H = k.dim(2), Dv = v.dim(3);
  const double scale = 1 / std::sqrt(static_cast<double>(D));
  Tensor bounds(out.shape(), Dtype::f64);
  std::vector<double> probs(at(S)), moved(at(S));
  const auto number = [&](const Tensor& x, Index i) { return double{x.data<float>()[i]}; };
  const auto square = [](double x) { return x * x; };
  for (Index row = 0; row < B * Hq; ++row) {
    const float* query = q.data<float>() + row * D;
    const auto kv_row = [&](Index s) { return (row / Hq * S + s) * H + row % Hq / (Hq / H); };
    double sum = 0, most_moved = 0;
    const Index begin = seen.begins[at(row / Hq)];
    const Index end = seen.lengths[at(row / Hq)];
    for (Index s = begin; s < end; ++s) {
      double logit = 0, largest = 0, codes = 0, squares = 0;
      for (Index d = 0; d < D; ++d) {
        const Index i = kv_row(s) * D + d;
        logit += query[d] * number(k, i);
        squares += square(query[d] * half_unit(number(k, i), held.key_scales, i));
        if (!rounds_queries) continue;
        const double key_scale = held.key_scales.data<double>()[i];
        largest = std::max(largest, std::abs(query[d] * key_scale));
        if (key_scale > 0) codes += square(held.k.data<double>()[i] / key_scale);
      }
      moved[at(s)] = scale * std::sqrt(squares + square(largest / 127 / 2) * codes);
      most_moved = std::max(most_moved, moved[at(s)]);
      sum += probs[at(s)] = std::exp(scale * logit);
    }
    for (Index d = 0; d < Dv; ++d) {
      double squares = 0;
      for (Index s = begin; s < end; ++s) {
        const Index i = kv_row(s) * Dv + d;
        const double away = std::abs(number(v, i) - out.data<double>()[row * Dv + d]);
        squares +=
            square(probs[at(s)] / sum) *
            (square(away * moved[at(s)]) + square(half_unit(number(v, i), held.value_scales, i)));
      }
      bounds.data<double>()[row * Dv + d] = 6 * std::sqrt(squares) * std::exp(2 * most_moved);
    }
  }
  return bounds;
}

void add(const Tensor& more, Tensor& to) {
  for (Index i = 0; i < to.size(); ++i) {
    to.data<double>()[i] += more.data<double>()[i];
  }
}

/// One query token against a cache of S positions.
class DecodeCase final : public Case {
 public:
  DecodeCase(Context& ctx, const Problem& p, Index input_sets)
      : ctx_(ctx), p_(p), seen_(seen_keys(p)) {
    for (Index i = 0; i < input_sets; ++i) {
      caches_.push_back(make_cache(ctx, p));
      fill(caches_.back(), keys(i), values(i));
      queries_.push_back(random_tensor(ctx, {p.B, 1, p.Hq, p.D}, p.dtype, p.seed + 3 * i));
    }
    out_ = ctx.tensor({p.B, 1, p.Hq, p.Dv}, p.dtype);
    if (p.window == 0) return;
    options_.causal = true;
    options_.causal_offset = p.S - 1;
    options_.window_left = p.window - 1;
  }

  void run() override {
    attention_cached(ctx_, queries_[next_], caches_[next_], 0, options_, out_);
    next_ = (next_ + 1) % caches_.size();
  }

  std::vector<Comparison> check() override {
    const std::size_t set = next_;
    run();
    const Tensor k = keys(static_cast<Index>(set));
    const Tensor v = values(static_cast<Index>(set));
    const Tensor& q = queries_[set];
    const Tensor mask = seen_mask();
    AttentionOptions options{.mask = mask};
    const AttentionForwardOracle exact = attention_forward_oracle(q, k, v, options);
    if (p_.cache == p_.dtype) {
      return {compare("out", out_, exact.out.value, bounds_of(exact.out, p_.dtype))};
    }
    const CacheContents held = cache_contents(ops::slice_of(caches_[set], 0), p_.S, p_.D, p_.Dv);
    Tensor rounding;
    const bool rounds_queries = p_.cache == Dtype::u8 && p_.Hq / p_.Hkv <= ops::kMostDecodeRows;
    if (rounds_queries) {
      rounding = query_rounding(q, held, 1 / std::sqrt(static_cast<double>(p_.D)));
      options.bias = rounding;
    }
    const AttentionForwardOracle want = attention_forward_oracle(q, held.k, held.v, options);
    const Tensor bounds = bounds_of(want.out, Dtype::f32);
    Tensor from_exact = cache_bounds(q, k, v, held, exact.out.value, seen_, rounds_queries);
    add(bounds, from_exact);
    return {compare("out of what the cache holds", out_, want.out.value, bounds),
            compare("out of f32 keys and values", out_, exact.out.value, from_exact)};
  }

  std::map<std::string, Tensor> record() override {
    const std::size_t set = next_;
    run();
    const auto number = static_cast<Index>(set);
    return {{"q", queries_[set]}, {"k", keys(number)}, {"v", values(number)}, {"out", out_}};
  }

  double bytes() const override { return cache_bytes(p_); }

  std::vector<ConstView> take_operands() override {
    const ops::CacheSlice slice = ops::slice_of(caches_[next_], 0);
    next_ = (next_ + 1) % caches_.size();
    return {slice.keys, slice.values};
  }

 private:
  // Blocks of 64 positions in turn, so that those of a sequence do not lie side by side.
  void fill(KvCache& cache, const Tensor& k, const Tensor& v) {
    std::vector<Index> counts(at(p_.B));
    for (Index begin = 0; begin < p_.S; begin += 64) {
      for (Index b = 0; b < p_.B; ++b) {
        counts[at(b)] = std::clamp(seen_.lengths[at(b)] - begin, Index{0}, Index{64});
      }
      const Index end = std::min(begin + 64, p_.S);
      store_cached(ctx_, k.view().slice(1, begin, end), v.view().slice(1, begin, end), cache, 0,
                   counts);
      cache.advance(counts);
    }
  }

  Tensor seen_mask() const {
    Tensor mask = Tensor::zeros({p_.B, 1, 1, p_.S}, Dtype::boolean);
    for (Index b = 0; b < p_.B; ++b) {
      std::fill(mask.data<bool>() + b * p_.S + seen_.begins[at(b)],
                mask.data<bool>() + b * p_.S + seen_.lengths[at(b)], true);
    }
    return mask;
  }

  Tensor keys(Index set) const {
    return random_tensor(ctx_, {p_.B, p_.S, p_.Hkv, p_.D}, p_.dtype, p_.seed + 3 * set + 1);
  }
  Tensor values(Index set) const {
    return random_tensor(ctx_, {p_.B, p_.S, p_.Hkv, p_.Dv}, p_.dtype, p_.seed + 3 * set + 2);
  }

  Context& ctx_;
  Problem p_;
  SeenKeys seen_;
  AttentionOptions options_;
  std::vector<Tensor> queries_;
  std::vector<KvCache> caches_;
  Tensor out_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Case> make_decode_case(Context& ctx, const Problem& problem, Index input_sets) {
  return std::make_unique<DecodeCase>(ctx, problem, input_sets);
}

}  // namespace grouphead::testing
