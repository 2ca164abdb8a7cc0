#include <cmath>
#include <limits>

#include "attention_options_support.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::expect_same;
using testing_support::isas_under_test;
using testing_support::make_operands;
using testing_support::ManyThreads;
using testing_support::option_cases;
using testing_support::OptionCase;
using testing_support::OptionOperands;
using testing_support::OptionResults;
using testing_support::run_options;
using testing_support::same_bits;

void expect_oracle(const OptionCase& c, Dtype dtype, const std::vector<Isa>& isas) {
  const OptionOperands o = make_operands(c, dtype);
  const auto& in = o.in;
  const auto forward = testing::attention_forward_oracle(in.q, in.k, in.v, o.options);
  const auto scores = testing::attention_scores_oracle(in.q, in.k, o.options);
  const auto backward =
      testing::attention_backward_oracle(in.q, in.k, in.v, in.d_out, o.options, o.d_scores);
  for (const Isa isa : isas) {
    Context ctx({.num_threads = 2, .isa = isa});
    const OptionResults got = run_options(ctx, o);
    const auto expect = [&](const char* name, const Tensor& result,
                            const testing::OracleResult& want) {
      const testing::Comparison found =
          testing::compare(name, result, want.value, bounds_of(want, dtype));
      EXPECT_TRUE(found.ok()) << found.to_string() << "\n  " << c.to_string() << " at "
                              << name_of(isa);
    };
    expect("out", got.out, forward.out);
    expect("lse", got.lse, forward.lse);
    expect("scores", got.scores, scores);
    expect("d_q", got.d_q, backward.d_q);
    expect("d_k", got.d_k, backward.d_k);
    expect("d_v", got.d_v, backward.d_v);
    if (o.bias.has_value()) expect("d_bias", got.d_bias, backward.d_bias);
    if (o.sinks.has_value()) expect("d_sinks", got.d_sinks, backward.d_sinks);
  }
}

TEST(AttentionOptions, EveryLevelAgreesWithTheOracle) {
  for (const OptionCase& c : option_cases()) expect_oracle(c, Dtype::f32, isas_under_test());
}

TEST(AttentionOptions, DoublesAgreeWithTheOracle) {
  for (const OptionCase& c : option_cases()) expect_oracle(c, Dtype::f64, {Isa::ref});
}

TEST(AttentionOptions, AnyNumberOfThreadsGivesTheSameBits) {
  const ManyThreads many;
  for (const OptionCase& c : option_cases()) {
    const OptionOperands o = make_operands(c, Dtype::f32);
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

// The same elements behind other strides: [B, T, S, H] in memory, with gaps between keys.
Tensor spread(const Tensor& x, ConstView& view) {
  const Shape& s = x.shape();
  Tensor memory = Tensor::zeros({s[0] * s[2] * s[3] * 2 * s[1]}, x.dtype());
  const Strides strides{s[2] * s[3] * 2 * s[1], 1, s[3] * 2 * s[1], 2 * s[1]};
  copy(x, View(memory.view().raw(), x.dtype(), s, strides));
  view = ConstView(memory.view().raw(), x.dtype(), s, strides);
  return memory;
}

TEST(AttentionOptions, StridesOfMasksAndBiasesDoNotChangeABit) {
  const OptionCase c{.base = {2, 37, 83, 4, 2, 8, 5},
                     .mask = {2, 4, 37, 83},
                     .bias = {1, 4, 37, 83},
                     .masked_rows = MaskedRows::uniform};
  const OptionOperands dense = make_operands(c, Dtype::f32);
  OptionOperands strided = dense;
  const Tensor mask = spread(dense.mask, strided.options.mask);
  const Tensor bias = spread(dense.bias, strided.options.bias);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    expect_same(run_options(ctx, strided), run_options(ctx, dense), std::string(name_of(isa)));
  }
}

// A mask that repeats what causality or a window says.
TEST(AttentionOptions, AMaskThatSaysWhatAWindowSaysGivesTheSameBits) {
  const OptionCase by_window{
      .base = {1, 150, 260, 2, 1, 16, 16, true, 100}, .window_left = 89, .window_right = 89};
  OptionCase by_mask = by_window;
  by_mask.base.causal = false;
  by_mask.window_left = by_mask.window_right = std::nullopt;
  const OptionOperands window = make_operands(by_window, Dtype::f32);
  OptionOperands mask = make_operands(by_mask, Dtype::f32);
  mask.mask = Tensor::zeros({1, 1, 150, 260}, Dtype::boolean);
  for (Index t = 0; t < 150; ++t) {
    for (Index s = std::max<Index>(0, t + 11); s <= t + 100; ++s) {
      mask.mask.data<bool>()[t * 260 + s] = true;
    }
  }
  mask.options.mask = mask.mask;
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const OptionResults a = run_options(ctx, window);
    const OptionResults b = run_options(ctx, mask);
    EXPECT_TRUE(same_bits(a.out, b.out)) << name_of(isa);
    EXPECT_TRUE(same_bits(a.softmax, b.softmax)) << name_of(isa);
    EXPECT_TRUE(same_bits(a.scores, b.scores)) << name_of(isa);
  }
}

// Row 0 against the same row with neighbours that see other keys.
TEST(AttentionOptions, ARowDoesNotDependOnItsNeighbours) {
  const OptionCase all{
      .base = {1, 40, 600, 1, 1, 16, 16}, .mask = {1, 1, 40, 600}, .dropout_rate = 0.2};
  const OptionOperands o = make_operands(all, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    const OptionResults want = run_options(ctx, o);
    for (const bool others : {false, true}) {
      OptionOperands changed = o;
      changed.mask = o.mask.clone();
      changed.options.mask = changed.mask;
      std::fill_n(changed.mask.data<std::uint8_t>() + 600, 39 * 600,
                  static_cast<std::uint8_t>(others));
      const OptionResults got = run_options(ctx, changed);
      EXPECT_TRUE(
          std::equal(want.out.data<float>(), want.out.data<float>() + 16, got.out.data<float>()));
      EXPECT_TRUE(
          std::equal(want.d_q.data<float>(), want.d_q.data<float>() + 16, got.d_q.data<float>()));
      EXPECT_TRUE(std::equal(want.scores.data<float>(), want.scores.data<float>() + 600,
                             got.scores.data<float>()));
    }
  }
}

void fill_row(Tensor& x, Index t, float value) {
  const Index row = x.dim(2) * x.dim(3);
  std::fill_n(x.data<float>() + t * row, row, value);
}

// Keys from 30 on hold NaN or infinity and are hidden; so is query 7, which is NaN as well.
TEST(AttentionOptions, WhatIsHiddenReachesNothing) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const bool by_bias : {false, true}) {
      OptionCase c{.base = {1, 25, 90, 4, 2, 16, 8}, .query_mask = true, .d_scores = true};
      if (by_bias) c.bias = {1, 1, 1, 90};
      c.key_mask = !by_bias;
      OptionOperands o = make_operands(c, Dtype::f32);
      std::fill_n(o.query_mask.data<bool>(), 25, true);
      o.query_mask.data<bool>()[7] = false;
      for (Index s = 0; s < 90; ++s) {
        if (by_bias) o.bias.data<float>()[s] = s < 30 ? 0.25F : -HUGE_VALF;
        if (!by_bias) o.key_mask.data<bool>()[s] = s < 30;
      }
      OptionOperands spoilt = o;
      spoilt.in.q = o.in.q.clone();
      spoilt.in.k = o.in.k.clone();
      fill_row(spoilt.in.q, 7, bad);
      for (Index s = 30; s < 90; ++s) fill_row(spoilt.in.k, s, bad);
      for (const Isa isa : isas_under_test()) {
        Context ctx({.num_threads = 1, .isa = isa});
        expect_same(run_options(ctx, spoilt), run_options(ctx, o),
                    std::string(name_of(isa)) + (by_bias ? " bias" : " mask"));
      }
    }
  }
}

TEST(AttentionOptions, UniformRowsAreTheMeanOfAllValues) {
  const OptionCase c{
      .base = {1, 5, 70, 2, 1, 8, 3}, .query_mask = true, .masked_rows = MaskedRows::uniform};
  OptionOperands o = make_operands(c, Dtype::f32);
  std::fill_n(o.query_mask.data<bool>(), 5, false);
  fill_row(o.in.q, 2, std::numeric_limits<float>::quiet_NaN());
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    const OptionResults got = run_options(ctx, o);
    for (Index i = 0; i < got.out.size(); ++i) {
      double mean = 0;
      for (Index s = 0; s < 70; ++s) mean += o.in.v.data<float>()[s * 3 + i % 3] / 70.0;
      EXPECT_NEAR(got.out.data<float>()[i], mean, 1e-6);
    }
    for (Index i = 0; i < got.scores.size(); ++i) {
      EXPECT_NEAR(got.scores.data<float>()[i], 1.0 / 70, 1e-8);
    }
    EXPECT_EQ(testing::max_abs(got.d_q), 0);
    EXPECT_EQ(testing::max_abs(got.d_k), 0);
    EXPECT_GT(testing::max_abs(got.d_v), 0);
  }
}

TEST(AttentionOptions, NothingToDoIsNoWork) {
  for (const AttentionCase& base :
       {AttentionCase{2, 5, 0, 4, 2, 8, 24}, AttentionCase{1, 0, 7, 2, 1, 8, 8},
        AttentionCase{0, 3, 7, 2, 1, 8, 8}}) {
    for (const auto rows : {MaskedRows::zeros, MaskedRows::uniform}) {
      const OptionCase c{.base = base,
                         .window_left = 1,
                         .window_right = 1,
                         .mask = {base.B, base.Hq, base.T, base.S},
                         .bias = {base.B, base.Hq, base.T, base.S},
                         .masked_rows = rows,
                         .dropout_rate = 0.5,
                         .d_scores = true};
      const OptionOperands o = make_operands(c, Dtype::f32);
      for (const Isa isa : isas_under_test()) {
        Context ctx({.num_threads = 2, .isa = isa});
        const OptionResults got = run_options(ctx, o);
        for (const Tensor* each : {&got.out, &got.d_q, &got.d_k, &got.d_v}) {
          EXPECT_EQ(testing::max_abs(*each), 0);
        }
      }
    }
  }
}

double element_sum(const Tensor& x, const Tensor& weights) {
  double sum = 0;
  for (Index i = 0; i < x.size(); ++i) sum += x.data<double>()[i] * weights.data<double>()[i];
  return sum;
}

// Of sum out d_out + sum scores d_scores. Differences of fourth order with h = 2^-9: their error is
// h^4 / 30 times a fifth derivative, below 100 here, plus 1.5 u |L| / h.
void expect_differences(Context& ctx, const OptionOperands& o, const Tensor& gradient,
                        double* values, const std::string& what) {
  constexpr double kStep = 0x1p-9;
  const double bound = kStep * kStep * kStep * kStep / 30 * 100 + 1.5 * 0x1p-53 * 100 / kStep;
  for (Index i = 0; i < gradient.size(); ++i) {
    const double here = values[i];
    const auto loss_at = [&](double x) {
      values[i] = here + x;
      const OptionResults r = run_options(ctx, o);
      return element_sum(r.out, o.in.d_out) + element_sum(r.scores, o.d_scores);
    };
    const double want =
        (8 * (loss_at(kStep) - loss_at(-kStep)) - (loss_at(2 * kStep) - loss_at(-2 * kStep))) /
        (12 * kStep);
    values[i] = here;
    EXPECT_NEAR(gradient.data<double>()[i], want, bound) << what << "[" << i << "]";
  }
}

TEST(AttentionOptions, DoublesAgreeWithCentralDifferences) {
  const AttentionCase base{2, 3, 6, 4, 2, 3, 2};
  const AttentionCase causal{1, 6, 5, 2, 1, 2, 3, true, -1};
  constexpr auto kUniform = MaskedRows::uniform;
  for (const OptionCase& c :
       {OptionCase{.base = base, .mask = {2, 1, 3, 6}, .bias = {2, 4, 3, 6}, .d_scores = true},
        OptionCase{.base = base,
        .mask = {1, 4, 3, 1},
        .bias = {1, 1, 3, 6},
        .masked_rows = kUniform,
        .dropout_rate = 0.4,
        .d_scores = true},
        OptionCase{.base = base, .bias = {1, 4, 1, 1}, .key_mask = true, .d_scores = true},
        OptionCase{.base = causal,
        .window_left = 2,
        .window_right = 2,
        .bias = {1, 2, 1, 5},
        .query_mask = true,
        .masked_rows = kUniform,
        .dropout_rate = 0.3,
        .algorithm = RandomAlgorithm::threefry,
        .d_scores = true}}) {
    OptionOperands o = make_operands(c, Dtype::f64);
    Context ctx({.num_threads = 1});
    const OptionResults got = run_options(ctx, o);
    const std::string what = " of " + c.to_string();
    expect_differences(ctx, o, got.d_q, o.in.q.data<double>(), "d_q" + what);
    expect_differences(ctx, o, got.d_k, o.in.k.data<double>(), "d_k" + what);
    expect_differences(ctx, o, got.d_v, o.in.v.data<double>(), "d_v" + what);
    expect_differences(ctx, o, got.d_bias, o.bias.data<double>(), "d_bias" + what);
  }
}

TEST(AttentionOptions, BadOptionsAreNamed) {
  Context ctx({.num_threads = 1});
  const Tensor q({2, 3, 4, 8}), k({2, 5, 2, 8}), v({2, 5, 2, 6});
  Tensor out({2, 3, 4, 6});
  const auto call = [&](const AttentionOptions& options) -> std::string {
    try {
      attention(ctx, q, k, v, options, out);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  const auto byte = [](const Shape& shape) { return Tensor::zeros(shape, Dtype::u8); };
  const Tensor rank = byte({3, 5}), size = byte({2, 4, 1, 6}), keys = byte({2, 3});
  const Tensor number({1, 1, 1, 5}), wide({1, 1, 1, 5}, Dtype::f64);
  const std::vector<Index> falling{0, 3, 2}, late{1, 3}, past{0, 4}, too_long{5, 6};
  const auto list = [](const std::vector<Index>& x) {
    return ConstView(x.data(), {static_cast<Index>(x.size())});
  };
  const Tensor slopes({3}), sinks({4}), double_sinks({4}, Dtype::f64);
  EXPECT_EQ(call({.softcap = 0}), "[attention] softcap: expected a positive number, got 0.0");
  EXPECT_EQ(call({.alibi_slopes = slopes}), "[attention] alibi_slopes: expected [4], got [3]");
  EXPECT_EQ(call({.sinks = double_sinks}), "[attention] sinks: expected f32, got f64");
  EXPECT_EQ(call({.sinks = sinks, .masked_rows = MaskedRows::uniform}),
            "[attention] masked_rows: expected zeros, as there are sinks, got uniform");
  EXPECT_EQ(call({.lengths = list(too_long)}), "[attention] lengths: expected 0 to 5, got 6");
  EXPECT_EQ(call({.causal_offset = 1, .lengths = list(late)}),
            "[attention] causal_offset: expected 0, as lengths tell the positions, got 1");
  EXPECT_EQ(call({.segments = list(past)}),
            "[attention] q: expected batch 1, as there are segments, got [2, 3, 4, 8]");
  EXPECT_EQ(call({.lengths = list(late), .segments = list(late)}),
            "[attention] segments: expected none beside lengths, got some");
  EXPECT_EQ(call({.key_segments = list(past)}),
            "[attention] key_segments: expected segments beside them, got none");
  const auto packed = [&](const AttentionOptions& options) {
    return testing_support::error_of<Error>([&] {
      attention(ctx, q.view().slice(0, 0, 1), k.view().slice(0, 0, 1), v.view().slice(0, 0, 1),
                options, out.view().slice(0, 0, 1));
    });
  };
  EXPECT_EQ(packed({.segments = list(falling)}),
            "[attention] segments: expected 3 to 3 at 2, got 2");
  EXPECT_EQ(packed({.segments = list(late)}), "[attention] segments: expected 0 first, got 1");
  EXPECT_EQ(packed({.segments = list(past)}), "[attention] segments: expected 0 to 3 at 1, got 4");
  EXPECT_EQ(packed({.segments = sinks}), "[attention] segments: expected i32 or i64, got f32");
  EXPECT_EQ(call({.masked_rows = MaskedRows::keras}),
            "[attention] masked_rows: expected zeros or uniform, got keras");
  EXPECT_EQ(call({.dropout_rate = 1.5}),
            "[attention] dropout_rate: expected 0 <= rate <= 1, got 1.5");
  EXPECT_EQ(call({.mask = rank}),
            "[attention] mask: expected [2, 4, 3, 5] or 1 in place of any of these, got "
            "[3, 5]");
  EXPECT_EQ(call({.mask = size}),
            "[attention] mask: expected [2, 4, 3, 5] or 1 in place of any of these, got "
            "[2, 4, 1, 6]");
  EXPECT_EQ(call({.mask = number}), "[attention] mask: expected bool or u8, got f32");
  EXPECT_EQ(call({.key_mask = keys}), "[attention] key_mask: expected [2, 5], got [2, 3]");
  EXPECT_EQ(call({.query_mask = rank}), "[attention] query_mask: expected [2, 3], got [3, 5]");
  EXPECT_EQ(call({.bias = wide}), "[attention] bias: expected f32, got f64");
}

}  // namespace
}  // namespace grouphead
