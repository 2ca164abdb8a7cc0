// Layers over caches: sequences of unequal length, rings and blocks, and sources.

#include <gmock/gmock.h>

#include <cmath>

#include "attention_layer_support.h"
#include "grouphead/core/tensor_functions.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

constexpr Index kM = 48;

Tensor part(const Tensor& x, Index b, Index begin, Index end) {
  Tensor rows({1, end - begin, x.dim(2)}, x.dtype());
  copy(x.view().slice(0, b, b + 1).slice(1, begin, end), rows);
  return rows;
}

// Rows [begins[b], begins[b] + counts[b]) of each sequence.
Tensor ragged(const Tensor& x, std::span<const Index> begins, const std::vector<Index>& counts) {
  const Index T = *std::max_element(counts.begin(), counts.end());
  Tensor rows = Tensor::zeros({x.dim(0), T, x.dim(2)});
  for (Index b = 0; b < x.dim(0); ++b) {
    const auto i = static_cast<std::size_t>(b);
    copy(x.view().slice(0, b, b + 1).slice(1, begins[i], begins[i] + counts[i]),
         rows.view().slice(0, b, b + 1).slice(1, 0, counts[i]));
  }
  return rows;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  double worst = 0;
  for (Index i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(double{a.data<float>()[i]} - b.data<float>()[i]));
  }
  return worst;
}

TEST(LayerCache, UnequalSequencesHaveTheBitsOfCachesOfTheirOwn) {
  constexpr Index kWindow = 70;
  GroupQueryAttention layer({.head_dim = 16,
                             .num_query_heads = 4,
                             .num_key_value_heads = 2,
                             .sliding_window = kWindow,
                             .use_gate = true,
                             .rope = RopeConfig{},
                             .sinks = true});
  layer.build({{2, 300, kM}}, /*seed=*/2);
  const Tensor x = random_tensor({2, 300, kM}, 3);
  const KvCacheConfig plain{.batch = 2, .num_key_value_heads = 2, .head_dim = 16, .capacity = 300};
  KvCacheConfig ring = plain, paged = plain;
  ring.window = kWindow;
  paged.num_blocks = 10;
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const KvCacheConfig& config : {plain, ring, paged}) {
      KvCache cache(ctx, config);
      std::vector<KvCache> alone;
      for (int b = 0; b < 2; ++b) {
        alone.emplace_back(
            ctx, KvCacheConfig{.num_key_value_heads = 2, .head_dim = 16, .capacity = 300});
      }
      for (const std::vector<Index>& counts :
           std::vector<std::vector<Index>>{{150, 20}, {1, 1}, {1, 0}, {3, 90}, {1, 1}}) {
        const Tensor rows = ragged(x, cache.lengths(), counts);
        const Tensor got = layer.apply_cached(ctx, rows, cache, 0, counts);
        cache.advance(counts);
        for (Index b = 0; b < 2; ++b) {
          const Index count = counts[static_cast<std::size_t>(b)];
          if (count == 0) continue;
          KvCache& own = alone[static_cast<std::size_t>(b)];
          const Tensor want =
              layer.apply_cached(ctx, part(x, b, own.length(), own.length() + count), own, 0);
          own.advance(count);
          // Projections of more rows may round elsewhere; with as many they do not.
          EXPECT_LE(largest_difference(part(got, b, 0, count), want), 1e-6) << name_of(isa);
        }
      }
    }
  }
}

// Steps of a ring and of blocks have the bits of the contiguous cache, and its results those of
// one plain call.
TEST(LayerCache, ASlidingWindowIsTheSameInEveryForm) {
  constexpr Index kWindow = 40, kLength = 200;
  GroupQueryAttention layer({.head_dim = 16,
                             .num_query_heads = 4,
                             .num_key_value_heads = 2,
                             .sliding_window = kWindow,
                             .rope = RopeConfig{},
                             .causal = true});
  layer.build({{2, kLength, kM}}, /*seed=*/2);
  const Tensor x = random_tensor({2, kLength, kM}, 3);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor full = layer(ctx, {.query = x});
    for (const Dtype stored : {Dtype::f32, Dtype::bf16, Dtype::u8}) {
      const KvCacheConfig config{.batch = 2,
                                 .num_key_value_heads = 2,
                                 .head_dim = 16,
                                 .capacity = kLength,
                                 .dtype = stored};
      KvCacheConfig of_ring = config, of_blocks = config;
      of_ring.window = kWindow;
      of_blocks.num_blocks = 8;
      KvCache plain(ctx, config), ring(ctx, of_ring), blocks(ctx, of_blocks);
      for (Index at = 0; at < kLength;) {
        const Index end = at == 0 ? 90 : at + 1;
        const Tensor rows = slice(x, 1, at, end);
        const Tensor want = layer.apply_cached(ctx, rows, plain, 0);
        EXPECT_TRUE(same_bits(layer.apply_cached(ctx, rows, ring, 0), want));
        EXPECT_TRUE(same_bits(layer.apply_cached(ctx, rows, blocks, 0), want));
        if (stored == Dtype::f32) {
          EXPECT_LE(largest_difference(want, slice(full, 1, at, end)),
                    1e-5 * testing::max_abs(full));
        }
        for (KvCache* cache : {&plain, &ring, &blocks}) cache->advance(end - at);
        at = end;
      }
    }
  }
}

TEST(LayerCache, MultiHeadAttentionStepsAsItsCausalCall) {
  MultiHeadAttention layer({.num_heads = 3, .key_dim = 8, .value_dim = 20, .output_shape = {2, 5}});
  layer.build({{2, 60, kM}, {2, 60, kM}}, /*seed=*/2);
  const Tensor x = random_tensor({2, 60, kM}, 3);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor full = layer(ctx, {.query = x, .value = x, .use_causal_mask = true});
    KvCache cache(
        ctx,
        {.batch = 2, .num_key_value_heads = 3, .head_dim = 8, .capacity = 60, .value_dim = 20});
    for (Index at = 0; at < 60;) {
      const Index end = at == 0 ? 30 : at + 1;
      const Tensor got = layer.apply_cached(ctx, slice(x, 1, at, end), cache, 0);
      EXPECT_EQ(got.shape(), Shape({2, end - at, 2, 5}));
      EXPECT_LE(largest_difference(got, slice(full, 1, at, end)), 1e-5 * testing::max_abs(full));
      cache.advance(end - at);
      at = end;
    }
  }
}

// Against a plain call with the source and a mask of its rows.
template <class L>
void expect_source(const L& layer, Index heads, Index width, Dtype stored, double bound) {
  const Tensor x = random_tensor({2, 3, kM}, 3), source = random_tensor({2, 150, kM}, 4);
  const std::vector<Index> lengths = {150, 37};
  Tensor mask = Tensor::zeros({2, 150}, Dtype::boolean);
  for (Index b = 0; b < 2; ++b) {
    std::fill_n(mask.data<bool>() + b * 150, lengths[static_cast<std::size_t>(b)], true);
  }
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor want =
        layer(ctx, {.query = x, .value = source, .key = source, .value_mask = mask});
    KvCacheConfig config{.num_layers = 2,
                         .batch = 2,
                         .num_key_value_heads = heads,
                         .head_dim = width,
                         .capacity = 150,
                         .dtype = stored};
    for (const Index blocks : {0, 4}) {
      config.num_blocks = blocks;
      KvCache cache(ctx, config);
      layer.store_source(ctx, source, cache, 1, lengths);
      cache.advance(lengths);
      const Tensor got = layer.apply_to_source(ctx, x, cache, 1);
      EXPECT_LE(largest_difference(got, want), bound * testing::max_abs(want))
          << name_of(isa) << " " << name_of(stored);
      EXPECT_TRUE(same_bits(layer.apply_to_source(ctx, x, cache, 1), got));
      EXPECT_EQ(cache.length(), 150);
    }
  }
}

TEST(LayerCache, ASourceIsProjectedOnce) {
  GroupQueryAttention gqa({.head_dim = 16,
                           .num_query_heads = 4,
                           .num_key_value_heads = 2,
                           .use_gate = true,
                           .sinks = true});
  gqa.build({{2, 3, kM}, {2, 150, kM}}, /*seed=*/2);
  MultiHeadAttention mha({.num_heads = 3, .key_dim = 8});
  mha.build({{2, 3, kM}, {2, 150, kM}}, /*seed=*/2);
  for (const auto& [stored, bound] :
       {std::pair{Dtype::f32, 1e-5}, {Dtype::bf16, 3e-2}, {Dtype::u8, 3e-2}}) {
    expect_source(gqa, 2, 16, stored, bound);
    expect_source(mha, 3, 8, stored, bound);
  }
}

TEST(LayerCache, CallsThatDoNotFitAreNamed) {
  Context ctx;
  GroupQueryAttention rope(
      {.head_dim = 4, .num_query_heads = 2, .num_key_value_heads = 1, .rope = RopeConfig{}});
  MultiHeadAttention window({.num_heads = 1, .key_dim = 4, .sliding_window = 3});
  MultiHeadAttention axes({.num_heads = 1, .key_dim = 4, .attention_axes = {2}});
  MultiHeadAttention wide({.num_heads = 1, .key_dim = 4, .value_dim = 8});
  const Tensor x = random_tensor({1, 3, 6}, 1);
  rope.build({{1, 3, 6}}, 1);
  for (MultiHeadAttention* layer : {&window, &wide}) layer->build({{1, 3, 6}, {1, 3, 6}}, 1);
  axes.build({{1, 3, 4, 6}, {1, 3, 4, 6}}, 1);
  KvCache cache(ctx, {.head_dim = 4, .capacity = 16});
  const auto refusal = [&](const auto& layer) {
    return error_of<Error>([&] { layer.store_source(ctx, x, cache, 0); });
  };
  EXPECT_EQ(refusal(rope), "[group_query_attention] rope: expected none with a source, got some");
  EXPECT_EQ(refusal(window),
            "[multi_head_attention] sliding_window: expected none with a source, got some");
  EXPECT_EQ(refusal(axes),
            "[multi_head_attention] attention_axes: expected [1] with a cache, got [2]");
  EXPECT_EQ(refusal(wide), "[multi_head_attention] cache: expected value_dim 8, got 4");
  EXPECT_THAT(error_of<Error>([&] {
                rope.apply_cached(ctx, random_tensor({1, 3, 5}, 1), cache, 0);
              }),
              HasSubstr("[group_query_attention] query: expected [1, *, 6], got [1, 3, 5]"));
}

}  // namespace
}  // namespace grouphead
