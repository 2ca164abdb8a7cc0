// The language model: its logits, its cached steps, and what they allocate.

#include <gtest/gtest.h>

#include "allocation_counter.h"
#include "grouphead/models/models.h"
#include "model_support.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

constexpr Index kVocabulary = 50;

LanguageModelConfig small_model(Dtype dtype = Dtype::f32) {
  return {.vocab_size = kVocabulary,
          .transformer = {.hidden_size = 32,
                          .num_heads = 4,
                          .num_key_value_heads = 2,
                          .num_layers = 3,
                          .rope = RopeConfig{},
                          .dtype = dtype}};
}

TEST(LanguageModel, RotatesByHalvesUnlessToldOtherwise) {
  const LanguageModelConfig config;
  ASSERT_TRUE(config.transformer.rope.has_value());
  EXPECT_EQ(config.transformer.rope->layout, RopeLayout::half);
  EXPECT_FALSE(config.transformer.rope->yarn.has_value());
}

TEST(LanguageModel, ParametersAreNamedInOrder) {
  LanguageModelConfig config = small_model();
  config.transformer.num_layers = 1;
  LanguageModel model(config);
  std::vector<std::string> paths;
  for (const auto& entry : model.parameters()) paths.push_back(entry.path);
  const std::vector<std::string> expected = {"embedding/embeddings",
                                             "gqa_block_1/attn_norm/gamma",
                                             "gqa_block_1/attn_norm/beta",
                                             "gqa_block_1/attn/query/kernel",
                                             "gqa_block_1/attn/query/bias",
                                             "gqa_block_1/attn/key/kernel",
                                             "gqa_block_1/attn/key/bias",
                                             "gqa_block_1/attn/value/kernel",
                                             "gqa_block_1/attn/value/bias",
                                             "gqa_block_1/attn/attention_output/kernel",
                                             "gqa_block_1/attn/attention_output/bias",
                                             "gqa_block_1/ffn_norm/gamma",
                                             "gqa_block_1/ffn_norm/beta",
                                             "gqa_block_1/ffn_up/kernel",
                                             "gqa_block_1/ffn_up/bias",
                                             "gqa_block_1/ffn_down/kernel",
                                             "gqa_block_1/ffn_down/bias",
                                             "final_norm/gamma",
                                             "final_norm/beta",
                                             "head/kernel",
                                             "head/bias"};
  EXPECT_EQ(paths, expected);
}

TEST(LanguageModel, StepsGiveTheLogitsOfTheFullRun) {
  LanguageModel exact(small_model(Dtype::f64));
  randomize(exact, 3);
  LanguageModel model(small_model());
  copy_parameters(exact, model);
  const Tensor tokens = random_tokens({2, 40}, kVocabulary, 1);
  Context exact_ctx;
  const Tensor want = call(exact_ctx, exact, {tokens});
  ASSERT_EQ(want.shape(), Shape({2, 40, kVocabulary}));
  const double bound = 1e-5 * testing::max_abs(want);  // the contract of prefill against steps
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    CHECK_CLOSE(call(ctx, model, {tokens}), want, bound, "full run");
    for (const Index chunk : {1, 3, 16, 39, 40}) {
      KvCache cache = model.make_cache(ctx, 2, 40);
      Tensor logits({2, kVocabulary});
      for (Index at = 0; at < 40; at += chunk) {
        const Index end = std::min<Index>(at + chunk, 40);
        model.step(ctx, dense(tokens.view().slice(1, at, end)), cache, logits);
        CHECK_CLOSE(logits, dense(want.view().slice(1, end - 1, end)).reshaped(logits.shape()),
                    bound, "chunks of " + std::to_string(chunk));
      }
      EXPECT_EQ(cache.length(), 40);
    }
  }
}

// Three blocks, each with what its keys and values lose: a 256th of a number in bf16, in 8 bits a
// 254th of the largest of its dim, and of a query once more.
TEST(LanguageModel, CachesInFewerBitsGiveNearlyTheLogitsOfTheFullRun) {
  LanguageModel model(small_model());
  randomize(model, 3);
  const Tensor tokens = random_tokens({2, 100}, kVocabulary, 1);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor full = call(ctx, model, {tokens});
    Tensor want(full.shape(), Dtype::f64);
    for (Index i = 0; i < full.size(); ++i) want.data<double>()[i] = full.data<float>()[i];
    for (const Dtype stored : {Dtype::bf16, Dtype::u8}) {
      KvCache cache = model.make_cache(ctx, 2, 100, stored);
      EXPECT_EQ(cache.capacity(), 128);
      Tensor logits({2, kVocabulary});
      for (const auto& [begin, end] :
           {std::pair<Index, Index>{0, 60}, {60, 90}, {90, 91}, {91, 99}, {99, 100}}) {
        model.step(ctx, dense(tokens.view().slice(1, begin, end)), cache, logits);
        CHECK_CLOSE(logits, dense(want.view().slice(1, end - 1, end)).reshaped(logits.shape()),
                    testing::max_abs(full) / (stored == Dtype::bf16 ? 128 : 64),
                    std::string(name_of(stored)));
      }
    }
  }
}

TEST(LanguageModel, AttentionScoresAreCausalSharesForEachLayerAndHead) {
  Context ctx;
  LanguageModel model(small_model());
  Tensor tokens({2, 9}, Dtype::i32);
  for (Index i = 0; i < tokens.size(); ++i) {
    tokens.data<std::int32_t>()[i] = static_cast<std::int32_t>(i * 7 % kVocabulary);
  }
  const std::vector<Tensor> scores = model.attention_scores(ctx, tokens);
  ASSERT_EQ(scores.size(), 3U);
  for (const Tensor& layer : scores) {
    ASSERT_EQ(layer.shape(), Shape({2, 4, 9, 9}));
    const float* row = layer.data<float>();
    for (Index r = 0; r < 2 * 4 * 9; ++r, row += 9) {
      const Index position = r % 9;
      double sum = 0;
      for (Index j = 0; j < 9; ++j) {
        if (j > position) {
          EXPECT_EQ(row[j], 0);
        }
        sum += row[j];
      }
      EXPECT_NEAR(sum, 1, 1e-6);
    }
  }
}

TEST(LanguageModel, ATruncatedCacheGoesOnFromThere) {
  Context ctx;
  LanguageModel model(small_model());
  randomize(model, 3);
  const Tensor tokens = random_tokens({1, 20}, kVocabulary, 1);
  const Tensor others = random_tokens({1, 9}, kVocabulary, 2);
  KvCache cache = model.make_cache(ctx, 1, 20);
  Tensor want({1, kVocabulary});
  Tensor got({1, kVocabulary});
  model.step(ctx, dense(tokens.view().slice(1, 0, 11)), cache, got);
  model.step(ctx, dense(tokens.view().slice(1, 11, 20)), cache, want);
  cache.truncate(11);
  model.step(ctx, others, cache, got);
  EXPECT_FALSE(same_bits(got, want));
  cache.truncate(11);
  model.step(ctx, dense(tokens.view().slice(1, 11, 20)), cache, got);
  EXPECT_TRUE(same_bits(got, want));
}

TEST(LanguageModel, ARefusedStepLeavesTheCacheAsItWas) {
  Context ctx;
  LanguageModel model(small_model());
  KvCache cache = model.make_cache(ctx, 2, 16);
  Tensor logits({2, kVocabulary});
  model.step(ctx, random_tokens({2, 14}, kVocabulary, 1), cache, logits);
  const auto refusal = [&](const Tensor& tokens, View out) {
    return error_of<ShapeError>([&] { model.step(ctx, tokens, cache, out); });
  };
  EXPECT_EQ(refusal(random_tokens({2, 3}, kVocabulary, 1), logits),
            "[gqa_block_1/group_query_attention] query: expected at most 2 positions, which the "
            "cache has "
            "left, got 3");
  EXPECT_EQ(refusal(random_tokens({1, 1}, kVocabulary, 1), logits),
            "[language_model] tokens: expected [2, *], got [1, 1]");
  EXPECT_EQ(refusal(Tensor::zeros({2, 1}), logits),
            "[language_model] tokens: expected i32, got f32");
  Tensor narrow({2, kVocabulary - 1});
  EXPECT_EQ(refusal(random_tokens({2, 1}, kVocabulary, 1), narrow),
            "[language_model] logits: expected [2, 50], got [2, 49]");
  Tensor unknown = random_tokens({2, 1}, kVocabulary, 1);
  unknown.data<std::int32_t>()[1] = kVocabulary;
  EXPECT_EQ(refusal(unknown, logits), "[embedding] tokens: expected indices below 50, got 50 at 1");
  EXPECT_EQ(cache.length(), 14);
  model.step(ctx, random_tokens({2, 2}, kVocabulary, 1), cache, logits);
  EXPECT_EQ(cache.length(), 16);
}

TEST(LanguageModel, ImpossibleConfigurationsAreRefused) {
  LanguageModelConfig config = small_model();
  config.vocab_size = 0;
  EXPECT_EQ(error_of<ConfigError>([&] { LanguageModel model(config); }),
            "[language_model] vocab_size: expected 1 or more, got 0");
  config = small_model();
  config.transformer.num_key_value_heads = 3;
  EXPECT_EQ(error_of<ConfigError>([&] { LanguageModel model(config); }),
            "[language_model] num_key_value_heads: expected a divisor of num_heads = 4, got 3");
  LanguageModel model(small_model());
  EXPECT_EQ(error_of<ConfigError>([&] {
              build(model, {{1, 1}});
            }),
            "[language_model] build: expected one call, got a second one");
}

// What one warm step takes from the heap at a cache length of `length`.
Allocations step_allocations(Context& ctx, const LanguageModel& model, Index length) {
  KvCache cache = model.make_cache(ctx, 1, 2048);
  Tensor logits({1, kVocabulary});
  const Tensor token = random_tokens({1, 1}, kVocabulary, 2);
  if (length > 2) model.step(ctx, random_tokens({1, length - 2}, kVocabulary, 1), cache, logits);
  for (int i = 0; i < 2; ++i) model.step(ctx, token, cache, logits);
  return allocations_of([&] { model.step(ctx, token, cache, logits); });
}

TEST(LanguageModel, AWarmStepAllocatesNothingOfOurs) {
  LanguageModel model(small_model());
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    const Allocations early = step_allocations(ctx, model, 3);
    const Allocations late = step_allocations(ctx, model, 1500);
    // Above the reference level products go to oneDNN, which takes some bytes for each call's
    // arguments: under 1 KiB for each of the 6 products of a block and the head's.
    const long products = isa == Isa::ref ? 0 : 6 * 3 + 1;
    EXPECT_LE(early.bytes, 1024 * products) << name_of(isa) << " " << early.count;
    EXPECT_EQ(late.bytes, early.bytes) << name_of(isa) << " grows with the cache";
    RecordProperty("bytes_" + std::string(name_of(isa)), std::to_string(early.bytes));
  }
}

}  // namespace
}  // namespace grouphead
