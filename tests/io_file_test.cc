// Files: what is read, and how one is replaced.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>

#include "io/file.h"
#include "io/safetensors.h"
#include "training_support.h"

namespace grouphead::io {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class File : public testing_support::FolderTest {
 protected:
  fs::path path(const std::string& name) const { return fs::path(folder_) / name; }
  std::size_t count_files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
};

std::string error_of(const std::function<void()>& action) {
  return testing_support::error_of<IoError>(action);
}

TEST_F(File, MappedBytesAreTheFilesAndOnlyOurs) {
  write_file(path("x"), "some bytes");
  {
    const auto file = MappedFile::open(path("x"));
    EXPECT_EQ(file->text(), "some bytes");
    file->bytes()[0] = std::byte{'S'};
    EXPECT_EQ(file->text(), "Some bytes");
  }
  EXPECT_EQ(read_file(path("x")), "some bytes");
  write_file(path("x"), "");
  EXPECT_EQ(MappedFile::open(path("x"))->text(), "");
  EXPECT_THAT(error_of([&] { MappedFile::open(path("none")); }), HasSubstr("No such file"));
  EXPECT_THAT(error_of([&] { MappedFile::open(folder_); }), HasSubstr("Is a directory"));
  EXPECT_THAT(error_of([] { MappedFile::open("/dev/null"); }), HasSubstr("not a regular file"));
}

TEST_F(File, WritesReplaceTheWholeFile) {
  write_file(path("x"), "first, longer");
  write_file(path("x"), "second");
  EXPECT_EQ(read_file(path("x")), "second");
  EXPECT_EQ(count_files(), 1U);
}

TEST_F(File, LinksStayLinks) {
  write_file(path("target"), "old");
  fs::create_symlink(path("target"), path("link"));
  write_file(path("link"), "new");
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_file(path("target")), "new");
}

TEST_F(File, AFailedProducerLeavesTheOldFile) {
  write_file(path("x"), "old");
  const auto produce = [](const Append& append) {
    append("half");
    throw IoError("stopped");
  };
  EXPECT_THROW(write_file(path("x"), produce), IoError);
  EXPECT_EQ(read_file(path("x")), "old");
  EXPECT_EQ(count_files(), 1U);
}

TEST_F(File, AFullDiskLeavesTheOldFile) {
  write_file(path("x"), "old");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = error_of([&] { write_file(path("x"), std::string(5000, 'y')); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(error, HasSubstr("File too large"));
  EXPECT_EQ(read_file(path("x")), "old");
  EXPECT_EQ(count_files(), 1U);
}

TEST_F(File, DevicesAndPipesAreWrittenDirectly) {
  EXPECT_THAT(error_of([] { write_file("/dev/full", "x"); }), HasSubstr("No space left"));
  write_file("/dev/null", "x");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  write_file("/dev/fd/" + std::to_string(ends[1]), "through");
  char text[8] = {};
  EXPECT_EQ(::read(ends[0], text, 7), 7);
  EXPECT_STREQ(text, "through");
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(File, AnOpenDescriptorKeepsWhatItHolds) {
  std::ofstream(path("x")) << "before ";
  const int descriptor = ::open(path("x").c_str(), O_WRONLY);
  write_file("/dev/fd/" + std::to_string(descriptor), "after");
  ::close(descriptor);
  EXPECT_EQ(read_file(path("x")), "before after");
}

TEST_F(File, ErrorsNameThePathAndTheReason) {
  EXPECT_THAT(error_of([&] { write_file(path("no/x"), "y"); }),
              HasSubstr(path("no/x").string() + ": No such file"));
  EXPECT_THAT(error_of([&] { write_file(folder_, "y"); }), HasSubstr("Is a directory"));
  EXPECT_THAT(error_of([&] { read_file(path("none")); }), HasSubstr("No such file"));
  EXPECT_THAT(error_of([&] { read_file(folder_); }), HasSubstr("Is a directory"));
  EXPECT_EQ(read_stream("/dev/null"), "");
  EXPECT_EQ(count_files(), 0U);
}

TEST_F(File, LeftoversOfKilledWritersGo) {
  write_file(path("x"), "kept");
  const fs::path left = path(".grouphead-0123456789abcdef.writing");
  std::ofstream(left) << "half";
  // Somebody else's, whatever they are called.
  std::ofstream(path("notes.writing-down.txt")) << "mine";
  std::ofstream(path(".grouphead-0123456789abcdeg.writing")) << "mine";
  fs::create_symlink(path("x"), path(".grouphead-0000000000000000.writing"));
  remove_leftovers(folder_);
  EXPECT_FALSE(fs::exists(left));
  EXPECT_EQ(count_files(), 4U);
  remove_leftovers(path("none"));
}

TEST_F(File, LeftoversThatAreBeingWrittenStay) {
  const fs::path left = path(".grouphead-0123456789abcdef.writing");
  const int descriptor = ::open(left.c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_EQ(::flock(descriptor, LOCK_EX), 0);
  remove_leftovers(folder_);
  EXPECT_TRUE(fs::exists(left));
  ::close(descriptor);
  remove_leftovers(folder_);
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(File, AFileThatIsReplacedKeepsItsMode) {
  const auto mode = [&] { return fs::status(path("x")).permissions(); };
  write_file(path("x"), "old");
  for (const auto wanted : {fs::perms(0600), fs::perms(0640), fs::perms(0444)}) {
    fs::permissions(path("x"), wanted);
    write_file(path("x"), "new");
    EXPECT_EQ(mode(), wanted);
  }
  EXPECT_EQ(read_file(path("x")), "new");
}

TEST_F(File, LinksAreReplacedWhereAStrangerMayHaveMadeThem) {
  write_file(path("target"), "old");
  fs::create_symlink(path("target"), path("link"));
  fs::create_symlink("/dev/null", path("device"));
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  for (const char* name : {"link", "device", "pipe"}) {
    write_file(path(name), "new", Links::replaced);
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(path(name)))) << name;
    EXPECT_EQ(read_file(path(name)), "new") << name;
  }
  EXPECT_EQ(read_file(path("target")), "old");
}

TEST_F(File, NamesMayBeAsLongAsTheSystemTakes) {
  const fs::path file = path(std::string(255, 'n'));
  write_file(file, "first");
  write_file(file, "second");
  EXPECT_EQ(read_file(file), "second");
  EXPECT_EQ(count_files(), 1U);
}

TEST_F(File, PipesWithoutAWriterAreRefusedNotWaitedFor) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  for (const auto& read : std::vector<std::function<void()>>{
           [&] { MappedFile::open(path("pipe")); }, [&] { read_file(path("pipe")); },
           [&] { read_safetensors(path("pipe")); }}) {
    EXPECT_THAT(error_of(read), HasSubstr("pipe: not a regular file"));
  }
}

// Holes cost nothing on the disk, but memory where they are read.
TEST_F(File, SparseFilesAreNotBelieved) {
  write_file(path("x"), "some bytes");
  fs::resize_file(path("x"), std::uintmax_t{100} << 20);
  const InputFile sparse = InputFile::regular(path("x"));
  if (sparse.data_size() == sparse.size()) GTEST_SKIP() << "a file system without holes";
  EXPECT_THAT(error_of([&] { require_data(path("x")); }),
              HasSubstr("at most 100 bytes for each on the disk, got 104857600 from"));
  fs::resize_file(path("x"), std::uintmax_t{60} << 20);
  require_data(path("x"));
}

}  // namespace
}  // namespace grouphead::io
