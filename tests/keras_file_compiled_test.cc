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
using testing_support::same_bits;

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
  Model model = swapped_model();
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
  Model model = swapped_model();
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
  Model model = swapped_model();
  const ConfigValue config = ConfigValue::Object{{"loss", ConfigValue::Object{{"dense", "mse"}}}};
  EXPECT_THAT(error_of<ConfigError>([&] { compile_config_from(config, model); }),
              AllOf(HasSubstr("[compile] loss: expected one, two, got dense")));
}

TEST(CompiledOutputs, OfOneLayerShareALossByName) {
  Context ctx;
  const Symbol a = input({.shape = {1}, .name = "a"});
  const Symbol b = input({.shape = {1}, .name = "b"});
  const auto dense = layer<Dense>({.units = 1, .use_bias = false, .name = "dense"});
  Model model({.inputs = {a, b}, .outputs = {dense(a), dense(b)}});
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
  Model model({.inputs = {a, b},
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
  Model model({.inputs = {x},
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

// ---- What this library does not have, or reads in another way ----------------------------------

io::Safetensors others() { return io::read_safetensors(kFolder / "others.safetensors"); }

void expect_adam_state(const Optimizer& optimizer, const std::string& what) {
  const io::Safetensors file = others();
  std::vector<OptimizerVariable> variables = optimizer.variables();
  // What scales the loss comes first.
  if (optimizer.config()["class_name"] == ConfigValue("LossScaleOptimizer")) {
    EXPECT_EQ(variables[3].path, "loss_scale_optimizer/dynamic_scale") << what;
    variables.erase(variables.begin(), variables.begin() + 4);
  }
  ASSERT_TRUE(file.tensors.contains("loss_scale." + std::to_string(variables.size() - 1))) << what;
  // Steps that overflowed do not count.
  EXPECT_EQ(optimizer.iterations(), *file.at("loss_scale.0").data<std::int32_t>()) << what;
  for (std::size_t i = 2; i < variables.size(); ++i) {
    EXPECT_TRUE(same_bits(variables[i].value, file.at("loss_scale." + std::to_string(i))))
        << what << ": " << variables[i].path;
  }
}

TEST(LossScale, TheOptimizerInsideIsTaken) {
  Context ctx;
  for (const char* name : {"loss_scale.keras", "loss_scale.h5"}) {
    const TrainableModel loaded = load_compiled_model(kFolder / name);
    ASSERT_NE(loaded.compiled, nullptr) << name;
    expect_adam_state(loaded.compiled->optimizer(), name);
  }
  const auto model = load_model(kFolder / "loss_scale.keras");
  CompiledModel compiled = compile(*model, {.optimizer = "adam", .loss = {"mse"}});
  load_weights(compiled, kFolder / "loss_scale.weights.h5");
  expect_adam_state(compiled.optimizer(), "weights");
  const auto optimizer = Optimizer::from_config(ConfigValue::Object{
      {"class_name", "LossScaleOptimizer"},
      {"config", ConfigValue::Object{{"inner_optimizer", "sgd"}, {"initial_scale", 2.0}}}});
  EXPECT_EQ(optimizer->name(), "sgd");
  EXPECT_EQ(optimizer->loss_scale(), 2);
}

TEST(LossScale, ComesBackFromFiles) {
  const TrainableModel loaded = load_compiled_model(kFolder / "loss_scale.h5");
  const fs::path file = fs::temp_directory_path() / "grouphead_loss_scale.keras";
  *loaded.compiled->optimizer().variables()[2].value.data<std::int64_t>() = 17;
  save_model(*loaded.compiled, file);
  const TrainableModel again = load_compiled_model(file);
  fs::remove(file);
  const auto want = loaded.compiled->optimizer().variables();
  const auto got = again.compiled->optimizer().variables();
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(got[i].path, want[i].path);
    EXPECT_TRUE(same_bits(got[i].value, want[i].value)) << want[i].path;
  }
  EXPECT_EQ(again.compiled->optimizer().config(), loaded.compiled->optimizer().config());
}

TEST(UnknownTraining, IsNamedOrLeftOut) {
  const fs::path file = kFolder / "own.keras";
  EXPECT_THAT(error_of<IoError>([&] { load_compiled_model(file); }),
              AllOf(HasSubstr("[loss] name"), HasSubstr("got own")));
  const TrainableModel loaded = load_compiled_model(file, {.requires_training = false});
  EXPECT_EQ(loaded.compiled, nullptr);
  EXPECT_THAT(loaded.problem, HasSubstr("got own"));
  Context ctx;
  const io::Safetensors file_of = others();
  EXPECT_TRUE(
      testing::compare("y", (*loaded.model)(ctx, file_of.at("x")), file_of.at("own.y"), 1e-6).ok());
}

TEST(UnknownTraining, MetricsAreNoLosses) {
  EXPECT_THAT(error_of<ConfigError>([] { Metric::from_config(ConfigValue("Nothing")); }),
              AllOf(HasSubstr("[metric] name: expected Accuracy"), HasSubstr("got Nothing")));
}

TEST(LegacyOperations, AreNoLayers) {
  Context ctx;
  const io::Safetensors file = others();
  const auto model = load_model(kFolder / "operations.h5");
  const Tensor y = (*model)(ctx, file.at("operations.ids"));
  EXPECT_TRUE(testing::compare("y", y, file.at("operations.y"), 1e-6).ok());
}

TEST(LegacyOperations, LayersTakeOneList) {
  const Symbol x = input({.shape = {2}, .name = "x"});
  const Model model({.inputs = {x}, .outputs = {layer<Add>({.name = "sum"})({x, x})}});
  ConfigValue envelope = model_to_config(model);
  ConfigValue::List layers = envelope["config"]["layers"].as_list("layers");
  ConfigValue call = layers[1]["inbound_nodes"].as_list("inbound_nodes")[0];
  const ConfigValue tensors = call["args"].as_list("args")[0];
  call.set("args", tensors);
  layers[1].set("inbound_nodes", ConfigValue::List{call});
  ConfigValue config = envelope["config"];
  config.set("layers", layers);
  envelope.set("config", config);
  EXPECT_THAT(error_of<ConfigError>([&] { model_from_config(envelope); }),
              HasSubstr("[sum] call: expected one list of tensors, got too many positional"));
}

TEST(NoiseShape, DropsWhatKerasDrops) {
  Context ctx;
  const io::Safetensors file = others();
  const auto model = load_model(kFolder / "noise_shape.keras");
  const Value x{file.at("noise_shape.x"), {}};
  const std::vector<Value> y = model->run(ctx, std::span(&x, 1), {}, true, nullptr);
  EXPECT_TRUE(testing::compare("y", y[0].tensor, file.at("noise_shape.y"), 1e-6).ok());
  EXPECT_TRUE(same_bits((*model)(ctx, x.tensor), x.tensor));  // inference
  const std::string config = model_to_config(*model).to_string();
  EXPECT_THAT(config, HasSubstr("\"noise_shape\": [null, 1, 3]"));
}

TEST(NoiseShape, GradientsGoWhereTheNumbersWent) {
  Context ctx;
  Dropout dropout({.rate = 0.5, .seed = 3, .noise_shape = {-1, 1}});
  Tensor ones({6, 4});
  std::fill_n(ones.data<float>(), ones.size(), 1.0F);
  const Value x{ones, {}};
  std::unique_ptr<Saved> saved;
  const auto y = dropout.call(ctx, std::span(&x, 1), {.training = true}, &saved);
  Tensor d_x = Tensor::zeros({6, 4});
  const ConstView d_out = ones;
  View d_in = d_x;
  Grads grads(ctx, {});
  dropout.call_backward(ctx, *saved, std::span(&d_out, 1), std::span(&d_in, 1), grads);
  EXPECT_TRUE(same_bits(d_x, y[0].tensor));
  int kept = 0;
  for (Index row = 0; row < 6; ++row) {
    for (Index i = 1; i < 4; ++i) {
      EXPECT_EQ(d_x.data<float>()[row * 4 + i], d_x.data<float>()[row * 4]);
    }
    kept += d_x.data<float>()[row * 4] == 2 ? 1 : 0;
  }
  EXPECT_GT(kept, 0);
  EXPECT_LT(kept, 6);
}

// ---- What Keras can load
// -------------------------------------------------------------------------

/// x -> attention.
Model attention_model(GroupQueryAttentionConfig config, const Keywords& keywords = {}) {
  config.head_dim = 4;
  config.num_query_heads = 4;
  config.num_key_value_heads = 2;
  config.name = "a";
  const Symbol x = input({.shape = {6, 8}, .name = "x"});
  return Model({.inputs = {x},
                .outputs = {layer<GroupQueryAttention>(std::move(config))({x, x}, keywords)}});
}

TEST(BeyondKeras, IsRefusedUnlessAllowed) {
  const fs::path file = temporary("own.keras");
  fs::remove(file);
  const auto problem_of = [&](const Model& model) {
    return error_of<ConfigError>([&] { save_model(model, file); });
  };
  EXPECT_THAT(problem_of(attention_model({.rope = RopeConfig{}})),
              HasSubstr("got 'a' (GroupQueryAttention): rope"));
  EXPECT_THAT(problem_of(attention_model({.output_dim = 12})), HasSubstr("output_dim"));
  EXPECT_THAT(problem_of(attention_model({.masked_rows = MaskedRows::zeros})),
              HasSubstr("masked_rows"));
  EXPECT_THAT(problem_of(attention_model({}, {{"use_causal_mask", true}, {"causal_offset", 2}})),
              HasSubstr("causal_offset"));
  EXPECT_THAT(problem_of(attention_model({}, {{"attention_bias", Tensor::zeros({6, 6})}})),
              HasSubstr("attention_bias"));
  const Symbol x = input({.shape = {3}, .name = "x"});
  const Model gelu(
      {.inputs = {x}, .outputs = {layer<Dense>({.units = 3, .activation = "gelu_tanh"})(x)}});
  EXPECT_THAT(problem_of(gelu), HasSubstr("'dense' (Dense): activation gelu_tanh"));
  EXPECT_FALSE(fs::exists(file));

  const Model rope = attention_model({.rope = RopeConfig{}});
  EXPECT_THAT(beyond_keras(rope), ElementsAre("'a' (GroupQueryAttention): rope"));
  save_model(rope, file, {.allow_own_options = true});
  EXPECT_EQ(model_to_config(*load_model(file)).to_string(), model_to_config(rope).to_string());
}

TEST(BeyondKeras, AttentionInASequentialModelIs) {
  Sequential model;
  model.add(input({.shape = {6, 8}}));
  model.add(layer<MultiHeadAttention>({.num_heads = 2, .key_dim = 4, .name = "a"}));
  EXPECT_THAT(error_of<ConfigError>([&] { save_model(model, temporary("s.keras")); }),
              HasSubstr("'a' (MultiHeadAttention): attention in a Sequential model"));
}

TEST(BeyondKeras, CausalLayersAreCausalCalls) {
  Context ctx;
  const Model model = attention_model({.causal = true});
  const fs::path file = temporary("causal.keras");
  save_model(model, file);
  const auto loaded = load_model(file);
  const std::string config = model_to_config(*loaded).to_string();
  EXPECT_THAT(config, ::testing::Not(HasSubstr("\"causal\"")));
  EXPECT_THAT(config, HasSubstr("\"use_causal_mask\": true"));
  const Tensor x = random_normal({2, 6, 8}, 4);
  EXPECT_TRUE(same_bits(model(ctx, x), (*loaded)(ctx, x)));
}

TEST(NestedModels, CalledTwiceAtEachLevelAreLoadedOnce) {
  std::shared_ptr<Layer> inner = std::make_shared<ActivationLayer>(
      ActivationLayerConfig{.activation = "relu", .name = "innermost"});
  std::shared_ptr<Model> model;
  for (int level = 0; level < 60; ++level) {
    const Symbol x = input({.shape = {2, 4}, .name = "x"});
    const Symbol once = connect(inner, x);
    model = std::make_shared<Model>(ModelConfig{.inputs = {x},
                                                .outputs = {connect(inner, once)},
                                                .name = "level_" + std::to_string(level)});
    inner = model;
  }
  const auto loaded = model_from_config(model_to_config(*model));
  EXPECT_EQ(loaded->outputs()[0].shape().to_string(), "[-1, 2, 4]");
  EXPECT_TRUE(loaded->parameters().empty());
  EXPECT_FALSE(loaded->summary().empty());
}

// ---- Masks that MultiHeadAttention takes off
// -----------------------------------------------------

TEST(MasksTakenOff, AreGoneAsInKeras) {
  Context ctx;
  const io::Safetensors file = others();
  const TrainableModel loaded = load_compiled_model(kFolder / "masks.keras");
  const Tensor ids = file.at("masks.ids");
  const std::vector<Tensor> y = (*loaded.model)(ctx, std::span(&ids, 1));
  for (std::size_t i = 0; i < 3; ++i) {
    const Tensor& want = file.at("masks.y." + std::to_string(i));
    EXPECT_TRUE(testing::compare("y", y[i], want, 1e-5).ok()) << i;
  }
  const Data batch{
      .x = {ids},
      .y = {file.at("masks.target.0"), file.at("masks.target.1"), file.at("masks.target.2")}};
  for (int step = 0; step < 3; ++step) {
    const double want = static_cast<double>(file.at("masks.losses").data<float>()[step]);
    EXPECT_NEAR(loaded.compiled->train_on_batch(ctx, batch), want, 1e-5 * want) << step;
    loaded.compiled->reset_metrics();
  }
}

TEST(MasksTakenOff, StayWhereTheModelKeepsThem) {
  Context ctx;
  const io::Safetensors file = others();
  const auto model = load_model(kFolder / "masks.keras");
  EXPECT_FALSE(model->keeps_masks());
  model->set_keeps_masks(true);
  const Tensor ids = file.at("masks.ids");
  const std::vector<Tensor> y = (*model)(ctx, std::span(&ids, 1));
  for (std::size_t i = 0; i < 3; ++i) {
    const Tensor& taken = file.at("masks.y." + std::to_string(i));
    if (i == 0) {
      EXPECT_FALSE(testing::compare("y", y[i], taken, 1e-3).ok());
    }
    // A row without padding has no mask to lose.
    for (Index column = 0; column < 4; ++column) {
      EXPECT_NEAR(y[i].data<float>()[4 + column], taken.data<float>()[4 + column], 1e-5) << i;
    }
  }
}

TEST(MasksInFiles, AreOperations) {
  Context ctx;
  const io::Safetensors file = others();
  const auto model = load_model(kFolder / "written_masks.keras");
  const Tensor ids = file.at("masks.ids");
  const std::vector<Tensor> y = (*model)(ctx, std::span(&ids, 1));
  for (std::size_t i = 0; i < 2; ++i) {
    const Tensor& want = file.at("written_masks.y." + std::to_string(i));
    EXPECT_TRUE(testing::compare("y", y[i], want, 2e-6).ok()) << i;
  }
}

}  // namespace
}  // namespace grouphead
