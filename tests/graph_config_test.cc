// Models as JSON: what we write is what Keras read when it made the numbers of tests/golden/graph.

#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "graph_fixture_models.h"
#include "graph_support.h"
#include "grouphead/files/model_json.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

const std::string kFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/graph/";

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void compare_with_keras(Model& model, const io::Safetensors& file) {
  std::vector<Tensor> weights;
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    weights.push_back(file.at("weight." + std::to_string(i)));
  }
  EXPECT_FALSE(file.tensors.contains("weight." + std::to_string(weights.size())));
  set_weights(model, weights);
  std::map<std::string, Tensor> in;
  for (const std::string_view name : model.input_names()) {
    in[std::string(name)] = file.at("input." + std::string(name));
  }
  Context ctx;
  const std::vector<Tensor> outputs = model(ctx, in);
  EXPECT_FALSE(file.tensors.contains("output." + std::to_string(outputs.size())));
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& want = file.at("output." + std::to_string(i));
    // Both sides round a few hundred times on the way.
    const double bound = 256 * testing::unit_roundoff(Dtype::f32) * testing::max_abs(want);
    CHECK_CLOSE(outputs[i], converted(want, Dtype::f64), bound, "output " + std::to_string(i));
  }
}

TEST(ModelJson, IsReadByKeras) {
  int num_files = 0;
  for (const auto& [name, make] : fixture_models()) {
    SCOPED_TRACE(name);
    ++num_files;
    const auto model = make();
    EXPECT_EQ(to_json(*model, 1) + "\n", text_of(kFolder + name + ".json"));
    const auto file = io::read_safetensors(kFolder + name + ".safetensors");
    compare_with_keras(*model, file);
  }
  EXPECT_GE(num_files, 3);
}

TEST(ModelJson, GivesTheSameModelBack) {
  for (const auto& [name, make] : fixture_models()) {
    SCOPED_TRACE(name);
    const std::string text = text_of(kFolder + name + ".json");
    const auto model = model_from_json(text);
    EXPECT_EQ(to_json(*model, 1) + "\n", text);
    compare_with_keras(*model, io::read_safetensors(kFolder + name + ".safetensors"));
  }
}

TEST(ModelJson, DrawsNewParametersFromItsSeed) {
  const std::string text = text_of(kFolder + "shared_branches.json");
  const auto kernel = [&](std::uint64_t seed) {
    return get_weights(*model_from_json(text, seed))[0];
  };
  EXPECT_TRUE(same_bits(kernel(5), kernel(5)));
  EXPECT_FALSE(same_bits(kernel(5), kernel(6)));
}

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text.append(part);
  return text;
}

// A functional model of an input `x` [*, 3] and these layers.
std::string functional(const std::string& layers, const std::string& outputs) {
  return joined(
      {R"({"module": "keras.src.models.functional", "class_name": "Functional", "config": {
      "name": "net", "trainable": true, "layers": [
        {"module": "keras.layers", "class_name": "InputLayer", "registered_name": null,
         "config": {"batch_shape": [null, 3], "dtype": "float32", "name": "x"},
         "name": "x", "inbound_nodes": []}, )",
       layers, R"(], "input_layers": [["x", 0, 0]], "output_layers": )", outputs,
       R"(}, "registered_name": "Functional"})"});
}

std::string tensor(const std::string& name, int call = 0) {
  return joined({R"({"class_name": "__keras_tensor__", "config": {"shape": [null, 3],
      "dtype": "float32", "keras_history": [")",
                 name, "\", ", std::to_string(call), ", 0]}}"});
}

std::string dense_json(const std::string& name, const std::string& calls) {
  return joined({R"({"module": "keras.layers", "class_name": "Dense", "registered_name": null,
      "config": {"units": 3, "name": ")",
                 name, R"("}, "name": ")", name, R"(", "inbound_nodes": [)", calls, "]}"});
}

std::string call_on(const std::string& operand, const std::string& kwargs = "") {
  return joined({R"({"args": [)", operand, R"(], "kwargs": {)", kwargs, "}}"});
}

TEST(ModelJson, MayNameLayersBeforeWhatTheyNeed) {
  const auto model = model_from_json(
      functional(dense_json("last", call_on(tensor("first", 1))) + ", " +
                     dense_json("first", call_on(tensor("x")) + ", " + call_on(tensor("first"))),
                 R"([["last", 0, 0]])"));
  EXPECT_EQ(model->parameters().size(), 4U);
  EXPECT_EQ(model->layers()[1]->name(), "first");
}

TEST(ModelJson, MayComeFromOlderFiles) {
  // Calls as lists, operands and keywords as these.
  const auto model = model_from_json(functional(
      dense_json("a", R"([["x", 0, 0, {}]])") + ", " + dense_json("b", R"([["a", 0, 0, {}]])"),
      R"(["b", 0, 0])"));
  EXPECT_EQ(model->outputs()[0].name(), "b");
}

TEST(ModelJson, ReadsArgumentsThatSayNothing) {
  const auto model = model_from_json(
      functional(dense_json("a", call_on(tensor("x"), R"("mask": null, "training": null)")),
                 R"(["a", 0, 0])"));
  EXPECT_EQ(model->outputs()[0].shape(), Shape::partial({-1, 3}));
}

TEST(ModelJson, PassesAModelsInputsAsOneList) {
  const Symbol a = input({.shape = {4}, .name = "a"});
  const Symbol b = input({.shape = {4}, .name = "b"});
  const auto inner = std::make_shared<Model>(
      ModelConfig{.inputs = {a, b}, .outputs = {layer<Add>({})({a, b})}, .name = "inner"});
  const Symbol x = input({.shape = {4}, .name = "x"});
  const Model outer(ModelConfig{.inputs = {x}, .outputs = {connect(inner, {x, x})}});
  const ConfigValue config = model_to_config(outer);
  const ConfigValue& entry = config["config"]["layers"].as_list("layers").back();
  const ConfigValue& args = entry["inbound_nodes"].as_list("inbound_nodes")[0]["args"];
  ASSERT_EQ(args.as_list("args").size(), 1U);
  EXPECT_EQ(args.as_list("args")[0].as_list("inputs").size(), 2U);
}

TEST(ModelJson, KeepsConstants) {
  const std::string constant =
      R"({"class_name": "__numpy__", "config": {"value": [[1.5, -2.0, 0.25]], "dtype": "float32"}})";
  const auto model = model_from_json(functional(
      R"({"module": "keras.layers", "class_name": "Add", "config": {"name": "add"},
          "registered_name": null, "name": "add", "inbound_nodes": [)" +
          call_on(joined({"[", tensor("x"), ", ", constant, "]"})) + "]}",
      R"(["add", 0, 0])"));
  Context ctx;
  const Tensor x = random_tensor({1, 3}, 1);
  const Tensor y = (*model)(ctx, x);
  for (const Index i : {0, 1, 2}) {
    const float added[] = {1.5F, -2.0F, 0.25F};
    EXPECT_EQ(y.data<float>()[i], x.data<float>()[i] + added[i]);
  }
  EXPECT_THAT(to_json(*model), HasSubstr(R"("value": [[1.5, -2.0, 0.25]], "dtype": "float32")"));
}

TEST(ModelJson, ListsAllLayersThatThereAreNot) {
  const std::string text = functional(
      R"({"class_name": "Conv3D", "config": {"name": "conv"}, "name": "conv", "inbound_nodes": []},
         {"class_name": "Sequential", "name": "inner", "inbound_nodes": [], "config": {
            "name": "inner", "layers": [{"class_name": "ConvLSTM1D", "config": {"name": "lstm"}}]}},
         {"module": "keras.src.ops.numpy", "class_name": "Unique", "config": {"name": "unique"},
          "name": "unique", "inbound_nodes": []})",
      R"([["x", 0, 0]])");
  EXPECT_EQ(error_of<ConfigError>([&] { model_from_json(text); }),
            "[model_from_config] layers: expected layers that this library has, got 'conv' "
            "(Conv3D) in net, 'lstm' (ConvLSTM1D) in net/inner, 'unique' (Unique) in net");
}

TEST(ModelJson, RefusesGraphsThatDoNotHold) {
  const auto error = [](const std::string& layers, const std::string& outputs) {
    return error_of<ConfigError>([&] { model_from_json(functional(layers, outputs)); });
  };
  EXPECT_EQ(
      error(dense_json("a", call_on(tensor("b"))) + ", " + dense_json("b", call_on(tensor("a"))),
            R"(["a", 0, 0])"),
      "[net] layers: expected calls on what other layers make, got a loop or a missing layer "
      "at a, b");
  EXPECT_EQ(error(dense_json("a", call_on(tensor("none"))), R"(["a", 0, 0])"),
            "[net] keras_history: expected a known layer, got none");
  EXPECT_EQ(error(dense_json("a", call_on(tensor("x"))), R"(["a", 1, 0])"),
            "[net] input_layers, output_layers: expected calls that there are, got [\"a\", 1, 0]");
  EXPECT_EQ(error(dense_json("a", call_on(tensor("x"))), R"(["a", 0, 1])"),
            "[net] keras_history: expected one of 1 outputs, got [\"a\", 0, 1]");
  EXPECT_EQ(
      error(dense_json("a", call_on(tensor("x"))) + ", " + dense_json("a", call_on(tensor("x"))),
            R"(["a", 0, 0])"),
      "[net] layers: expected one of each name, got two named 'a'");
  EXPECT_EQ(
      error_of<ConfigError>([] { model_from_json(R"({"class_name": "Dense"})"); }),
      "[model_from_config] class_name: expected Functional, Sequential, or a model of KerasHub "
      "that this library has, got Dense");
}

}  // namespace
}  // namespace grouphead
