// The forward on bf16 numbers: by AMX or vdpbf16ps where the level has it, through f32 elsewhere.

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention_options_support.h"
#include "ops/attention_problem.h"
#include "testing/inputs.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::error_of;
using testing_support::isas_under_test;
using testing_support::make_inputs;
using testing_support::ManyThreads;
using testing_support::same_bits;
using testing_support::Strided;

AttentionInputs make_bf16(const AttentionCase& c, std::uint64_t seed = 1) {
  Context ctx({.num_threads = 1});
  const AttentionInputs in = make_inputs(c, Dtype::f32, seed);
  const auto narrow = [&](const Tensor& x) {
    return testing::convert(ctx, x, Dtype::bf16).clone();
  };
  return {narrow(in.q), narrow(in.k), narrow(in.v), {}};
}

Tensor wide(Context& ctx, const Tensor& x) { return testing::convert(ctx, x, Dtype::f32); }

struct Result {
  Tensor out, softmax, lse;
};

Result run(Context& ctx, const AttentionCase& c, const AttentionInputs& in,
           const AttentionOptions& options) {
  Result r{Tensor({c.B, c.T, c.Hq, c.Dv}, Dtype::bf16), Tensor({2, c.B, c.Hq, c.T}),
           Tensor({c.B, c.Hq, c.T})};
  attention(ctx, in.q, in.k, in.v, options, r.out, {.lse = r.lse, .statistics = r.softmax});
  return r;
}

// Options for f32 operands.
struct Widened {
  Widened(Context& ctx, const AttentionOptions& narrow) : options(narrow) {
    if (narrow.bias.has_value())
      options.bias = bias = testing::convert(ctx, narrow.bias, Dtype::f32);
  }
  Tensor bias;
  AttentionOptions options;
};

void expect_oracle(const AttentionCase& c, const AttentionInputs& in,
                   const AttentionOptions& options) {
  Context plain({.num_threads = 1});
  const Tensor q = wide(plain, in.q), k = wide(plain, in.k), v = wide(plain, in.v);
  const Widened w(plain, options);
  const auto want = testing::attention_forward_oracle(q, k, v, w.options);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Result got = run(ctx, c, in, options);
    const std::string key = c.key("attention.fwd", Dtype::bf16, isa);
    CHECK_CLOSE(wide(ctx, got.out), want.out.value, bf16_bounds(want.out, Dtype::bf16), key);
    CHECK_CLOSE(got.lse, want.lse.value, bounds_of(want.lse, Dtype::f32), key);
  }
}

TEST(AttentionBf16, EveryLevelAgreesWithTheOracle) {
  std::vector<AttentionCase> cases = testing_support::attention_cases();
  for (const AttentionCase& more : {AttentionCase{1, 7, 515, 6, 1, 33, 17, true, 508},
                                    {2, 64, 300, 1, 1, 64, 64, true, 0},
                                    {1, 3, 0, 2, 1, 8, 8, false, 0},
                                    {1, 50, 50, 2, 2, 16, 130, true, -20}}) {
    cases.push_back(more);
  }
  for (const AttentionCase& c : cases) expect_oracle(c, make_bf16(c), c.options());
}

TEST(AttentionBf16, OptionsWorkAsInF32) {
  for (const testing_support::OptionCase& c : testing_support::option_cases()) {
    testing_support::OptionOperands o = make_operands(c, Dtype::f32);
    AttentionInputs in = make_bf16(c.base);
    Context plain({.num_threads = 1});
    if (o.bias.has_value()) o.options.bias = o.bias = testing::convert(plain, o.bias, Dtype::bf16);
    expect_oracle(c.base, in, o.options);
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      if (ops::bf16_is_native(ctx)) continue;
      Tensor want({c.base.B, c.base.T, c.base.Hq, c.base.Dv});  // the numbers of f32, rounded
      const Tensor q = wide(ctx, in.q), k = wide(ctx, in.k), v = wide(ctx, in.v);
      const Widened w(ctx, o.options);
      attention(ctx, q, k, v, w.options, want);
      EXPECT_TRUE(
          same_bits(run(ctx, c.base, in, o.options).out, testing::convert(ctx, want, Dtype::bf16)))
          << name_of(isa) << " " << c.to_string();
    }
  }
}

TEST(AttentionBf16, RowsThatSeeNothingAreZerosOrTheMeanOfAllValues) {
  const AttentionCase c{1, 9, 40, 2, 1, 16, 16, true, -4};
  const AttentionInputs in = make_bf16(c);
  expect_oracle(c, in, c.options());
  AttentionOptions options = c.options();
  options.masked_rows = MaskedRows::uniform;
  expect_oracle(c, in, options);
}

TEST(AttentionBf16, AnyNumberOfThreadsAndAnyStridesGiveTheSameBits) {
  const ManyThreads many;
  const AttentionCase c{2, 150, 333, 6, 2, 40, 72, true, 180};
  const AttentionInputs in = make_bf16(c);
  for (const Isa isa : isas_under_test()) {
    Tensor first;
    for (const int count : ManyThreads::kCounts) {
      Context ctx({.num_threads = count, .isa = isa});
      const Result got = run(ctx, c, in, c.options());
      if (!first.has_value()) first = got.out;
      EXPECT_TRUE(same_bits(got.out, first)) << name_of(isa) << " thr=" << count;
      Strided q(in.q), k(in.k), v(in.v), out(got.out.shape(), Dtype::bf16);
      attention(ctx, q.view(), k.view(), v.view(), c.options(), out.view());
      EXPECT_TRUE(same_bits(out.dense(), first)) << name_of(isa);
      EXPECT_TRUE(out.guards_are_intact());
    }
  }
}

TEST(AttentionBf16, AnyNumberOfThreadsGivesTheSameBitsWithOptions) {
  const ManyThreads many;
  for (const testing_support::OptionCase& c : testing_support::option_cases()) {
    const testing_support::OptionOperands o = make_operands(c, Dtype::f32);
    const AttentionInputs in = make_bf16(c.base);
    for (const Isa isa : isas_under_test()) {
      Result first;
      for (const int count : ManyThreads::kCounts) {
        Context ctx({.num_threads = count, .isa = isa});
        const Result got = run(ctx, c.base, in, o.options);
        if (count == 1) first = got;
        EXPECT_TRUE(same_bits(got.out, first.out)) << name_of(isa) << " " << c.to_string();
        EXPECT_TRUE(same_bits(got.softmax, first.softmax)) << name_of(isa) << " " << c.to_string();
      }
    }
  }
}

// Logits fall where products grow, with options and without.
TEST(AttentionBf16, AnyScaleIsTaken) {
  const testing_support::OptionCase c{.base = {1, 40, 70, 2, 1, 24, 16, true, 30}, .sinks = true};
  testing_support::OptionOperands o = make_operands(c, Dtype::f32);
  for (const double scale : {-0.5, 0.0}) {
    AttentionOptions plain = c.base.options();
    plain.scale = o.options.scale = scale;
    expect_oracle(c.base, make_bf16(c.base), plain);
    expect_oracle(c.base, make_bf16(c.base), o.options);
  }
}

// What a row sees decides, not its neighbours: queries one by one, and in one call.
TEST(AttentionBf16, ARowsBitsDoNotDependOnTheOthers) {
  for (const Index offset : {259, -5}) {
    const AttentionCase c{1, 40, 300, 3, 1, 24, 24, true, offset};
    const AttentionInputs in = make_bf16(c);
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 1, .isa = isa});
      AttentionOptions options = c.options();
      options.masked_rows = MaskedRows::uniform;
      const Result all = run(ctx, c, in, options);
      for (const Index t : {0, 1, 6, 38}) {
        Tensor one({1, 1, c.Hq, c.Dv}, Dtype::bf16);
        options.causal_offset = offset + t;
        attention(ctx, in.q.view().slice(1, t, t + 1), in.k, in.v, options, one);
        Tensor want(one.shape(), Dtype::bf16);
        copy(all.out.view().slice(1, t, t + 1), want);
        EXPECT_TRUE(same_bits(one, want)) << name_of(isa) << " t=" << t;
      }
    }
  }
}

// Not even where a row sees nothing but logits of -inf.
TEST(AttentionBf16, HiddenKeysHaveNoWeight) {
  const AttentionCase c{1, 32, 32, 1, 1, 64, 16, true, 0};
  AttentionInputs in = make_bf16(c);
  in.q.data<Bf16>()[0] = to_bf16(1.0F);
  in.k.data<Bf16>()[0] = to_bf16(-std::numeric_limits<float>::infinity());
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    const Tensor out = wide(ctx, run(ctx, c, in, c.options()).out);
    for (Index d = 0; d < c.Dv; ++d) EXPECT_EQ(out.data<float>()[d], 0.0F) << name_of(isa);
  }
}

TEST(AttentionBf16, ABiasMayHaveAnyStrides) {
  const AttentionCase c{1, 5, 40, 2, 1, 8, 8, false, 0};
  const AttentionInputs in = make_bf16(c);
  Tensor memory({1, 2, 5, 80}, Dtype::bf16);
  for (Index i = 0; i < memory.size(); ++i) {
    memory.data<Bf16>()[i] = to_bf16(static_cast<float>(i % 13) / 8);
  }
  const ConstView strided = memory.view().slice(3, 7, 47);
  Tensor dense({1, 2, 5, 40}, Dtype::bf16);
  copy(strided, dense);
  AttentionOptions options = c.options();
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    options.bias = dense;
    const Result want = run(ctx, c, in, options);
    options.bias = strided;
    EXPECT_TRUE(same_bits(run(ctx, c, in, options).out, want.out)) << name_of(isa);
  }
}

// Row 0 against the same row with neighbours that see other keys.
TEST(AttentionBf16, ARowWithAMaskDoesNotDependOnItsNeighbours) {
  const testing_support::OptionCase all{
      .base = {1, 40, 600, 1, 1, 16, 16}, .mask = {1, 1, 40, 600}, .dropout_rate = 0.2};
  const testing_support::OptionOperands o = make_operands(all, Dtype::f32);
  const AttentionInputs in = make_bf16(all.base);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    const Result want = run(ctx, all.base, in, o.options);
    for (const bool others : {false, true}) {
      Tensor mask = o.mask.clone();
      std::fill_n(mask.data<std::uint8_t>() + 600, 39 * 600, static_cast<std::uint8_t>(others));
      AttentionOptions changed = o.options;
      changed.mask = mask;
      const Result got = run(ctx, all.base, in, changed);
      const auto* const row = want.out.data<Bf16>();
      EXPECT_TRUE(std::equal(row, row + 16, got.out.data<Bf16>(), [](Bf16 a, Bf16 b) {
        return a.bits == b.bits;
      })) << name_of(isa);
    }
  }
}

TEST(AttentionBf16, NanReachesWhoSeesItAlone) {
  const AttentionCase c{1, 300, 300, 2, 1, 16, 16, true, 0};
  constexpr Index kBad = 140;
  for (const Index window : {0, 50}) {
    for (const bool in_keys : {false, true}) {
      AttentionInputs in = make_bf16(c);
      const AttentionInputs clean = make_bf16(c);
      AttentionOptions options = c.options();
      if (window > 0) options.window_left = options.window_right = window - 1;
      (in_keys ? in.k : in.v).data<Bf16>()[kBad * 16 + 3] =
          to_bf16(std::numeric_limits<float>::quiet_NaN());
      for (const Isa isa : isas_under_test()) {
        Context ctx({.num_threads = 1, .isa = isa});
        const Tensor got = wide(ctx, run(ctx, c, in, options).out);
        const Tensor want = wide(ctx, run(ctx, c, clean, options).out);
        for (Index t = 0; t < c.T; ++t) {
          const float* row = got.data<float>() + t * c.Hq * c.Dv;
          if (t < kBad || (window > 0 && t >= kBad + window)) {
            EXPECT_TRUE(std::equal(row, row + c.Hq * c.Dv, want.data<float>() + t * c.Hq * c.Dv))
                << name_of(isa) << " " << t;
          } else {
            EXPECT_TRUE(std::isnan(row[3])) << name_of(isa) << " " << t;
          }
        }
      }
    }
  }
}

TEST(AttentionBf16, HalfPrecisionIsRefused) {
  Context ctx({.num_threads = 1});
  const AttentionCase c{1, 2, 4, 2, 1, 8, 8, false, 0};
  const AttentionInputs in = make_bf16(c);
  Tensor half({1, 2, 2, 8}, Dtype::f16);
  EXPECT_EQ(error_of<ShapeError>([&] { attention(ctx, half, in.k, in.v, {}, half); }),
            "[attention] q: expected f32, f64 or bf16, got f16");
}

}  // namespace
}  // namespace grouphead
