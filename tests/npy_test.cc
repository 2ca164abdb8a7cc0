#include "io/npy.h"

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

const fs::path kGolden = GROUPHEAD_SOURCE_DIR "/tests/golden/npy";

using NpyFile = testing_support::FolderTest;

Tensor read_bytes(const std::string& bytes) {
  const auto owner = std::make_shared<std::string>(bytes);
  return read_npy(OwnedBytes{std::as_bytes(std::span(*owner)), owner}, "bytes");
}

std::string refusal(const std::string& bytes) {
  return error_of<IoError>([&] { read_bytes(bytes); });
}

// A file of version 1 with this dictionary.
std::string with_header(const std::string& header, std::size_t data_bytes) {
  std::string bytes("\x93NUMPY\1\0", 8);
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header + std::string(data_bytes, '\0');
}

TEST_F(NpyFile, ReadsWhatNumPyWrites) {
  for (const std::string& name : kNpyTypes) {
    EXPECT_TRUE(same_bits(read_npy(kGolden / (name + ".npy")), npy_golden(name))) << name;
    EXPECT_TRUE(same_bits(read_npy(kGolden / (name + "_fortran.npy")), npy_golden(name))) << name;
  }
  for (const char* name : {"version_2.npy", "version_3.npy"}) {
    EXPECT_TRUE(same_bits(read_npy(kGolden / name), npy_golden("f4"))) << name;
  }
  const Tensor scalar = read_npy(kGolden / "scalar.npy");
  EXPECT_EQ(scalar.rank(), 0);
  EXPECT_EQ(*scalar.data<double>(), 2.5);
  EXPECT_EQ(read_npy(kGolden / "row.npy").shape(), Shape({3}));
  EXPECT_EQ(read_npy(kGolden / "empty.npy").shape(), Shape({0, 4}));
}

TEST_F(NpyFile, RefusesWhatTensorsDoNotHave) {
  const auto error = [](const std::string& name) {
    return error_of<IoError>([&] { read_npy(kGolden / (name + ".npy")); });
  };
  EXPECT_THAT(error("complex"),
              HasSubstr("descr: expected one of <f4, <f8, <f2, <i4, <i8, |u1, |b1"));
  EXPECT_THAT(error("complex"), HasSubstr("got <c8"));
  EXPECT_THAT(error("text"), HasSubstr("got <U2"));
  EXPECT_THAT(error("object"), HasSubstr("arrays of Python objects are not read"));
  EXPECT_THAT(error("fields"), HasSubstr("expected one type, got an array of fields"));
  EXPECT_THAT(error("object"), HasSubstr((kGolden / "object.npy").string()));
}

TEST_F(NpyFile, OtherIntegersAndOrdersAreBroughtIntoOurs) {
  EXPECT_TRUE(same_bits(read_npy(kGolden / "big_endian.npy"), npy_golden("f4")));
  const Tensor narrow = read_npy(kGolden / "int16.npy");
  EXPECT_TRUE(same_bits(narrow, npy_golden("i4").reshaped(narrow.shape())));
  const Tensor wide = read_npy(kGolden / "uint32.npy");
  ASSERT_EQ(wide.dtype(), Dtype::i64);
  EXPECT_EQ(wide.data<Index>()[0], (Index{1} << 32) - 5);
  EXPECT_EQ(wide.data<Index>()[23], 18);
}

TEST_F(NpyFile, DescribesWhatItDoesNotRead) {
  const auto described = [](const std::string& name) {
    const std::string bytes = read_file(kGolden / (name + ".npy"));
    return describe_npy(std::as_bytes(std::span(bytes)), name);
  };
  EXPECT_EQ(described("int16").dtype, "i16");
  EXPECT_EQ(described("text").dtype, "<U2");
  EXPECT_EQ(described("text").shape, std::vector<Index>{2});
  EXPECT_THAT(described("fields").dtype, HasSubstr("[("));
  EXPECT_THAT(described("fields").problem, HasSubstr("an array of fields"));
  EXPECT_THAT(described("object").problem, HasSubstr("Python objects"));
}

TEST_F(NpyFile, WritesWhatItReads) {
  for (const std::string& name : kNpyTypes) {
    write_npy(path("x.npy"), npy_golden(name));
    EXPECT_TRUE(same_bits(read_npy(path("x.npy")), npy_golden(name))) << name;
  }
  for (const Shape& shape :
       {Shape({}), Shape({5}), Shape({0, 2}), Shape({1, 1, 1, 1, 1, 1, 1, 1})}) {
    write_npy(path("x.npy"), Tensor::zeros(shape));
    EXPECT_EQ(read_npy(path("x.npy")).shape(), shape);
  }
  EXPECT_THAT(error_of<IoError>([&] { write_npy(path("y"), Tensor::zeros({1}, Dtype::bf16)); }),
              HasSubstr("NumPy's files have no type for bf16"));
  EXPECT_THROW(write_npy(path("y"), Tensor()), IoError);
  EXPECT_FALSE(fs::exists(path("y")));
}

TEST_F(NpyFile, HasTheBytesThatNumPyReads) {
  write_npy(path("x.npy"), Tensor::from({2, 1}, {1, 2}));
  const std::string bytes = read_file(path("x.npy"));
  const std::string dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
  EXPECT_EQ(bytes.size(), 128U + 8U);
  EXPECT_EQ(bytes.substr(0, 10), std::string("\x93NUMPY\1\0\x76\0", 10));
  EXPECT_EQ(bytes.substr(10, dictionary.size()), dictionary);
  EXPECT_EQ(bytes[127], '\n');
  write_npy(path("x.npy"), Tensor::from({2}, {1, 2}));
  EXPECT_THAT(read_file(path("x.npy")), HasSubstr("'shape': (2,), }"));
  write_npy(path("x.npy"), Tensor::from({}, {1}));
  EXPECT_THAT(read_file(path("x.npy")), HasSubstr("'shape': (), }"));
}

TEST_F(NpyFile, EveryTruncationIsRefused) {
  for (const char* name : {"f4.npy", "version_2.npy", "f8_fortran.npy"}) {
    const std::string bytes = read_file(kGolden / name);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_THROW(read_bytes(bytes.substr(0, size)), IoError) << name << " " << size;
    }
    EXPECT_THAT(refusal(bytes + "x"), HasSubstr("bytes for"));
  }
}

TEST_F(NpyFile, LyingHeadersAreRefused) {
  const auto with = [](const std::string& descr, const std::string& order,
                       const std::string& shape) {
    return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
  };
  const struct {
    std::string header;
    std::string expected;
  } cases[] = {
      {with("'<f4'", "False", "(2,)"), "no error"},
      {with("'<f4'", "False", "(2L,)"), "no error"},
      {"{ \"shape\":(2) ,'fortran_order':True,'descr':'=f4'}", "no error"},
      {with("'<f4'", "False", "(3,)"), "expected 12 bytes for <f4 [3], got 8"},
      {with("'<f8'", "False", "(2,)"), "expected 16 bytes"},
      {with("'<f4'", "False", "(-2,)"), "got -2"},
      {with("'<f4'", "False", "(4294967296, 4294967296)"), "fewer than 2^59"},
      {with("'<f4'", "False", "(99999999999999999999,)"), "beyond 2^63"},
      {with("'<f4'", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 2)"), "at most 8 axes"},
      {with("'<f4'", "False", "((2,),)"), "expected a dictionary"},
      {with("'<f4'", "False", "(2.0,)"), "expected a dictionary"},
      {with("'<f4'", "0", "(2,)"), "expected a dictionary"},
      {with("''", "False", "(2,)"), "expected a dictionary"},
      {with("'<'", "False", "(2,)"), "got <"},
      {with("'f4'", "False", "(2,)"), "got f4"},
      {with("'<V2'", "False", "(4,)"), "got <V2"},
      {with("None", "False", "(2,)"), "expected a dictionary"},
      {with("('<f4', (2,))", "False", "(1,)"), "an array of fields"},
      {"{'descr': '<f4', 'fortran_order': False}", "expected a dictionary"},
      {"{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}", "expected a dictionary"},
      {"{'descr': '<f4', 'shape': (2,), 'shape': (2,)}", "expected a dictionary"},
      {with("'<f4'", "False", "(2,)") + "x", "expected a dictionary"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "expected a dictionary"},
      {"", "expected a dictionary"},
      {"{", "expected a dictionary"},
      {"{'descr", "expected a dictionary"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2", "expected a dictionary"},
      {std::string(9000, '('), "expected a dictionary"},
      {std::string(20000, ' '), "expected a header of at most 10000 bytes, got 20000"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(refusal(with_header(c.header, 8)), HasSubstr(c.expected)) << c.header;
  }
  std::string bytes = with_header("{}", 0);
  bytes[6] = 4;
  EXPECT_THAT(refusal(bytes), HasSubstr("version: expected 1.0, 2.0 or 3.0, got 4.0"));
  bytes[0] = 'x';
  EXPECT_THAT(refusal(bytes), HasSubstr("not a .npy file"));
  // A version 2 header that says it has 4 GiB.
  EXPECT_THAT(refusal(std::string("\x93NUMPY\2\0\xff\xff\xff\xff{}", 14)),
              HasSubstr("at most 2 bytes, got 4294967295"));
  bytes = with_header(with("'|b1'", "False", "(1,)"), 1);
  bytes.back() = 2;
  EXPECT_THAT(refusal(bytes), HasSubstr("expected bytes 0 and 1 as bools"));
}

}  // namespace
}  // namespace grouphead::io
