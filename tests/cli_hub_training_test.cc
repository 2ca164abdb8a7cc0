// The program on Hugging Face folders with a tokenizer: convert, train, generate.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "grouphead/files/pretrained.h"
#include "io/json.h"
#include "training_program.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_support::Arguments;
using testing_support::contents_of;
using testing_support::Outcome;
using testing_support::Program;
using testing_support::same_weights;

const fs::path kTrainingCases = fs::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/hf";

/// Each letter is a token, and all else the first one.
std::string letters() {
  std::string vocab = R"("?":0)";
  for (char c = 'a'; c <= 'z'; ++c) {
    vocab += ",\"" + std::string(1, c) + "\":" + std::to_string(c - 'a' + 1);
  }
  return R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":null,"post_processor":null,"decoder":{"type":"Fuse"},"model":{"type":"BPE",
    "dropout":null,"unk_token":"?","continuing_subword_prefix":null,"end_of_word_suffix":null,
    "fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{)" +
         vocab + R"(},"merges":[]}})";
}

class HubCli : public testing_support::TrainingProgramTest {
 protected:
  void SetUp() override {
    TrainingProgramTest::SetUp();
    for (const char* family : {"llama", "gpt2"}) {
      fs::create_directory(folder_ / family);
      for (const char* file : {"config.json", "model.safetensors"}) {
        fs::copy(kTrainingCases / family / file, folder_ / family / file);
      }
      put(std::string(family) + "/tokenizer.json", letters());
    }
  }
  Arguments tuned(const std::string& out, const Arguments& more = {}) const {
    Arguments all = {"train", "--init-from", path("llama"), "--text", path("text"),
                     "--out", path(out),     "--seq",       "12",     "--batch",
                     "2",     "--steps",     "6",           "--lr",   "0.01"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST_F(HubCli, ConvertsAFolderWithItsTokenizer) {
  const Outcome outcome =
      run({"convert", "--kv-heads", "2", path("gpt2"), path("gqa"), "--inputs", path("text")});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("layers/1/attention"));
  EXPECT_THAT(outcome.out, HasSubstr("4 -> 2"));
  EXPECT_THAT(outcome.out, HasSubstr("whole model"));
  EXPECT_EQ(contents_of(path("gqa/tokenizer.json")), letters());
  EXPECT_EQ(load_pretrained(path("gqa")).model->config().attention.num_key_value_heads, 2);
  expect_refused({"convert", "--kv-heads", "3", path("gpt2"), path("other")},
                 "num_key_value_heads: expected a divisor of the model's 4");
  expect_refused({"convert", "--kv-heads", "2", path("gpt2"), path("gqa")},
                 "expected a new or an empty folder");
}

TEST_F(HubCli, TrainsAndGoesOnAfterASignal) {
  for (const char* part : {"all", "lora"}) {
    SCOPED_TRACE(part);
    const std::string whole = std::string(part) + "_whole", cut = std::string(part) + "_cut";
    const Arguments more = {"--train",      part, "--accumulate", "2",
                            "--save-every", "40", "--steps",      "100"};
    const Outcome all = run(tuned(whole, more));
    EXPECT_EQ(all.code, 0) << all.err;
    EXPECT_THAT(all.out, HasSubstr("before the first step"));
    EXPECT_THAT(all.out, HasSubstr("nats per token (perplexity"));
    {
      Program program(folder_, tuned(cut, more));
      wait_for(cut + "/history.csv");
      program.send(SIGINT);
      const Outcome stopped = program.wait();
      EXPECT_EQ(stopped.code, 130) << stopped.err;
      EXPECT_THAT(stopped.err, HasSubstr("grouphead train --resume --out"));
    }
    const Outcome resumed = run({"train", "--resume", "--out", path(cut)});
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    for (const char* file : {"state.safetensors", "model.safetensors", "config.json", "history.csv",
                             "tokenizer.json"}) {
      EXPECT_TRUE(contents_of(folder_ / whole / file) == contents_of(folder_ / cut / file)) << file;
    }
    EXPECT_FALSE(
        same_weights(*load_pretrained(path(cut)).model, *load_pretrained(path("llama")).model));
  }
}

TEST_F(HubCli, TrainRefusesWhatAModelSaysItself) {
  expect_refused(tuned("out", {"--hidden", "16"}), "--hidden: expected none beside");
  expect_refused(tiny("out", {"--accumulate", "2"}),
                 "--accumulate: expected a Hugging Face folder in --init-from");
}

TEST_F(HubCli, ContinuesEachPromptOfAFile) {
  put("prompts", "once\n\nuponatime\no\n");
  const Arguments how = {"--temperature", "0", "--tokens", "5", "--quiet"};
  const auto with_how = [&](Arguments arguments) {
    arguments.insert(arguments.end(), how.begin(), how.end());
    return run(arguments);
  };
  const Outcome outcome =
      with_how({"generate", path("llama"), "--prompts", path("prompts"), "--batch", "2"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  std::istringstream lines(outcome.out);
  std::string line;
  for (const char* prompt : {"once", "uponatime", "o"}) {
    ASSERT_TRUE(std::getline(lines, line));
    const ConfigValue got = io::parse_json(line, "line");
    EXPECT_EQ(got["prompt"], ConfigValue(prompt));
    EXPECT_EQ(got["text"],
              ConfigValue(with_how({"generate", path("llama"), "--prompt", prompt}).out));
  }
  EXPECT_FALSE(std::getline(lines, line));
  expect_refused({"generate", path("llama"), "--prompts", path("prompts"), "--prompt", "a"},
                 "--prompts");
}

TEST_F(HubCli, GenerationConfigIsHonoured) {
  put("llama/generation_config.json",
      R"({"max_new_tokens": 3, "suppress_tokens": [1, 2, 3], "num_beams": 4})");
  const Outcome outcome = run({"generate", path("llama"), "--prompt-tokens", "5,6"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), ','), 2) << outcome.out;
  EXPECT_THAT(outcome.err, HasSubstr("generation_config.json: not honoured: num_beams"));
  const Outcome longer =
      run({"generate", path("llama"), "--prompt-tokens", "5,6", "--tokens", "5", "--quiet"});
  EXPECT_EQ(longer.out.substr(0, outcome.out.size() - 1),
            outcome.out.substr(0, outcome.out.size() - 1));
  EXPECT_THAT(longer.err, ::testing::IsEmpty());
}

}  // namespace
}  // namespace grouphead
