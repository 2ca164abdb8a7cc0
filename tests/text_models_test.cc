// Models that read text through their folders' tokenizers, against sentence-transformers and
// transformers.

#include <gmock/gmock.h>

#include <fstream>

#include "grouphead/files/pretrained.h"
#include "grouphead/files/sentence_encoder.h"
#include "grouphead/files/tensors.h"
#include "grouphead/models/perplexity.h"
#include "io/file.h"
#include "io/json.h"
#include "model_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_support::element;
using testing_support::error_of;
using testing_support::FolderTest;

const fs::path kCases = fs::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/hub";

/// The lines of a case, one of them empty.
std::vector<std::string> sentences_of(const fs::path& folder) {
  std::ifstream file(folder / "sentences.txt");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

class TextModels : public FolderTest {};

TEST_F(TextModels, SentencesAsSentenceTransformersEncodesThem) {
  Context ctx({.num_threads = 2});
  for (const char* name : {"encoder", "encoder_older"}) {
    SCOPED_TRACE(name);
    const fs::path folder = kCases / name;
    const SentenceEncoder encoder = load_sentence_encoder(folder);
    const Tokenizer tokenizer = Tokenizer::load(folder);
    const std::vector<std::string> sentences = sentences_of(folder);
    const Tensor got = encoder.encode(ctx, tokenizer, sentences);
    const Tensor want = read_tensors(folder / "expect.safetensors").at("vectors");
    ASSERT_EQ(got.shape(), want.shape());
    for (Index i = 0; i < want.size(); ++i) EXPECT_NEAR(element(got, i), element(want, i), 1e-5);
    // Alone as among others.
    for (std::size_t i = 0; i < sentences.size(); ++i) {
      const Tensor alone = encoder.encode(ctx, tokenizer, std::span(sentences).subspan(i, 1));
      for (Index j = 0; j < alone.size(); ++j) {
        EXPECT_NEAR(element(alone, j), element(got, static_cast<Index>(i) * alone.size() + j),
                    1e-6);
      }
    }
  }
}

TEST_F(TextModels, LengthsAndPromptsAreThoseOfTheFolder) {
  const SentenceEncoder encoder = load_sentence_encoder(kCases / "encoder");
  EXPECT_EQ(encoder.max_length, 20);  // tokenizer_config.json
  EXPECT_EQ(encoder.prompt, "a word: ");
  EXPECT_EQ(encoder.poolings, std::vector{Pooling::mean});
  const SentenceEncoder older = load_sentence_encoder(kCases / "encoder_older");
  EXPECT_EQ(older.max_length, 12);  // sentence_bert_config.json
  EXPECT_EQ(older.prompt, "");
  EXPECT_EQ(older.poolings, (std::vector{Pooling::first, Pooling::weighted_mean}));
}

TEST_F(TextModels, PoolingsThatAreNotKnownAreRefused) {
  const fs::path folder = folder_ / "encoder";
  fs::copy(kCases / "encoder", folder, fs::copy_options::recursive);
  for (const auto& [text, message] :
       {std::pair(R"({"pooling_mode": "median"})", "pooling_mode: expected names of poolings"),
        std::pair(R"({"pooling_mode": ["mean", 3]})", "pooling_mode: expected names of poolings"),
        std::pair(R"({"pooling_mode": "mean", "include_prompt": false})", "include_prompt"),
        std::pair(R"({"pooling_mode": "mean", "depth": 2})", "depth")}) {
    io::write_file(folder / "1_Pooling/config.json", text);
    EXPECT_THAT(error_of<IoError>([&] { load_sentence_encoder(folder); }), HasSubstr(message));
  }
  io::write_file(folder / "1_Pooling/config.json", R"({"pooling_mode": "mean"})");
  io::write_file(folder / "sentence_bert_config.json", R"({"do_lower_case": true})");
  EXPECT_THAT(error_of<IoError>([&] { load_sentence_encoder(folder); }),
              HasSubstr("do_lower_case: expected false, got true"));
}

TEST_F(TextModels, PerplexityByStridesAsTransformersComputesIt) {
  Context ctx({.num_threads = 2});
  const fs::path folder = kCases / "decoder";
  const PretrainedModel loaded = load_pretrained(folder);
  const std::string text = io::read_file(folder / "text.txt");
  const std::vector<std::int32_t> ids = Tokenizer::load(folder).encode(text).ids;
  const ConfigValue expected = io::parse_json(io::read_file(folder / "expect.json"), "expect");
  ASSERT_EQ(static_cast<Index>(ids.size()), expected["ids"].as_integer("ids"));
  for (const ConfigValue& one : expected["cases"].as_list("cases")) {
    SCOPED_TRACE(one.to_string());
    const auto decoder = make_decoder(ctx, *loaded.model);
    std::vector<Index> read;
    const Perplexity found = perplexity(ctx, *decoder, ids,
                                        {.length = one["length"].as_integer("length"),
                                         .stride = one["stride"].as_integer("stride"),
                                         .on_window = [&](Index done) { read.push_back(done); }});
    EXPECT_EQ(found.tokens, one["tokens"].as_integer("tokens"));
    const double loss = one["loss"].as_number("loss");
    EXPECT_NEAR(found.loss, loss, 1e-5);
    EXPECT_NEAR(found.value() / std::exp(loss), 1, 1e-5);
    EXPECT_EQ(read.back(), static_cast<Index>(ids.size()));
  }
}

TEST_F(TextModels, PerplexityNeedsAWindowAndATokenToForetell) {
  Context ctx({.num_threads = 1});
  const PretrainedModel loaded = load_pretrained(kCases / "decoder");
  const auto decoder = make_decoder(ctx, *loaded.model);
  const std::vector<std::int32_t> two = {1, 2};
  EXPECT_THAT(error_of<ConfigError>([&] { perplexity(ctx, *decoder, two, {.length = 1}); }),
              HasSubstr("[perplexity] length: expected 2 or more, got 1"));
  EXPECT_THAT(
      error_of<ConfigError>([&] { perplexity(ctx, *decoder, two, {.length = 8, .stride = 9}); }),
      HasSubstr("[perplexity] stride: expected 1 to length = 8, got 9"));
  EXPECT_THAT(error_of<ShapeError>([&] { perplexity(ctx, *decoder, std::span(two).first(1), {}); }),
              HasSubstr("[perplexity] tokens: expected 2 tokens or more, got 1"));
}

}  // namespace
}  // namespace grouphead
