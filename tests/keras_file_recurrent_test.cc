// Files of Keras with recurrent layers, wrappers, preprocessing and vocabularies.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "grouphead/grouphead.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "saved/keras_assets.h"
#include "support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing_support::same_bits;

const fs::path kRecurrentFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_recurrent_files";

fs::path temporary(const std::string& name) {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const fs::path folder =
      fs::path(::testing::TempDir()) / (std::string("recurrent_") + test->name());
  fs::create_directories(folder);
  return folder / name;
}

/// The largest difference in terms of the largest number.
double distance_of(ConstView got, ConstView want) {
  EXPECT_EQ(got.shape(), want.shape());
  if (got.shape() != want.shape()) return INFINITY;
  double most = 0;
  double top = 1e-3;
  for (Index i = 0; i < want.size(); ++i) {
    const double expected = want.data<float>()[i];
    most = std::max(most, std::abs(got.data<float>()[i] - expected));
    top = std::max(top, std::abs(expected));
  }
  return most / top;
}

struct Given {
  io::Safetensors file = io::read_safetensors(kRecurrentFolder / "recurrent.safetensors");
  std::vector<Tensor> x{file.at("ids"), file.at("x")};
  Tensor y = file.at("y.0");
};

TEST(RecurrentFiles, GiveKerassNumbers) {
  const Given given;
  Context ctx;
  const auto model = load_model(kRecurrentFolder / "recurrent.keras");
  EXPECT_LT(distance_of((*model)(ctx, given.x)[0], given.y), 1e-6);
  EXPECT_LT(distance_of((*load_model(kRecurrentFolder / "recurrent.h5"))(ctx, given.x)[0], given.y),
            1e-6);
  for (const auto& [path, parameter] : model->parameters()) fill_zero(parameter->edit());
  load_weights(*model, kRecurrentFolder / "recurrent.keras");
  EXPECT_LT(distance_of((*model)(ctx, given.x)[0], given.y), 1e-6);
}

TEST(RecurrentFiles, WhatIsWrittenIsReadAgain) {
  const Given given;
  Context ctx;
  const auto model = load_model(kRecurrentFolder / "recurrent.keras");
  save_model(*model, temporary("again.keras"));
  const auto again = load_model(temporary("again.keras"));
  EXPECT_EQ(model_to_config(*model).to_string(), model_to_config(*again).to_string());
  EXPECT_TRUE(same_bits((*model)(ctx, given.x)[0], (*again)(ctx, given.x)[0]));
  EXPECT_TRUE(beyond_keras(*model).empty());
}

// Dropout of inputs and states, masks, and states between layers are in it.
TEST(RecurrentFiles, TrainsAsKerasDoes) {
  const Given given;
  Context ctx;
  const TrainableModel loaded = load_compiled_model(kRecurrentFolder / "recurrent.keras");
  ASSERT_NE(loaded.compiled, nullptr);
  const Data batch{.x = given.x, .y = {given.file.at("t")}};
  const Tensor& losses = given.file.at("losses");
  for (Index step = 0; step < losses.size(); ++step) {
    const double want = losses.data<float>()[step];
    EXPECT_NEAR(loaded.compiled->train_on_batch(ctx, batch), want, 2e-5 * want) << step;
  }
  const auto parameters = loaded.model->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Tensor& want = given.file.at("after." + std::to_string(i));
    EXPECT_LT(distance_of(parameters[i].parameter->value(), want), 1e-4) << parameters[i].path;
  }
}

std::vector<float> flat(const ConfigValue& value) {
  if (value.is_number()) return {static_cast<float>(value.as_number("value"))};
  std::vector<float> all;
  for (const ConfigValue& one : value.as_list("value")) {
    const std::vector<float> inner = flat(one);
    all.insert(all.end(), inner.begin(), inner.end());
  }
  return all;
}

void expect_numbers(const Tensor& got, const ConfigValue& want, const std::string& what) {
  const Tensor numbers = cast(got, Dtype::f32);
  const std::vector<float> expected = flat(want);
  ASSERT_EQ(numbers.size(), static_cast<Index>(expected.size())) << what;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(numbers.data<float>()[i], expected[i], 1e-6) << what << " " << i;
  }
}

TEST(RecurrentFiles, TextsAreVectorizedAsInKeras) {
  const std::string path = (kRecurrentFolder / "text.json").string();
  const ConfigValue document = io::parse_json(io::read_file(path), path);
  std::vector<std::string> texts;
  for (const ConfigValue& text : document["texts"].as_list("texts")) {
    texts.push_back(text.as_string("texts"));
  }
  Context ctx;
  const auto model = load_model(kRecurrentFolder / "text.keras");
  const std::vector<float> numbers = flat(document["numbers"]);
  const Tensor features = Tensor::from({5, 2}, std::span<const float>(numbers));
  const auto check = [&](const Model& each) {
    const std::vector<Tensor> in{text_tensor(texts), features};
    const std::vector<Tensor> out = each(ctx, in);
    const ConfigValue::List& want = document["outputs"].as_list("outputs");
    ASSERT_EQ(out.size(), want.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      expect_numbers(out[i], want[i], "output " + std::to_string(i));
    }
  };
  check(*model);
  save_model(*model, temporary("again.keras"));
  check(*load_model(temporary("again.keras")));
  const auto words =
      std::dynamic_pointer_cast<TextVectorization>(model->get_layer("text_vectorization"));
  ASSERT_NE(words, nullptr);
  expect_numbers(words->vectorize(ctx, texts), document["ids"], "ids");
  std::vector<std::string> vocabulary;
  for (const ConfigValue& word : document["vocabulary"].as_list("vocabulary")) {
    vocabulary.push_back(word.as_string("vocabulary"));
  }
  EXPECT_EQ(words->vocabulary(), vocabulary);
}

TEST(RecurrentFiles, VocabulariesHaveLinesAsInPython) {
  EXPECT_THAT(saved::vocabulary_lines("\n[UNK]\nthe\r\ncat\xE2\x80\xA8sat\n\n"),
              ElementsAre("", "[UNK]", "the", "cat", "sat"));
  EXPECT_TRUE(saved::vocabulary_lines("").empty());
}

}  // namespace
}  // namespace grouphead
