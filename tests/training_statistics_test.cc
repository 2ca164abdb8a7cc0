// fit() with moving statistics, against Keras's: tests/golden/keras_normalization.

#include <gtest/gtest.h>

#include "grouphead/layers/layers.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"
#include "keras_training_support.h"

namespace grouphead {
namespace {

using testing_support::distance;

const std::string kFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_normalization/";

class Statistics : public ::testing::Test {
 protected:
  Tensor tensor(const std::string& name) const { return tensors_.at(case_ + "/" + name); }

  std::unique_ptr<Model> model_of(const ConfigValue& entry) const {
    const Symbol x = input({.shape = {4, 3}});
    const Symbol hidden = entry["masks"].as_bool("masks") ? layer<Masking>(MaskingConfig{})(x) : x;
    const Symbol dense =
        layer<Dense>(DenseConfig{.units = 5, .activation = Activation::tanh})(hidden);
    const Symbol normalized = connect(make_layer("BatchNormalization", entry["config"]), {dense});
    return std::make_unique<Model>(
        ModelConfig{.inputs = {x}, .outputs = {layer<Dense>(DenseConfig{.units = 2})(normalized)}});
  }

  void run(const ConfigValue& entry) {
    case_ = entry["name"].as_string("name");
    SCOPED_TRACE(case_);
    Context ctx;
    const std::unique_ptr<Model> model = model_of(entry);
    const ParameterList parameters = model->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      copy(tensor("before." + std::to_string(i)), parameters[i].parameter->edit());
    }
    CompiledModel compiled = compile(*model, {.optimizer = "sgd", .loss = {"mse"}});
    const Data data{.x = {tensor("x")}, .y = {tensor("y")}};
    const History history =
        compiled.fit(ctx, data, {.batch_size = 4, .epochs = 3, .shuffle = false});
    for (std::size_t epoch = 0; epoch < 3; ++epoch) {
      EXPECT_NEAR(history["loss"][epoch],
                  entry["losses"].as_list("losses")[epoch].as_number("loss"), 1e-5);
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      EXPECT_LE(distance(parameters[i].parameter->value(), tensor("after." + std::to_string(i))),
                1e-5)
          << parameters[i].path;
    }
    EXPECT_NEAR(*find(compiled.evaluate(ctx, data, {.batch_size = 12}), "loss"),
                entry["evaluated"].as_number("evaluated"), 1e-5);
  }

  io::Safetensors tensors_ = io::read_safetensors(kFolder + "fits.safetensors");
  std::string case_;
};

TEST_F(Statistics, FollowBatchesAsKerasLetsThem) {
  const ConfigValue cases = io::parse_json(io::read_file(kFolder + "fits.json"), "fits.json");
  for (const ConfigValue& entry : cases.as_list("cases")) run(entry);
}

}  // namespace
}  // namespace grouphead
