#include "io/safetensors.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "grouphead/core/error.h"
#include "io/file.h"
#include "support.h"

namespace grouphead::io {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Folder : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "grouphead-io-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path path(const std::string& name) const { return folder_ / name; }
  fs::path put(const std::string& bytes) const {
    std::ofstream(path("x.safetensors"), std::ios::binary) << bytes;
    return path("x.safetensors");
  }
  std::size_t count_files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

using SafetensorsFile = Folder;

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const IoError& error) {
    return error.what();
  }
  return "no IoError";
}

std::string with_json_header(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t size = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + std::string(data_bytes, '\0');
}

Safetensors example() {
  Safetensors contents;
  contents.metadata = {{"format", "pt"}, {"note", "\xC3\xA4 \"quoted\"\n"}};
  contents.tensors["b/kernel"] = Tensor::from({2, 3}, {1, -2, 3, 4, 5, 6.5});
  contents.tensors["a"] = Tensor::from<double>({2}, std::vector<double>{0.1, -1e300});
  contents.tensors["ids"] = Tensor::from<std::int32_t>({3}, std::vector<std::int32_t>{1, -2, 3});
  contents.tensors["long"] = Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{-5});
  contents.tensors["bytes"] = Tensor::from<std::uint8_t>({3}, std::vector<std::uint8_t>{0, 9, 255});
  contents.tensors["mask"] = Tensor::zeros({5}, Dtype::boolean);
  contents.tensors["mask"].data<bool>()[3] = true;
  contents.tensors["half"] = Tensor::zeros({1, 3}, Dtype::f16);
  contents.tensors["half"].data<F16>()[1] = to_f16(1.5F);
  contents.tensors["brain"] = Tensor::zeros({3}, Dtype::bf16);
  contents.tensors["scalar"] = Tensor::from({}, {2.5});
  contents.tensors["empty"] = Tensor({0, 4});
  return contents;
}

void expect_same(const Safetensors& got, const Safetensors& want) {
  EXPECT_EQ(got.metadata, want.metadata);
  ASSERT_EQ(got.tensors.size(), want.tensors.size());
  for (const auto& [name, tensor] : want.tensors) {
    const Tensor& other = got.at(name);
    ASSERT_EQ(other.shape(), tensor.shape()) << name;
    ASSERT_EQ(other.dtype(), tensor.dtype()) << name;
    EXPECT_EQ(std::memcmp(other.view().raw(), tensor.view().raw(),
                          static_cast<std::size_t>(tensor.bytes())),
              0)
        << name;
  }
}

TEST_F(SafetensorsFile, EveryDtypeSurvivesTheRoundTrip) {
  const Safetensors contents = example();
  write_safetensors(path("x"), contents);
  expect_same(read_safetensors(path("x")), contents);
  EXPECT_EQ(count_files(), 1U);
  EXPECT_THROW(contents.at("c"), IoError);
}

TEST_F(SafetensorsFile, TensorsOutliveTheirFileAndDoNotChangeIt) {
  write_safetensors(path("x"), example());
  Tensor tensor = read_safetensors(path("x")).at("b/kernel");
  const Tensor second = read_safetensors(path("x")).at("b/kernel");
  tensor.data<float>()[0] = 7;
  EXPECT_EQ(second.data<float>()[0], 1);
  expect_same(read_safetensors(path("x")), example());
  fs::remove(path("x"));
  EXPECT_EQ(tensor.data<float>()[5], 6.5F);
  EXPECT_EQ(second.data<float>()[5], 6.5F);
}

TEST_F(SafetensorsFile, WhatReplacesAFileLeavesItsTensorsAlone) {
  write_safetensors(path("x"), example());
  const Safetensors before = read_safetensors(path("x"));
  write_safetensors(path("x"), {});
  expect_same(before, example());
}

TEST_F(SafetensorsFile, ElementsThatAreNotAlignedAreCopied) {
  const std::string header = R"({"w":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}})";
  ASSERT_NE(header.size() % 8, 0U);
  std::string bytes = with_json_header(header, 16);
  const double values[] = {0.5, -3};
  std::memcpy(bytes.data() + bytes.size() - 16, values, 16);
  const Tensor got = read_safetensors(put(bytes)).at("w");
  EXPECT_EQ(std::bit_cast<std::uintptr_t>(got.data<double>()) % 8, 0U);
  EXPECT_EQ(got.data<double>()[0], 0.5);
  EXPECT_EQ(got.data<double>()[1], -3);
}

// Bytes of this process that lie in memory.
Index resident_bytes() {
  Index total = 0;
  Index resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

TEST_F(SafetensorsFile, ReadingTakesNoMemoryForTensors) {
  constexpr std::size_t kBytes = std::size_t{1} << 32;  // a hole: no disk
  const std::string header = with_json_header(
      R"({"w":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}})", 0);
  fs::resize_file(put(header), header.size() + kBytes);
  const Index before = resident_bytes();
  const Safetensors contents = read_safetensors(path("x.safetensors"));
  EXPECT_EQ(contents.at("w").data<float>()[(std::size_t{1} << 30) - 1], 0);
  EXPECT_LT(resident_bytes() - before, Index{1} << 24);
}

TEST_F(SafetensorsFile, HeaderEndsOnEightBytes) {
  write_safetensors(path("x"), example());
  std::uint64_t size = 0;
  std::memcpy(&size, read_file(path("x")).data(), 8);
  EXPECT_EQ(size % 8, 0U);
}

TEST_F(SafetensorsFile, ReadsWhatTheFirstImplementationWrites) {
  const Safetensors got = read_safetensors(put(with_json_header(
      R"({"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   )", 8)));
  EXPECT_EQ(got.metadata.at("k"), "v");
  EXPECT_EQ(got.at("w").shape(), Shape({2}));
  EXPECT_TRUE(read_safetensors(put(with_json_header("{}", 0))).tensors.empty());
}

// From memory, which is faster than thousands of files.
Safetensors read_from_bytes(const std::string& bytes) {
  const auto owner = std::make_shared<std::string>(bytes);
  return read_safetensors(OwnedBytes{std::as_bytes(std::span(*owner)), owner}, "bytes");
}

TEST_F(SafetensorsFile, EveryTruncationIsRefused) {
  write_safetensors(path("whole"), example());
  const std::string bytes = read_file(path("whole"));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_THROW(read_from_bytes(bytes.substr(0, size)), IoError) << size << " of " << bytes.size();
  }
  EXPECT_THROW(read_safetensors(put(bytes + "x")), IoError);
}

TEST_F(SafetensorsFile, NoChangedByteCrashes) {
  write_safetensors(path("whole"), example());
  const std::string bytes = read_file(path("whole"));
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string changed = bytes;
    for (int i = 0; i < 1 + round % 3; ++i) {
      changed[random() % std::min<std::size_t>(bytes.size(), 900)] = static_cast<char>(random());
    }
    try {
      read_from_bytes(changed);
    } catch (const IoError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 2000);
}

TEST_F(SafetensorsFile, LyingHeadersAreRefused) {
  const auto tensor = [](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return R"({"w":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}}";
  };
  const struct {
    std::string header;
    std::size_t data_bytes;
    std::string expected;
  } cases[] = {
      {tensor("\"F32\"", "[2]", "[0,8]"), 7, "w: expected a range inside 7 bytes"},
      {tensor("\"F32\"", "[2]", "[0,8]"), 9, "expected 8 bytes of data, got 9"},
      {tensor("\"F32\"", "[2]", "[8,0]"), 8, "w: expected a range"},
      {tensor("\"F32\"", "[3]", "[0,8]"), 8, "w: expected 12 bytes"},
      {tensor("\"F64\"", "[2]", "[0,8]"), 8, "w: expected 16 bytes"},
      {tensor("\"F32\"", "[2]", "[4,12]"), 12, "overlap or hole"},
      {tensor("\"F32\"", "[-2]", "[0,8]"), 8, "a negative number"},
      {tensor("\"F32\"", "[2.0]", "[0,8]"), 8, "a fraction"},
      {tensor("\"F32\"", "[2e0]", "[0,8]"), 8, "a fraction"},
      {tensor("\"F32\"", "[18446744073709551615]", "[0,8]"), 8, "beyond 2^63"},
      {tensor("\"F32\"", "[99999999999999999999]", "[0,8]"), 8, "a fraction"},
      {tensor("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, "fewer than 2^59"},
      {tensor("\"F32\"", "[4611686018427387904,4]", "[0,0]"), 0, "fewer than 2^59"},
      {tensor("\"F32\"", "[0,9223372036854775807]", "[0,0]"), 0, "fewer than 2^59"},
      {tensor("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "at most 8 axes, got 9"},
      {tensor("\"F32\"", "[2]", "[0]"), 8, "two data_offsets"},
      {tensor("\"F32\"", "[2]", "[0,8,8]"), 8, "two data_offsets"},
      {tensor("\"F8\"", "[2]", "[0,2]"), 2, "expected a dtype that is read, got F8"},
      {tensor("\"\"", "[2]", "[0,2]"), 2, "expected dtype"},
      {tensor("7", "[2]", "[0,8]"), 8, "a number"},
      {tensor("null", "[2]", "[0,8]"), 8, "null"},
      {tensor("\"F32\"", "\"2\"", "[0,8]"), 8, "a string"},
      {tensor("\"F32\"", "[[2]]", "[0,8]"), 8, "a list"},
      {tensor("\"F32\"", "[{}]", "[0,8]"), 8, "an object"},
      {tensor("\"F32\"", "[true]", "[0,8]"), 8, "a boolean"},
      {R"({"w":{"dtype":"F32","shape":[2]}})", 8, "two data_offsets"},
      {R"({"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "second"},
      {R"({"w":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", 8, "second"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":{}}})", 8, "an object"},
      {R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
       R"("v":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3, "overlap"},
      {R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
       R"("v":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})",
       5, "hole"},
      {R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
       R"("w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
       2, "w: a second value"},
      {R"({"__metadata__":{"a":"b"},"__metadata__":{"c":"d"}})", 0, "second"},
      {R"({"__metadata__":{"a":"b","a":"c"}})", 0, "second"},
      {R"({"__metadata__":{"a":1}})", 0, "a number"},
      {R"({"__metadata__":{"a":["b"]}})", 0, "a list"},
      {R"({"__metadata__":"b"})", 0, "a string"},
      {"[]", 0, "a list"},
      {"5", 0, "a number"},
      {"\"x\"", 0, "a string"},
      {"{} {}", 0, "not JSON"},
      {"{", 0, "not JSON"},
      {"", 0, "not JSON"},
      {"{\"\xff\xfe\":{}}", 0, "not JSON"},
      {std::string(16, '\0'), 0, "not JSON"},
  };
  for (const auto& c : cases) {
    const fs::path file = put(with_json_header(c.header, c.data_bytes));
    EXPECT_THAT(error_of([&] { read_safetensors(file); }), HasSubstr(c.expected)) << c.header;
    EXPECT_THAT(error_of([&] { read_safetensors(file); }), HasSubstr(file.string()));
  }
}

TEST_F(SafetensorsFile, OneTypeThatIsNotReadSpoilsNoOtherTensor) {
  const StoredTensors stored = open_safetensors(put(
      with_json_header(R"({"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},)"
                       R"("n":{"dtype":"I16","shape":[2],"data_offsets":[4,8]},)"
                       R"("u":{"dtype":"U64","shape":[1],"data_offsets":[8,16]},)"
                       R"("a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[16,20]},)"
                       R"("x":{"dtype":"F32","shape":[2],"data_offsets":[20,28]}})",
                       28)));
  EXPECT_EQ(stored.read("x").shape(), Shape({2}));
  EXPECT_EQ(stored.read("n").dtype(), Dtype::i32);
  EXPECT_EQ(stored.read("u").dtype(), Dtype::i64);
  EXPECT_EQ(stored.tensors.at("w").dtype, "F8_E4M3");
  EXPECT_EQ(stored.tensors.at("n").dtype, "i16");
  EXPECT_EQ(stored.tensors.at("a").shape.size(), 9U);
  EXPECT_THAT(error_of([&] { stored.read("w"); }), HasSubstr("w: expected a dtype that is read"));
  EXPECT_THAT(error_of([&] { stored.read("a"); }), HasSubstr("at most 8 axes"));
}

TEST_F(SafetensorsFile, IntegersOfEveryWidthKeepTheirValues) {
  const auto read = [&](const std::string& dtype, std::uint64_t bits, int width) {
    std::string bytes =
        with_json_header(R"({"x":{"dtype":")" + dtype + R"(","shape":[1],"data_offsets":[0,)" +
                             std::to_string(width) + "]}}",
                         static_cast<std::size_t>(width));
    std::memcpy(bytes.data() + bytes.size() - static_cast<std::size_t>(width), &bits,
                static_cast<std::size_t>(width));
    return read_safetensors(put(bytes)).at("x");
  };
  EXPECT_EQ(testing_support::first<std::int32_t>(read("I8", 0x80, 1)), -128);
  EXPECT_EQ(testing_support::first<std::int32_t>(read("I16", 0x8000, 2)), -32768);
  EXPECT_EQ(testing_support::first<std::int32_t>(read("U16", 0xffff, 2)), 65535);
  EXPECT_EQ(testing_support::first<Index>(read("U32", 0xffffffff, 4)), 4294967295);
  EXPECT_EQ(testing_support::first<Index>(read("U64", 7, 8)), 7);
  EXPECT_THAT(error_of([&] { read("U64", ~std::uint64_t{0}, 8); }),
              HasSubstr("x: expected integers below 2^63, got 18446744073709551615"));
}

TEST_F(SafetensorsFile, DeepNestingEndsAtOnce) {
  const std::string deep(1'000'000, '[');
  EXPECT_THROW(read_safetensors(put(with_json_header(deep, 0))), IoError);
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THAT(error_of([&] { read_safetensors(put(with_json_header(objects, 0))); }),
              HasSubstr("an object does not belong here"));
}

TEST_F(SafetensorsFile, HeaderSizesBeyondTheFileTakeNoMemory) {
  for (const std::uint64_t size : {std::uint64_t{9}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    std::string bytes(16, ' ');
    std::memcpy(bytes.data(), &size, 8);
    EXPECT_THAT(error_of([&] { read_safetensors(put(bytes)); }), HasSubstr("at most 8 bytes"));
  }
}

TEST_F(SafetensorsFile, BooleansAreZeroOrOne) {
  std::string bytes =
      with_json_header(R"({"m":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  bytes.back() = 2;
  EXPECT_THAT(error_of([&] { read_safetensors(put(bytes)); }), HasSubstr("m: expected bytes 0"));
}

TEST_F(SafetensorsFile, MissingFilesAndFoldersNameThemselves) {
  EXPECT_THAT(error_of([&] { read_safetensors(path("none")); }),
              HasSubstr(path("none").string() + ": No such file"));
  EXPECT_THAT(error_of([&] { read_safetensors(folder_); }), HasSubstr("Is a directory"));
  EXPECT_THAT(error_of([&] { read_safetensors("/dev/null"); }), HasSubstr("not a regular file"));
  for (const std::string& bytes : {std::string(), std::string("x"), std::string(300, '\x80')}) {
    EXPECT_THROW(read_safetensors(put(bytes)), IoError);
  }
}

TEST_F(SafetensorsFile, WhatCannotBeWrittenLeavesNothing) {
  Safetensors contents;
  contents.tensors["\xff"] = Tensor::zeros({1});
  EXPECT_THAT(error_of([&] { write_safetensors(path("x"), contents); }), HasSubstr("UTF-8"));
  contents.tensors = {{"__metadata__", Tensor::zeros({1})}};
  EXPECT_THROW(write_safetensors(path("x"), contents), IoError);
  contents.tensors = {{"absent", Tensor()}};
  EXPECT_THROW(write_safetensors(path("x"), contents), IoError);
  contents.tensors.clear();
  for (const Tensor& made : {Tensor(), Tensor::zeros({2}), Tensor::zeros({1}, Dtype::f64)}) {
    contents.late = {{"late", {Dtype::f32, {1}, [&made] { return made; }}}};
    EXPECT_THAT(error_of([&] { write_safetensors(path("x"), contents); }), HasSubstr("late: "));
  }
  EXPECT_EQ(count_files(), 0U);
}

}  // namespace
}  // namespace grouphead::io
