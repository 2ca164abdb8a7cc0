// Every option of attention over caches of every form, with few rows and with many.

#include <cmath>

#include "allocation_counter.h"
#include "attention_options_support.h"
#include "kv_cache_support.h"
#include "testing/cache_contents.h"

namespace grouphead {
namespace {

using testing_support::allocations_of;
using testing_support::AttentionCase;
using testing_support::CacheForm;
using testing_support::isas_under_test;
using testing_support::make_operands;
using testing_support::name_of_form;
using testing_support::OptionCase;
using testing_support::OptionOperands;
using testing_support::same_bits;

constexpr auto kUniform = MaskedRows::uniform;

std::vector<OptionCase> cases(const AttentionCase& base) {
  const Index T = base.T, S = base.S, Hq = base.Hq, B = base.B;
  return {
      {.base = base, .softcap = 1.5},
      {.base = base, .slopes = true},
      {.base = base, .sinks = true},
      {.base = base, .mask = {B, 1, T, S}},
      {.base = base, .mask = {1, Hq, T, S}, .masked_rows = kUniform},
      {.base = base, .bias = {B, Hq, T, S}},
      {.base = base, .bias = {1, Hq, 1, S}, .key_mask = true},
      {.base = base, .query_mask = true, .masked_rows = kUniform, .slopes = true},
      {.base = base, .dropout_rate = 0.3},
      {.base = base, .window_left = 70, .softcap = 1.5, .slopes = true, .sinks = true},
      {.base = base,
       .window_left = 130,
       .mask = {B, Hq, T, S},
       .dropout_rate = 0.2,
       .softcap = 3.0,
       .slopes = true,
       .sinks = true},
      {.base = base, .window_left = 1060, .bias = {1, 1, T, S}, .sinks = true},
  };
}

// A cache of this form that holds the first S - T positions of both sequences. The blocks of a
// paged one do not lie in order.
KvCache filled(Context& ctx, const OptionOperands& o, CacheForm form, Dtype stored) {
  const ConstView k = o.in.k, v = o.in.v;
  const Index stored_rows = k.dim(1) - o.in.q.dim(1);
  KvCacheConfig config{.num_layers = 1,
                       .batch = k.dim(0),
                       .num_key_value_heads = k.dim(2),
                       .head_dim = k.dim(3),
                       .capacity = k.dim(1),
                       .dtype = stored,
                       .value_dim = v.dim(3)};
  if (form == CacheForm::ring) config.window = *o.options.window_left + 1;
  if (form == CacheForm::paged) config.num_blocks = config.batch * ((k.dim(1) + 63) / 64);
  KvCache cache(ctx, config);
  constexpr Index kPiece = 50;
  for (Index at = 0; at < stored_rows; at += kPiece) {
    const Index end = std::min(at + kPiece, stored_rows);
    store_cached(ctx, k.slice(1, at, end), v.slice(1, at, end), cache, 0);
    cache.advance(end - at);
  }
  return cache;
}

Tensor decoded(Context& ctx, const OptionOperands& o, KvCache& cache) {
  const Index S = o.in.k.dim(1), begin = S - o.in.q.dim(1);
  AttentionOptions options = o.options;
  options.causal_offset = 0;
  Tensor out(o.in.d_out.shape(), o.in.q.dtype());
  decode(ctx, o.in.q, o.in.k.view().slice(1, begin, S), o.in.v.view().slice(1, begin, S), cache, 0,
         options, out);
  return out;
}

std::vector<CacheForm> forms_of(const OptionCase& c) {
  std::vector<CacheForm> forms = {CacheForm::paged};
  if (c.window_left && c.masked_rows != kUniform) forms.push_back(CacheForm::ring);
  return forms;
}

class KvCacheOptions : public ::testing::TestWithParam<AttentionCase> {};

TEST_P(KvCacheOptions, AgreeWithTheOracleInF32AndHaveTheSameBitsInEveryForm) {
  for (const OptionCase& c : cases(GetParam())) {
    const OptionOperands o = make_operands(c, Dtype::f32);
    const auto want = testing::attention_forward_oracle(o.in.q, o.in.k, o.in.v, o.options).out;
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      KvCache plain = filled(ctx, o, CacheForm::contiguous, Dtype::f32);
      const Tensor got = decoded(ctx, o, plain);
      CHECK_CLOSE(got, want.value, bounds_of(want, Dtype::f32), c.to_string());
      for (const CacheForm form : forms_of(c)) {
        KvCache cache = filled(ctx, o, form, Dtype::f32);
        EXPECT_TRUE(same_bits(decoded(ctx, o, cache), got))
            << name_of_form(form) << " " << name_of(isa) << " " << c.to_string();
      }
    }
  }
}

// Queries with one number each: rounding them to 8 bits changes nothing.
TEST_P(KvCacheOptions, AgreeWithTheOracleOfWhatIsHeldInFewerBits) {
  for (const OptionCase& c : cases(GetParam())) {
    OptionOperands o = make_operands(c, Dtype::f32);
    const Index D = c.base.D;
    for (Index i = 0; i < o.in.q.size(); ++i) {
      if (i % D != i / D % D) o.in.q.data<float>()[i] = 0;
    }
    for (const Dtype stored : {Dtype::bf16, Dtype::u8}) {
      for (const Isa isa : isas_under_test()) {
        Context ctx({.num_threads = 2, .isa = isa});
        KvCache plain = filled(ctx, o, CacheForm::contiguous, stored);
        const Tensor got = decoded(ctx, o, plain);
        const testing::CacheContents held =
            testing::cache_contents(ops::slice_of(plain, 0), c.base.S, D, c.base.Dv);
        const auto want = testing::attention_forward_oracle(o.in.q, held.k, held.v, o.options).out;
        CHECK_CLOSE(got, want.value, bounds_of(want, Dtype::f32),
                    c.to_string() + " " + std::string(name_of(stored)));
        for (const CacheForm form : forms_of(c)) {
          KvCache cache = filled(ctx, o, form, stored);
          EXPECT_TRUE(same_bits(decoded(ctx, o, cache), got))
              << name_of_form(form) << " " << name_of(isa) << " " << name_of(stored) << " "
              << c.to_string();
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, KvCacheOptions,
                         ::testing::Values(AttentionCase{2, 3, 1100, 4, 2, 24, 40, true, 1097},
                                           AttentionCase{2, 1, 333, 8, 1, 16, 16, true, 332},
                                           AttentionCase{1, 40, 210, 4, 2, 16, 8, true, 170}));

TEST(KvCacheDecode, DoublesAgreeWithTheOracle) {
  for (const OptionCase& c : cases({2, 3, 1100, 4, 2, 8, 8, true, 1097})) {
    const OptionOperands o = make_operands(c, Dtype::f64);
    const auto want = testing::attention_forward_oracle(o.in.q, o.in.k, o.in.v, o.options).out;
    Context ctx;
    KvCache plain = filled(ctx, o, CacheForm::contiguous, Dtype::f64);
    CHECK_CLOSE(decoded(ctx, o, plain), want.value, bounds_of(want, Dtype::f64), c.to_string());
  }
}

// Several continuations of one prompt in one call: each candidate sees the prompt and those that it
// continues. The tree is 0 - 1 - 3, 0 - 2 - 4.
TEST(KvCacheDecode, ATreeOfCandidatesHasTheResultsOfEachBranch) {
  constexpr Index kPrompt = 90, kNodes = 5;
  const AttentionCase c{1, kNodes, kPrompt + kNodes, 4, 2, 16, 16};
  const testing_support::AttentionInputs in = testing_support::make_inputs(c, Dtype::f32);
  const std::vector<std::vector<Index>> branches = {{0, 1, 3}, {0, 2, 4}};
  Tensor mask = Tensor::zeros({1, 1, kNodes, c.S}, Dtype::boolean);
  for (Index t = 0; t < kNodes; ++t) std::fill_n(mask.data<bool>() + t * c.S, kPrompt, true);
  for (const std::vector<Index>& branch : branches) {
    for (std::size_t i = 0; i < branch.size(); ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        mask.data<bool>()[branch[i] * c.S + kPrompt + branch[j]] = true;
      }
    }
  }
  const auto rows = [](const Tensor& x, Index begin, Index end) {
    return x.view().slice(1, begin, end);
  };
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    KvCache tree(ctx, {.num_key_value_heads = 2, .head_dim = 16, .capacity = 128});
    store_cached(ctx, rows(in.k, 0, kPrompt), rows(in.v, 0, kPrompt), tree, 0);
    tree.advance(kPrompt);
    Tensor got({1, kNodes, 4, 16});
    decode(ctx, in.q, rows(in.k, kPrompt, c.S), rows(in.v, kPrompt, c.S), tree, 0, {.mask = mask},
           got);
    for (const std::vector<Index>& branch : branches) {
      KvCache one(ctx, {.num_key_value_heads = 2, .head_dim = 16, .capacity = 128});
      store_cached(ctx, rows(in.k, 0, kPrompt), rows(in.v, 0, kPrompt), one, 0);
      one.advance(kPrompt);
      for (const Index node : branch) {
        Tensor want({1, 1, 4, 16});
        decode(ctx, rows(in.q, node, node + 1), rows(in.k, kPrompt + node, kPrompt + node + 1),
               rows(in.v, kPrompt + node, kPrompt + node + 1), one, 0, {.causal = true}, want);
        one.advance(1);
        for (Index i = 0; i < 64; ++i) {
          EXPECT_NEAR(got.data<float>()[node * 64 + i], want.data<float>()[i], 2e-6)
              << name_of(isa) << " node " << node;
        }
      }
    }
  }
}

TEST(KvCacheDecode, WarmStepsAllocateNothing) {
  constexpr Index kCapacity = 1300;
  const testing_support::Sequences sequences({2, kCapacity, kCapacity, 4, 2, 16, 16});
  const Tensor slopes = testing_support::small_slopes(4, Dtype::f32);
  const Tensor sinks = testing_support::uniform({4}, Dtype::f32, 3);
  Tensor mask({1, 1, 1, kCapacity}, Dtype::boolean);
  std::fill_n(mask.data<bool>(), kCapacity, true);
  for (const Dtype stored : {Dtype::f32, Dtype::bf16, Dtype::u8}) {
    for (const CacheForm form : {CacheForm::contiguous, CacheForm::ring, CacheForm::paged}) {
      for (const int threads : {1, 2}) {
        Context ctx({.num_threads = threads, .isa = isas_under_test().back()});
        KvCache cache(ctx, sequences.config(form, 2, stored, 100));
        const Tensor k = sequences.all.k, v = sequences.all.v;
        const auto row = [](const Tensor& x, Index at) { return x.view().slice(1, at, at + 1); };
        Tensor out({2, 1, 4, 16});
        const auto step = [&](Index first, Index second) {
          const Index counts[] = {first, second};
          const Index S = cache.length() + 1;
          decode(ctx, row(sequences.all.q, S), row(k, S), row(v, S), cache, 1,
                 {.causal = true,
                  .window_left = 99,
                  .mask = mask.view().slice(3, 0, S),
                  .softcap = 2.0,
                  .alibi_slopes = slopes,
                  .sinks = sinks},
                 out, counts);
          cache.advance(counts);
        };
        step(1, 0);
        step(1, 1);
        sequences.feed(ctx, cache, {1000, 20}, {.causal = true, .window_left = 99});
        step(1, 1);
        const auto steps = [&] {
          for (Index i = 0; i < 100; ++i) step(1, i % 3 == 0 ? 1 : 0);
        };
        EXPECT_EQ(allocations_of(steps).count, 0)
            << name_of_form(form) << " " << name_of(stored) << " thr=" << threads;
      }
    }
  }
}

}  // namespace
}  // namespace grouphead
