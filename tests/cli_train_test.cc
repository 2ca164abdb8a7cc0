// `grouphead train` and `grouphead generate` as a user runs them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/resource.h>

#include <random>

#include "training_program.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using testing_support::Arguments;
using testing_support::contents_of;
using testing_support::example_text;
using testing_support::Outcome;
using testing_support::Program;

constexpr const char* kFiles[] = {"state.safetensors", "model.safetensors", "config.json",
                                  "history.csv"};

class Cli : public testing_support::TrainingProgramTest {
 protected:
  void expect_same_files(const std::string& a, const std::string& b) const {
    for (const char* file : kFiles) {
      EXPECT_TRUE(contents_of(folder_ / a / file) == contents_of(folder_ / b / file))
          << file << " differs";
    }
  }
  void expect_refused(const Arguments& arguments, const std::string& message) const {
    TrainingProgramTest::expect_refused(arguments, message);
    EXPECT_FALSE(fs::exists(path("out"))) << message;
  }
};

TEST_F(Cli, TrainWritesItsFilesAndTheResult) {
  const Outcome outcome = run(tiny("out", {"--validate-every", "5"}));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("nats per byte"));
  EXPECT_THAT(outcome.err, HasSubstr("step     5/12 "));
  EXPECT_THAT(outcome.err, AllOf(HasSubstr(" bits per byte)"), HasSubstr(" bytes/s")));
  EXPECT_THAT(outcome.err, Not(HasSubstr("\r")));
  for (const char* file : kFiles) EXPECT_TRUE(fs::exists(folder_ / "out" / file)) << file;
  EXPECT_THAT(contents_of(folder_ / "out/report.html"), HasSubstr("validation loss"));
  const auto files = fs::directory_iterator(folder_ / "out");
  EXPECT_EQ(std::distance(files, fs::directory_iterator()), 5);
}

TEST_F(Cli, AShortRunNeedsNoWarmUpOption) {
  const Outcome outcome = run({"train", "--text", path("text"), "--out", path("out"), "--hidden",
                               "16", "--steps", "2", "--seq", "16"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

TEST_F(Cli, QuietSaysTheResultAlone) {
  const Outcome outcome = run(tiny("out", {"--quiet"}));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.err, IsEmpty());
  EXPECT_THAT(outcome.out, StartsWith("validation loss"));
}

TEST_F(Cli, ATerminalGetsABar) {
  int terminal = -1;
  int side = -1;
  ASSERT_EQ(::openpty(&terminal, &side, nullptr, nullptr, nullptr), 0);
  std::string shown;
  std::thread reader([&] {
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(terminal, buffer, sizeof buffer)) > 0;) {
      shown.append(buffer, static_cast<std::size_t>(n));
    }
  });
  const Outcome outcome = run(tiny("out"), [&] { ::dup2(side, STDERR_FILENO); });
  ::close(side);
  reader.join();
  ::close(terminal);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(shown, HasSubstr("\rstep    12/12 [====================] loss"));
}

TEST_F(Cli, ThreadsDoNotChangeTheFiles) {
  EXPECT_EQ(run(tiny("one", {"--threads", "1"})).code, 0);
  EXPECT_EQ(run(tiny("two", {"--threads", "2"})).code, 0);
  expect_same_files("one", "two");
}

TEST_F(Cli, SignalsSaveAndAResumedRunEndsWithTheSameBits) {
  const Arguments options = {"--steps", "150", "--validate-every", "5"};
  ASSERT_EQ(run(tiny("whole", options)).code, 0);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    fs::remove_all(path("out"));
    Program program(folder_, tiny("out", options));
    while (program.err().find("step    10/150") == std::string::npos) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    program.send(signal);
    const Outcome stopped = program.wait();
    EXPECT_EQ(stopped.code, 128 + signal);
    ASSERT_THAT(stopped.err, HasSubstr("grouphead train --resume --out " + path("out")));
    EXPECT_NE(contents_of(folder_ / "out/history.csv"), contents_of(folder_ / "whole/history.csv"));
    EXPECT_FALSE(fs::exists(folder_ / "out/report.html"));
    const Outcome resumed =
        run({"train", "--resume", "--out", path("out"), "--validate-every", "5"});
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    expect_same_files("out", "whole");
  }
}

TEST_F(Cli, ADraftChangesNothingInTheTextAndAStopStringEndsIt) {
  ASSERT_EQ(run(tiny("m", {"--steps", "6"})).code, 0);
  const Arguments generate = {"generate", path("m"), "--tokens", "60",
                              "--seed",   "3",       "--min-p",  "0.01"};
  const auto with = [&](const Arguments& more) {
    Arguments all = generate;
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  };
  const std::string text = with({}).out;
  ASSERT_EQ(text.size(), 60U);
  const Outcome drafted = with({"--draft", path("m"), "--draft-tokens", "3"});
  EXPECT_EQ(drafted.out, text);
  EXPECT_THAT(drafted.err, HasSubstr("the draft was right "));
  const std::string stop = text.substr(30, 3);
  EXPECT_EQ(with({"--stop", stop}).out, text.substr(0, text.find(stop)));
  EXPECT_NE(with({"--repetition-penalty", "5", "--presence-penalty", "2"}).out, text);
  for (const Arguments& wrong : {Arguments{"--stop", ""},
                                 {"--min-p", "1"},
                                 {"--repetition-penalty", "0"},
                                 {"--draft-tokens", "3"},
                                 {"--frequency-penalty", "nan"}}) {
    EXPECT_EQ(with(wrong).code, 2) << wrong[0];
  }
}

TEST_F(Cli, AKilledRunLeavesACheckpointThatLoads) {
  const Arguments options = {"--steps", "60", "--save-every", "1"};
  ASSERT_EQ(run(tiny("whole", options)).code, 0);
  std::mt19937 random(1);
  int killed = 0;
  for (int round = 0; round < 12; ++round) {
    const bool has_state = fs::exists(folder_ / "out/state.safetensors");
    Arguments arguments = tiny("out", options);
    if (has_state) arguments.emplace_back("--resume");
    Program program(folder_, arguments);
    wait_for("out/state.safetensors");  // before the first one there is nothing to load
    std::this_thread::sleep_for(std::chrono::milliseconds(10 + random() % 150));
    program.send(SIGKILL);
    const Outcome outcome = program.wait();
    if (outcome.code == -SIGKILL) ++killed;
    const Outcome loaded = run({"generate", path("out"), "--tokens", "3"});
    EXPECT_EQ(loaded.code, 0) << loaded.err;
    if (outcome.code == 0) break;
  }
  EXPECT_GT(killed, 0);
  const Outcome finished = run({"train", "--resume", "--out", path("out"), "--text", path("text")});
  EXPECT_EQ(finished.code, 0) << finished.err;
  expect_same_files("out", "whole");
  for (const auto& file : fs::directory_iterator(path("out"))) {
    EXPECT_EQ(file.path().string().find("writing"), std::string::npos) << file.path();
  }
}

TEST_F(Cli, ACheckpointWithoutBatchBlocksIsRefused) {
  ASSERT_EQ(run(tiny("run")).code, 0);
  std::string state = contents_of(folder_ / "run/state.safetensors");
  const std::string key = R"(\"batch_blocks\": )";
  const std::size_t place = state.find(key + "1");
  ASSERT_NE(place, std::string::npos);
  state[place + key.size()] = '0';
  put("run/state.safetensors", state);
  const Outcome outcome = run({"train", "--resume", "--out", path("run")});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("batch blocks: expected 1 to the batch size, got 0"));
}

TEST_F(Cli, AResumedRunMustBeTheSameUnlessAllowed) {
  ASSERT_EQ(run(tiny("run")).code, 0);
  const std::string before = contents_of(folder_ / "run/state.safetensors");
  const std::string other = put("other", example_text(20001));
  const struct {
    Arguments change;
    std::string message;
  } cases[] = {{{"--steps", "20"}, "steps: checkpoint has 12, this run 20"},
               {{"--lr", "0.5"}, "lr: checkpoint has 0.005, this run 0.5"},
               {{"--warmup", "3"}, "warmup: checkpoint has 4, this run 3"},
               {{"--batch", "2"}, "batch: checkpoint has 4, this run 2"},
               {{"--seed", "7"}, "seed: checkpoint has 0, this run 7"},
               {{"--text", other}, "text: checkpoint has 20000 bytes"}};
  for (const auto& c : cases) {
    Arguments arguments = {"train", "--resume", "--out", path("run")};
    arguments.insert(arguments.end(), c.change.begin(), c.change.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(c.message));
    EXPECT_THAT(outcome.err, HasSubstr("--allow-different"));
  }
  EXPECT_EQ(contents_of(folder_ / "run/state.safetensors"), before);

  const Outcome wide =
      run({"train", "--resume", "--allow-different", "--out", path("run"), "--hidden", "32"});
  EXPECT_EQ(wide.code, 2);
  EXPECT_THAT(wide.err,
              HasSubstr("embedding/embeddings: expected f32 [256, 32], got f32 [256, 16]"));
  const Outcome again = run(tiny("run"));
  EXPECT_EQ(again.code, 2);
  EXPECT_THAT(again.err, HasSubstr("a training run is there already"));
  EXPECT_EQ(contents_of(folder_ / "run/state.safetensors"), before);

  const Outcome longer =
      run({"train", "--resume", "--allow-different", "--out", path("run"), "--steps", "15"});
  EXPECT_EQ(longer.code, 0) << longer.err;
  EXPECT_THAT(longer.out, HasSubstr("after 15 steps"));
}

TEST_F(Cli, TextsThatCannotBeTrainedOnAreRefused) {
  const auto train = [&](const std::string& file) {
    Arguments arguments = tiny("out");
    arguments[2] = file;
    return arguments;
  };
  expect_refused(train(path("none")), path("none") + ": No such file or directory");
  expect_refused(train(folder_.string()), "Is a directory");
  expect_refused(train(put("empty", "")), "empty: the file is empty");
  expect_refused(train(put("one", "x")), "got 1");
  expect_refused(train(put("short", std::string(49, 'x'))), "at least 2 (T + 1) tokens");
  expect_refused({"train", "--out", path("out")}, "--text");
  std::string binary(3000, '\0');
  for (std::size_t i = 0; i < binary.size(); ++i) binary[i] = static_cast<char>(i * i >> 3);
  EXPECT_EQ(run(train(put("binary", binary))).code, 0);
}

TEST_F(Cli, SeveralFilesAreOneText) {
  put("first", example_text(20000).substr(0, 777));
  put("second", example_text(20000).substr(777));
  ASSERT_EQ(run(tiny("one")).code, 0);
  Arguments two = tiny("two");
  two[2] = path("first");
  two.insert(two.begin() + 3, path("second"));
  ASSERT_EQ(run(two).code, 0);
  EXPECT_EQ(contents_of(folder_ / "one/model.safetensors"),
            contents_of(folder_ / "two/model.safetensors"));
}

TEST_F(Cli, OptionsThatCannotBeAreRefused) {
  expect_refused(tiny("out", {"--heads", "3"}),
                 "num_heads: expected a divisor of hidden_size = 16, got 3");
  expect_refused(tiny("out", {"--kv-heads", "3"}),
                 "num_key_value_heads: expected a divisor of num_heads");
  expect_refused(tiny("out", {"--heads", "16"}), "an even number with a rotary rule, got 1");
  expect_refused(tiny("out", {"--warmup", "12"}), "warm-up steps");
  expect_refused(tiny("out", {"--dropout", "1"}), "dropout");
  expect_refused(tiny("out", {"--yarn", "0.5"}), "--yarn: expected 1 or a number above it");
  expect_refused(tiny("out", {"--no-rope", "--yarn", "4"}), "yarn");
  expect_refused(tiny("out", {"--steps", "0"}), "--steps");
  expect_refused(tiny("out", {"--steps", "-5"}), "--steps");
  expect_refused(tiny("out", {"--steps", "many"}), "--steps");
  expect_refused(tiny("out", {"--batch", "0"}), "--batch");
  expect_refused(tiny("out", {"--seq", "0"}), "--seq");
  expect_refused(tiny("out", {"--hidden", "99999999999"}), "--hidden");
  expect_refused(tiny("out", {"--lr", "0"}), "--lr");
  expect_refused(tiny("out", {"--lr", "nan"}), "--lr: expected a number above 0, got nan");
  expect_refused(tiny("out", {"--save-every", "0"}), "--save-every");
  expect_refused(tiny("out", {"--nonsense"}), "--nonsense");
  expect_refused({"train", "--text", path("text")}, "--out");
  expect_refused({"train", "--resume", "--out", path("out")}, "No such file");
  EXPECT_EQ(run(tiny("out", {"--heads", "16", "--kv-heads", "16", "--no-rope"})).code, 0);
  EXPECT_EQ(run(tiny("yarn", {"--yarn", "4"})).code, 0);
}

TEST_F(Cli, ALossThatExplodesEndsTheRunAndKeepsTheCheckpoint) {
  const Outcome outcome = run(tiny("out", {"--lr", "1e38", "--warmup", "0"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("try a lower --lr"));
  EXPECT_EQ(run({"generate", path("out"), "--tokens", "3"}).code, 0);
}

TEST_F(Cli, FoldersThatCannotBeWrittenAreRefusedAtOnce) {
  put("file", "x");
  Arguments arguments = tiny("file");
  Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr(path("file")));
  EXPECT_EQ(contents_of(path("file")), "x");
  outcome = run(tiny("file/below"));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("Not a directory"));
  arguments[4] = "/proc/grouphead";
  outcome = run(arguments);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("/proc/grouphead"));
}

TEST_F(Cli, AFullDiskLeavesNothingHalfWritten) {
  const auto limit = [](rlim_t bytes) {
    return [bytes] {
      const rlimit small{bytes, bytes};
      ::setrlimit(RLIMIT_FSIZE, &small);
    };
  };
  const Outcome outcome = run(tiny("deep/out"), limit(20'000));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("state.safetensors: File too large"));
  EXPECT_FALSE(fs::exists(path("deep")));

  // Full in the middle of a run: the last checkpoint stays as it is and goes on elsewhere.
  ASSERT_EQ(run(tiny("out")).code, 0);
  const std::string before = contents_of(folder_ / "out/state.safetensors");
  const Arguments more = {"train",   "--resume", "--allow-different", "--out", path("out"),
                          "--steps", "20"};
  EXPECT_EQ(run(more, limit(20'000)).code, 2);
  EXPECT_EQ(contents_of(folder_ / "out/state.safetensors"), before);
  EXPECT_EQ(run(more).code, 0);
}

TEST_F(Cli, GenerateIsAFunctionOfItsArguments) {
  ASSERT_EQ(run(tiny("m")).code, 0);
  const auto text = [&](const Arguments& more) {
    Arguments arguments = {"generate", path("m"), "--tokens", "40"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out.size(), 40U);
    return outcome.out;
  };
  const std::string seeded = text({"--prompt", "line", "--seed", "1"});
  EXPECT_EQ(text({"--prompt", "line", "--seed", "1", "--threads", "1"}), seeded);
  EXPECT_NE(text({"--prompt", "line", "--seed", "2"}), seeded);
  EXPECT_NE(text({"--prompt", "else", "--seed", "1"}), seeded);
  const std::string greedy = text({"--prompt", "line", "--temperature", "0"});
  EXPECT_EQ(text({"--prompt", "line", "--temperature", "0", "--seed", "9"}), greedy);
  EXPECT_EQ(text({"--prompt", "line", "--top-k", "1", "--seed", "9"}), greedy);
  EXPECT_EQ(text({"--prompt", "line", "--top-p", "1e-9", "--seed", "9"}), greedy);
  EXPECT_EQ(text({"--prompt", "line", "--seed", "1", "--cache", "f32"}), seeded);
  for (const char* cache : {"bf16", "int8"}) {
    const std::string kept = text({"--prompt", "line", "--seed", "1", "--cache", cache});
    EXPECT_EQ(text({"--prompt", "line", "--seed", "1", "--cache", cache, "--threads", "1"}), kept);
  }
  EXPECT_EQ(run({"generate", path("m"), "--cache", "f16"}).code, 2);
  EXPECT_EQ(text({"--prompt", ""}), text({"--prompt", "\n"}));
  EXPECT_EQ(text({"--prompt", std::string(600, 'x')}).size(), 40U);  // far beyond --seq 24
}

TEST_F(Cli, GenerateTellsItsSpeedOnStderrUnlessQuiet) {
  ASSERT_EQ(run(tiny("m")).code, 0);
  EXPECT_THAT(run({"generate", path("m"), "--tokens", "5"}).err, HasSubstr("tokens/s"));
  const Outcome quiet = run({"generate", path("m"), "--tokens", "5", "--quiet"});
  EXPECT_THAT(quiet.err, IsEmpty());
  EXPECT_EQ(quiet.out.size(), 5U);
  const Outcome none = run({"generate", path("m"), "--tokens", "0"});
  EXPECT_EQ(none.code, 0);
  EXPECT_THAT(none.out, IsEmpty());
}

TEST_F(Cli, GenerateRefusesBadInput) {
  ASSERT_EQ(run(tiny("m")).code, 0);
  const auto refused = [&](const Arguments& more, const std::string& message) {
    Arguments arguments = {"generate"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2) << message;
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_THAT(outcome.out, IsEmpty());
  };
  refused({}, "model");
  refused({path("none")}, path("none"));
  refused({path("m"), "--temperature", "-1"}, "--temperature");
  refused({path("m"), "--temperature", "nan"}, "--temperature: expected 0 or a number above it");
  refused({path("m"), "--top-p", "0"}, "top-p");
  refused({path("m"), "--top-p", "2"}, "top-p");
  refused({path("m"), "--top-k", "-1"}, "--top-k");
  refused({path("m"), "--tokens", "-1"}, "--tokens");
  const Outcome full =
      run({"generate", path("m")}, [] { ::dup2(::open("/dev/full", O_WRONLY), STDOUT_FILENO); });
  EXPECT_EQ(full.code, 2);
  EXPECT_THAT(full.err, HasSubstr("No space left"));
  fs::resize_file(folder_ / "m/model.safetensors", 5000);
  refused({path("m")}, "model.safetensors");
}

TEST_F(Cli, HelpHasAnExample) {
  for (const char* verb : {"train", "generate"}) {
    const Outcome outcome = run({verb, "--help"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_THAT(outcome.out, HasSubstr(std::string("  grouphead ") + verb + " "));
  }
}

}  // namespace
}  // namespace grouphead
