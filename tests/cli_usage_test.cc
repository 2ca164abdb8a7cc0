// What the program says of command lines, and ./quickstart of its arguments.

#include <sstream>

#include "command.h"
#include "training_program.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing_support::Arguments;
using testing_support::CommandResult;
using testing_support::contents_of;
using testing_support::Outcome;
using testing_support::run_grouphead;

class Usage : public testing_support::TrainingProgramTest {};

TEST_F(Usage, NumbersOutOfRangeAreRefusedWithAReadableRange) {
  const struct {
    const char* option;
    const char* value;
    const char* range;
  } cases[] = {{"--seed", "-1", "a whole number from 0 to 18446744073709551615, got -1"},
               {"--seed", "18446744073709551616", "a whole number from 0 to"},
               {"--seed", "1.5", "a whole number"},
               {"--seed", "0x10", "a whole number"},
               {"--seed", "1e3", "a whole number"},
               {"--seed", " 1", "a whole number"},
               {"--threads", "-1", "a whole number from 0 to 4096, got -1"},
               {"--threads", "4294967297", "a whole number"},
               {"--steps", "0", "a whole number from 1 to 1000000000000, got 0"},
               {"--steps", "9223372036854775808", "a whole number"},
               {"--save-every", "-1", "a whole number from 1"},
               {"--lr", "-1", "a number above 0, got -1"},
               {"--lr", "inf", "a number above 0, got inf"},
               {"--lr", "1e999", "a number above 0"},
               {"--dropout", "1", "a number from 0 to below 1"},
               {"--warmup", "-1", "a whole number from 0"}};
  for (const auto& c : cases) {
    const Outcome outcome = run(tiny("out", {c.option, c.value}));
    EXPECT_EQ(outcome.code, 2) << c.option << c.value;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr(c.option), HasSubstr(c.range)));
    EXPECT_LT(outcome.err.size(), 200U) << outcome.err;
    EXPECT_FALSE(fs::exists(path("out")));
  }
  for (const char* arguments :
       {"generate m --temperature -1", "generate m --top-p 1.1", "generate m --top-k -1",
        "generate m --tokens -1", "run m --inputs x --atol -1", "bench gemm m1 n1 k1 --rounds 6",
        "bench gemm m1 n1 k1 --min-time 0", "convert a b --kv-heads 0",
        "check gemm m1 n1 k1 --seed 9223372036854775808"}) {
    const CommandResult result = run_grouphead(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.output, HasSubstr("expected ")) << arguments;
    EXPECT_LT(result.output.size(), 200U) << result.output;
  }
}

TEST_F(Usage, ALeadingZeroIsNoOctal) {
  ASSERT_EQ(run(tiny("eight", {"--steps", "010"})).code, 0);
  EXPECT_THAT(run({"info", path("eight")}).out, HasSubstr("steps          10\n"));
}

TEST_F(Usage, TheGreatestSeedIsTaken) {
  ASSERT_EQ(run(tiny("out", {"--seed", "18446744073709551615"})).code, 0);
  EXPECT_THAT(run({"info", path("out")}).out, HasSubstr("18446744073709551615"));
}

TEST_F(Usage, UnknownWordsGetTheNearestKnownOne) {
  EXPECT_THAT(run_grouphead("generat").output, HasSubstr("did you mean generate?"));
  EXPECT_THAT(run_grouphead("inpsect x").output, HasSubstr("did you mean inspect?"));
  EXPECT_THAT(run_grouphead("xyzzy").output,
              AllOf(HasSubstr("xyzzy: no such command"), Not(HasSubstr("mean"))));
  EXPECT_THAT(run_grouphead("train --out x --step 5").output, HasSubstr("did you mean --steps?"));
  EXPECT_THAT(run_grouphead("--versoin").output, HasSubstr("did you mean --version?"));
  EXPECT_THAT(run_grouphead("").output, HasSubstr("Commands:"));
  for (const char* arguments : {"generat", "train --out x --step 5", "--versoin", ""}) {
    EXPECT_EQ(run_grouphead(arguments).exit_code, 2) << arguments;
  }
}

TEST_F(Usage, HelpIsReadable) {
  for (const char* verb : {"", "train", "generate", "convert", "info", "check", "inspect", "run",
                           "bench", "attend", "embed", "eval"}) {
    const CommandResult result = run_grouphead(std::string(verb) + " --help");
    EXPECT_EQ(result.exit_code, 0);
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
    for (const char* riddle : {"INT:", "FLOAT:", "NONNEGATIVE", "POSITIVE", "REQUIRED", "Needs:"}) {
      EXPECT_THAT(result.output, Not(HasSubstr(riddle))) << verb;
    }
  }
  const std::string train = run_grouphead("train --help").output;
  EXPECT_THAT(train, AllOf(HasSubstr("[400]"), HasSubstr("[0.002]"), HasSubstr("--steps N"),
                           HasSubstr("[a tenth of --steps]"), HasSubstr("130")));
}

TEST_F(Usage, ProblemsNeedNoQuotes) {
  const std::string quoted = run_grouphead("check \"gemm m3 n4 k5\" \"gemm m2 n2 k2 f64\"").output;
  EXPECT_EQ(run_grouphead("check gemm m3 n4 k5 gemm m2 n2 k2 f64").output, quoted);
  EXPECT_EQ(run_grouphead("check \"gemm m3 n4 k5\" gemm m2 n2 k2 f64").output, quoted);
  EXPECT_THAT(quoted, HasSubstr("gemm f64 m2 n2 k2"));
}

TEST_F(Usage, PromptsComeFromFilesAndStandardInputToo) {
  ASSERT_EQ(run(tiny("m")).code, 0);
  const std::string prompt(2000, 'x');
  const auto generated = [&](const Arguments& more, const char* input = "/dev/null") {
    Arguments arguments = {"generate", path("m"), "--tokens", "20"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run(arguments, [input] { ::dup2(::open(input, O_RDONLY), 0); });
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  const std::string wanted = generated({"--prompt", prompt});
  const std::string file = put("prompt", prompt);
  EXPECT_EQ(generated({"--prompt-file", file}), wanted);
  EXPECT_EQ(generated({"--prompt-file", "-"}, file.c_str()), wanted);
  expect_refused({"generate", path("m"), "--prompt-file", path("none")}, path("none"));
  expect_refused({"generate", path("m"), "--prompt-file", "/dev/zero"}, "got a device");
  expect_refused({"generate", path("m"), "--prompt-file", file, "--prompt", "x"}, "--prompt");
}

TEST_F(Usage, InspectNamesAFileThatIsNotThere) {
  for (const char* name : {"none", "none.npz", "none.keras", "none.safetensors"}) {
    const CommandResult result = run_grouphead("inspect " + path(name));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.output, HasSubstr(path(name) + ": No such file or directory"));
  }
}

TEST_F(Usage, QuickstartChecksItsArgumentsFirst) {
  fs::copy(GROUPHEAD_SOURCE_DIR "/quickstart", path("quickstart"));
  fs::create_directories(path("build/quickstart"));
  const std::string model = put("build/quickstart/model.safetensors", "of the last run");
  put("short", "text");
  fs::create_directory(path("scripts"));
  put("scripts/packages.sh", "echo went on; exit 77\n");  // in place of installing and building
  const auto quickstart = [&](const std::string& arguments) {
    const std::string command =
        "cd " + folder_.string() + " && sh ./quickstart " + arguments + " >out.txt 2>err.txt";
    const int status = std::system(command.c_str());
    EXPECT_EQ(contents_of(model), "of the last run") << arguments;
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(quickstart("typo.txt"), 2);
  EXPECT_THAT(contents_of(folder_ / "err.txt"), HasSubstr("typo.txt: No such file"));
  for (const char* bad : {"text typo.txt", ".", "short", "--nonsense"}) {
    EXPECT_EQ(quickstart(bad), 2) << bad;
    EXPECT_EQ(contents_of(folder_ / "out.txt"), "") << bad;
  }
  EXPECT_EQ(quickstart("--help"), 0);
  EXPECT_THAT(contents_of(folder_ / "out.txt"), HasSubstr("Usage: ./quickstart [FILE...]"));
  EXPECT_EQ(quickstart("text"), 77);
}

}  // namespace
}  // namespace grouphead
