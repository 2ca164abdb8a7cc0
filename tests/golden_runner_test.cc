#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "command.h"
#include "io/safetensors.h"
#include "testing/golden.h"

namespace grouphead::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::CommandResult;
using testing_support::run_grouphead;

const fs::path kEdifice = GROUPHEAD_SOURCE_DIR "/tests/golden/edifice";

/// A folder of its own for each test.
fs::path empty_folder() {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const fs::path folder = fs::path(::testing::TempDir()) / (std::string("golden_") + test->name());
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

/// A folder with one changed file, under a name that says nothing.
fs::path changed(const char* file, const std::function<void(io::Safetensors&)>& change) {
  const fs::path folder = empty_folder();
  io::Safetensors contents = io::read_safetensors(kEdifice / file);
  change(contents);
  io::write_safetensors(folder / "x.safetensors", contents);
  return folder;
}

std::vector<std::string> failures(const fs::path& folder) {
  Context ctx({.num_threads = 1});
  std::vector<std::string> lines;
  for (const GoldenResult& result : run_golden(ctx, folder)) {
    if (!result.passed) lines.push_back(result.line);
  }
  return lines;
}

std::string last_line(std::string text) {
  text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

TEST(Golden, EveryStoredResultIsReproduced) {
  EXPECT_THAT(failures(kEdifice), ElementsAre());
  const CommandResult result = run_grouphead("check --golden " + kEdifice.string());
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(last_line(result.output), "32 passed, 0 failed");
}

TEST(Golden, AChangedResultFailsAlone) {
  const fs::path folder = changed("gqa_yarn.safetensors", [](io::Safetensors& file) {
    file.tensors.at("alt.yarn_paper.output").data<float>()[7] += 1e-4F;
  });
  EXPECT_THAT(failures(folder),
              ElementsAre(HasSubstr("x.safetensors alt.yarn_paper.output[0, 7]: got")));
  const CommandResult result = run_grouphead("check --quiet --golden " + folder.string());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(last_line(result.output), "11 passed, 1 failed");
}

TEST(Golden, AChangedSequenceFailsInOnePassAndStepByStep) {
  const fs::path folder = changed("gqa_rope.safetensors", [](io::Safetensors& file) {
    file.tensors.at("expected.all").data<float>()[40] -= 1e-3F;
    file.tensors.at("freqs").data<float>()[3] += 1e-4F;
  });
  EXPECT_THAT(failures(folder), ElementsAre(HasSubstr(" expected.all[0, 1, 8]: got"),
                                            HasSubstr(" expected.all step by step[0, 1, 8]: got"),
                                            HasSubstr(" freqs[3]: got")));
}

TEST(Golden, AChangedParameterFailsEverythingThatItTouches) {
  const fs::path folder = changed("gqa_rope.safetensors", [](io::Safetensors& file) {
    file.tensors.at("param.final_norm.beta").data<float>()[2] += 1;
  });
  EXPECT_EQ(failures(folder).size(), 4U);  // the outputs; not the two lists of frequencies
}

TEST(Golden, AMissingParameterIsNamed) {
  const fs::path folder = changed("gqa_norope.safetensors", [](io::Safetensors& file) {
    file.tensors.erase("param.gqa_block_2_ffn_up.bias");
  });
  EXPECT_THAT(failures(folder), ElementsAre(HasSubstr("param.gqa_block_2_ffn_up.bias"),
                                            HasSubstr("param.gqa_block_2_ffn_up.bias")));
}

TEST(Golden, AMissingInputIsNamed) {
  const fs::path folder = changed("gqa_norope.safetensors", [](io::Safetensors& file) {
    file.tensors.erase("input.state_sequence");
  });
  EXPECT_THAT(failures(folder), ::testing::Each(HasSubstr("input.state_sequence")));
}

TEST(Golden, AnUnknownAlternativeFails) {
  const fs::path folder = changed("gqa_rope.safetensors", [](io::Safetensors& file) {
    file.tensors["alt.rope_sideways.output"] = file.tensors.at("expected.output");
    file.tensors["alt.rope_sideways.freqs"] = file.tensors.at("freqs");
    file.tensors["alt.rope_interleaved.picture"] = file.tensors.at("freqs");
  });
  EXPECT_THAT(failures(folder),
              ElementsAre(HasSubstr("rope_sideways"), HasSubstr("alt.rope_interleaved.picture"),
                          HasSubstr("rope_sideways")));
}

TEST(Golden, TheRuleIsReadFromTheContents) {
  // Nothing but sizes in the metadata: frequencies mean a rotary rule, a scale means YaRN.
  for (const char* name : {"gqa_norope", "gqa_rope", "gqa_yarn", "gqa_tiny"}) {
    const fs::path folder =
        changed((std::string(name) + ".safetensors").c_str(), [](io::Safetensors& file) {
          file.metadata.erase("position");
          file.metadata.erase("seed");
        });
    EXPECT_THAT(failures(folder), ElementsAre()) << name;
  }
}

TEST(Golden, ABrokenFileIsAFailureAmongOthers) {
  const fs::path folder = empty_folder();
  fs::copy(kEdifice / "gqa_tiny.safetensors", folder);
  std::ofstream(folder / "broken.safetensors") << "not tensors";
  EXPECT_THAT(failures(folder), ElementsAre(HasSubstr("broken.safetensors")));
}

TEST(Golden, FoldersWithoutCasesEndWithTwo) {
  const fs::path folder = empty_folder();
  Context ctx({.num_threads = 1});
  EXPECT_THROW(run_golden(ctx, folder), IoError);
  EXPECT_THROW(run_golden(ctx, folder / "missing"), IoError);
  const auto exit_code = [&] {
    return run_grouphead("check --golden " + folder.string()).exit_code;
  };
  EXPECT_EQ(exit_code(), 2);
  std::ofstream(folder / "notes.txt") << "nothing to see";
  EXPECT_EQ(exit_code(), 2);
  io::write_safetensors(folder / "weights.safetensors",
                        {.metadata = {}, .tensors = {{"kernel", Tensor::zeros({2})}}});
  EXPECT_EQ(exit_code(), 2);
  EXPECT_EQ(run_grouphead("check --golden " + (folder / "notes.txt").string()).exit_code, 2);
}

}  // namespace
}  // namespace grouphead::testing
