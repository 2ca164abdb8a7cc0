// Tokenizers against what Hugging Face's package answered.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/tokenizer_golden.h"
#include "text_support.h"

namespace grouphead::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing_support::empty_folder;
using testing_support::kTokenizers;

struct Outcome {
  int passed = 0;
  std::vector<std::string> failures{};
};

Outcome run(const std::filesystem::path& folder) {
  Outcome outcome;
  for (const GoldenResult& result : run_tokenizer_golden(folder)) {
    if (result.passed) {
      ++outcome.passed;
    } else {
      outcome.failures.push_back(result.line);
    }
  }
  return outcome;
}

TEST(TokenizerGolden, TokenizersOfRealModelsKinds) {
  const Outcome outcome = run(kTokenizers);
  EXPECT_THAT(outcome.failures, ElementsAre());
  EXPECT_EQ(outcome.passed, 400);
}

TEST(TokenizerGolden, EveryComponent) {
  const Outcome outcome = run(GROUPHEAD_SOURCE_DIR "/tests/golden/tokenizer_components");
  EXPECT_THAT(outcome.failures, ElementsAre());
  EXPECT_EQ(outcome.passed, 1860);
}

TEST(TokenizerGolden, AnotherAnswerIsFound) {
  const std::filesystem::path folder = empty_folder();
  std::filesystem::copy(kTokenizers / "bert/tokenizer.json", folder);
  const auto failures_of = [&](const std::string& row) {
    testing_support::write_text(folder / "cases.json", R"({"cases": [)" + row + "]}");
    return run(folder).failures;
  };
  EXPECT_THAT(failures_of(R"({"text": "[CLS]", "ids": [2], "ids_special": [2, 2, 3]})"), SizeIs(0));
  EXPECT_THAT(failures_of(R"({"text": "[CLS]", "ids": [3]})"),
              ElementsAre(HasSubstr("ids: expected [3], got [2]")));
  EXPECT_THAT(failures_of(R"({"text": "[CLS]", "decoded_special": "x"})"),
              ElementsAre(HasSubstr(R"(expected "x", got "[CLS] [CLS] [SEP]")")));
  EXPECT_THAT(failures_of(R"({"text": "[CLS]", "offsets": []})"),
              ElementsAre(HasSubstr("field: expected one that is known, got offsets")));
}

}  // namespace
}  // namespace grouphead::testing
