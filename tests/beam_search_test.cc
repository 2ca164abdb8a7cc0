#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "grouphead/grouphead.h"
#include "support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::error_of;

using Tokens = std::vector<std::int32_t>;

/// Probabilities of the next token, by what stands before it; a model of a test's own.
class TableDecoder final : public Decoder {
 public:
  using Table = std::function<std::vector<double>(const Tokens& before)>;
  TableDecoder(Table table, Index vocabulary) : table_(std::move(table)), vocabulary_(vocabulary) {}
  Index vocab_size() const override { return vocabulary_; }
  Dtype dtype() const override { return Dtype::f64; }
  Index length() const override { return static_cast<Index>(read_.size()); }
  void read(Context& /*ctx*/, ConstView tokens, View logits) override {
    for (Index i = 0; i < tokens.size(); ++i) read_.push_back(tokens.data<std::int32_t>()[i]);
    const std::vector<double> row = table_(read_);
    for (Index i = 0; i < vocabulary_; ++i) {
      logits.data<double>()[i] = std::log(row[static_cast<std::size_t>(i)]);
    }
  }
  void truncate(Index length) override { read_.resize(static_cast<std::size_t>(length)); }
  std::unique_ptr<Decoder> fork(Context& /*ctx*/) const override {
    return std::make_unique<TableDecoder>(*this);
  }

 private:
  Table table_;
  Index vocabulary_;
  Tokens read_;
};

/// 0 is likely and leads to even odds; 1 is less so and leads to a sure 2.
std::vector<double> garden_path(const Tokens& before) {
  if (before.back() == 9) return {0.55, 0.4, 0.05};
  if (before.back() == 0) return {0.36, 0.34, 0.3};
  if (before.back() == 1) return {0.05, 0.05, 0.9};
  return {0.3, 0.3, 0.4};
}

std::vector<Beam> search(const BeamSearchOptions& options) {
  Context ctx;
  const Tokens prompt = {9};
  return beam_search(ctx, std::make_unique<TableDecoder>(garden_path, 3), prompt, options);
}

TEST(BeamSearch, OneBeamIsTheMostLikelyTokenEachTime) {
  const std::vector<Beam> got = search({.max_tokens = 2, .num_beams = 1});
  ASSERT_EQ(got.size(), 1U);
  EXPECT_THAT(got[0].tokens, ElementsAre(0, 0));
  EXPECT_NEAR(got[0].score, std::log(0.55 * 0.36) / 2, 1e-12);
}

TEST(BeamSearch, TwoBeamsFindWhatLooksWorseAtFirst) {
  const std::vector<Beam> got = search({.max_tokens = 2, .num_beams = 2});
  ASSERT_EQ(got.size(), 2U);
  EXPECT_THAT(got[0].tokens, ElementsAre(1, 2));
  EXPECT_NEAR(got[0].score, std::log(0.4 * 0.9) / 2, 1e-12);
  EXPECT_THAT(got[1].tokens, ElementsAre(0, 0));
}

TEST(BeamSearch, LengthPenaltyDecidesBetweenShortAndLong) {
  // A stop at once has probability 0.05; 1, 2 has 0.36, and then a stop 0.4.
  BeamSearchOptions options{.max_tokens = 3, .num_beams = 9, .stop_tokens = {2}};
  const Tokens best = search(options)[0].tokens;
  EXPECT_THAT(best, ElementsAre(1, 2));  // log(0.36) / 2 against log(0.05)
  options.length_penalty = -4;           // log(0.36) * 16 against log(0.05)
  EXPECT_THAT(search(options)[0].tokens, ElementsAre(2));
}

// With as many beams as there are texts a beam search is an exhaustive one.
TEST(BeamSearch, ManyBeamsAreExhaustive) {
  const auto table = [](const Tokens& before) {
    std::vector<double> row;
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
      double value = i + 1;
      for (const std::int32_t token : before) value = std::fmod(value * 3.7 + token * 1.3, 5) + 0.1;
      row.push_back(value);
      sum += value;
    }
    for (double& value : row) value /= sum;
    return row;
  };
  const Tokens prompt = {2, 1};
  std::map<double, Tokens> all;  // by score
  const std::function<void(const Tokens&, double)> walk = [&](const Tokens& text, double sum) {
    Tokens before = prompt;
    before.insert(before.end(), text.begin(), text.end());
    const std::vector<double> row = table(before);
    for (std::int32_t token = 0; token < 4; ++token) {
      Tokens longer = text;
      longer.push_back(token);
      const double next = sum + std::log(row[static_cast<std::size_t>(token)]);
      if (longer.size() == 4 || token == 3) {
        all[next / std::pow(static_cast<double>(longer.size()), 0.7)] = longer;
      } else {
        walk(longer, next);
      }
    }
  };
  walk({}, 0);
  Context ctx;
  const std::vector<Beam> got =
      beam_search(ctx, std::make_unique<TableDecoder>(table, 4), prompt,
                  {.max_tokens = 4, .num_beams = 300, .length_penalty = 0.7, .stop_tokens = {3}});
  ASSERT_EQ(got.size(), all.size());
  auto want = all.rbegin();
  for (const Beam& beam : got) {
    EXPECT_EQ(beam.tokens, want->second);
    EXPECT_NEAR(beam.score, want->first, 1e-12);
    ++want;
  }
}

TEST(BeamSearch, EarlyStoppingEndsWithTheFirstCompleteTexts) {
  // The first text ends at once though a longer one would score better.
  BeamSearchOptions options{.max_tokens = 3, .num_beams = 1, .stop_tokens = {0}};
  EXPECT_THAT(search(options)[0].tokens, ElementsAre(0));
  options.num_beams = 2;
  options.early_stopping = true;
  const std::vector<Beam> early = search(options);
  ASSERT_EQ(early.size(), 2U);
  options.early_stopping = false;
  EXPECT_LE(early[0].score, search(options)[0].score);
}

TEST(BeamSearch, ProcessorsExcludeTokens) {
  BeamSearchOptions options{.max_tokens = 2, .num_beams = 2};
  options.processors = {[](std::span<const std::int32_t>, std::span<double> logits) {
    logits[1] = -std::numeric_limits<double>::infinity();
  }};
  for (const Beam& beam : search(options)) {
    EXPECT_THAT(beam.tokens, ::testing::Not(::testing::Contains(1)));
  }
}

TEST(BeamSearch, CachedModelsGiveTheScoresOfTheWholePass) {
  Context ctx({.num_threads = 2});
  const LanguageModel model({.vocab_size = 32,
                             .transformer = {.hidden_size = 16, .num_heads = 4, .num_layers = 2},
                             .seed = 5});
  const Tokens prompt = {5, 17, 3};
  const std::vector<Beam> got =
      beam_search(ctx, make_decoder(ctx, model), prompt, {.max_tokens = 12, .num_beams = 3});
  ASSERT_EQ(got.size(), 3U);
  EXPECT_GE(got[0].score, got[1].score);
  for (const Beam& beam : got) {
    Tokens text = prompt;
    text.insert(text.end(), beam.tokens.begin(), beam.tokens.end());
    const auto length = static_cast<Index>(text.size());
    const Tensor logits = model(ctx, ConstView(text.data(), {1, length}));
    double sum = 0;
    for (Index t = 2; t + 1 < length; ++t) {
      const float* row = logits.data<float>() + t * 32;
      double total = 0;
      for (int i = 0; i < 32; ++i) total += std::exp(static_cast<double>(row[i]));
      sum += row[text[static_cast<std::size_t>(t) + 1]] - std::log(total);
    }
    EXPECT_NEAR(beam.score, sum / 12, 1e-5);
  }
}

TEST(BeamSearch, ModelsOfLayersAreSearchedToo) {
  Context ctx;
  Sequential model({.seed = 3});
  model.add(input({.shape = {-1}, .dtype = Dtype::i32}));
  model.add(layer<Embedding>({.input_dim = 30, .output_dim = 16}));
  model.add(layer<GroupQueryAttention>(
      {.head_dim = 4, .num_query_heads = 4, .num_key_value_heads = 2, .causal = true}));
  model.add(layer<Dense>({.units = 30}));
  const Tokens prompt = {5, 17, 3};
  const BeamSearchOptions options{.max_tokens = 6, .num_beams = 3};
  const std::vector<Beam> got = beam_search(ctx, make_decoder(ctx, model), prompt, options);
  ASSERT_EQ(got.size(), 3U);
  Tokens text = prompt;
  text.insert(text.end(), got[0].tokens.begin(), got[0].tokens.end());
  const Tensor logits = model(ctx, Tensor::from<std::int32_t>({1, 9}, text));
  double sum = 0;
  for (std::size_t t = 2; t < 8; ++t) {
    const float* row = logits.data<float>() + t * 30;
    double total = 0;
    for (int i = 0; i < 30; ++i) total += std::exp(static_cast<double>(row[i]));
    sum += row[text[t + 1]] - std::log(total);
  }
  EXPECT_NEAR(got[0].score, sum / 6, 1e-5);
}

TEST(BeamSearch, OptionsOutOfRangeAreRefused) {
  EXPECT_THAT(error_of<ConfigError>([] { search({.num_beams = 0}); }),
              HasSubstr("[beam_search] num_beams: expected 1 or more, got 0"));
  EXPECT_THROW(search({.max_tokens = 0}), ConfigError);
  EXPECT_THROW(search({.length_penalty = std::nan("")}), ConfigError);
  Context ctx;
  EXPECT_THROW(beam_search(ctx, std::make_unique<TableDecoder>(garden_path, 3), {}, {}),
               ConfigError);
}

}  // namespace
}  // namespace grouphead
