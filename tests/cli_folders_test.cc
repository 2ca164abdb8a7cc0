// Whose files `grouphead train` and `grouphead convert` write over.

#include <sys/file.h>

#include "training_program.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using testing_support::Arguments;
using testing_support::contents_of;
using testing_support::Outcome;
using testing_support::Program;

class Folders : public testing_support::TrainingProgramTest {};

TEST_F(Folders, AFolderOfOtherFilesIsRefused) {
  for (const char* name : {"model.safetensors", "config.json", "notes.txt"}) {
    fs::remove_all(path("out"));
    fs::create_directory(path("out"));
    put(std::string("out/") + name, "mine");
    expect_refused(tiny("out"), std::string("got one with ") + name + "; --overwrite");
    EXPECT_EQ(contents_of(folder_ / "out" / name), "mine");
    EXPECT_FALSE(fs::exists(path("out/state.safetensors")));
  }
  EXPECT_EQ(run(tiny("out", {"--overwrite"})).code, 0);
  EXPECT_EQ(contents_of(folder_ / "out/notes.txt"), "mine");
  expect_refused(tiny("out"), "a training run is there already");
  EXPECT_EQ(run(tiny("out", {"--overwrite", "--seed", "5"})).code, 0);
}

TEST_F(Folders, FilesOfSomebodyElseStayInARunsFolder) {
  ASSERT_EQ(run(tiny("out")).code, 0);
  put("out/notes.txt", "mine");
  ASSERT_EQ(run({"train", "--resume", "--out", path("out")}).code, 0);
  ASSERT_EQ(run(tiny("out", {"--overwrite"})).code, 0);
  EXPECT_EQ(contents_of(folder_ / "out/notes.txt"), "mine");
}

TEST_F(Folders, ASecondRunIntoAFolderWaitsOutside) {
  Program first(folder_, tiny("out", {"--steps", "100000"}));
  wait_for("out/history.csv");
  fs::create_directory(path("second"));  // for its output
  const auto second = [&](const Arguments& arguments) {
    return Program(folder_ / "second", arguments).wait();
  };
  for (const Arguments& more : {Arguments{}, Arguments{"--overwrite"}, Arguments{"--resume"}}) {
    const Outcome refused = second(tiny("out", more));
    EXPECT_EQ(refused.code, 2);
    EXPECT_THAT(refused.err, HasSubstr("another process is writing into this folder"));
  }
  first.send(SIGINT);
  EXPECT_EQ(first.wait().code, 130);
  EXPECT_EQ(second(tiny("out", {"--overwrite"})).code, 0);
}

TEST_F(Folders, ConvertWritesOverNothingThatItReads) {
  ASSERT_EQ(run(tiny("m")).code, 0);
  const std::string before = contents_of(folder_ / "m/model.safetensors");
  fs::create_directory_symlink(path("m"), path("link"));
  for (const char* target : {"m", "link", "m/../m"}) {
    expect_refused({"convert", "--kv-heads", "1", path("m"), path(target), "--overwrite"},
                   "a training run is there already");
  }
  EXPECT_EQ(contents_of(folder_ / "m/model.safetensors"), before);
  ASSERT_EQ(run({"convert", "--kv-heads", "1", path("m"), path("one")}).code, 0);
  expect_refused({"convert", "--kv-heads", "1", path("one"), path("m/../one"), "--overwrite"},
                 "expected another file to write than the one to read");
  const Arguments again = {"convert", "--kv-heads", "1", path("m"), path("one")};
  expect_refused(again, "--overwrite");
  Arguments over = again;
  over.emplace_back("--overwrite");
  EXPECT_EQ(run(over).code, 0);
  expect_refused({"convert", "--kv-heads", "3", path("m"), path("new/three")}, "3");
  EXPECT_FALSE(fs::exists(path("new")));
}

TEST_F(Folders, AFinishedRunThatIsResumedStaysAsItIs) {
  ASSERT_EQ(run(tiny("out")).code, 0);
  const auto written = [&] { return fs::last_write_time(path("out/state.safetensors")); };
  const std::string report = contents_of(folder_ / "out/report.html");
  EXPECT_THAT(report, HasSubstr("tokens per second"));
  const auto before = written();
  const Outcome resumed = run({"train", "--resume", "--out", path("out")});
  EXPECT_EQ(resumed.code, 0);
  EXPECT_THAT(resumed.out, HasSubstr("after 12 steps"));
  EXPECT_EQ(contents_of(folder_ / "out/report.html"), report);
  EXPECT_EQ(written(), before);
  fs::remove(path("out/report.html"));
  EXPECT_EQ(run({"train", "--resume", "--out", path("out")}).code, 0);
  EXPECT_THAT(contents_of(folder_ / "out/report.html"), Not(HasSubstr("tokens per second")));
}

TEST_F(Folders, AResumedRunSaysWhichTextItWants) {
  ASSERT_EQ(run(tiny("out")).code, 0);
  fs::rename(path("text"), path("moved"));
  const Arguments resume = {"train", "--resume", "--out", path("out")};
  expect_refused(resume, "the run in " + path("out") + " reads its text from " + path("text"));
  expect_refused(resume, "--resume --out " + path("out") + " --text FILE");
  Arguments elsewhere = resume;
  elsewhere.insert(elsewhere.end(), {"--text", path("moved")});
  EXPECT_EQ(run(elsewhere).code, 0);
}

TEST_F(Folders, ACheckpointCannotMakeAProgramReadADevice) {
  fs::create_symlink("/dev/zero", path("endless"));
  Arguments arguments = tiny("out");
  arguments[2] = path("endless");
  expect_refused(arguments, "expected a file or a pipe, got a device");
  ASSERT_EQ(run(tiny("out")).code, 0);
  fs::remove(path("text"));
  for (const char* endless : {"/dev/zero", "/dev/tty"}) {
    fs::remove(path("text"));
    fs::create_symlink(endless, path("text"));
    expect_refused({"train", "--resume", "--out", path("out")}, "expected a regular file");
  }
  fs::remove(path("text"));
  ASSERT_EQ(::mkfifo(path("text").c_str(), 0600), 0);
  expect_refused({"train", "--resume", "--out", path("out")}, "expected a regular file");
}

TEST_F(Folders, ATrainingThatCannotFitIsRefusedBeforeItStarts) {
  expect_refused(tiny("out", {"--hidden", "16384", "--layers", "1024", "--heads", "128"}),
                 "parameters, their gradients and moments (--hidden 16384, --layers 1024)");
  expect_refused(tiny("out", {"--batch", "1048576", "--seq", "9000"}), "--batch 1048576 of --seq");
  EXPECT_FALSE(fs::exists(path("out")));
}

}  // namespace
}  // namespace grouphead
