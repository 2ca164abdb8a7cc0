// Tensors of files, as programs read them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "grouphead/files/tensors.h"
#include "grouphead/files/weights.h"
#include "grouphead/layers/dense.h"
#include "saved/keras_files.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing_support::error_of;
using testing_support::same_bits;
using TensorFiles = testing_support::FolderTest;

template <class T>
Tensor one(T value) {
  return Tensor::from({1}, std::span<const T>(&value, 1));
}

TEST(Cast, KeepsValuesOrRefuses) {
  EXPECT_EQ(testing_support::first<Index>(cast_exactly(one(std::int32_t{7}), Dtype::i64)), 7);
  EXPECT_EQ(testing_support::first<float>(cast_exactly(one(Index{1} << 24), Dtype::f32)), 0x1p24F);
  EXPECT_EQ(testing_support::first<std::uint8_t>(cast_exactly(one(3.0F), Dtype::u8)), 3);
  EXPECT_TRUE(testing_support::first<bool>(cast_exactly(one(std::int32_t{1}), Dtype::boolean)));
  EXPECT_EQ(testing_support::first<Bf16>(cast_exactly(one(true), Dtype::bf16)).bits,
            to_bf16(1).bits);
  EXPECT_EQ(cast_exactly(one(1.0), Dtype::f32).dtype(), Dtype::f32);
  EXPECT_EQ(testing_support::first<float>(cast_exactly(one(0.1), Dtype::f32)), 0.1F);  // rounded
  const auto refusal = [](const Tensor& tensor, Dtype dtype) {
    return error_of<ShapeError>([&] { cast_exactly(tensor, dtype); });
  };
  EXPECT_EQ(refusal(one((Index{1} << 24) + 1), Dtype::f32),
            "[cast_exactly] values: expected values that f32 has, got 16777217 at 0 of i64");
  EXPECT_THAT(refusal(one(std::numeric_limits<Index>::max()), Dtype::f64),
              HasSubstr("[cast_exactly]"));
  EXPECT_THAT(refusal(one(Index{1} << 31), Dtype::i32), HasSubstr("got 2147483648 at 0"));
  EXPECT_THAT(refusal(one(std::int32_t{-1}), Dtype::u8), HasSubstr("got -1"));
  EXPECT_THAT(refusal(one(std::int32_t{2}), Dtype::boolean), HasSubstr("got 2"));
  EXPECT_THAT(refusal(one(0.5F), Dtype::i32), HasSubstr("got 0.5"));
  EXPECT_THAT(refusal(one(std::numeric_limits<double>::quiet_NaN()), Dtype::i64),
              HasSubstr("got NaN"));
  EXPECT_THAT(refusal(one(1e300), Dtype::i64), HasSubstr("1e+300"));
  EXPECT_THROW(cast_exactly(Tensor(), Dtype::f32), ShapeError);
}

TEST_F(TensorFiles, AreReadByNameTypeAndNewName) {
  const std::map<std::string, Tensor> tensors = {{"model.norm.weight", Tensor::from({2}, {1, 2})},
                                                 {"ids", one(std::int32_t{3})}};
  write_tensors(path("x.safetensors"), tensors, {{"format", "pt"}});
  std::vector<const char*> names = {"x.safetensors"};
  if (saved::has_keras_files()) {
    write_tensors(path("x.npz"), tensors);
    names.push_back("x.npz");
  }
  for (const char* name : names) {
    const TensorFile file(path(name));
    ASSERT_EQ(file.tensors().size(), 2U);
    EXPECT_EQ(file.tensors()[0].name, "ids");
    EXPECT_EQ(file.tensors()[0].dtype, "i32");
    EXPECT_TRUE(file.contains("ids") && !file.contains("other"));
    EXPECT_EQ(testing_support::first<double>(file.read("ids", Dtype::f64)), 3);
    EXPECT_THAT(error_of<IoError>([&] { file.read("other"); }), HasSubstr("other: no such tensor"));
    EXPECT_THAT(error_of<IoError>([&] { file.read("ids", Dtype::boolean); }),
                AllOf(HasSubstr(path(name)), HasSubstr("ids: "), HasSubstr("got 3")));
    const auto renamed = read_tensors(
        path(name),
        {.rename =
             [](const std::string& from) { return from == "ids" ? std::string() : "norm/gamma"; },
         .floating = Dtype::f64});
    ASSERT_EQ(renamed.size(), 1U);
    EXPECT_EQ(renamed.at("norm/gamma").dtype(), Dtype::f64);
    EXPECT_THAT(error_of<IoError>([&] {
                  read_tensors(path(name), {.rename = [](const std::string&) { return "same"; }});
                }),
                HasSubstr("a second same"));
  }
  EXPECT_EQ(TensorFile(path("x.safetensors")).metadata().at("format"), "pt");
  EXPECT_THROW(write_tensors(path("y.npz"), tensors, {{"format", "pt"}}), IoError);
  EXPECT_THAT(error_of<IoError>([&] { TensorFile(path("x.txt")); }), HasSubstr("x.txt: expected"));
}

TEST_F(TensorFiles, WeightsOfOtherProgramsGoByTheirNames) {
  Dense dense({.units = 2});
  RandomStream random(1);
  const Shape input{1, 3};
  dense.build(std::span(&input, 1), random);
  write_tensors(path("w.safetensors"),
                {{"layer.bias", cast_exactly(Tensor::from({2}, {1, 2}), Dtype::bf16)},
                 {"layer.kernel", Tensor::zeros({3, 2}, Dtype::f64)},
                 {"other", one(std::int32_t{1})}});
  const LoadWeightsConfig config{.rename = [](const std::string& path) { return "layer." + path; }};
  load_weights(dense, path("w.safetensors"), config);
  EXPECT_TRUE(same_bits(dense.parameters()[1].parameter->value(), Tensor::from({2}, {1, 2})));
  // All that is missing, in one error; nothing is changed.
  EXPECT_THAT(error_of<IoError>([&] { load_weights(dense, path("w.safetensors")); }),
              AllOf(HasSubstr("kernel: expected f32 [3, 2], got none"),
                    HasSubstr("bias: expected f32 [2], got none"), HasSubstr("w.safetensors")));
  write_tensors(path("i.safetensors"), {{"kernel", Tensor::zeros({3, 2}, Dtype::i32)},
                                        {"bias", Tensor::from({2}, {5, 5})}});
  EXPECT_THAT(
      error_of<IoError>([&] { load_weights(dense, path("i.safetensors")); }),
      AllOf(HasSubstr("kernel: expected f32 [3, 2], got i32 [3, 2]"), Not(HasSubstr("bias"))));
  EXPECT_TRUE(same_bits(dense.parameters()[1].parameter->value(), Tensor::from({2}, {1, 2})));
}

}  // namespace
}  // namespace grouphead
