// Tokenizer and StreamDecoder: what the golden cases do not show.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "grouphead/text/tokenizer.h"
#include "text/characters.h"
#include "text_support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using testing_support::ids_of;
using testing_support::json_file;
using testing_support::kTokenizers;
using testing_support::small_tokenizer;
using testing_support::tokenizer_of;

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer bert = Tokenizer::load(kTokenizers / "bert");
  EXPECT_EQ(bert.vocabulary_size(), 700);
  EXPECT_EQ(bert.token_to_id("[CLS]"), 2);
  EXPECT_EQ(bert.id_to_token(2), "[CLS]");
  EXPECT_EQ(bert.token_to_id("no such token"), std::nullopt);
  EXPECT_EQ(bert.id_to_token(700), std::nullopt);
  EXPECT_EQ(bert.id_to_token(-1), std::nullopt);
  const Tokenizer gpt2 = Tokenizer::load(kTokenizers / "gpt2");
  EXPECT_EQ(gpt2.vocabulary_size(), 702);
  EXPECT_EQ(gpt2.token_to_id("<|user|>"), 700);
}

// Each maximal piece of a character is one U+FFFD: the Unicode Standard, table 3-8.
TEST(Tokenizer, BytesThatAreNotUtf8AreReplaced) {
  const Tokenizer tokenizer = Tokenizer::load(kTokenizers / "gpt2");
  const std::string bad = "a\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64 \xED\xA0\x80 \xF4\x90";
  const std::string r(text::kReplacement);
  const std::string good = "a" + r + r + r + "b" + r + "c" + r + r + "d " + r + r + r + " " + r + r;
  EXPECT_EQ(tokenizer.encode(bad).ids, tokenizer.encode(good).ids);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(bad).ids), good);
}

TEST(Tokenizer, BatchIsEachTextForAnyNumberOfThreads) {
  for (const char* kind : {"gpt2", "bert", "unigram", "llama2"}) {
    const Tokenizer tokenizer = Tokenizer::load(kTokenizers / kind);
    std::vector<std::string> texts;
    const ConfigValue cases = json_file(kTokenizers / kind / "cases.json");
    std::vector<std::vector<std::int32_t>> want;
    for (const ConfigValue& each : cases["cases"].as_list("cases")) {
      texts.push_back(each["text"].as_string("text"));
      want.push_back(ids_of(each["ids_special"]));
    }
    for (const int threads : {1, 2, 5}) {
      Context ctx({.num_threads = threads});
      const std::vector<Encoding> got = tokenizer.encode_batch(ctx, texts);
      ASSERT_THAT(got, SizeIs(want.size()));
      for (std::size_t i = 0; i < want.size(); ++i) EXPECT_EQ(got[i].ids, want[i]) << texts[i];
    }
  }
}

TEST(Tokenizer, BatchIsPaddedTogether) {
  const Tokenizer tokenizer = small_tokenizer(
      R"("padding": {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": null,
                     "pad_id": 7, "pad_type_id": 3, "pad_token": "x"})");
  Context ctx({.num_threads = 2});
  const std::vector<std::string> texts = {"abb", "a"};
  const std::vector<Encoding> got = tokenizer.encode_batch(ctx, texts);
  EXPECT_THAT(got[0].ids, ElementsAre(2, 1));
  EXPECT_THAT(got[1].ids, ElementsAre(7, 0));
  EXPECT_THAT(got[1].type_ids, ElementsAre(3, 0));
  EXPECT_THAT(got[1].attention_mask, ElementsAre(0, 1));
  EXPECT_THAT(got[1].special_tokens_mask, ElementsAre(1, 0));
}

TEST(Tokenizer, AnErrorOfABatchReachesTheCaller) {
  const Tokenizer tokenizer = testing_support::tokenizer_of(
      R"({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "x"}})");
  Context ctx({.num_threads = 2});
  const std::vector<std::string> texts = {"a", "b", "a"};
  EXPECT_THROW(tokenizer.encode_batch(ctx, texts), IoError);
  EXPECT_THAT(tokenizer.encode("a").ids, ElementsAre(0));
}

TEST(Tokenizer, MasksSayWhatIsSpecial) {
  const Tokenizer bert = Tokenizer::load(kTokenizers / "bert");
  const Encoding got = bert.encode("[MASK]");
  EXPECT_THAT(got.ids, ElementsAre(2, 4, 3));
  EXPECT_THAT(got.special_tokens_mask, ElementsAre(1, 0, 1));
  EXPECT_THAT(got.attention_mask, ElementsAre(1, 1, 1));
}

/// BPE as SentencePiece has it; merges `more` come last.
Tokenizer space_marked(const std::string& more) {
  return tokenizer_of(
      R"({"model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": {
        "<unk>": 0, "a": 1, "b": 2, ",": 3, "▁": 4, "▁▁": 5, ",▁": 6, "▁a": 7, "ab": 8, "ba": 9,
        "<unk>▁": 10, "<0xC3>": 11, "<0xA9>": 12, "<0xA9>▁": 13, "▁ab": 14, "b▁": 15},
      "merges": [["▁", "▁"], [",", "▁"], ["▁", "a"], ["a", "b"], ["b", "a"], ["▁a", "b"])" +
      more + "]}}");
}

// Texts are cut in front of a space mark where no merge would join the two sides.
TEST(Tokenizer, SpaceMarksBelongToTheWordBehindOrToAMerge) {
  using Ids = std::vector<std::int32_t>;
  const Tokenizer plain = space_marked("");
  EXPECT_EQ(plain.encode("ab▁ab,▁a▁▁ab").ids, (Ids{8, 14, 6, 1, 5, 8}));
  EXPECT_EQ(plain.encode("b▁ac▁c").ids, (Ids{2, 7, 0, 4, 0}));
  EXPECT_EQ(plain.encode("\u00E9▁a").ids, (Ids{11, 12, 7}));
  EXPECT_EQ(space_marked(R"(, ["b", "▁"])").encode("b▁bb▁").ids, (Ids{15, 2, 15}));
  EXPECT_EQ(space_marked(R"(, ["<unk>", "▁"])").encode("c▁b").ids, (Ids{10, 2}));
  EXPECT_EQ(space_marked(R"(, ["<0xA9>", "▁"])").encode("\u00E9▁b").ids, (Ids{11, 13, 2}));
}

/// BPE with the tokens `a`, `b`, the space mark and `vocab`; the merges are the only ones.
Tokenizer merging(const std::string& fields, const std::string& vocab, const std::string& merges) {
  return tokenizer_of(R"({"model": {"type": "BPE", )" + fields +
                      R"("vocab": {"a": 1, "b": 2, "▁": 4, )" + vocab + R"(}, "merges": [)" +
                      merges + "]}}");
}

// No text is cut where a token's characters are not those of the text before the mark.
TEST(Tokenizer, MergesWithSpaceMarksFindWhatStandsForOtherCharacters) {
  using Ids = std::vector<std::int32_t>;
  const Tokenizer bytes =
      merging(R"("unk_token": "<unk>", "byte_fallback": true, )",
              R"("<unk>": 0, "<0xC3>": 5, "<0xA9>": 6, "<0xC3><0xA9>": 7, "<0xC3><0xA9>▁": 8)",
              R"(["<0xC3>", "<0xA9>"], ["<0xC3><0xA9>", "▁"])");
  EXPECT_EQ(bytes.encode("\u00E9▁").ids, (Ids{8}));
  const Tokenizer unknown =
      merging(R"("unk_token": "<unk>", )", R"("<unk>": 0, "a<unk>": 5, "a<unk>▁": 6)",
              R"(["a", "<unk>"], ["a<unk>", "▁"])");
  EXPECT_EQ(unknown.encode("ac▁").ids, (Ids{6}));
  const Tokenizer dropping = merging("", R"("b▁": 5)", R"(["b", "▁"])");
  EXPECT_EQ(dropping.encode("b\u6F22▁").ids, (Ids{5}));
  const Tokenizer some_bytes =
      merging(R"("byte_fallback": true, )", R"("b▁": 5, "<0xC3>": 6)", R"(["b", "▁"])");
  EXPECT_EQ(some_bytes.encode("b\u6F22▁").ids, (Ids{5}));
  const Tokenizer alike =
      merging(R"("unk_token": "<unk>", )", R"("<unk>": 0, "x": 2, "b▁": 5)", R"(["b", "▁"])");
  EXPECT_EQ(alike.encode("x▁").ids, (Ids{5}));
}

TEST(Tokenizer, CutsInFrontOfSpaceMarksChangeNothing) {
  const Tokenizer cutting = space_marked("");
  const Tokenizer whole = space_marked(R"(, ["<unk>", "▁"])");  // which no text here needs
  const std::string_view letters[] = {"a", "b", ",", "▁"};
  std::uint32_t state = 1;
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (int j = 0; j < i; ++j) text += letters[(state = state * 1664525 + 1013904223) >> 24 & 3];
    EXPECT_EQ(cutting.encode(text).ids, whole.encode(text).ids) << text;
  }
}

TEST(StreamDecoder, SplitsNoCharacter) {
  for (const char* kind : {"gpt2", "llama3", "llama2", "gemma", "bert", "unigram"}) {
    const Tokenizer tokenizer = Tokenizer::load(kTokenizers / kind);
    const std::string text = "emoji \U0001F44D\U0001F3FD \u65E5\u672C\u8A9E na\u00EFve words";
    const std::vector<std::int32_t> ids = tokenizer.encode(text).ids;
    StreamDecoder stream(tokenizer);
    for (int round = 0; round < 2; ++round) {
      std::string all;
      for (const std::int32_t id : ids) {
        const std::string part = stream.push(id);
        EXPECT_TRUE(text::is_utf8(part)) << kind;
        all += part;
      }
      EXPECT_EQ(all + stream.finish(), tokenizer.decode(ids)) << kind;
    }
  }
}

TEST(StreamDecoder, HandsOnWhatCannotChange) {
  const Tokenizer tokenizer = Tokenizer::load(kTokenizers / "gpt2");
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push(*tokenizer.token_to_id("a")), "a");
  EXPECT_EQ(stream.push(*tokenizer.token_to_id("\u00C3")), "");  // the first byte of an e acute
  EXPECT_EQ(stream.push(*tokenizer.token_to_id("\u00A9")), "\u00E9");
  EXPECT_EQ(stream.push(*tokenizer.token_to_id("\u00C3")), "");
  EXPECT_EQ(stream.finish(), text::kReplacement);
  EXPECT_EQ(stream.finish(), "");
}

}  // namespace
}  // namespace grouphead
