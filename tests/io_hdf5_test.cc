// HDF5 in memory: what h5py writes, what is written here, and what must be refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "allocation_counter.h"
#include "io/file.h"
#include "io/hdf5.h"
#include "io/safetensors.h"
#include "support.h"

namespace grouphead::io {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::same_bits;

const fs::path kFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/hdf5";

std::unique_ptr<Hdf5File> opened(std::string_view contents, const std::string& name = "x.h5") {
  // Memory of its own, so that sanitizers see what is read behind its end.
  auto owner = std::make_shared<std::vector<char>>(contents.begin(), contents.end());
  return std::make_unique<Hdf5File>(std::as_bytes(std::span(*owner)), owner, name);
}

std::unique_ptr<Hdf5File> opened_file(const fs::path& path) {
  return opened(read_file(path), path.filename().string());
}

/// Opens a file and reads all of it. Whether that was an error; other ends fail the test.
bool is_refused(const std::string& contents) {
  try {
    const auto file = opened(contents);
    for (const auto& [path, dataset] : file->datasets()) {
      if (dataset.problem.empty()) file->read(path);
    }
    return false;
  } catch (const IoError&) {
    return true;
  }
}

TEST(Hdf5, ReadsWhatH5pyWrites) {
  const auto file = opened_file(kFolder / "arrays.h5");
  for (const auto& [name, want] : read_safetensors(kFolder / "arrays.safetensors").tensors) {
    EXPECT_TRUE(same_bits(file->read(name), want)) << name;
  }
  const Tensor small = file->read("int8");
  ASSERT_EQ(small.dtype(), Dtype::i32);
  for (Index i = 0; i < 6; ++i) EXPECT_EQ(small.data<std::int32_t>()[i], i - 3);
  EXPECT_THAT(error_of<IoError>([&] { file->read("unmarked"); }), HasSubstr("unmarked: a type"));
  EXPECT_THAT(error_of<IoError>([&] { file->read("nothing"); }), HasSubstr("no such array"));
}

TEST(Hdf5, ReadsTextsOfGroups) {
  const auto file = opened_file(kFolder / "arrays.h5");
  const Hdf5Texts& texts = file->groups().at("group/vars");
  EXPECT_THAT(texts.at("name"), ElementsAre("Größe"));
  EXPECT_THAT(texts.at("list"), ElementsAre("a", "bcd", ""));
  EXPECT_TRUE(texts.at("none").empty());
  EXPECT_FALSE(texts.contains("number"));
}

TEST(Hdf5, ArraysInOnePieceNeedNoCopy) {
  const auto file = opened_file(kFolder / "arrays.h5");
  EXPECT_EQ(file->dataset("f4").elements.size(), 7U * 5 * 4);
  EXPECT_TRUE(file->dataset("gzip").elements.empty());
  EXPECT_TRUE(file->dataset("int8").elements.empty());
}

TEST(Hdf5, ReadsWhatItWrote) {
  const auto stored = read_safetensors(kFolder / "arrays.safetensors");
  Hdf5Writer writer(100);
  writer.group("layers/dense/vars");
  writer.text("layers/dense/vars", "name", "ä");
  writer.text("", "version", "1");
  writer.texts("layers", "names", {"a", "", "abc"});
  for (const auto& [name, tensor] : stored.tensors) writer.dataset("layers/x/" + name, tensor);
  const auto file = opened(writer.finish());
  for (const auto& [name, tensor] : stored.tensors) {
    EXPECT_TRUE(same_bits(file->read("layers/x/" + name), tensor)) << name;
  }
  EXPECT_EQ(file->datasets().size(), stored.tensors.size());
  EXPECT_THAT(file->groups().at("layers/dense/vars").at("name"), ElementsAre("ä"));
  EXPECT_THAT(file->groups().at("").at("version"), ElementsAre("1"));
  EXPECT_THAT(file->groups().at("layers").at("names"), ElementsAre("a", "", "abc"));
}

TEST(Hdf5, TheSameContentsGiveTheSameBytes) {
  const auto made = [] {
    Hdf5Writer writer(0);
    writer.dataset("a/b", Tensor::from({2}, {1, 2}));
    return std::string(writer.finish());
  };
  EXPECT_EQ(made(), made());
}

TEST(Hdf5, RefusesWhatModelFilesMustNotHave) {
  for (const char* name : {"soft_link", "external_link", "external_numbers", "circle", "twice",
                           "filter", "compound", "claims", "newest"}) {
    const std::string file = std::string(name) + ".h5";
    EXPECT_THAT(error_of<IoError>([&] { opened_file(kFolder / file); }), HasSubstr(file)) << name;
  }
  EXPECT_THAT(error_of<IoError>([] { opened(std::string_view("no")); }),
              HasSubstr("expected an HDF5 file"));
}

// Pieces of 8 x 8 that claim to be 8192 x 8192: 256 MiB from some bytes.
TEST(Hdf5, PiecesThatClaimTooMuchTakeNoMemory) {
  std::string contents = read_file(kFolder / "arrays.h5");
  const std::string sizes("\10\0\0\0\10\0\0\0\4\0\0\0", 12);
  const std::size_t place = contents.find(sizes);
  ASSERT_NE(place, std::string::npos);
  ASSERT_EQ(contents.find(sizes, place + 1), std::string::npos);
  contents[place] = contents[place + 4] = 0;
  contents[place + 1] = contents[place + 5] = 32;
  const auto file = opened(contents);
  std::string error;
  const auto read = [&] { error = error_of<IoError>([&] { file->read("gzip"); }); };
  EXPECT_LT(testing_support::allocations_of(read).bytes, 1 << 20);
  EXPECT_THAT(error, HasSubstr("gzip: damaged"));
}

TEST(Hdf5, RefusesFilesThatAreCutOff) {
  const std::string whole = read_file(kFolder / "arrays.h5");
  for (std::size_t size = 0; size < whole.size(); size += 61) {
    EXPECT_TRUE(is_refused(whole.substr(0, size))) << size;
  }
}

// Whatever byte is another one: an error, or other numbers.
TEST(Hdf5, NoByteThatIsChangedCrashes) {
  const fs::path model =
      GROUPHEAD_SOURCE_DIR "/tests/golden/keras/models/model_a2_seq_plain.weights.h5";
  for (const fs::path& path : {kFolder / "arrays.h5", model}) {
    std::string contents = read_file(path);
    int refused = 0;
    for (std::size_t i = 0; i < contents.size(); i += 13) {
      const char before = contents[i];
      contents[i] = static_cast<char>(i % 2 == 0 ? ~before : before ^ (1 << i % 8));
      refused += is_refused(contents) ? 1 : 0;
      contents[i] = before;
    }
    EXPECT_GT(refused, 0) << path;
    EXPECT_FALSE(is_refused(contents));
  }
}

// The library reads all messages of an object's blocks, however few the object says it has.
TEST(Hdf5, MoreMessagesThanAnObjectSaysAreRefused) {
  std::string contents = read_file(kFolder / "arrays.h5");
  constexpr std::size_t kRootAddress = 64;  // in the superblock
  constexpr std::size_t kCount = 2;         // in an object
  std::uint64_t root = 0;
  std::memcpy(&root, &contents[kRootAddress], 8);
  ASSERT_GT(contents.at(root + kCount), 0);
  --contents[root + kCount];
  EXPECT_THAT(error_of<IoError>([&] { opened(contents); }), HasSubstr("number of messages"));
}

TEST(Hdf5, WordsThatAreOtherAddressesDoNotCrash) {
  std::string contents = read_file(kFolder / "arrays.h5");
  std::uint64_t number = 1;
  for (std::size_t i = 0; i + 8 <= contents.size(); i += 16) {
    const std::string before = contents.substr(i, 8);
    number = number * 6364136223846793005U + 1442695040888963407U;
    const std::uint64_t values[] = {~std::uint64_t{0}, (number >> 33) % (2 * contents.size())};
    std::memcpy(contents.data() + i, &values[i / 16 % 2], 8);
    is_refused(contents);
    contents.replace(i, 8, before);
  }
}

TEST(Hdf5, IsSafeForThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([] {
      for (int k = 0; k < 5; ++k) opened_file(kFolder / "arrays.h5")->read("shuffled");
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace grouphead::io
