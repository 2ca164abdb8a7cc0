#include "io/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/file.h"
#include "io/zip.h"
#include "npy_support.h"
#include "support.h"
#include "training_support.h"

namespace grouphead::io {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::kNpyTypes;
using testing_support::npy_golden;
using testing_support::same_bits;
using NpzFile = testing_support::FolderTest;

const fs::path kArchives = GROUPHEAD_SOURCE_DIR "/tests/golden/npy";

TEST_F(NpzFile, ArraysOfAnArchiveComeByName) {
  for (const char* name : {"stored.npz", "compressed.npz"}) {
    const auto arrays = open_npz(kArchives / name).read_all();
    EXPECT_EQ(arrays.size(), kNpyTypes.size());
    for (const std::string& type : kNpyTypes) {
      EXPECT_TRUE(arrays.contains(type) &&
                  same_bits(arrays.at(type), npy_golden(type).reshaped({24})))
          << name << " " << type;
    }
  }
}

TEST_F(NpzFile, ArchivesSurviveTheRoundTrip) {
  std::map<std::string, Tensor> arrays;
  for (const std::string& name : kNpyTypes) arrays.emplace("a/" + name, npy_golden(name));
  write_npz(path("x.npz"), arrays);
  const auto read = open_npz(path("x.npz")).read_all();
  EXPECT_EQ(read.size(), arrays.size());
  for (const auto& [name, tensor] : arrays) EXPECT_TRUE(same_bits(read.at(name), tensor)) << name;
  arrays["brain"] = Tensor::zeros({1}, Dtype::bf16);
  EXPECT_THAT(error_of<IoError>([&] { write_npz(path("y.npz"), arrays); }), HasSubstr("brain"));
  EXPECT_FALSE(fs::exists(path("y.npz")));
  EXPECT_THAT(error_of<IoError>([&] { open_npz(kArchives / "f4.npy"); }), HasSubstr("f4.npy"));
}

// What nobody asks for cannot hurt: texts, objects, other files, an array of nine axes, damage.
TEST_F(NpzFile, OneMemberThatIsNotReadSpoilsNoOther) {
  const std::string text = read_file(kArchives / "text.npy");
  const std::string object = read_file(kArchives / "object.npy");
  const std::string numbers = read_file(kArchives / "f4.npy");
  const std::string swapped = read_file(kArchives / "big_endian.npy");
  write_zip(path("x.npz"), {{"x.npy", numbers},
                            {"text.npy", text},
                            {"object.npy", object},
                            {"swapped.npy", swapped},
                            {"readme.txt", "hello"},
                            {"folder/", ""},
                            {"damaged.npy", "no array"}});
  const StoredTensors stored = open_npz(path("x.npz"));
  EXPECT_TRUE(same_bits(stored.read("x"), npy_golden("f4")));
  EXPECT_TRUE(same_bits(stored.read("swapped"), npy_golden("f4")));
  EXPECT_EQ(stored.tensors.size(), 6U);
  EXPECT_EQ(stored.tensors.at("text").dtype, "<U2");
  EXPECT_EQ(stored.tensors.at("readme.txt").dtype, "file");
  EXPECT_EQ(stored.tensors.at("readme.txt").shape, std::vector<Index>{5});
  EXPECT_THAT(error_of<IoError>([&] { stored.read("text"); }), HasSubstr("got <U2"));
  EXPECT_THAT(error_of<IoError>([&] { stored.read("damaged"); }), HasSubstr("damaged.npy"));
  EXPECT_THAT(error_of<IoError>([&] { stored.read("readme.txt"); }), HasSubstr("another file"));
  EXPECT_THAT(error_of<IoError>([&] { stored.read("y"); }), HasSubstr("y: no such tensor"));
}

}  // namespace
}  // namespace grouphead::io
