// NaN and infinities, and the lowest logits: what reaches what.

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "attention_options_support.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::isas_under_test;
using testing_support::make_operands;
using testing_support::OptionCase;
using testing_support::OptionOperands;
using testing_support::OptionResults;
using testing_support::run_options;
using testing_support::uniform;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();

Index head_size(const Tensor& x) { return x.dim(2) * x.dim(3); }

/// Which queries see which keys, of one batch entry and whatever head.
struct Sight {
  Index T = 0, S = 0;
  std::vector<bool> sees;
  Sight(const OptionCase& c, const OptionOperands& o, bool masks_count)
      : T(c.base.T), S(c.base.S), sees(static_cast<std::size_t>(T * S)) {
    for (Index t = 0; t < T; ++t) {
      for (Index s = 0; s < S; ++s) {
        const Index here = t + c.base.causal_offset;
        bool sees_it = !c.base.causal || s <= here;
        if (c.window_left && s < here - *c.window_left) sees_it = false;
        if (c.window_right && s > here + *c.window_right) sees_it = false;
        if (masks_count && o.key_mask.has_value() && !o.key_mask.data<bool>()[s]) sees_it = false;
        if (masks_count && o.query_mask.has_value() && !o.query_mask.data<bool>()[t]) {
          sees_it = false;
        }
        if (masks_count && o.mask.has_value() && o.mask.data<std::uint8_t>()[t * S + s] == 0) {
          sees_it = false;
        }
        if (masks_count && o.bias.has_value() && o.bias.data<float>()[s] == -kInfinity) {
          sees_it = false;
        }
        sees[static_cast<std::size_t>(t * S + s)] = sees_it;
      }
    }
  }
  bool operator()(Index t, Index s) const { return sees[static_cast<std::size_t>(t * S + s)]; }
};

void expect_rows(const Tensor& got, const Tensor& want, const std::vector<bool>& touched,
                 const std::string& what) {
  const Index size = head_size(got);
  for (Index i = 0; i < got.dim(1); ++i) {
    if (touched[static_cast<std::size_t>(i)]) continue;
    const float* a = got.data<float>() + i * size;
    const float* b = want.data<float>() + i * size;
    EXPECT_TRUE(std::equal(a, a + size, b)) << what << ", row " << i;
  }
}

/// With `bad` in row `place` of one operand: every result of queries that do not see it, and of
/// keys that no such query sees, is bitwise what finite values give.
void expect_unmoved(const OptionCase& c, const OptionOperands& o, Tensor AttentionInputs::*operand,
                    Index place, float bad, Isa isa, const std::string& what) {
  Context ctx({.num_threads = 2, .isa = isa});
  const bool is_key = operand == &AttentionInputs::k || operand == &AttentionInputs::v;
  // A value behind a mask reaches the output as 0 NaN, as in Keras.
  const Sight sight(c, o, operand != &AttentionInputs::v);
  const Sight all_options(c, o, true);
  OptionOperands spoilt = o;
  spoilt.in.*operand = (o.in.*operand).clone();
  const Index size = head_size(o.in.*operand);
  (spoilt.in.*operand).data<float>()[place * size + size / 2] = bad;
  const OptionResults want = run_options(ctx, o);
  const OptionResults got = run_options(ctx, spoilt);
  std::vector<bool> queries(static_cast<std::size_t>(c.base.T));
  std::vector<bool> keys(static_cast<std::size_t>(c.base.S));
  for (Index t = 0; t < c.base.T; ++t) {
    const bool touched = is_key ? sight(t, place) : t == place;
    queries[static_cast<std::size_t>(t)] = touched;
    for (Index s = 0; touched && s < c.base.S; ++s) {
      if (all_options(t, s)) keys[static_cast<std::size_t>(s)] = true;
    }
  }
  if (is_key) keys[static_cast<std::size_t>(place)] = true;
  if (operand != &AttentionInputs::d_out) expect_rows(got.out, want.out, queries, "out: " + what);
  expect_rows(got.d_q, want.d_q, queries, "d_q: " + what);
  expect_rows(got.d_k, want.d_k, keys, "d_k: " + what);
  expect_rows(got.d_v, want.d_v, keys, "d_v: " + what);
  if (operand != &AttentionInputs::d_out) return;
  // What the query sees gets it.
  for (Index s = 0; s < c.base.S; ++s) {
    if (!all_options(place, s)) continue;
    const float* row = got.d_v.data<float>() + s * head_size(got.d_v);
    bool finite = true;
    for (Index d = 0; d < head_size(got.d_v); ++d) finite = finite && std::isfinite(row[d]);
    EXPECT_FALSE(finite) << what << ", key " << s;
  }
}

TEST(AttentionNotFinite, WhatAQueryDoesNotSeeChangesNothing) {
  const AttentionCase causal{1, 40, 50, 1, 1, 20, 24, true, -3};
  const AttentionCase open{1, 40, 50, 1, 1, 20, 24};
  for (const OptionCase& c : {OptionCase{.base = causal},
                              {.base = causal, .d_scores = true},
                              {.base = causal, .window_left = 8},
                              {.base = open, .window_left = 5, .window_right = 3},
                              {.base = causal, .dropout_rate = 0.25},
                              {.base = open, .mask = {1, 1, 40, 50}},
                              {.base = open, .key_mask = true, .query_mask = true},
                              {.base = causal, .bias = {1, 1, 1, 50}, .key_mask = true},
                              {.base = {1, 300, 420, 1, 1, 8, 8, true, 60}}}) {
    OptionOperands o = make_operands(c, Dtype::f32);
    if (o.bias.has_value()) std::fill_n(o.bias.data<float>() + 20, 7, -kInfinity);
    for (const Isa isa : isas_under_test()) {
      for (const float bad : {kNan, kInfinity}) {
        const std::string what = c.to_string() + " at " + std::string(name_of(isa)) + ", " +
                                 std::to_string(bad) + " in ";
        for (const Index row : {0, 7, 23, 39}) {
          expect_unmoved(c, o, &AttentionInputs::q, row, bad, isa, what + "q");
          if (c.dropout_rate == 0) {
            expect_unmoved(c, o, &AttentionInputs::d_out, row, bad, isa, what + "d_out");
          }
        }
        for (const Index key : {0, 22, 36, 44, 49}) {
          expect_unmoved(c, o, &AttentionInputs::k, key, bad, isa, what + "k");
          expect_unmoved(c, o, &AttentionInputs::v, key, bad, isa, what + "v");
        }
      }
    }
  }
}

/// out of one head with these logits as a bias, and of the same through bf16 operands.
std::vector<Tensor> attend_to(Context& ctx, const std::vector<float>& bias, const Tensor& v) {
  const auto S = static_cast<Index>(bias.size());
  const Tensor q = uniform({1, 3, 1, 16}, Dtype::f32, 1);
  const Tensor k = uniform({1, S, 1, 16}, Dtype::f32, 2);
  const ConstView view(bias.data(), {1, 1, 1, S});
  std::vector<Tensor> results;
  Tensor out({1, 3, 1, v.dim(3)});
  attention(ctx, q, k, v, {.bias = view}, out);
  results.push_back(out);
  Tensor narrow({1, 3, 1, v.dim(3)});
  ops::GridAttention().forward(ctx, Dtype::bf16, q, k, v, {.bias = view}, narrow, {});
  results.push_back(narrow);
  return results;
}

void expect_mean(const Tensor& got, const Tensor& v, Index begin, Index end, double tolerance,
                 const std::string& what) {
  const Index Dv = v.dim(3);
  for (Index t = 0; t < got.dim(1); ++t) {
    for (Index d = 0; d < Dv; ++d) {
      double mean = 0;
      for (Index s = begin; s < end; ++s) mean += double{v.data<float>()[s * Dv + d]};
      if (end > begin) mean /= static_cast<double>(end - begin);
      EXPECT_NEAR(double{got.data<float>()[t * Dv + d]}, mean, tolerance) << what;
    }
  }
}

// As PyTorch has it: a finite bias hides nothing, however low.
TEST(AttentionNotFinite, OnlyMinusInfinityHides) {
  const Tensor v = uniform({1, 60, 1, 24}, Dtype::f32, 3);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    for (const float low : {kLowest, -0x1p127F, -0x1p126F, -1e38F}) {
      const std::string what = std::string(name_of(isa)) + " " + std::to_string(low);
      std::vector<float> bias(60, low);
      const auto same = attend_to(ctx, bias, v);
      expect_mean(same[0], v, 0, 60, 1e-6, what);
      expect_mean(same[1], v, 0, 60, 0.02, what + " bf16");
      std::fill(bias.begin() + 20, bias.end(), -kInfinity);
      expect_mean(attend_to(ctx, bias, v)[0], v, 0, 20, 1e-6, what + " and hidden ones");
      bias[37] = -1e30F;
      expect_mean(attend_to(ctx, bias, v)[0], v, 37, 38, 1e-6, what + " and a higher one");
    }
    for (const Tensor& each : attend_to(ctx, std::vector<float>(60, -kInfinity), v)) {
      expect_mean(each, v, 0, 0, 0, "all hidden");
    }
  }
}

TEST(AttentionNotFinite, TheLowestLogitsHaveAValueAndGradients) {
  constexpr Index kKeys = 37;
  for (const bool causal : {false, true}) {
    Tensor q({1, 1, 1, 4}), k({1, kKeys, 1, 4});
    std::fill_n(q.data<float>(), 4, -2e18F);
    std::fill_n(k.data<float>(), 4 * kKeys, 2e19F);  // q k = -1.6e38
    const Tensor v = uniform({1, kKeys, 1, 8}, Dtype::f32, 4);
    const Tensor d_out = uniform({1, 1, 1, 8}, Dtype::f32, 5);
    const AttentionOptions options{.scale = 1, .causal = causal, .causal_offset = 20};
    const Index seen = causal ? 21 : kKeys;
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 1, .isa = isa});
      Tensor out({1, 1, 1, 8}), softmax({2, 1, 1, 1});
      attention(ctx, q, k, v, options, out, {.statistics = softmax});
      expect_mean(out, v, 0, seen, 1e-6, std::string(name_of(isa)));
      Tensor d_q(q.shape()), d_k(k.shape()), d_v(v.shape());
      attention_backward(ctx, q, k, v, options, out, softmax,
                         {.d_out = d_out, .d_q = d_q, .d_k = d_k, .d_v = d_v});
      for (Index s = 0; s < kKeys; ++s) {
        for (Index d = 0; d < 8; ++d) {
          const float want = s < seen ? d_out.data<float>()[d] / static_cast<float>(seen) : 0.0F;
          EXPECT_NEAR(d_v.data<float>()[s * 8 + d], want, 1e-6F) << name_of(isa) << " " << s;
        }
      }
      // The same rows one token at a time, from a cache.
      Tensor keys({1, 1, 3, 4, 16}), values({1, 1, 48, 16});
      ops::cache_store(ctx, "cache_store", k, v, {keys, values}, 0);
      Tensor decoded({1, 1, 1, 8});
      ops::attention_cached(ctx, "attention_cached", q, {keys, values}, seen, {.scale = 1},
                            decoded);
      expect_mean(decoded, v, 0, seen, 1e-6, std::string(name_of(isa)) + " decode");
    }
  }
}

}  // namespace
}  // namespace grouphead
