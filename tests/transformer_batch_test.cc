// Many texts in one batch: each gets what it gets alone, bit for bit.

#include <gmock/gmock.h>

#include <random>

#include "grouphead/attention.h"
#include "grouphead/models/batch_generation.h"
#include "support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;

using Tokens = std::vector<std::int32_t>;

constexpr Index kVocabulary = 40;

TransformerModelConfig small(std::uint64_t seed = 3) {
  TransformerModelConfig config;
  config.vocab_size = kVocabulary;
  config.hidden_size = 32;
  config.num_layers = 2;
  config.attention = {.num_heads = 4, .num_key_value_heads = 2, .head_dim = 8};
  config.feed_forward.width = 24;
  config.ropes = {RopeConfig{}};
  config.seed = seed;
  return config;
}

Tokens random_prompt(std::size_t length, std::mt19937& random) {
  Tokens prompt;
  for (std::size_t i = 0; i < length; ++i) {
    prompt.push_back(static_cast<std::int32_t>(random() % kVocabulary));
  }
  return prompt;
}

/// A prompt, how it goes on, and all logits that it is given.
struct Text {
  Tokens prompt{};
  GenerationOptions options{};
  std::shared_ptr<std::vector<double>> logits = std::make_shared<std::vector<double>>();

  Text(Tokens tokens, Index max_tokens, std::uint64_t seed) : prompt(std::move(tokens)) {
    options.max_tokens = max_tokens;
    options.sampling.seed = seed;
    options.processors = {
        [seen = logits](std::span<const std::int32_t> /*tokens*/, std::span<double> now) {
          seen->insert(seen->end(), now.begin(), now.end());
        }};
  }
};

/// Prompts of a few tokens, of a few blocks that begin alike, and of more than one piece.
std::vector<Text> texts(Index longest) {
  std::mt19937 random(5);
  const Tokens common = random_prompt(200, random);
  std::vector<Text> all;
  for (const std::size_t length : {3U, 1U, 70U, 150U, 17U, 530U, 8U}) {
    Tokens prompt = random_prompt(length, random);
    if (length >= 17 && length < 200) {
      prompt.insert(prompt.begin(), common.begin(), common.end() - (length == 17 ? 70 : 0));
    }
    const Index room = longest - static_cast<Index>(prompt.size());
    if (room < 2) continue;
    all.emplace_back(std::move(prompt), std::min<Index>(room, 4 + all.size() % 3), all.size());
  }
  return all;
}

/// Runs all texts in one batch, which they join at random steps, and each alone.
template <class Model>
Index expect_same(const Model& model, const BatchGeneratorConfig& config) {
  Context ctx({.num_threads = 2});
  BatchGenerator batch(ctx, model, config);
  std::vector<Text> together = texts(config.capacity);
  std::mt19937 random(9);
  std::vector<Index> ids;
  std::map<Index, Tokens> streamed;
  while (ids.size() < together.size() || !batch.is_idle()) {
    while (ids.size() < together.size() && random() % 2 == 0) {
      const Text& text = together[ids.size()];
      ids.push_back(batch.add(text.prompt, text.options));
    }
    for (const BatchToken& one : batch.step()) streamed[one.id].push_back(one.token);
  }
  const std::vector<Text> alone = texts(config.capacity);
  for (std::size_t i = 0; i < alone.size(); ++i) {
    const DecoderOptions options{.capacity = 2048, .cache_dtype = config.cache_dtype};
    const Tokens want =
        generate(ctx, make_decoder(ctx, model, options), alone[i].prompt, alone[i].options);
    EXPECT_EQ(streamed[ids[i]], want) << i;
    EXPECT_EQ(batch.take(ids[i]), want) << i;
    EXPECT_TRUE(*together[i].logits == *alone[i].logits) << "logits of text " << i;
  }
  return batch.num_shared();
}

TEST(BatchGenerator, RotaryModelsOfGroupedHeads) {
  const TransformerModel model(small());
  EXPECT_GT(expect_same(model, {.max_sequences = 3}), 100);
  EXPECT_GT(expect_same(model, {.max_sequences = 8, .cache_dtype = Dtype::bf16}), 100);
  EXPECT_EQ(expect_same(model, {.max_sequences = 3, .cache_dtype = Dtype::u8}), 0);
  // Few blocks: texts wait for those of others.
  EXPECT_GT(expect_same(model, {.max_sequences = 8, .num_blocks = 16}), 0);
}

TEST(BatchGenerator, LearnedPositionsAndLayerNorm) {
  TransformerModelConfig config = small();
  config.ropes.clear();
  config.max_positions = 1030;
  config.position_offset = 2;
  config.norm = {.kind = NormKind::layer, .use_bias = true};
  config.attention.num_key_value_heads = 4;
  config.feed_forward.gated = false;
  config.tied_head = true;
  expect_same(TransformerModel(config), {.max_sequences = 4});
}

TEST(BatchGenerator, WindowsAlibiExpertsAndSinks) {
  TransformerModelConfig config = small();
  config.layers = {{.window = 20, .rope = 0}, {.rope = -1}};
  config.attention.sinks = true;
  expect_same(TransformerModel(config), {.max_sequences = 4});
  config = small();
  config.ropes.clear();
  config.attention.alibi_slopes = alibi_slopes(4);
  config.feed_forward.num_experts = 3;
  config.feed_forward.experts_per_token = 2;
  config.parallel = true;
  expect_same(TransformerModel(config), {.max_sequences = 4});
}

TEST(BatchGenerator, Doubles) {
  TransformerModelConfig config = small();
  config.dtype = DtypePolicy(Dtype::f64);
  expect_same(TransformerModel(config), {.max_sequences = 5});
}

TEST(BatchGenerator, LanguageModels) {
  const LanguageModel model({.vocab_size = kVocabulary,
                             .transformer = {.hidden_size = 32,
                                             .num_heads = 4,
                                             .num_key_value_heads = 2,
                                             .num_layers = 2,
                                             .rope = RopeConfig{}},
                             .seed = 2});
  EXPECT_GT(expect_same(model, {.max_sequences = 3}), 100);
}

TEST(BatchGenerator, TextsEndCancelAndFail) {
  Context ctx({.num_threads = 1});
  const TransformerModel model(small());
  BatchGenerator batch(ctx, model, {.max_sequences = 2, .capacity = 64});
  const Tokens prompt = {1, 2, 3};
  const Tokens whole = generate(ctx, make_decoder(ctx, model), prompt, {.max_tokens = 10});
  const Index stopped = batch.add(prompt, {.max_tokens = 10, .stop_tokens = {whole[4]}});
  const Index cancelled = batch.add(prompt, {.max_tokens = 50});
  const Index waiting = batch.add(prompt, {.max_tokens = 10});
  GenerationOptions failing{.max_tokens = 10};
  failing.processors = {[](std::span<const std::int32_t> tokens, std::span<double> /*logits*/) {
    if (tokens.size() == 5) throw std::runtime_error("enough");
  }};
  const Index failed = batch.add(prompt, failing);
  const Index none = batch.add(prompt, {.max_tokens = 0});
  EXPECT_TRUE(batch.is_done(none));
  EXPECT_EQ(batch.num_waiting(), 4);
  EXPECT_EQ(batch.step().size(), 2U);
  EXPECT_EQ(batch.num_running(), 2);
  EXPECT_THAT(error_of<ConfigError>([&] { batch.take(cancelled); }),
              HasSubstr("expected a sequence that has ended"));
  batch.step();
  batch.cancel(cancelled);
  while (!batch.is_idle()) batch.step();
  const auto first = std::find(whole.begin(), whole.end(), whole[4]);
  EXPECT_EQ(batch.take(stopped), Tokens(whole.begin(), first + 1));
  EXPECT_EQ(batch.take(cancelled), Tokens(whole.begin(), whole.begin() + 2));
  EXPECT_EQ(batch.take(waiting), whole);
  EXPECT_EQ(batch.take(none), Tokens());
  EXPECT_THROW(batch.take(failed), std::runtime_error);
  EXPECT_THROW(batch.take(failed), ConfigError);
}

TEST(BatchGenerator, RefusesWhatCannotRun) {
  Context ctx({.num_threads = 1});
  const TransformerModel model(small());
  BatchGenerator batch(ctx, model, {.max_sequences = 2, .capacity = 64});
  const auto refusal = [&](const Tokens& prompt, const GenerationOptions& options) {
    return error_of<Error>([&] { batch.add(prompt, options); });
  };
  EXPECT_THAT(refusal({}, {}), HasSubstr("prompt: expected 1 token or more"));
  EXPECT_THAT(refusal({1, kVocabulary}, {}), HasSubstr("expected tokens in [0, 40)"));
  EXPECT_THAT(refusal({1}, {.max_tokens = 65}), HasSubstr("at most 64 tokens"));
  EXPECT_THAT(refusal({1}, {.max_tokens = 4, .cache_dtype = Dtype::u8}),
              HasSubstr("cache_dtype: expected the batch's"));
  GenerationOptions drafted{.max_tokens = 4};
  drafted.draft = make_decoder(ctx, model);
  EXPECT_THAT(refusal({1}, drafted), HasSubstr("draft: expected none in a batch"));
  EXPECT_TRUE(batch.is_idle());
  TransformerModelConfig headless = small();
  headless.head = false;
  const TransformerModel encoder(headless);
  EXPECT_THROW(BatchGenerator(ctx, encoder), ConfigError);
}

}  // namespace
}  // namespace grouphead
