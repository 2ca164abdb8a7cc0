// grouphead tokenize, and check --golden with tokenizers.

#include <gmock/gmock.h>

#include "command.h"
#include "text_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing_support::CommandResult;
using testing_support::empty_folder;
using testing_support::kTokenizers;
using testing_support::run_grouphead;
using testing_support::write_text;

TEST(Tokenize, EachLineIsATextOfItsOwn) {
  const fs::path folder = empty_folder();
  write_text(folder / "text.txt", "[MASK]\n\n[PAD] [UNK]\n");
  const std::string tokenizer = "tokenize --tokenizer " + (kTokenizers / "bert").string() + " ";
  const std::string text = (folder / "text.txt").string();
  EXPECT_EQ(run_grouphead(tokenizer + text).output, "2 4 3\n2 3\n2 0 1 3\n");
  EXPECT_EQ(run_grouphead(tokenizer + "--no-special " + text).output, "4\n\n0 1\n");
  EXPECT_EQ(run_grouphead(tokenizer + "--no-special <" + text).output, "4\n\n0 1\n");
}

TEST(Tokenize, DecodesWhatItWrote) {
  const fs::path folder = empty_folder();
  const std::string text = "Gr\u00FC\u00DFe  aus K\u00F6ln\n\nword words \u65E5\u672C\n";
  write_text(folder / "text.txt", text);
  const std::string tokenizer = "tokenize --tokenizer " + (kTokenizers / "llama3").string() + " ";
  const std::string ids = (folder / "ids.txt").string();
  run_grouphead(tokenizer + (folder / "text.txt").string() + " >" + ids);
  EXPECT_EQ(run_grouphead(tokenizer + "--decode " + ids).output, text);
  EXPECT_THAT(run_grouphead(tokenizer + "--decode --keep-special " + ids).output,
              HasSubstr("<|begin_of_text|>word words"));
}

TEST(Tokenize, BadInputIsNamed) {
  const std::string bert = (kTokenizers / "bert").string();
  const CommandResult ids =
      run_grouphead("tokenize --decode --tokenizer " + bert + " " + bert + "/cases.json");
  EXPECT_EQ(ids.exit_code, 2);
  EXPECT_THAT(ids.output, HasSubstr("[tokenize] ids: expected whole numbers"));
  const CommandResult file =
      run_grouphead("tokenize --tokenizer " + bert + "/cases.json /dev/null");
  EXPECT_EQ(file.exit_code, 2);
  EXPECT_THAT(file.output, HasSubstr("cases.json"));
  EXPECT_EQ(run_grouphead("tokenize").exit_code, 2);
}

TEST(Tokenize, CheckComparesAFolderOfCasesOrOne) {
  const CommandResult all = run_grouphead("check --quiet --golden " + kTokenizers.string());
  EXPECT_EQ(all.exit_code, 0);
  EXPECT_EQ(all.output, "400 passed, 0 failed\n");
  const CommandResult one = run_grouphead("check --golden " + (kTokenizers / "bert").string());
  EXPECT_EQ(one.exit_code, 0);
  EXPECT_THAT(one.output, EndsWith("40 passed, 0 failed\n"));
}

TEST(Tokenize, CheckFailsOnAnotherAnswer) {
  const fs::path folder = empty_folder();
  fs::copy(kTokenizers / "bert/tokenizer.json", folder);
  write_text(folder / "cases.json", R"({"cases": [{"text": "[CLS]", "ids": [3]}]})");
  const CommandResult result = run_grouphead("check --golden " + folder.string());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, EndsWith("0 passed, 1 failed\n"));
}

}  // namespace
}  // namespace grouphead
