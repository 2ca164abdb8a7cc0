#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "ops/attention.h"
#include "testing/cache_contents.h"
#include "testing/cases.h"
#include "testing/inputs.h"
#include "testing/oracle.h"

namespace grouphead::testing {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

struct Cache {
  Tensor keys, values, exact, exact_tile;

  ops::CacheSlice slice() { return {keys, values, exact, exact_tile}; }
};

Cache make_cache(Context& ctx, const Problem& p) {
  const auto whole = [](Index x, Index multiple) { return (x + multiple - 1) / multiple; };
  if (p.cache != Dtype::bf16 && p.cache != Dtype::u8) {
    const Index panels = whole(p.S, 16);
    return {ctx.zeros({p.B, p.Hkv, panels, p.D, 16}, p.dtype),
            ctx.zeros({p.B, p.Hkv, panels * 16, whole(p.Dv, 16) * 16}, p.dtype),
            {},
            {}};
  }
  const Index tiles = whole(p.S, 64);
  const ops::CacheTileBytes bytes = ops::cache_tile_bytes(p.cache, p.D, p.Dv);
  Cache cache{ctx.zeros({p.B, p.Hkv, tiles, bytes.keys / size_of(p.cache)}, p.cache),
              ctx.zeros({p.B, p.Hkv, tiles, bytes.values / size_of(p.cache)}, p.cache),
              {},
              {}};
  if (p.cache == Dtype::u8) {
    cache.exact = ctx.zeros({p.B, p.Hkv, 64, p.D});
    cache.exact_tile = ctx.zeros({1}, Dtype::i64);
  }
  return cache;
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
                    const Tensor& out, bool rounds_queries) {
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
    for (Index s = 0; s < S; ++s) {
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
      for (Index s = 0; s < S; ++s) {
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
  DecodeCase(Context& ctx, const Problem& p, Index input_sets) : ctx_(ctx), p_(p) {
    for (Index i = 0; i < input_sets; ++i) {
      caches_.push_back(make_cache(ctx, p));
      ops::cache_store(ctx, "cache_store", keys(i), values(i), caches_.back().slice(), 0);
      queries_.push_back(random_tensor(ctx, {p.B, 1, p.Hq, p.D}, p.dtype, p.seed + 3 * i));
    }
    out_ = ctx.tensor({p.B, 1, p.Hq, p.Dv}, p.dtype);
  }

  void run() override {
    ops::attention_cached(ctx_, "attention_cached", queries_[next_], caches_[next_].slice(), p_.S,
                          {}, out_);
    next_ = (next_ + 1) % caches_.size();
  }

  std::vector<Comparison> check() override {
    const std::size_t set = next_;
    run();
    const Tensor k = keys(static_cast<Index>(set));
    const Tensor v = values(static_cast<Index>(set));
    const Tensor& q = queries_[set];
    const AttentionForwardOracle exact = attention_forward_oracle(q, k, v, {});
    if (p_.cache == p_.dtype) {
      return {compare("out", out_, exact.out.value, bounds_of(exact.out, p_.dtype))};
    }
    const CacheContents held = cache_contents(caches_[set].slice(), p_.S, p_.D, p_.Dv);
    Tensor rounding;
    AttentionOptions options;
    const bool rounds_queries = p_.cache == Dtype::u8 && p_.Hq / p_.Hkv <= ops::kMostDecodeRows;
    if (rounds_queries) {
      rounding = query_rounding(q, held, 1 / std::sqrt(static_cast<double>(p_.D)));
      options.bias = rounding;
    }
    const AttentionForwardOracle want = attention_forward_oracle(q, held.k, held.v, options);
    const Tensor bounds = bounds_of(want.out, Dtype::f32);
    Tensor from_exact = cache_bounds(q, k, v, held, exact.out.value, rounds_queries);
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
    const Cache& cache = caches_[next_];
    next_ = (next_ + 1) % caches_.size();
    return {cache.keys, cache.values};
  }

 private:
  Tensor keys(Index set) const {
    return random_tensor(ctx_, {p_.B, p_.S, p_.Hkv, p_.D}, p_.dtype, p_.seed + 3 * set + 1);
  }
  Tensor values(Index set) const {
    return random_tensor(ctx_, {p_.B, p_.S, p_.Hkv, p_.Dv}, p_.dtype, p_.seed + 3 * set + 2);
  }

  Context& ctx_;
  Problem p_;
  std::vector<Tensor> queries_;
  std::vector<Cache> caches_;
  Tensor out_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Case> make_decode_case(Context& ctx, const Problem& problem, Index input_sets) {
  return std::make_unique<DecodeCase>(ctx, problem, input_sets);
}

}  // namespace grouphead::testing
