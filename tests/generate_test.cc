#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "grouphead/models/generation.h"

namespace grouphead {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::map<std::int32_t, int> histogram(const SamplingOptions& options, const Tensor& logits,
                                      int draws) {
  Sampler sampler(options, logits.size());
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler(logits)];
  return counts;
}

Tensor logits_of(std::initializer_list<double> probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return Tensor::from<float>({static_cast<Index>(logits.size())}, logits);
}

TEST(Sampler, TemperatureZeroIsTheMostLikelyAndTheFirstOfEquals) {
  const Tensor logits = Tensor::from({4}, {1, 5, 5, -3});
  EXPECT_EQ(histogram({.temperature = 0}, logits, 50), (std::map<std::int32_t, int>{{1, 50}}));
}

TEST(Sampler, FrequenciesAreTheProbabilities) {
  constexpr int kDraws = 100'000;
  const auto counts = histogram({.seed = 5}, logits_of({0.1, 0.2, 0.3, 0.4}), kDraws);
  double chi_squared = 0;
  for (std::int32_t i = 0; i < 4; ++i) {
    const double expected = 0.1 * (i + 1) * kDraws;
    chi_squared += std::pow(counts.at(i) - expected, 2) / expected;
  }
  EXPECT_LT(chi_squared, 16.27);  // 99.9 % of three degrees of freedom
}

TEST(Sampler, TemperatureSharpens) {
  constexpr int kDraws = 100'000;
  const auto counts = histogram({.temperature = 0.5, .seed = 5}, logits_of({0.25, 0.75}), kDraws);
  EXPECT_NEAR(counts.at(1) / double{kDraws}, 0.9, 0.005);  // 0.75^2 / (0.25^2 + 0.75^2)
}

TEST(Sampler, TopKKeepsTheMostLikely) {
  const Tensor logits = logits_of({0.1, 0.4, 0.2, 0.3});
  const auto two = histogram({.top_k = 2, .seed = 1}, logits, 2000);
  EXPECT_EQ(two.size(), 2U);
  EXPECT_NEAR(two.at(1) / 2000.0, 4.0 / 7, 0.05);
  EXPECT_TRUE(two.contains(3));
  EXPECT_EQ(histogram({.top_k = 1}, logits, 50).size(), 1U);
  EXPECT_EQ(histogram({.top_k = 99}, logits, 2000).size(), 4U);
}

TEST(Sampler, TopPKeepsTheFewestThatHoldTheProbability) {
  const Tensor logits = logits_of({0.1, 0.4, 0.2, 0.3});
  EXPECT_EQ(histogram({.top_p = 0.39}, logits, 500).size(), 1U);
  EXPECT_EQ(histogram({.top_p = 0.5}, logits, 500).size(), 2U);
  EXPECT_EQ(histogram({.top_p = 0.75}, logits, 500).size(), 3U);
  EXPECT_EQ(histogram({.top_p = 1}, logits, 500).size(), 4U);
  EXPECT_EQ(histogram({.top_p = std::numeric_limits<double>::denorm_min()}, logits, 50).size(), 1U);
  // of the two that top_k leaves, 0.4 / 0.7 > 0.55
  EXPECT_EQ(histogram({.top_k = 2, .top_p = 0.55}, logits, 500).size(), 1U);
}

TEST(Sampler, DrawsAreAFunctionOfTheSeed) {
  const Tensor logits = Tensor::zeros({256});
  const auto draws = [&](std::uint64_t seed) {
    Sampler sampler({.seed = seed}, 256);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(sampler(logits));
    return tokens;
  };
  EXPECT_EQ(draws(1), draws(1));
  EXPECT_NE(draws(1), draws(2));
}

TEST(Sampler, BadOptionsAndLogitsAreRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(Sampler({.temperature = -1}, 4), ConfigError);
  EXPECT_THROW(Sampler({.temperature = nan}, 4), ConfigError);
  EXPECT_THROW(Sampler({.top_k = -1}, 4), ConfigError);
  EXPECT_THROW(Sampler({.top_p = 0}, 4), ConfigError);
  EXPECT_THROW(Sampler({.top_p = 1.01}, 4), ConfigError);
  EXPECT_THROW(Sampler({.top_p = nan}, 4), ConfigError);
  Sampler sampler({}, 2);
  EXPECT_THROW(sampler(Tensor::zeros({3})), ShapeError);
  EXPECT_THROW(sampler(Tensor::zeros({2}, Dtype::i32)), ShapeError);
  EXPECT_THROW(sampler(Tensor::from({2}, {0, std::nanf("")})), Error);
  EXPECT_THROW(sampler(Tensor::from({2}, {0, kInfinity})), Error);
}

class Generating : public ::testing::Test {
 protected:
  std::vector<std::int32_t> run(const std::vector<std::int32_t>& prompt, Index tokens,
                                const SamplingOptions& options) {
    return generate(ctx_, model_, prompt, {.max_tokens = tokens, .sampling = options});
  }

  Context ctx_{{.num_threads = 2}};
  LanguageModel model_{
      {.vocab_size = 64,
       .transformer = {.hidden_size = 16, .num_heads = 4, .num_layers = 2, .rope = RopeConfig{}},
       .seed = 9}};
};

TEST_F(Generating, GreedyTokensAreThoseOfTheWholePassWithoutACache) {
  const std::vector<std::int32_t> prompt = {5, 60, 3};
  const std::vector<std::int32_t> got = run(prompt, 40, {.temperature = 0});
  std::vector<std::int32_t> text = prompt;
  for (const std::int32_t token : got) {
    const auto length = static_cast<Index>(text.size());
    const Value tokens{Tensor::from<std::int32_t>({1, length}, text), {}};
    const Tensor logits = model_.forward(ctx_, std::span(&tokens, 1), {}, nullptr).front().tensor;
    const float* last = logits.data<float>() + (length - 1) * 64;
    const auto best = std::max_element(last, last + 64);
    // Where two tokens are closer than rounding, either may win.
    ASSERT_NEAR(last[token], *best, 1e-4) << text.size();
    text.push_back(token);
  }
}

TEST_F(Generating, LongPromptsAreReadInPieces) {
  std::vector<std::int32_t> prompt;
  for (int i = 0; i < 1300; ++i) prompt.push_back(i * 7 % 64);
  Generation generation(ctx_, model_, prompt, {.max_tokens = 1, .sampling = {.temperature = 0}});
  const std::int32_t token = generation.next();
  const Value tokens{Tensor::from<std::int32_t>({1, 1300}, prompt), {}};
  const Tensor logits = model_.forward(ctx_, std::span(&tokens, 1), {}, nullptr).front().tensor;
  const float* last = logits.data<float>() + 1299 * 64;
  EXPECT_NEAR(last[token], *std::max_element(last, last + 64), 1e-4);
}

TEST_F(Generating, SeedsDecide) {
  const SamplingOptions options{.temperature = 2, .seed = 4};
  SamplingOptions other = options;
  other.seed = 5;
  EXPECT_EQ(run({1}, 30, options), run({1}, 30, options));
  EXPECT_NE(run({1}, 30, options), run({1}, 30, other));
}

TEST_F(Generating, LimitsAreKept) {
  EXPECT_THROW(run({}, 3, {}), ConfigError);
  EXPECT_THROW(run({1}, -1, {}), ConfigError);
  EXPECT_THROW(run({64}, 1, {}), ShapeError);
  EXPECT_TRUE(run({1}, 0, {}).empty());
  Generation generation(ctx_, model_, std::vector<std::int32_t>{1}, {.max_tokens = 1});
  generation.next();
  EXPECT_THROW(generation.next(), ShapeError);
}

TEST_F(Generating, WarmStepsTakeNoMemory) {
  Generation generation(ctx_, model_, std::vector<std::int32_t>{1, 2}, {.max_tokens = 60});
  for (int i = 0; i < 5; ++i) generation.next();
  const Index reserved = ctx_.memory().reserved_bytes;
  const Index in_use = ctx_.memory().in_use_bytes;
  while (generation.remaining() > 0) generation.next();
  EXPECT_EQ(ctx_.memory().reserved_bytes, reserved);
  EXPECT_EQ(ctx_.memory().in_use_bytes, in_use);
}

TEST_F(Generating, ACallbackGetsEachTokenAndMayEndTheText) {
  const std::vector<std::int32_t> prompt = {5, 60};
  const GenerationOptions options{.max_tokens = 20, .sampling = {.seed = 4}};
  const std::vector<std::int32_t> all = generate(ctx_, model_, prompt, options);
  ASSERT_EQ(all.size(), 20U);
  std::vector<std::int32_t> seen;
  const std::vector<std::int32_t> begun =
      generate(ctx_, model_, prompt, options, [&](std::int32_t token) {
        seen.push_back(token);
        return seen.size() < 7;
      });
  EXPECT_EQ(begun, std::vector<std::int32_t>(all.begin(), all.begin() + 7));
  EXPECT_EQ(seen, begun);
}

// A limit far beyond memory costs nothing: room is taken as the text grows, and what was cached
// before stays, so the tokens are those of a cache that was large from the start.
TEST_F(Generating, TheCacheGrowsWithTheText) {
  for (const Dtype stored : {Dtype::f32, Dtype::bf16, Dtype::u8}) {
    const GenerationOptions options{.max_tokens = std::numeric_limits<Index>::max(),
                                    .sampling = {.temperature = 3, .seed = 4},
                                    .cache_dtype = stored};
    const std::vector<std::int32_t> prompt = {5, 60, 3};
    Generation generation(ctx_, model_, prompt, options);
    EXPECT_LE(generation.decoder().capacity(), 320);
    std::vector<std::int32_t> got;
    for (int i = 0; i < 700; ++i) got.push_back(generation.next());
    EXPECT_EQ(generation.decoder().length(), 702);
    EXPECT_LT(generation.decoder().capacity(), 4 * 702);

    Sampler sampler(options.sampling, 64);
    KvCache cache = model_.make_cache(ctx_, 1, 1024, stored);
    Tensor logits({1, 64});
    model_.step(ctx_, ConstView(prompt.data(), {1, 3}), cache, logits);
    std::vector<std::int32_t> want;
    for (int i = 0; i < 700; ++i) {
      want.push_back(sampler(logits.view().reshaped({64})));
      model_.step(ctx_, ConstView(&want.back(), {1, 1}), cache, logits);
    }
    EXPECT_EQ(got, want) << name_of(stored);
  }
}

}  // namespace
}  // namespace grouphead
