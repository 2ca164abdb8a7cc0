// Caches whose sequences have lengths of their own; rings, blocks, and copies.

#include <gmock/gmock.h>

#include "kv_cache_support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using testing_support::AttentionCase;
using testing_support::CacheForm;
using testing_support::entry;
using testing_support::error_of;
using testing_support::isas_under_test;
using testing_support::ManyThreads;
using testing_support::name_of_form;
using testing_support::same_bits;
using testing_support::Sequences;

constexpr CacheForm kForms[] = {CacheForm::contiguous, CacheForm::ring, CacheForm::paged};
constexpr Dtype kStored[] = {Dtype::f32, Dtype::bf16, Dtype::u8};
constexpr Index kWindow = 100;

// Few rows and many, with none, inside tiles and across them.
const std::vector<std::vector<Index>> kRagged = {{70, 0, 33}, {1, 1, 1}, {5, 190, 2},  {1, 0, 1},
                                                 {40, 3, 64}, {1, 1, 1}, {0, 64, 130}, {2, 2, 2}};

bool is_zero(const Tensor& x, Index b, Index from) {
  const Tensor one = entry(x, b, x.dim(1));
  const Index row = x.dim(2) * x.dim(3);
  return std::all_of(one.data<float>() + from * row, one.data<float>() + one.size(),
                     [](float value) { return value == 0; });
}

TEST(AttentionKvCache, EachSequenceHasTheBitsOfAContiguousCacheOfItsOwn) {
  const Sequences sequences({3, 330, 330, 4, 2, 24, 40});
  const Tensor sinks = testing_support::uniform({4}, Dtype::f32, 9);
  for (const bool capped : {false, true}) {
    AttentionOptions options{.causal = true, .window_left = kWindow - 1};
    if (capped) options.softcap = 2, options.sinks = sinks;
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      for (const Dtype stored : kStored) {
        for (const CacheForm form : kForms) {
          KvCache cache(ctx, sequences.config(form, 3, stored, kWindow));
          std::vector<KvCache> alone;
          for (int b = 0; b < 3; ++b) {
            alone.emplace_back(ctx, sequences.config(CacheForm::contiguous, 1, stored));
          }
          for (const std::vector<Index>& counts : kRagged) {
            const Tensor got = sequences.feed(ctx, cache, counts, options);
            for (Index b = 0; b < 3; ++b) {
              const Index count = counts[static_cast<std::size_t>(b)];
              const Tensor want =
                  sequences.feed_one(ctx, alone[static_cast<std::size_t>(b)], b, count, options);
              EXPECT_TRUE(same_bits(entry(got, b, count), want))
                  << name_of_form(form) << " " << name_of(stored) << " " << name_of(isa) << " at "
                  << cache.length(b) << " of " << b;
              EXPECT_TRUE(is_zero(got, b, count));
            }
          }
          EXPECT_THAT(cache.lengths(), ElementsAre(120, 261, 234));
          EXPECT_EQ(cache.length(), 261);
        }
      }
    }
  }
}

TEST(AttentionKvCache, WithoutAWindowBlocksHaveTheBitsOfAContiguousCache) {
  const Sequences sequences({3, 1500, 1500, 4, 1, 16, 16});
  const AttentionOptions options{.causal = true};
  const std::vector<std::vector<Index>> counts = {{70, 900, 3}, {3, 3, 3}, {600, 1, 900},
                                                  {1, 1, 1},    {4, 2, 1}, {700, 40, 90}};
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const Dtype stored : kStored) {
      KvCache a(ctx, sequences.config(CacheForm::contiguous, 3, stored));
      KvCache b(ctx, sequences.config(CacheForm::paged, 3, stored));
      for (const std::vector<Index>& n : counts) {
        EXPECT_TRUE(
            same_bits(sequences.feed(ctx, a, n, options), sequences.feed(ctx, b, n, options)))
            << name_of(stored) << " " << name_of(isa);
      }
    }
  }
}

TEST(AttentionKvCache, DoublesToo) {
  const Sequences sequences({2, 300, 300, 2, 1, 7, 5}, Dtype::f64);
  const AttentionOptions options{.causal = true, .window_left = 40};
  Context ctx;
  for (const CacheForm form : {CacheForm::ring, CacheForm::paged}) {
    KvCache cache(ctx, sequences.config(form, 2, Dtype::f64, 41));
    KvCache plain(ctx, sequences.config(CacheForm::contiguous, 2, Dtype::f64));
    for (const std::vector<Index>& counts :
         std::vector<std::vector<Index>>{{150, 30}, {1, 1}, {20, 5}, {1, 90}}) {
      EXPECT_TRUE(same_bits(sequences.feed(ctx, cache, counts, options),
                            sequences.feed(ctx, plain, counts, options)))
          << name_of_form(form);
    }
  }
}

TEST(AttentionKvCache, AnyNumberOfThreadsGivesTheSameBits) {
  const ManyThreads many;
  const Sequences sequences({3, 330, 330, 4, 2, 24, 24});
  const AttentionOptions options{.causal = true, .window_left = kWindow - 1};
  for (const Dtype stored : kStored) {
    for (const CacheForm form : kForms) {
      std::vector<Tensor> first;
      for (const int threads : ManyThreads::kCounts) {
        Context ctx({.num_threads = threads, .isa = isas_under_test().back()});
        KvCache cache(ctx, sequences.config(form, 3, stored, kWindow));
        std::vector<Tensor> got;
        for (const std::vector<Index>& counts : kRagged) {
          got.push_back(sequences.feed(ctx, cache, counts, options));
        }
        if (first.empty()) first = got;
        for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(same_bits(got[i], first[i]));
      }
    }
  }
}

// The rows of three calls against attention of each sequence, in double.
TEST(AttentionKvCache, RaggedRowsAgreeWithTheOracle) {
  const Sequences sequences({2, 150, 150, 4, 2, 16, 24});
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const CacheForm form : kForms) {
      KvCache cache(ctx, sequences.config(form, 2, Dtype::f32, 50));
      for (const std::vector<Index>& counts :
           std::vector<std::vector<Index>>{{60, 11}, {2, 90}, {1, 1}}) {
        const std::vector<Index> begins(cache.lengths().begin(), cache.lengths().end());
        const AttentionOptions options{.causal = true, .window_left = 49};
        const Tensor got = sequences.feed(ctx, cache, counts, options);
        for (Index b = 0; b < 2; ++b) {
          const auto i = static_cast<std::size_t>(b);
          const auto part = [&](const Tensor& x, Index begin, Index end) {
            return cast(x.view().slice(0, b, b + 1).slice(1, begin, end), Dtype::f32);
          };
          AttentionOptions at = options;
          at.causal_offset = begins[i];
          const Index end = begins[i] + counts[i];
          const auto want = testing::attention_forward_oracle(part(sequences.all.q, begins[i], end),
                                                              part(sequences.all.k, 0, end),
                                                              part(sequences.all.v, 0, end), at);
          CHECK_CLOSE(entry(got, b, counts[i]), want.out.value, bounds_of(want.out, Dtype::f32),
                      name_of_form(form));
        }
      }
    }
  }
}

// Masks and biases are the batch's: a shorter sequence has their first keys.
TEST(AttentionKvCache, MasksOfRaggedSequencesAreThoseOfTheBatch) {
  const Sequences sequences({2, 200, 200, 4, 2, 16, 16});
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const Dtype stored : kStored) {
      for (const Index T : {3, 30}) {
        KvCache cache(ctx, sequences.config(CacheForm::paged, 2, stored));
        sequences.feed(ctx, cache, {70, 131}, {.causal = true});
        Tensor mask({2, 1, T, 131 + T}, Dtype::u8);
        for (Index i = 0; i < mask.size(); ++i) mask.data<std::uint8_t>()[i] = i % 5 != 0;
        const Tensor bias = testing_support::uniform({2, 4, T, 131 + T}, Dtype::f32, 3);
        const Tensor got =
            sequences.feed(ctx, cache, {T, T}, {.causal = true, .mask = mask, .bias = bias});
        const Index lengths[] = {70, 131};
        for (Index b = 0; b < 2; ++b) {
          KvCache alone(ctx, sequences.config(CacheForm::contiguous, 1, stored));
          sequences.feed_one(ctx, alone, b, lengths[b], {.causal = true});
          const auto part = [&](const Tensor& x) {
            return x.view().slice(0, b, b + 1).slice(3, 0, lengths[b] + T);
          };
          const Tensor want = sequences.feed_one(
              ctx, alone, b, T, {.causal = true, .mask = part(mask), .bias = part(bias)});
          EXPECT_TRUE(same_bits(entry(got, b, T), want)) << name_of(stored) << " " << name_of(isa);
        }
      }
    }
  }
}

TEST(AttentionKvCache, ForksGoOnAsTheSequenceThatTheyAreCopiesOf) {
  Sequences sequences({1, 300, 300, 4, 2, 24, 24});
  const AttentionOptions options{.causal = true, .window_left = kWindow - 1};
  Context ctx({.num_threads = 2, .isa = isas_under_test().back()});
  for (const Dtype stored : kStored) {
    for (const CacheForm form : kForms) {
      for (const Index length : {64, 150}) {
        sequences.source = {0, 0};
        KvCache cache(ctx, sequences.config(form, 2, stored, kWindow));
        sequences.feed(ctx, cache, {length, 7}, options);
        cache.fork(0, 1);
        EXPECT_THAT(cache.lengths(), ElementsAre(length, length));
        for (const Index count : {1, 30, 1, 64}) {
          const Tensor got = sequences.feed(ctx, cache, {count, count}, options);
          EXPECT_TRUE(same_bits(entry(got, 0, count), entry(got, 1, count)))
              << name_of_form(form) << " " << name_of(stored);
        }
        // Into caches of every form.
        for (const CacheForm to : kForms) {
          if (form == CacheForm::ring && to != form) continue;
          KvCache other(ctx, sequences.config(to, 3, stored, kWindow));
          other.fork(cache, 1, 2);
          EXPECT_THAT(other.lengths(), ElementsAre(0, 0, cache.length(1)));
          sequences.source = {0, 0, 0};
          const Tensor got = sequences.feed(ctx, other, {0, 0, 5}, options);
          KvCache alone(ctx, sequences.config(CacheForm::contiguous, 1, stored));
          sequences.feed_one(ctx, alone, 0, cache.length(1), options);
          const Tensor want = sequences.feed_one(ctx, alone, 0, 5, options);
          EXPECT_TRUE(same_bits(entry(got, 2, 5), want))
              << name_of_form(form) << " to " << name_of_form(to) << " " << name_of(stored);
        }
      }
    }
  }
}

// What one sequence stores after a fork is not the other's.
TEST(AttentionKvCache, SharedBlocksAreCopiedWhenOneIsWritten) {
  const Sequences sequences({2, 300, 300, 4, 2, 24, 24});
  Context ctx({.num_threads = 1});
  for (const Dtype stored : kStored) {
    KvCacheConfig config = sequences.config(CacheForm::paged, 2, stored);
    config.num_blocks = 5;
    KvCache cache(ctx, config);
    EXPECT_EQ(cache.num_free_blocks(), 5);
    sequences.feed(ctx, cache, {150, 0}, {.causal = true});
    EXPECT_EQ(cache.num_free_blocks(), 2);
    cache.fork(0, 1);
    EXPECT_EQ(cache.num_free_blocks(), 2);
    KvCache alone(ctx, sequences.config(CacheForm::contiguous, 1, stored));
    sequences.feed_one(ctx, alone, 0, 150, {.causal = true});
    sequences.feed(ctx, cache, {0, 10}, {.causal = true});  // other numbers than sequence 0 has
    EXPECT_EQ(cache.num_free_blocks(), 1);
    const Tensor got = sequences.feed(ctx, cache, {10, 0}, {.causal = true});
    EXPECT_EQ(cache.num_free_blocks(), 1);
    const Tensor want = sequences.feed_one(ctx, alone, 0, 10, {.causal = true});
    EXPECT_TRUE(same_bits(entry(got, 0, 10), want)) << name_of(stored);
    cache.truncate(1, 0);
    EXPECT_EQ(cache.num_free_blocks(), 2);
    cache.truncate(0, 64);
    EXPECT_EQ(cache.num_free_blocks(), 4);
  }
}

TEST(AttentionKvCache, AFullCacheIsRefusedAndStaysAsItIs) {
  const Sequences sequences({2, 300, 300, 2, 1, 8, 8});
  Context ctx({.num_threads = 1});
  for (const Dtype stored : kStored) {
    KvCacheConfig config = sequences.config(CacheForm::paged, 2, stored);
    config.num_blocks = 3;
    KvCache blocks(ctx, config);
    config = sequences.config(CacheForm::contiguous, 2, stored);
    config.capacity = 128;
    KvCache plain(ctx, config);
    for (KvCache* cache : {&blocks, &plain}) {
      sequences.feed(ctx, *cache, {100, 20}, {.causal = true});
      const Tensor q = testing_support::uniform({2, 1, 2, 8}, Dtype::f32, 5);
      Tensor before({2, 1, 2, 8}), after({2, 1, 2, 8});
      attention_cached(ctx, q, *cache, 1, {}, before);
      const auto refusal = [&](const std::vector<Index>& counts) {
        return error_of<ShapeError>([&] { sequences.feed(ctx, *cache, counts, {.causal = true}); });
      };
      if (cache == &blocks) {
        EXPECT_EQ(refusal({28, 45}), "[decode] cache: expected 1 free blocks, got 0");
        EXPECT_EQ(refusal({29, 0}), "[decode] cache: expected 1 free blocks, got 0");
      } else {
        EXPECT_EQ(refusal({29, 10}),
                  "[decode] positions: expected within 0 .. 128, got 100 .. 129");
      }
      EXPECT_THAT(cache->lengths(), ElementsAre(100, 20));
      attention_cached(ctx, q, *cache, 1, {}, after);
      EXPECT_TRUE(same_bits(before, after));
      sequences.feed(ctx, *cache, {28, 44}, {.causal = true});  // fits
    }
    EXPECT_EQ(error_of<ShapeError>([&] { blocks.advance(1); }),
              "[kv_cache] new positions: expected at most 0, got 1");
  }
}

TEST(AttentionKvCache, ARingGoesBackAsFarAsItsWindowReaches) {
  const Sequences sequences({1, 1000, 1000, 2, 1, 8, 8});
  const AttentionOptions options{.causal = true, .window_left = 99};
  Context ctx({.num_threads = 1});
  KvCache ring(ctx, sequences.config(CacheForm::ring, 1, Dtype::f32, 100));
  KvCache plain(ctx, sequences.config(CacheForm::contiguous, 1, Dtype::f32));
  EXPECT_LT(ring.bytes(), plain.bytes() / 4);
  for (KvCache* cache : {&ring, &plain}) sequences.feed_one(ctx, *cache, 0, 520, options);
  // Three tiles, from 384 on: position 483 is the first whose window they have.
  EXPECT_EQ(
      error_of<ShapeError>([&] { ring.truncate(482); }),
      "[kv_cache] length: expected 0, or 483 .. 520, whose window the ring still has, got 482");
  for (KvCache* cache : {&ring, &plain}) cache->truncate(483);
  EXPECT_TRUE(same_bits(sequences.feed_one(ctx, ring, 0, 3, options),
                        sequences.feed_one(ctx, plain, 0, 3, options)));
  for (KvCache* cache : {&ring, &plain}) cache->truncate(0);
  EXPECT_TRUE(same_bits(sequences.feed_one(ctx, ring, 0, 200, options),
                        sequences.feed_one(ctx, plain, 0, 200, options)));
}

TEST(AttentionKvCache, BadCallsAreNamed) {
  const Sequences sequences({2, 300, 300, 2, 1, 8, 8});
  Context ctx({.num_threads = 1});
  KvCache ring(ctx, sequences.config(CacheForm::ring, 2, Dtype::f32, 100));
  KvCache plain(ctx, sequences.config(CacheForm::contiguous, 2, Dtype::f32));
  const auto refusal = [&](KvCache& cache, const std::vector<Index>& counts,
                           const AttentionOptions& options) {
    return error_of<Error>([&] { sequences.feed(ctx, cache, counts, options); });
  };
  EXPECT_EQ(refusal(ring, {1, 1}, {.causal = true}),
            "[decode] window_left: expected at most 99, as the cache has window 100, got none");
  EXPECT_EQ(refusal(ring, {1, 1}, {.window_left = 9}),
            "[decode] causal: expected true with a ring, got false");
  EXPECT_EQ(refusal(ring, {1, 1}, {.causal = true, .window_left = 100}),
            "[decode] window_left: expected at most 99, as the cache has window 100, got 100");
  EXPECT_EQ(
      refusal(ring, {1, 1}, {.causal = true, .window_left = 9, .masked_rows = MaskedRows::uniform}),
      "[decode] masked_rows: expected zeros with a ring, got uniform");
  Tensor q({2, 2, 2, 8}), k({2, 2, 1, 8}), out({2, 2, 2, 8});
  const auto counted = [&](const std::vector<Index>& counts) {
    return error_of<Error>([&] { decode(ctx, q, k, k, plain, 0, {}, out, counts); });
  };
  EXPECT_EQ(counted({1}), "[decode] counts: expected 2 numbers, got 1");
  EXPECT_EQ(counted({1, 3}), "[decode] counts: expected 0 .. 2, got 3");
  EXPECT_EQ(counted({-1, 2}), "[decode] counts: expected 0 .. 2, got -1");
  EXPECT_EQ(error_of<ShapeError>([&] { static_cast<void>(plain.length(2)); }),
            "[kv_cache] sequence: expected 0 .. 1, got 2");
  EXPECT_EQ(error_of<ShapeError>([&] { plain.truncate(-1, 0); }),
            "[kv_cache] sequence: expected 0 .. 1, got -1");
  EXPECT_EQ(error_of<ShapeError>([&] { plain.advance(std::vector<Index>{1}); }),
            "[kv_cache] counts: expected 2 numbers, got 1");
  sequences.feed(ctx, ring, {250, 10}, {.causal = true, .window_left = 99});
  EXPECT_EQ(error_of<ShapeError>([&] { plain.fork(ring, 0, 1); }),
            "[kv_cache] sequence: expected positions from 0 on, got from 64 on, which a ring kept");
  plain.fork(ring, 1, 1);
  EXPECT_EQ(plain.length(1), 10);
  KvCache wide(ctx, {.num_layers = 2, .batch = 1, .head_dim = 16, .capacity = 16});
  EXPECT_EQ(error_of<ShapeError>([&] { wide.fork(plain, 0, 0); }),
            "[kv_cache] source: expected head_dim 16, got 8");
  EXPECT_EQ(error_of<ConfigError>([&] {
              KvCache(ctx, {.head_dim = 8, .capacity = 64, .window = 5, .num_blocks = 3});
            }),
            "[kv_cache] num_blocks: expected 0 with a window, got 3");
}

}  // namespace
}  // namespace grouphead
