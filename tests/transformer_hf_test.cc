// Models of Hugging Face folders against what transformers computed of them.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "testing/pretrained_case.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;

const fs::path kCases = fs::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/hf";

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(kCases)) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Pretrained : public ::testing::TestWithParam<std::string> {};

TEST_P(Pretrained, ComputesWhatTransformersDoes) {
  Context ctx({.num_threads = 2});
  const auto results = testing::run_pretrained_case(ctx, kCases / GetParam());
  // An encoder's hidden states and gradients; of a decoder also the rest.
  EXPECT_GE(results.size(), 2U);
  for (const auto& result : results) EXPECT_TRUE(result.passed) << result.line;
}

INSTANTIATE_TEST_SUITE_P(Hf, Pretrained, ::testing::ValuesIn(case_names()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace grouphead
