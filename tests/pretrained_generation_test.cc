// generation_config.json.

#include <gmock/gmock.h>

#include <cmath>

#include "grouphead/files/generation_config.h"
#include "io/file.h"
#include "support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing_support::error_of;

class GenerationConfigFile : public testing_support::FolderTest {
 protected:
  PretrainedGeneration read(const std::string& json) {
    io::write_file(folder_ / "generation_config.json", json);
    return load_generation_config(folder_);
  }
  std::string refusal(const std::string& json) {
    return error_of<IoError>([&] { read(json); });
  }
  /// Which of five tokens the processors leave.
  static std::vector<int> left(const PretrainedGeneration& how,
                               const std::vector<std::int32_t>& tokens) {
    std::vector<double> logits(5);
    for (const LogitsProcessor& one : how.options.processors) one(tokens, logits);
    std::vector<int> kept;
    for (int i = 0; i < 5; ++i) {
      if (std::isfinite(logits[static_cast<std::size_t>(i)])) kept.push_back(i);
    }
    return kept;
  }
};

TEST_F(GenerationConfigFile, SamplingIsThatOfTransformers) {
  const PretrainedGeneration greedy = read(R"({"temperature": 0.6, "top_p": 0.9})");
  EXPECT_TRUE(greedy.is_stated);
  EXPECT_EQ(greedy.options.sampling.temperature, 0);
  EXPECT_EQ(greedy.temperature, 0.6);
  EXPECT_FALSE(greedy.has_max_tokens);
  const PretrainedGeneration drawn = read(
      R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "min_p": 0.1,
          "repetition_penalty": 1.1, "max_new_tokens": 7, "eos_token_id": [2, 3],
          "pad_token_id": 0, "transformers_version": "5.24.0", "stop_strings": "User:"})");
  EXPECT_EQ(drawn.options.sampling.temperature, 0.6);
  EXPECT_EQ(drawn.options.sampling.top_k, 50);
  EXPECT_EQ(drawn.options.sampling.top_p, 0.9);
  EXPECT_EQ(drawn.options.sampling.min_p, 0.1);
  EXPECT_EQ(drawn.options.sampling.repetition_penalty, 1.1);
  EXPECT_EQ(drawn.options.max_tokens, 7);
  EXPECT_THAT(drawn.options.stop_tokens, ElementsAre(2, 3));
  EXPECT_THAT(drawn.stop_strings, ElementsAre("User:"));
  EXPECT_THAT(drawn.ignored, IsEmpty());
  EXPECT_EQ(read(R"({"max_length": 20})").max_length, 20);
}

TEST_F(GenerationConfigFile, EndTokensComeFromTheModelWhereNothingElseSays) {
  io::write_file(folder_ / "config.json", R"({"eos_token_id": 9})");
  EXPECT_THAT(load_generation_config(folder_).options.stop_tokens, ElementsAre(9));
  EXPECT_FALSE(load_generation_config(folder_).is_stated);
  EXPECT_THAT(read("{}").options.stop_tokens, ElementsAre(9));
  EXPECT_THAT(read(R"({"eos_token_id": 4})").options.stop_tokens, ElementsAre(4));
}

TEST_F(GenerationConfigFile, ProcessorsExcludeTokens) {
  const PretrainedGeneration suppressed =
      read(R"({"suppress_tokens": [1], "begin_suppress_tokens": [2]})");
  EXPECT_THAT(left(suppressed, {0, 0}), ElementsAre(0, 3, 4));
  EXPECT_THAT(left(suppressed, {0, 0, 0}), ElementsAre(0, 2, 3, 4));
  const PretrainedGeneration longer = read(R"({"min_new_tokens": 2, "eos_token_id": 3})");
  EXPECT_THAT(left(longer, {0}), ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(left(longer, {0, 1}), ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(left(longer, {0, 1, 1}), ElementsAre(0, 1, 2, 3, 4));
  const PretrainedGeneration apart = read(R"({"no_repeat_ngram_size": 2})");
  EXPECT_THAT(left(apart, {1, 2, 1, 4, 1}), ElementsAre(0, 1, 3));
  EXPECT_THAT(left(apart, {1}), ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(GenerationConfigFile, WhatIsNotHonouredIsListed) {
  EXPECT_THAT(read(R"({"num_beams": 4, "typical_p": 0.5, "penalty_alpha": null,
                       "length_penalty": 1.0, "diversity_penalty": 0.0, "my_own": 1})")
                  .ignored,
              ElementsAre("num_beams", "typical_p", "my_own"));
  EXPECT_THAT(refusal(R"({"top_p": 2, "do_sample": true})"),
              HasSubstr("generation_config.json: top_p: expected a number in (0, 1]"));
  EXPECT_THAT(refusal(R"({"temperature": "hot"})"), HasSubstr("temperature"));
  EXPECT_THAT(refusal(R"({"eos_token_id": -1})"), HasSubstr("eos_token_id: expected tokens"));
  EXPECT_THAT(refusal("[]"), HasSubstr("expected an object"));
}

}  // namespace
}  // namespace grouphead
