// The program's output where stdout or stderr fail, and its end by signals.

#include "training_program.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing_support::Arguments;
using testing_support::contents_of;
using testing_support::Outcome;
using testing_support::Program;
using testing_support::with;

class Streams : public testing_support::TrainingProgramTest {
 protected:
  Arguments small(const Arguments& more = {}) const { return tiny("m", more); }
  std::vector<std::string> files_of(const std::string& folder) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(path(folder))) {
      names.push_back(entry.path().filename());
    }
    return names;
  }
};

TEST_F(Streams, OutputThatStdoutRefusesIsAnError) {
  ASSERT_EQ(run(small()).code, 0);
  const Arguments commands[] = {{"info"},
                                {"info", path("m")},
                                {"info", "--isas"},
                                {"inspect", path("m")},
                                {"inspect", path("m"), "--json"},
                                {"check", "gemm m3 n3 k3"},
                                {"bench", "gemm m3 n3 k3", "--min-time", "0.001"},
                                {"convert", "--kv-heads", "1", path("m"), path("converted")},
                                {"generate", path("m"), "--tokens", "3"},
                                {"train", "--resume", "--out", path("m")},
                                {"--help"},
                                {"train", "--help"},
                                {"--version"}};
  for (const Arguments& command : commands) {
    const Outcome full = run(command, with(STDOUT_FILENO, "/dev/full"));
    EXPECT_EQ(full.code, 2) << command[0];
    EXPECT_THAT(full.err, HasSubstr("stdout: No space left on device")) << command[0];
    fs::remove_all(path("converted"));
    const Outcome closed = run(command, [] { ::close(STDOUT_FILENO); });
    EXPECT_EQ(closed.code, 2) << command[0];
    EXPECT_THAT(closed.err, HasSubstr("stdout: Bad file descriptor")) << command[0];
  }
}

TEST_F(Streams, NobodyHasToReadStderr) {
  ASSERT_EQ(run(tiny("whole", {"--validate-every", "1"})).code, 0);
  const std::string wanted = contents_of(folder_ / "whole/state.safetensors");
  const std::function<void()> failing[] = {with(STDERR_FILENO, "/dev/full"),
                                           [] { ::close(STDERR_FILENO); },
                                           [] {  // a pipe that nobody reads from
                                             int ends[2];
                                             if (::pipe(ends) != 0) ::_exit(99);
                                             ::dup2(ends[1], STDERR_FILENO);
                                             ::close(ends[0]);
                                             ::close(ends[1]);
                                           }};
  for (const auto& in_child : failing) {
    fs::remove_all(path("m"));
    const Outcome trained = run(small({"--validate-every", "1"}), in_child);
    EXPECT_EQ(trained.code, 0);
    EXPECT_THAT(trained.out, HasSubstr("validation loss"));
    EXPECT_EQ(contents_of(folder_ / "m/state.safetensors"), wanted);
    EXPECT_EQ(run({"generate", path("m"), "--tokens", "3"}, in_child).out.size(), 3U);
    EXPECT_EQ(run({"generate", path("none")}, in_child).code, 2);
    EXPECT_EQ(run({"generate", "--nonsense"}, in_child).code, 2);
  }
}

TEST_F(Streams, ClosedStreamsDoNotEndUpInFiles) {
  const Outcome trained = run(small({"--validate-every", "1"}), [] {
    for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(descriptor);
  });
  EXPECT_EQ(trained.code, 2);  // its result is lost
  EXPECT_EQ(run({"generate", path("m"), "--tokens", "3"}).code, 0);
  ASSERT_EQ(run(tiny("whole", {"--validate-every", "1"})).code, 0);
  EXPECT_EQ(contents_of(folder_ / "m/state.safetensors"),
            contents_of(folder_ / "whole/state.safetensors"));
}

TEST_F(Streams, AReaderThatGoesAwayEndsTheProgramAsUsual) {
  ASSERT_EQ(run(small()).code, 0);
  const Outcome outcome = run({"generate", path("m"), "--tokens", "100000"}, [] {
    int ends[2];
    if (::pipe(ends) != 0) ::_exit(99);
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
  });
  EXPECT_EQ(outcome.code, -SIGPIPE);
}

TEST_F(Streams, TwoSignalsLeaveNothingHalfWritten) {
  const Arguments options = {"--steps", "100000", "--save-every", "1"};
  for (int round = 0; round < 10; ++round) {
    fs::remove_all(path("m"));
    Program program(folder_, small(options));
    wait_for("m/history.csv");
    std::this_thread::sleep_for(std::chrono::milliseconds(3 * round));
    program.send(SIGINT);
    program.send(SIGTERM);
    const Outcome outcome = program.wait();
    EXPECT_TRUE(outcome.code == 130 || outcome.code == 143 || outcome.code == -SIGINT ||
                outcome.code == -SIGTERM)
        << outcome.code;
    for (const std::string& name : files_of("m")) EXPECT_THAT(name, Not(HasSubstr("writing")));
    EXPECT_EQ(run({"generate", path("m"), "--tokens", "3"}).code, 0);
  }
}

TEST_F(Streams, AHangUpThatIsIgnoredStaysSo) {
  const Outcome outcome = run(small(), [] {
    ::signal(SIGHUP, SIG_IGN);
    ::raise(SIGHUP);
  });
  EXPECT_EQ(outcome.code, 0);
  Program program(folder_, tiny("n", {"--steps", "300"}), [] { ::signal(SIGHUP, SIG_IGN); });
  wait_for("n/history.csv");
  program.send(SIGHUP);
  EXPECT_EQ(program.wait().code, 0);
}

TEST_F(Streams, GenerateThatIsInterruptedTellsItsSpeed) {
  ASSERT_EQ(run(small()).code, 0);
  Program program(folder_, {"generate", path("m"), "--tokens", "1000000"});
  while (contents_of(folder_ / "stdout.txt").size() < 10) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  program.send(SIGINT);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, 130);
  EXPECT_THAT(outcome.err, HasSubstr(std::to_string(outcome.out.size()) + " tokens, "));
}

TEST_F(Streams, BenchThatIsInterruptedTellsWhatItMeasured) {
  Program program(folder_, {"bench", "gemm", "m3", "n3", "k3", "--rounds", "1000"});
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  program.send(SIGTERM);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, 143);
  EXPECT_THAT(outcome.out, HasSubstr("gemm f32 m3 n3 k3: "));
  EXPECT_THAT(outcome.out, HasSubstr(" us (min "));
  EXPECT_THAT(outcome.err, HasSubstr("stopped after "));
}

TEST_F(Streams, NamesFromOutsideCannotActOnTheTerminal) {
  const std::string evil =
      "none\x1b]0;title\a\x1b[2J\r\xc2\x9b"
      "31m\xff";
  const Outcome outcome = run({"inspect", path(evil)});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("none\\x1b]0;title\\x07\\x1b[2J\\x0d\\x9b31m\\xff"));
  const Outcome option = run({"train", "--\x1b[2J"});
  EXPECT_EQ(option.code, 2);
  EXPECT_THAT(option.err, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace grouphead
