// The backward on bf16 numbers: by AMX or vdpbf16ps where the level has it, through f32 elsewhere.

#include <cmath>
#include <limits>

#include "attention_options_support.h"
#include "testing/compare.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::expect_same;
using testing_support::isas_under_test;
using testing_support::make_operands;
using testing_support::ManyThreads;
using testing_support::narrowed;
using testing_support::option_cases;
using testing_support::OptionCase;
using testing_support::OptionOperands;
using testing_support::OptionResults;
using testing_support::run_options;
using testing_support::same_bits;
using testing_support::Strided;
using testing_support::widened;

void expect_oracle(const OptionCase& c, bool with_bias) {
  const OptionOperands narrow = narrowed(make_operands(c, Dtype::f32), with_bias);
  const OptionOperands o = widened(narrow);
  const auto& in = o.in;
  const auto want =
      testing::attention_backward_oracle(in.q, in.k, in.v, in.d_out, o.options, o.d_scores);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const OptionResults got = run_options(ctx, narrow);
    const auto expect = [&](const char* name, const Tensor& result,
                            const testing::OracleResult& exact) {
      const testing::Comparison found = testing::compare(
          name, cast(result, Dtype::f32), exact.value, bf16_bounds(exact, result.dtype()));
      EXPECT_TRUE(found.ok()) << found.to_string() << "\n  " << c.to_string() << " at "
                              << name_of(isa);
    };
    expect("d_q", got.d_q, want.d_q);
    expect("d_k", got.d_k, want.d_k);
    expect("d_v", got.d_v, want.d_v);
    if (o.bias.has_value()) expect("d_bias", got.d_bias, want.d_bias);
    if (o.sinks.has_value()) expect("d_sinks", got.d_sinks, want.d_sinks);
  }
}

TEST(AttentionBf16Backward, EveryLevelAgreesWithTheOracle) {
  for (const AttentionCase& c : testing_support::attention_cases()) expect_oracle({c}, false);
}

TEST(AttentionBf16Backward, OptionsAgreeWithTheOracle) {
  bool with_bias = false;  // its type, every other time
  for (const OptionCase& c : option_cases()) expect_oracle(c, with_bias = !with_bias);
}

TEST(AttentionBf16Backward, AnyNumberOfThreadsGivesTheSameBits) {
  const ManyThreads many;
  std::vector<OptionCase> cases = option_cases();
  cases.push_back({.base = {1, 600, 500, 1, 1, 40, 24, true, 0}});
  cases.push_back({.base = {2, 70, 230, 6, 3, 24, 40, false, 0}});
  for (const OptionCase& c : cases) {
    const OptionOperands o = narrowed(make_operands(c, Dtype::f32), true);
    for (const Isa isa : isas_under_test()) {
      OptionResults first;
      for (const int count : ManyThreads::kCounts) {
        Context ctx({.num_threads = count, .isa = isa});
        const OptionResults got = run_options(ctx, o);
        if (count == 1) first = got;
        expect_same(got, first, c.to_string() + " at " + std::string(name_of(isa)));
      }
    }
  }
}

TEST(AttentionBf16Backward, AnyStridesGiveTheSameBitsAndKeepTheirSurroundings) {
  const OptionCase c{.base = {2, 37, 53, 6, 2, 40, 72, true, 3}};
  const OptionOperands o = narrowed(make_operands(c, Dtype::f32), true);
  const auto& in = o.in;
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const OptionResults want = run_options(ctx, o);
    Strided q(in.q), k(in.k), v(in.v), out(want.out), d_out(in.d_out);
    Strided d_q(in.q.shape(), Dtype::bf16), d_k(in.k.shape(), Dtype::bf16),
        d_v(in.v.shape(), Dtype::bf16);
    attention_backward(
        ctx, q.view(), k.view(), v.view(), o.options, out.view(), want.softmax,
        {.d_out = d_out.view(), .d_q = d_q.view(), .d_k = d_k.view(), .d_v = d_v.view()});
    EXPECT_TRUE(same_bits(d_q.dense(), want.d_q)) << name_of(isa);
    EXPECT_TRUE(same_bits(d_k.dense(), want.d_k)) << name_of(isa);
    EXPECT_TRUE(same_bits(d_v.dense(), want.d_v)) << name_of(isa);
    for (Strided* each : {&d_q, &d_k, &d_v}) EXPECT_TRUE(each->guards_are_intact());
  }
}

// Packed sequences against a call for each, and what of theirs the options are.
TEST(AttentionBf16Backward, PackedSequencesGetTheGradientsOfTheirOwnCalls) {
  const OptionCase packed{
      .base = {1, 250, 250, 4, 2, 24, 16, true}, .sinks = true, .segments = {0, 201, 250}};
  const OptionOperands o = narrowed(make_operands(packed, Dtype::f32), true);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const OptionResults all = run_options(ctx, o);
    for (const auto& range : {std::pair<Index, Index>{0, 201}, {201, 250}}) {
      const Index begin = range.first, end = range.second;
      const auto part = [&](const Tensor& x) {
        Tensor piece({1, end - begin, x.dim(2), x.dim(3)}, x.dtype());
        copy(x.view().slice(1, begin, end), piece);
        return piece;
      };
      OptionOperands one = o;
      one.segments = Tensor();
      one.options.segments = {};
      for (Tensor* x : {&one.in.q, &one.in.k, &one.in.v, &one.in.d_out}) *x = part(*x);
      const OptionResults got = run_options(ctx, one);
      EXPECT_TRUE(same_bits(got.d_q, part(all.d_q))) << name_of(isa);
      EXPECT_TRUE(same_bits(got.d_k, part(all.d_k))) << name_of(isa);
      EXPECT_TRUE(same_bits(got.d_v, part(all.d_v))) << name_of(isa);
    }
  }
}

void fill_row(Tensor& x, Index t, float value) {
  const Index row = x.dim(2) * x.dim(3);
  std::fill_n(x.data<Bf16>() + t * row, row, to_bf16(value));
}

// Keys from 30 on hold NaN or infinity and are hidden; so is query 7, which is NaN as well.
TEST(AttentionBf16Backward, WhatIsHiddenReachesNothing) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const OptionCase c{
        .base = {1, 25, 90, 4, 2, 16, 8}, .key_mask = true, .query_mask = true, .d_scores = true};
    OptionOperands o = narrowed(make_operands(c, Dtype::f32), true);
    for (Index t = 0; t < 25; ++t) o.query_mask.data<bool>()[t] = t != 7;
    for (Index s = 0; s < 90; ++s) o.key_mask.data<bool>()[s] = s < 30;
    OptionOperands spoilt = o;
    spoilt.in.q = o.in.q.clone();
    spoilt.in.k = o.in.k.clone();
    spoilt.in.d_out = o.in.d_out.clone();
    fill_row(spoilt.in.q, 7, bad);
    for (Index s = 30; s < 90; ++s) fill_row(spoilt.in.k, s, bad);
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 1, .isa = isa});
      expect_same(run_options(ctx, spoilt), run_options(ctx, o), std::string(name_of(isa)));
    }
  }
}

// A query that is not finite reaches the keys that it sees, and no other.
TEST(AttentionBf16Backward, NanReachesWhatIsSeenAlone) {
  const OptionCase c{.base = {1, 60, 60, 2, 1, 16, 8, true}};
  const OptionOperands o = narrowed(make_operands(c, Dtype::f32), true);
  for (const bool in_d_out : {false, true}) {
    OptionOperands spoilt = o;
    Tensor& x = in_d_out ? spoilt.in.d_out : spoilt.in.q;
    x = x.clone();
    fill_row(x, 20, std::numeric_limits<float>::quiet_NaN());
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 1, .isa = isa});
      const OptionResults want = run_options(ctx, o), got = run_options(ctx, spoilt);
      for (Index s = 0; s < 60; ++s) {
        const float value = to_float(got.d_v.data<Bf16>()[s * 8]);
        const float key = to_float(got.d_k.data<Bf16>()[s * 16]);
        if (s <= 20) {
          EXPECT_TRUE(std::isnan(value) && std::isnan(key)) << name_of(isa) << " " << s;
        } else {
          EXPECT_EQ(value, to_float(want.d_v.data<Bf16>()[s * 8])) << name_of(isa);
          EXPECT_EQ(key, to_float(want.d_k.data<Bf16>()[s * 16])) << name_of(isa);
        }
      }
    }
  }
}

}  // namespace
}  // namespace grouphead
