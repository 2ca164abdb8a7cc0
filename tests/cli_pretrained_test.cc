// The program on Hugging Face folders.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "command.h"
#include "io/safetensors.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::CommandResult;
using testing_support::run_grouphead;

const std::string kPretrainedCases = GROUPHEAD_SOURCE_DIR "/tests/golden/hf/";

/// `3,1,2`
std::string list_of(const Tensor& numbers) {
  std::string list;
  for (Index i = 0; i < numbers.size(); ++i) {
    list += (i > 0 ? "," : "") + std::to_string(numbers.data<std::int64_t>()[i]);
  }
  return list;
}

TEST(PretrainedProgram, ContinuesTokensAsTransformersDoes) {
  for (const char* name : {"llama", "gpt2", "gemma2", "mixtral"}) {
    SCOPED_TRACE(name);
    const io::Safetensors expected =
        io::read_safetensors(kPretrainedCases + name + "/expect.safetensors");
    const CommandResult result = run_grouphead(
        "generate " + kPretrainedCases + name + " --quiet --temperature 0 --tokens 6" +
        " --prompt-tokens " + list_of(expected.at("prompt")));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    // The model's end token, 2, ends the text here.
    std::string want = list_of(expected.at("greedy"));
    if (const std::size_t end = (want + ",").find(",2,"); end != std::string::npos) {
      want.resize(end + 2);
    }
    EXPECT_THAT(result.output, ::testing::StartsWith(want));
    const CommandResult drafted = run_grouphead(
        "generate " + kPretrainedCases + name + " --quiet --temperature 0 --tokens 6 --draft " +
        kPretrainedCases + name + " --prompt-tokens " + list_of(expected.at("prompt")));
    EXPECT_EQ(drafted.output, result.output);
  }
}

TEST(PretrainedProgram, RefusesWhatItCannotContinue) {
  const CommandResult list =
      run_grouphead("generate " + kPretrainedCases + "llama --prompt-tokens 1,x --tokens 1");
  EXPECT_EQ(list.exit_code, 2);
  EXPECT_THAT(list.output, HasSubstr("--prompt-tokens: expected numbers with commas between"));
  const CommandResult encoder =
      run_grouphead("generate " + kPretrainedCases + "bert --prompt-tokens 1 --tokens 1");
  EXPECT_EQ(encoder.exit_code, 2);
  EXPECT_THAT(encoder.output, HasSubstr("expected one with a head, got one without"));
}

TEST(PretrainedProgram, SaysWhatAFolderHolds) {
  const CommandResult info = run_grouphead("info " + kPretrainedCases + "llama");
  EXPECT_EQ(info.exit_code, 0) << info.output;
  EXPECT_THAT(info.output, HasSubstr("(llama)"));
  EXPECT_THAT(info.output, HasSubstr("KV cache"));
  const CommandResult inspection = run_grouphead("inspect " + kPretrainedCases + "llama");
  EXPECT_EQ(inspection.exit_code, 0) << inspection.output;
  EXPECT_THAT(inspection.output, HasSubstr("llama"));
}

TEST(PretrainedProgram, ComparesAFolderAndAFolderOfFolders) {
  const CommandResult one = run_grouphead("check --quiet --golden " + kPretrainedCases + "bert");
  EXPECT_EQ(one.exit_code, 0) << one.output;
  EXPECT_THAT(one.output, HasSubstr("2 passed, 0 failed"));
  const CommandResult all = run_grouphead("check --quiet --golden " + kPretrainedCases);
  EXPECT_EQ(all.exit_code, 0) << all.output;
  EXPECT_THAT(all.output, HasSubstr(" passed, 0 failed"));
}

}  // namespace
}  // namespace grouphead
