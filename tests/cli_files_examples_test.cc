// docs/keras-examples.md: its scripts are those that made the files, and its commands pass.

#include <gmock/gmock.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "command.h"
#include "io/file.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_support::CommandResult;
using testing_support::run_grouphead;

const fs::path kExamples = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_examples";

/// The blocks of a kind, in the page's order.
std::vector<std::string> blocks_of_page(const std::string& kind) {
  const std::string page = io::read_file(GROUPHEAD_SOURCE_DIR "/docs/keras-examples.md");
  const std::string begin = "```" + kind + "\n";
  std::vector<std::string> blocks;
  for (std::size_t at = 0; (at = page.find(begin, at)) != std::string::npos;) {
    at += begin.size();
    const std::size_t end = page.find("```\n", at);
    blocks.push_back(page.substr(at, end - at));
    at = end;
  }
  return blocks;
}

TEST(CliFilesExamples, ThePageShowsTheScriptsOfTheFiles) {
  std::set<std::string> scripts;
  for (const auto& entry : fs::directory_iterator(kExamples)) {
    if (entry.path().extension() == ".py" && entry.path().stem() != "generate") {
      scripts.insert(io::read_file(entry.path()));
    }
  }
  const std::vector<std::string> shown = blocks_of_page("python");
  EXPECT_EQ(std::set(shown.begin(), shown.end()), scripts);
  EXPECT_EQ(shown.size(), 7U);
}

TEST(CliFilesExamples, ThePagesCommandsPass) {
  const fs::path before = fs::current_path();
  fs::current_path(kExamples);
  std::set<std::string> models;
  for (const std::string& block : blocks_of_page("console")) {
    ASSERT_TRUE(block.starts_with("grouphead ")) << block;
    const CommandResult result = run_grouphead(block.substr(10, block.size() - 11));
    EXPECT_EQ(result.exit_code, 0) << block << result.output;
    if (!block.starts_with("grouphead run")) continue;
    EXPECT_THAT(result.output, HasSubstr("passed")) << block;
    models.insert(block.substr(0, block.find(".keras")));
  }
  fs::current_path(before);
  EXPECT_EQ(models.size(), 6U);
}

}  // namespace
}  // namespace grouphead
