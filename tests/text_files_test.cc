// Tokenizers' files: folders of older models, and files that are not believed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support.h"
#include "text_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::empty_folder;
using testing_support::error_of;
using testing_support::ids_of;
using testing_support::json_file;
using testing_support::kTokenizers;
using testing_support::small_tokenizer;
using testing_support::tokenizer_of;
using testing_support::write_text;

/// The vocabulary and merges of a golden tokenizer, as older models ship them.
fs::path lists_of(const char* kind, const std::string& settings) {
  const fs::path folder = empty_folder();
  const ConfigValue model = json_file(kTokenizers / kind / "tokenizer.json")["model"];
  const ConfigValue::Object& vocabulary = model["vocab"].as_object("vocab");
  if (model.contains("merges")) {
    write_text(folder / "vocab.json", io::json_text(model["vocab"]));
    std::string merges = "#version: 0.2\n";
    for (const ConfigValue& pair : model["merges"].as_list("merges")) {
      const ConfigValue::List& parts = pair.as_list("pair");
      merges += parts[0].as_string("left") + " " + parts[1].as_string("right") + "\n";
    }
    write_text(folder / "merges.txt", merges);
  } else {
    std::vector<std::string> tokens(vocabulary.size());
    for (const auto& [token, id] : vocabulary) {
      tokens[static_cast<std::size_t>(id.as_integer("id"))] = token;
    }
    std::string lines;
    for (const std::string& token : tokens) lines += token + "\r\n";
    write_text(folder / "vocab.txt", lines);
  }
  if (!settings.empty()) write_text(folder / "tokenizer_config.json", settings);
  return folder;
}

/// Compares a folder with the golden answers of the tokenizer.json; `left_out` says for which texts
/// the two differ on purpose.
void expect_golden(const Tokenizer& tokenizer, const char* kind,
                   const std::vector<std::string>& left_out) {
  int compared = 0;
  const ConfigValue cases = json_file(kTokenizers / kind / "cases.json");
  for (const ConfigValue& each : cases["cases"].as_list("cases")) {
    const std::string& text = each["text"].as_string("text");
    const bool differs = std::any_of(left_out.begin(), left_out.end(), [&](const auto& part) {
      return text.find(part) != std::string::npos;
    });
    if (differs) continue;
    ++compared;
    EXPECT_EQ(tokenizer.encode(text).ids, ids_of(each["ids_special"])) << text;
    EXPECT_EQ(tokenizer.decode(ids_of(each["ids_special"])), each["decoded"].as_string("decoded"));
  }
  EXPECT_GT(compared, 30);
}

TEST(TokenizerFolder, VocabTxtIsBert) {
  // The golden tokenizer has words of up to 20 characters, BERT's own of 100.
  const std::vector<std::string> long_words = {"supercali"};
  expect_golden(Tokenizer::load(lists_of("bert", "")), "bert", long_words);
  expect_golden(Tokenizer::load(lists_of("bert_cased", R"({"do_lower_case": false,
                  "tokenizer_class": "BertTokenizer"})")),
                "bert_cased", long_words);
}

TEST(TokenizerFolder, VocabTxtHasTypesOfAPair) {
  const Encoding got = Tokenizer::load(lists_of("bert", "")).encode_pair("[MASK]", "[PAD]");
  EXPECT_THAT(got.ids, ElementsAre(2, 4, 3, 0, 3));
  EXPECT_THAT(got.type_ids, ElementsAre(0, 0, 0, 1, 1));
}

TEST(TokenizerFolder, VocabJsonIsGpt2) {
  const std::vector<std::string> added = {"word", "<|user|>"};  // of the golden tokenizer alone
  expect_golden(Tokenizer::load(lists_of("gpt2", "")), "gpt2", added);
  const Tokenizer with_start =
      Tokenizer::load(lists_of("gpt2", R"({"add_bos_token": true, "bos_token": "<|endoftext|>"})"));
  EXPECT_EQ(with_start.encode("").ids, std::vector<std::int32_t>{0});
}

TEST(TokenizerFolder, AddedTokensAreOfTheSettings) {
  const Tokenizer tokenizer = Tokenizer::load(lists_of("gpt2", R"({"added_tokens_decoder": {
      "0": {"content": "<|endoftext|>", "special": true},
      "700": {"content": "<|user|>", "lstrip": true, "rstrip": true, "normalized": true},
      "701": {"content": "word", "single_word": true, "normalized": true}}})"));
  expect_golden(tokenizer, "gpt2", {});
}

TEST(TokenizerFolder, VocabJsonIsRobertaOrQwen) {
  expect_golden(Tokenizer::load(lists_of("roberta", R"({"tokenizer_class": "RobertaTokenizer",
                  "add_prefix_space": true, "mask_token": {"content": "<mask>"}})")),
                "roberta", {});
  expect_golden(Tokenizer::load(lists_of("qwen", R"({"tokenizer_class": "Qwen2Tokenizer",
                  "added_tokens_decoder": {"1": {"content": "<|im_start|>", "special": true},
                                           "2": {"content": "<|im_end|>", "special": true}}})")),
                "qwen", {});
}

TEST(TokenizerFolder, OthersAreRefused) {
  const fs::path folder = lists_of("gpt2", R"({"tokenizer_class": "CLIPTokenizer"})");
  EXPECT_THAT(error_of<IoError>([&] { Tokenizer::load(folder); }),
              HasSubstr("expected GPT2, Roberta, Bart, Longformer or Qwen2"));
  EXPECT_THAT(error_of<IoError>([] { Tokenizer::load(empty_folder()); }),
              HasSubstr("expected tokenizer.json, vocab.txt, or vocab.json"));
}

struct Damage {
  const char* fields;
  const char* problem;
};

TEST(TokenizerFile, DamageIsNamed) {
  const Damage all[] = {
      {R"("normalizer": {"type": "Lower"})", "normalizer: expected a type that is known"},
      {R"("normalizer": {"type": "Strip"})", "strip_left"},
      {R"("normalizer": 7)", "type"},
      {R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"})",
       "U_REGEX_MISMATCHED_PAREN"},
      {R"("pre_tokenizer": {"type": "Split", "pattern": {}, "behavior": "Isolated"})", "pattern"},
      {R"("pre_tokenizer": {"type": "Punctuation", "behavior": "Kept"})", "behavior"},
      {R"("pre_tokenizer": {"type": "Metaspace", "replacement": "__"})", "one character"},
      {R"("normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="})", "trie"},
      {R"("normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"})", "base64"},
      {R"("decoder": {"type": "Strip", "content": "", "start": 1, "stop": 0})", "one character"},
      {R"("post_processor": {"type": "BertProcessing", "cls": ["a", -1], "sep": ["b", 1]})", "id"},
      {R"("post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "C",
           "type_id": 0}}], "pair": [], "special_tokens": {}})",
       "A or B"},
      {R"("truncation": {"max_length": 3, "strategy": "All", "stride": 0})", "strategy"},
      {R"("padding": {"strategy": "BatchLongest", "pad_id": 4294967296, "pad_type_id": 0})",
       "2^31 - 1"},
      {R"("added_tokens": {})", "added_tokens"}};
  for (const Damage& each : all) {
    EXPECT_THAT(error_of<IoError>([&] { small_tokenizer(each.fields); }), HasSubstr(each.problem));
  }
}

TEST(TokenizerFile, DamagedModelsAreNamed) {
  const Damage all[] = {
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]})", "merge"},
      {R"({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]})", "got ab"},
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["aa"]})", "two tokens"},
      {R"({"type": "BPE", "vocab": {"a": -1}, "merges": []})", "id"},
      {R"({"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []})", "twice"},
      {R"({"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.5})", "dropout"},
      {R"({"type": "Unigram", "vocab": [], "unk_id": 0})", "vocab"},
      {R"({"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 1})", "unk_id"},
      {R"({"type": "WordPiece", "vocab": {}})", "max_input_chars_per_word"},
      {R"({"type": "Words"})", "BPE, WordPiece, Unigram or WordLevel"}};
  for (const Damage& each : all) {
    const std::string file = std::string(R"({"model": )") + each.fields + "}";
    EXPECT_THAT(error_of<IoError>([&] { tokenizer_of(file); }), HasSubstr(each.problem));
  }
  EXPECT_THAT(error_of<IoError>([] { tokenizer_of(std::string(10'000, '[')); }),
              HasSubstr("more than 256 levels"));
  EXPECT_THAT(error_of<IoError>([] { Tokenizer::load("no/such/file"); }),
              HasSubstr("no/such/file"));
}

// What a file may cost at its first text.
TEST(TokenizerFile, HostileStepsEndInAnError) {
  const Tokenizer exploding = small_tokenizer(
      R"("normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""})");
  EXPECT_THAT(error_of<IoError>([&] { (void)exploding.encode(std::string(4096, 'a') + "b"); }),
              HasSubstr("within its limits"));
  std::string doubling;
  for (int i = 0; i < 60; ++i) {
    doubling += R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},)";
  }
  doubling.pop_back();
  const Tokenizer growing =
      small_tokenizer(R"("normalizer": {"type": "Sequence", "normalizers": [)" + doubling + "]}");
  EXPECT_THAT(error_of<IoError>([&] { (void)growing.encode("a"); }),
              HasSubstr("at most 32 times as long"));
  EXPECT_THAT(error_of<IoError>([&] {
                small_tokenizer(R"("pre_tokenizer": {"type": "Sequence", "pretokenizers": [)" +
                                std::string(R"({"type": "WhitespaceSplit"})") +
                                [] {
                                  std::string more;
                                  for (int i = 0; i < 70; ++i) more += R"(,{"type": "Whitespace"})";
                                  return more;
                                }() +
                                "]}");
              }),
              HasSubstr("at most 64"));
}

// A word of a million characters takes n log n steps.
TEST(TokenizerFile, LongWordsAreMergedInTime) {
  const std::vector<std::int32_t> ids = small_tokenizer("").encode(std::string(1 << 20, 'a')).ids;
  EXPECT_EQ(ids.size(), std::size_t{1} << 20);
  std::string pairs;
  for (int i = 0; i < 1 << 19; ++i) pairs += "ab";
  EXPECT_EQ(small_tokenizer("").encode(pairs).ids, std::vector<std::int32_t>(1 << 19, 2));
}

}  // namespace
}  // namespace grouphead
