// Models that Keras compiled, and what this library writes of them: what losses and metrics go by.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "grouphead/grouphead.h"
#include "io/safetensors.h"
#include "support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::error_of;

const fs::path kFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_compiled";

fs::path temporary(const std::string& name) {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const fs::path folder =
      fs::path(::testing::TempDir()) / (std::string("compiled_") + test->name());
  fs::create_directories(folder);
  return folder / name;
}

/// What Keras's evaluate() is given and gives.
struct Evaluation {
  Data data;
  std::map<std::string, double> logs;
};

Evaluation evaluation_of(const std::string& name) {
  const io::Safetensors file = io::read_safetensors(kFolder / "evaluations.safetensors");
  Evaluation made;
  made.data.x = {file.at(name + ".x")};
  for (const auto& [key, tensor] : file.tensors) {
    if (key.starts_with(name + ".y.")) made.data.y.push_back(tensor);
    const std::string log = name + ".log.";
    if (key.starts_with(log)) made.logs[key.substr(log.size())] = *tensor.data<float>();
  }
  return made;
}

void expect_logs(const Logs& logs, const Evaluation& want, const std::string& what) {
  EXPECT_EQ(logs.size(), want.logs.size()) << what;
  for (const auto& [name, value] : want.logs) {
    const std::optional<double> got = find(logs, name);
    ASSERT_TRUE(got.has_value()) << what << ": " << name;
    EXPECT_NEAR(*got, value, 2e-6 * std::max(1.0, std::abs(value))) << what << ": " << name;
  }
}

class Compiled : public ::testing::TestWithParam<const char*> {};

TEST_P(Compiled, EvaluatesAsInKerasAlsoAfterItIsWritten) {
  const std::string name = GetParam();
  const Evaluation want = evaluation_of(name);
  ASSERT_FALSE(want.logs.empty());
  Context ctx;
  const TrainableModel loaded = load_compiled_model(kFolder / (name + ".keras"));
  ASSERT_NE(loaded.compiled, nullptr);
  expect_logs(loaded.compiled->evaluate(ctx, want.data, {.batch_size = 4}), want, name);
  save_model(*loaded.compiled, temporary(name + ".keras"));
  const TrainableModel again = load_compiled_model(temporary(name + ".keras"));
  ASSERT_NE(again.compiled, nullptr);
  expect_logs(again.compiled->evaluate(ctx, want.data, {.batch_size = 4}), want, "written " + name);
}

INSTANTIATE_TEST_SUITE_P(Outputs, Compiled,
                         ::testing::Values("keys", "part", "swapped", "lists", "single", "named",
                                           "inside", "all", "inputs"),
                         [](const auto& test) { return std::string(test.param); });

/// Two outputs with keys that are each other's layers' names.
Model swapped_model() {
  const Symbol x = input({.shape = {2}, .name = "x"});
  return Model({.inputs = {x},
                .outputs = {layer<Dense>({.units = 1, .name = "two"})(x),
                            layer<Dense>({.units = 1, .name = "one"})(x)},
                .output_keys = {"one", "two"}});
}

TEST(CompiledOutputs, HistoryGoesByKeys) {
  Context ctx;
  const Model model = swapped_model();
  EXPECT_THAT(model.output_names(), ElementsAre("one", "two"));
  CompiledModel compiled =
      compile(model, {.optimizer = "sgd", .loss = {"mse", "mae"}, .metrics = {{"mae"}, {}}});
  const Tensor x = Tensor::zeros({4, 2});
  Tensor ones({4, 1});
  std::fill_n(ones.data<float>(), 4, 1.0F);
  Tensor threes({4, 1});
  std::fill_n(threes.data<float>(), 4, 3.0F);
  const History history =
      compiled.fit(ctx, {.x = {x}, .y = {threes, ones}}, {.batch_size = 4, .epochs = 2});
  std::vector<std::string> names;
  for (const auto& [name, values] : history.series) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("loss", "one_mae", "one_loss", "two_loss"));
  EXPECT_DOUBLE_EQ(history["one_loss"][0], 9);  // biases are 0 and x is 0
  EXPECT_DOUBLE_EQ(history["two_loss"][0], 1);
  EXPECT_DOUBLE_EQ(history["one_mae"][0], 3);
  for (const auto& [name, values] : history.series) EXPECT_EQ(values.size(), 2) << name;
}

TEST(CompiledOutputs, WhatIsWrittenGoesByKeys) {
  const Model model = swapped_model();
  const CompiledModel compiled =
      compile(model, {.loss = {"mse", {}}, .loss_weights = {2, 1}, .metrics = {{}, {"mae"}}});
  const ConfigValue config = compiled.compile_config();
  EXPECT_FALSE(config.contains("optimizer"));  // there is none
  EXPECT_TRUE(config["loss"].contains("one"));
  EXPECT_FALSE(config["loss"].contains("two"));
  EXPECT_EQ(config["loss_weights"].to_string(), R"({"one": 2.0})");
  EXPECT_TRUE(config["metrics"].contains("two"));
}

TEST(CompiledOutputs, OtherNamesAreRefused) {
  const Model model = swapped_model();
  const ConfigValue config = ConfigValue::Object{{"loss", ConfigValue::Object{{"dense", "mse"}}}};
  EXPECT_THAT(error_of<ConfigError>([&] { compile_config_from(config, model); }),
              AllOf(HasSubstr("[compile] loss: expected one, two, got dense")));
}

TEST(CompiledOutputs, OfOneLayerShareALossByName) {
  Context ctx;
  const Symbol a = input({.shape = {1}, .name = "a"});
  const Symbol b = input({.shape = {1}, .name = "b"});
  const auto dense = layer<Dense>({.units = 1, .use_bias = false, .name = "dense"});
  const Model model({.inputs = {a, b}, .outputs = {dense(a), dense(b)}});
  const ConfigValue config = ConfigValue::Object{{"loss", ConfigValue::Object{{"dense", "mse"}}}};
  CompiledModel compiled = compile(model, compile_config_from(config, model));
  const Tensor zeros = Tensor::zeros({2, 1});
  Tensor twos({2, 1});
  std::fill_n(twos.data<float>(), 2, 2.0F);
  const Logs logs = compiled.evaluate(ctx, {.x = {zeros, zeros}, .y = {zeros, twos}});
  ASSERT_EQ(logs.size(), 2);
  EXPECT_DOUBLE_EQ(*find(logs, "loss"), 4);
  EXPECT_DOUBLE_EQ(*find(logs, "dense_loss"), 4);  // of the last one, as in Keras
}

TEST(CompiledInputs, GoByKeysWhereThereAreAny) {
  Context ctx;
  const Symbol a = input({.shape = {1}, .name = "left"});
  const Symbol b = input({.shape = {1}, .name = "right"});
  const Model model({.inputs = {a, b},
                     .outputs = {layer<Concatenate>({})({a, b})},
                     .input_keys = {"right", "left"}});
  Tensor one({1, 1});
  *one.data<float>() = 1;
  Tensor two({1, 1});
  *two.data<float>() = 2;
  const std::vector<Tensor> made = model(ctx, {{"right", one}, {"left", two}});
  EXPECT_EQ(made[0].data<float>()[0], 1);
  EXPECT_EQ(made[0].data<float>()[1], 2);
}

TEST(CompiledOutputs, InsideEachOtherAreRefused) {
  const Symbol x = input({.shape = {2}, .name = "x"});
  const Model model({.inputs = {x},
                     .outputs = {layer<Dense>({.units = 1, .name = "d"})(x)},
                     .output_keys = {"k"}});
  ConfigValue envelope = model_to_config(model);
  ConfigValue config = envelope["config"];
  const ConfigValue end = ConfigValue::Object{{"inner", config["output_layers"]["k"]}};
  config.set("output_layers", ConfigValue::Object{{"outer", end}});
  envelope.set("config", config);
  EXPECT_THAT(error_of<ConfigError>([&] { model_from_config(envelope); }),
              HasSubstr("got lists or dicts inside each other"));
}

}  // namespace
}  // namespace grouphead
