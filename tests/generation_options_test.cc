// Penalties, processors, stop tokens and strings, drafts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "grouphead/models/generation.h"
#include "support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::error_of;

using Tokens = std::vector<std::int32_t>;

/// The rule of SamplingOptions in its plainest form: everything sorted, every sum anew.
std::int32_t drawn_plainly(const SamplingOptions& options, const Tensor& logits, double uniform) {
  std::vector<std::pair<double, std::int32_t>> all;
  for (Index i = 0; i < logits.size(); ++i) {
    all.emplace_back(-static_cast<double>(logits.data<float>()[i]), static_cast<std::int32_t>(i));
  }
  std::sort(all.begin(), all.end());
  const double largest = -all[0].first;
  for (auto& [weight, token] : all) weight = std::exp((-weight - largest) / options.temperature);
  if (options.top_k > 0 && static_cast<Index>(all.size()) > options.top_k) {
    all.resize(static_cast<std::size_t>(options.top_k));
  }
  const auto sum = [&](std::size_t count) {
    double total = 0;
    for (std::size_t i = 0; i < count; ++i) total += all[i].first;
    return total;
  };
  const double wanted = options.top_p * sum(all.size());
  std::size_t kept = options.top_p < 1 ? 1 : all.size();
  while (kept < all.size() && sum(kept) < wanted) ++kept;
  while (kept > 1 && all[kept - 1].first < options.min_p) --kept;
  std::size_t i = 0;
  while (i + 1 < kept && uniform * sum(kept) >= sum(i + 1)) ++i;
  return all[i].second;
}

TEST(SamplerOptions, DrawsAreThoseOfThePlainRule) {
  const Tensor logits = random_normal({700}, 3);
  for (const SamplingOptions& options :
       {SamplingOptions{.seed = 1}, SamplingOptions{.temperature = 3, .seed = 2},
        SamplingOptions{.top_k = 150, .seed = 3}, SamplingOptions{.top_p = 0.9, .seed = 4},
        SamplingOptions{.top_k = 200, .top_p = 0.7, .min_p = 0.05, .seed = 5},
        SamplingOptions{.temperature = 0.7, .min_p = 0.02, .seed = 6}}) {
    Sampler sampler(options, logits.size());
    for (std::uint64_t i = 0; i < 200; ++i) {
      const PhiloxBlock block = philox4x32({options.seed, i}, 0);
      const std::uint64_t word = (std::uint64_t{block.words[1]} << 32) | block.words[0];
      const double uniform = static_cast<double>(word >> 11) * 0x1p-53;
      ASSERT_EQ(sampler(logits), drawn_plainly(options, logits, uniform))
          << "seed " << options.seed << " draw " << i;
    }
  }
}

TEST(SamplerOptions, MinPKeepsWhatIsNotFarBelowTheMostLikely) {
  const Tensor logits =
      Tensor::from<float>({3}, std::vector<float>{0, std::log(0.5F), std::log(0.2F)});
  const auto seen = [&](double min_p) {
    Sampler sampler({.min_p = min_p, .seed = 1}, 3);
    std::set<std::int32_t> tokens;
    for (int i = 0; i < 500; ++i) tokens.insert(sampler(logits));
    return tokens.size();
  };
  EXPECT_EQ(seen(0.1), 3U);
  EXPECT_EQ(seen(0.3), 2U);
  EXPECT_EQ(seen(0.6), 1U);
}

/// The logits that `options` and a history leave.
std::vector<double> penalised(const SamplingOptions& options, const Tensor& logits,
                              const Tokens& tokens, Index prompt) {
  std::vector<double> got;
  const LogitsProcessor look = [&](std::span<const std::int32_t>, std::span<double> seen) {
    got.assign(seen.begin(), seen.end());
  };
  Sampler sampler(options, logits.size(), {look});
  sampler(logits, tokens, prompt);
  return got;
}

TEST(SamplerOptions, PenaltiesChangeTheLogitsOfWhatWasSaid) {
  const Tensor logits = Tensor::from<float>({4}, std::vector<float>{2, -1, 3, 0.5});
  const Tokens tokens = {0, 1, 1, 2, 2, 2};  // the first two are the prompt
  EXPECT_THAT(penalised({.repetition_penalty = 2}, logits, tokens, 2),
              ElementsAre(1, -2, 1.5, 0.5));
  EXPECT_THAT(penalised({.frequency_penalty = 0.5}, logits, tokens, 2),
              ElementsAre(2, -1.5, 1.5, 0.5));
  EXPECT_THAT(penalised({.presence_penalty = 0.25}, logits, tokens, 2),
              ElementsAre(2, -1.25, 2.75, 0.5));
  EXPECT_THAT(penalised({.repetition_penalty = 2, .frequency_penalty = 1}, logits, tokens, 6),
              ElementsAre(1, -2, 1.5, 0.5));
  EXPECT_THAT(error_of<ShapeError>([&] { penalised({.presence_penalty = 1}, logits, {4}, 0); }),
              HasSubstr("[generate] tokens: expected tokens in [0, 4), got 4"));
}

TEST(SamplerOptions, ProcessorsExcludeTokens) {
  const Tensor logits = Tensor::from<float>({3}, std::vector<float>{9, 1, 0});
  const double nothing = -std::numeric_limits<double>::infinity();
  const auto draw = [&](double first, double second, double third) {
    Sampler sampler({.temperature = 0}, 3,
                    {[&](std::span<const std::int32_t>, std::span<double> seen) {
                      seen[0] += first;
                      seen[1] += second;
                      seen[2] += third;
                    }});
    return sampler(logits);
  };
  EXPECT_EQ(draw(0, 0, 0), 0);
  EXPECT_EQ(draw(nothing, 0, 0), 1);
  EXPECT_EQ(draw(nothing, nothing, 0), 2);
  EXPECT_THAT(error_of<Error>([&] { draw(nothing, nothing, nothing); }), HasSubstr("got none"));
  EXPECT_THAT(error_of<Error>([&] { draw(std::nan(""), 0, 0); }), HasSubstr("got NaN"));
}

TEST(SamplerOptions, OptionsOutOfRangeAreRefused) {
  EXPECT_THROW(Sampler({.min_p = 1}, 4), ConfigError);
  EXPECT_THROW(Sampler({.min_p = -0.1}, 4), ConfigError);
  EXPECT_THROW(Sampler({.repetition_penalty = 0}, 4), ConfigError);
  EXPECT_THROW(Sampler({.frequency_penalty = std::nan("")}, 4), ConfigError);
  EXPECT_THROW(Sampler({.presence_penalty = INFINITY}, 4), ConfigError);
}

TEST(StopStrings, HoldBackWhatMayBeTheirBeginning) {
  StopStrings stops({"stop", "\n\n"});
  EXPECT_EQ(stops.add("on the st"), "on the ");
  EXPECT_EQ(stops.add("age\n"), "stage");
  EXPECT_EQ(stops.add("then sto"), "\nthen ");
  EXPECT_FALSE(stops.found());
  EXPECT_EQ(stops.add("p it"), "");
  EXPECT_TRUE(stops.found());
  EXPECT_EQ(stops.add("more"), "");
  EXPECT_EQ(stops.rest(), "");
  StopStrings early({"ab", "b"});
  EXPECT_EQ(early.add("xab"), "x");  // the one that begins first
  StopStrings unfinished({"end"});
  EXPECT_EQ(unfinished.add("the en"), "the ");
  EXPECT_EQ(unfinished.rest(), "en");
  EXPECT_THROW(StopStrings({""}), ConfigError);
}

class Drafting : public ::testing::Test {
 protected:
  static LanguageModelConfig config(Index layers, std::uint64_t seed) {
    return {.vocab_size = 64,
            .transformer = {.hidden_size = 16,
                            .num_heads = 4,
                            .num_layers = layers,
                            .rope = RopeConfig{}},
            .seed = seed};
  }

  Context ctx_{{.num_threads = 2}};
  LanguageModel model_{config(2, 9)};
  LanguageModel other_{config(1, 3)};
  const Tokens prompt_ = {5, 60, 3};
};

TEST_F(Drafting, TokensAreThoseWithoutADraft) {
  for (const SamplingOptions& sampling :
       {SamplingOptions{.temperature = 0}, SamplingOptions{.temperature = 2, .seed = 4},
        SamplingOptions{.top_k = 20, .repetition_penalty = 1.3, .presence_penalty = 0.1}}) {
    GenerationOptions options{.max_tokens = 90, .sampling = sampling};
    const Tokens want = generate(ctx_, model_, prompt_, options);
    for (const LanguageModel* draft : {&model_, &other_}) {
      for (const Index count : {1, 3, 7}) {
        options.draft = make_decoder(ctx_, *draft);
        options.draft_tokens = count;
        Generation generation(ctx_, model_, prompt_, options);
        Tokens got;
        while (generation.remaining() > 0) got.push_back(generation.next());
        EXPECT_EQ(got, want) << count;
        EXPECT_GT(generation.proposed(), 0);
        if (draft == &model_) {
          EXPECT_EQ(generation.accepted(), generation.proposed());
        } else {
          EXPECT_LT(generation.accepted(), generation.proposed());
        }
      }
    }
  }
}

TEST_F(Drafting, OtherVocabulariesAndDraftsThatHaveReadAreRefused) {
  LanguageModelConfig small = config(1, 1);
  small.vocab_size = 32;
  const LanguageModel wrong(small);
  GenerationOptions options{.draft = make_decoder(ctx_, wrong)};
  EXPECT_THAT(error_of<ConfigError>([&] { Generation(ctx_, model_, prompt_, options); }),
              HasSubstr("vocabulary of the draft: expected 64, got 32"));
  options.draft = make_decoder(ctx_, other_);
  Tensor logits({64});
  options.draft->read(ctx_, ConstView(prompt_.data(), {3}), logits);
  EXPECT_THAT(error_of<ConfigError>([&] { Generation(ctx_, model_, prompt_, options); }),
              HasSubstr("tokens that the draft has read: expected 0, got 3"));
  options = {.draft = make_decoder(ctx_, other_), .draft_tokens = 0};
  EXPECT_THROW(Generation(ctx_, model_, prompt_, options), ConfigError);
}

TEST_F(Drafting, AStopTokenEndsTheText) {
  GenerationOptions options{.max_tokens = 60, .sampling = {.temperature = 2, .seed = 4}};
  const Tokens all = generate(ctx_, model_, prompt_, options);
  options.stop_tokens = {99, all[20]};
  const auto first = std::find(all.begin(), all.end(), all[20]);
  const Tokens want(all.begin(), first + 1);
  EXPECT_EQ(generate(ctx_, model_, prompt_, options), want);
  options.draft = make_decoder(ctx_, model_);
  EXPECT_EQ(generate(ctx_, model_, prompt_, options), want);
}

// A prefix that many prompts share is read once.
TEST_F(Drafting, ADecoderMayHaveReadAPrefix) {
  const GenerationOptions options{.max_tokens = 30, .sampling = {.temperature = 0}};
  const Tokens want = generate(ctx_, model_, prompt_, options);
  auto decoder = make_decoder(ctx_, model_);
  Tensor logits({64});
  decoder->read(ctx_, ConstView(prompt_.data(), {2}), logits);
  EXPECT_EQ(generate(ctx_, std::move(decoder), std::span(prompt_).subspan(2), options), want);
}

TEST_F(Drafting, ADecoderTellsWhatFollowsEachToken) {
  const Tokens text = {5, 60, 3, 11};
  auto decoder = make_decoder(ctx_, model_);
  Tensor each({4, 64});
  decoder->read(ctx_, ConstView(text.data(), {4}), each);
  auto step = make_decoder(ctx_, model_);
  Tensor logits({64});
  for (Index i = 0; i < 4; ++i) {
    step->read(ctx_, ConstView(&text[static_cast<std::size_t>(i)], {1}), logits);
    EXPECT_TRUE(testing_support::same_bits(
        Tensor::from<float>({64}, std::span(each.data<float>() + i * 64, 64)), logits))
        << i;
  }
  decoder->truncate(1);
  decoder->read(ctx_, ConstView(text.data() + 1, {3}), logits);
  EXPECT_TRUE(testing_support::same_bits(
      Tensor::from<float>({64}, std::span(each.data<float>() + 3 * 64, 64)), logits));
  Tensor wrong({3, 64});
  EXPECT_THROW(decoder->read(ctx_, ConstView(text.data(), {4}), wrong), ShapeError);
  EXPECT_EQ(decoder->length(), 4);
}

}  // namespace
}  // namespace grouphead
