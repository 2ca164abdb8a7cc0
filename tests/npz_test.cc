#include "io/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/file.h"
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

const fs::path kGolden = GROUPHEAD_SOURCE_DIR "/tests/golden/npy";

TEST_F(NpzFile, ArraysOfAnArchiveComeByName) {
  for (const char* name : {"stored.npz", "compressed.npz"}) {
    const auto arrays = read_npz(kGolden / name);
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
  const auto read = read_npz(path("x.npz"));
  EXPECT_EQ(read.size(), arrays.size());
  for (const auto& [name, tensor] : arrays) EXPECT_TRUE(same_bits(read.at(name), tensor)) << name;
  arrays["brain"] = Tensor::zeros({1}, Dtype::bf16);
  EXPECT_THAT(error_of<IoError>([&] { write_npz(path("y.npz"), arrays); }), HasSubstr("brain"));
  EXPECT_FALSE(fs::exists(path("y.npz")));
  EXPECT_THAT(error_of<IoError>([&] { read_npz(kGolden / "f4.npy"); }), HasSubstr("f4.npy"));
}

}  // namespace
}  // namespace grouphead::io
