// How Keras trains float8 layers: weights, scales and histories of
// tests/golden/keras_quantized/generate_float8.py and generate_models.py.

#include <gmock/gmock.h>

#include "grouphead/files/saved_model.h"
#include "grouphead/layers/dense.h"
#include "grouphead/models/model.h"
#include "grouphead/models/quantize.h"
#include "grouphead/train/fit.h"
#include "keras_training_support.h"
#include "quantized_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::distance;
using testing_support::element;
using testing_support::error_of;
using testing_support::kQuantizedModels;
using testing_support::QuantizedModel;
using testing_support::same_bits;

const Quantization kShortHistory = {.mode = QuantizationMode::float8, .amax_history_length = 4};

/// The largest difference, relative to the largest number: scales are far below 1.
double relative_distance(ConstView got, ConstView want) {
  double largest = 0;
  double apart = 0;
  for (Index i = 0; i < want.size(); ++i) {
    largest = std::max(largest, std::abs(element(want, i)));
    apart = std::max(apart, std::abs(element(got, i) - element(want, i)));
  }
  return got.size() == want.size() ? apart / std::max(largest, 1e-30) : 1;
}

CompileConfig mean_squares(std::shared_ptr<Optimizer> optimizer) {
  return {.optimizer = std::move(optimizer), .loss = {mean_squared_error()}};
}

std::shared_ptr<SGD> sgd(double rate, const OptimizerOptions& options = {}) {
  return std::make_shared<SGD>(SGDConfig{.learning_rate = rate, .options = options});
}

class Float8Steps : public testing_support::FolderTest {
 protected:
  static std::string place(const std::string& name) {
    return kQuantizedModels + "float8_steps_" + name;
  }

  Data batch(const io::Safetensors& values, Index step) {
    const auto part = [&](const char* key) {
      const Tensor all = values.at(key);
      std::vector<Index> dims(all.shape().begin() + 1, all.shape().end());
      Tensor one(Shape(dims), all.dtype());
      copy(all.view().slice(0, step, step + 1).reshaped(one.shape()), one);
      return one;
    };
    return {.x = {part("x")}, .y = {part("y")}};
  }

  void expect_weights(const io::Safetensors& values, const Model& model) {
    std::size_t count = 0;
    for (const auto& [path, parameter] : model.parameters()) {
      EXPECT_LT(relative_distance(parameter->value(), values.at("expect." + path)), 2e-5) << path;
      ++count;
    }
    EXPECT_EQ(count + 4, values.tensors.size());  // x, y, losses, output
  }

  /// The steps, and then what Keras has.
  void train(CompiledModel& compiled, const Model& model, const io::Safetensors& values) {
    const Tensor losses = values.at("expect.losses");
    for (Index step = 0; step < losses.size(); ++step) {
      EXPECT_NEAR(compiled.train_on_batch(ctx_, batch(values, step)), element(losses, step),
                  2e-5 * element(losses, step))
          << step;
    }
    expect_weights(values, model);
    EXPECT_LT(distance(model(ctx_, batch(values, 0).x[0]), values.at("expect.output")), 2e-5);
  }

  void train_quantized(const std::string& name, std::shared_ptr<Optimizer> optimizer) {
    const auto model = load_model(place(name) + ".keras");
    quantize(*model, kShortHistory);
    CompiledModel compiled(*model, mean_squares(std::move(optimizer)));
    train(compiled, *model, io::read_safetensors(place(name) + ".safetensors"));
  }

  Context ctx_;
};

TEST_F(Float8Steps, ProjectionsOfAttentionMoveAsInKeras) {
  train_quantized("attention", sgd(0.01));
}

TEST_F(Float8Steps, ASharedLayerHasTheSumsOfItsCallsAndAFrozenOneStays) {
  train_quantized("shared", sgd(0.01));
}

TEST_F(Float8Steps, AccumulatedStepsHaveTheGreatest) {
  train_quantized("accumulated", sgd(0.05, {.gradient_accumulation_steps = 3}));
}

TEST_F(Float8Steps, ATrainingThatKerasSavedGoesOn) {
  const TrainableModel loaded = load_compiled_model(place("compiled") + ".keras");
  train(*loaded.compiled, *loaded.model, io::read_safetensors(place("compiled") + ".safetensors"));
}

// What is saved in the middle of a training goes on as if it had not been.
TEST_F(Float8Steps, ATrainingThatWeSavedGoesOn) {
  const io::Safetensors values = io::read_safetensors(place("compiled") + ".safetensors");
  const TrainableModel whole = load_compiled_model(place("compiled") + ".keras");
  for (Index step = 0; step < 2; ++step) whole.compiled->train_on_batch(ctx_, batch(values, step));
  save_model(*whole.compiled, path("two.keras"));
  const TrainableModel rest = load_compiled_model(path("two.keras"));
  for (Index step = 2; step < 4; ++step) {
    whole.compiled->train_on_batch(ctx_, batch(values, step));
    rest.compiled->train_on_batch(ctx_, batch(values, step));
  }
  const ConstParameterList expected = std::as_const(*whole.model).parameters();
  const ConstParameterList got = std::as_const(*rest.model).parameters();
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(same_bits(got[i].parameter->value(), expected[i].parameter->value()))
        << got[i].path;
  }
}

// The files of generate_models.py have 1024 numbers in a history.
TEST_F(Float8Steps, LongHistoriesMoveAsInKeras) {
  for (const std::string name : {"dense", "einsum"}) {
    SCOPED_TRACE(name);
    const auto model = load_model(kQuantizedModels + name + ".keras");
    const QuantizedModel expected(name + "_float8");
    quantize(*model, QuantizationMode::float8);
    CompiledModel compiled(*model, mean_squares(sgd(0.01)));
    const Data batch{.x = {expected.values.at("train.x")}, .y = {expected.values.at("train.y")}};
    for (int step = 0; step < 3; ++step) compiled.train_on_batch(ctx_, batch);
    const ConstParameterList ours = std::as_const(*model).parameters();
    const ConstParameterList keras = std::as_const(*expected.model).parameters();
    ASSERT_EQ(ours.size(), keras.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
      EXPECT_LT(relative_distance(ours[i].parameter->value(), keras[i].parameter->value()), 2e-5)
          << ours[i].path;
    }
  }
}

// Where no backward pass came by, scales stay, and do not become 0.
TEST_F(Float8Steps, ALayerWithoutGradientsStays) {
  Dense dense({.units = 2});
  dense.build({{2, 3}});
  quantize(dense, kShortHistory);
  const auto optimizer = sgd(0.1);
  optimizer->build(dense.parameters());
  Grads grads(ctx_, dense.parameters());
  optimizer->step(ctx_, grads);
  for (const auto& [path, parameter] : std::as_const(dense).parameters()) {
    if (path.ends_with("_scale")) {
      EXPECT_EQ(element(parameter->value(), 0), 1) << path;
    }
  }
}

// A step that is left out leaves the histories too.
TEST_F(Float8Steps, ANumberThatIsNotFiniteLeavesTheStepOut) {
  Dense dense({.units = 2});
  dense.build({{2, 3}}, 1);
  quantize(dense, kShortHistory);
  const auto optimizer = sgd(0.1);
  optimizer->scale_loss();
  CompiledModel compiled(dense, mean_squares(optimizer));
  Tensor x = random_normal({2, 3}, 1);
  *x.data<float>() = std::numeric_limits<float>::infinity();
  compiled.train_on_batch(ctx_, {.x = {x}, .y = {Tensor::zeros({2, 2})}});
  for (const auto& [path, parameter] : std::as_const(dense).parameters()) {
    if (path.ends_with("_history")) {
      EXPECT_EQ(element(parameter->value(), 0), 0) << path;
    }
  }
}

TEST_F(Float8Steps, BlocksOfABatchAreRefused) {
  Dense dense({.units = 2});
  dense.build({{2, 3}});
  quantize(dense, kShortHistory);
  CompileConfig config = mean_squares(sgd(0.1));
  config.batch_blocks = 2;
  EXPECT_THAT(error_of<ConfigError>([&] { CompiledModel(dense, config); }),
              HasSubstr("[compile] batch_blocks: expected 1, with moving statistics such as "
                        "inputs_scale, got 2"));
}

}  // namespace
}  // namespace grouphead
