// Every mode of Keras's quantize() in every layer that it changes, from files and back:
// tests/golden/keras_quantized/generate_models.py.

#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "grouphead/files/saved_model.h"
#include "grouphead/files/weights.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/lora.h"
#include "grouphead/layers/quantization.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"
#include "keras_training_support.h"
#include "nn/quantized_numbers.h"
#include "quantized_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::arrays_of;
using testing_support::distance;
using testing_support::error_of;
using testing_support::quantized_model_names;
using testing_support::QuantizedModel;
using testing_support::same_bits;
using testing_support::StoredWeights;

const std::string& kModels = testing_support::kQuantizedModels;

/// The same arrays but for rounding: whole numbers apart by 1 at most, scales in their last bits.
void expect_close(const std::string& expected, const std::string& got) {
  const StoredWeights a(expected);
  const StoredWeights b(got);
  EXPECT_EQ(a.file.datasets().size(), b.file.datasets().size());
  for (const auto& [path, dataset] : a.file.datasets()) {
    const Tensor numbers = a.file.read(path);
    const Tensor other = b.file.read(path);
    EXPECT_EQ(b.file.dataset(path).is_int8, dataset.is_int8) << path;
    ASSERT_EQ(other.shape(), numbers.shape()) << path;
    if (numbers.dtype() == Dtype::f32) {
      EXPECT_LT(distance(other, numbers), 1e-6) << path;
    }
    if (!dataset.is_int8) continue;
    int num_apart = 0;
    for (Index i = 0; i < numbers.size(); ++i) {
      const int apart = std::abs(numbers.data<std::int32_t>()[i] - other.data<std::int32_t>()[i]);
      EXPECT_LE(apart, 1) << path;
      num_apart += apart;
    }
    EXPECT_LE(num_apart, 1) << path;
  }
}

class QuantizedModels : public testing_support::FolderTest {
 protected:
  Context ctx_;
};

TEST_F(QuantizedModels, PredictWhatKerasPredicts) {
  EXPECT_EQ(quantized_model_names().size(), 38U);
  for (const std::string& name : quantized_model_names()) {
    SCOPED_TRACE(name);
    const QuantizedModel given(name);
    EXPECT_LT(distance((*given.model)(ctx_, given.x), given.values.at("expect.output")), 1e-5);
  }
}

TEST_F(QuantizedModels, GradientsOfInputsAreKeras) {
  int count = 0;
  for (const std::string& name : quantized_model_names()) {
    SCOPED_TRACE(name);
    const QuantizedModel given(name);
    if (!given.values.tensors.contains("expect.d_inputs")) continue;
    ++count;
    const std::vector<Value> in = {{given.x, {}}};
    std::unique_ptr<Saved> saved;
    const Tensor y = given.model->call(ctx_, in, {}, &saved)[0].tensor;
    Tensor d_y = y.clone();
    for (Index i = 0; i < d_y.size(); ++i) d_y.data<float>()[i] *= 2;
    Tensor d_x = Tensor::zeros(given.x.shape(), Dtype::f32);
    Grads grads(ctx_, std::as_const(*given.model).parameters());
    const std::vector<ConstView> d_out = {std::as_const(d_y).view()};
    std::vector<View> d_in = {d_x.view()};
    given.model->call_backward(ctx_, *saved, d_out, d_in, grads);
    EXPECT_LT(distance(d_x, given.values.at("expect.d_inputs")), 1e-4);
  }
  EXPECT_EQ(count, 17);
}

TEST_F(QuantizedModels, BitsDependOnNeitherThreadsNorRows) {
  Context five({.num_threads = 5});
  for (const std::string name : {"einsum_int8", "tied_int4_inputs", "attention_int8"}) {
    SCOPED_TRACE(name);
    const QuantizedModel given(name);
    const Tensor whole = (*given.model)(ctx_, given.x);
    EXPECT_TRUE(same_bits((*given.model)(five, given.x), whole));
    const ConstView first = std::as_const(given.x).view().slice(0, 0, 1);
    Tensor row(first.shape(), first.dtype());
    copy(first, row);
    const Tensor alone = (*given.model)(ctx_, row);
    EXPECT_EQ(distance(alone, std::as_const(whole).view().slice(0, 0, 1)), 0);
  }
}

TEST_F(QuantizedModels, FilesAreWrittenWithTheSameNumbers) {
  int num_quantized = 0;
  for (const std::string& name : quantized_model_names()) {
    SCOPED_TRACE(name);
    const auto model = load_model(kModels + name + ".keras");
    save_model(*model, path("again.keras"));
    EXPECT_TRUE(arrays_of(kModels + name + ".keras") == arrays_of(path("again.keras")));
    EXPECT_EQ(load_model(path("again.keras"))->get_config(), model->get_config());
    const ParameterList parameters = model->parameters();
    num_quantized += std::any_of(parameters.begin(), parameters.end(), [](const auto& named) {
      return named.parameter->quantized() != nullptr;
    });
  }
  EXPECT_EQ(num_quantized, 36);  // all but those of float8
}

std::vector<HasLora*> lora_layers(const Model& model) {
  std::vector<HasLora*> found;
  for (const auto& layer : model.layers()) {
    if (auto* lora = dynamic_cast<HasLora*>(layer.get())) found.push_back(lora);
  }
  return found;
}

/// Factors of rank 2, as the tensors `lora_kernel_a.0`, ...; these parameters by those names.
std::map<std::string, Parameter*> enable_lora(const Model& model, const io::Safetensors& values) {
  std::map<std::string, Parameter*> factors;
  const std::vector<HasLora*> layers = lora_layers(model);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i]->enable_lora({.rank = 2, .alpha = 3.0});
    for (const auto& [place, parameter] : dynamic_cast<Layer*>(layers[i])->parameters()) {
      if (!place.starts_with("lora")) continue;
      const std::string name = place + "." + std::to_string(i);
      copy(values.at(name), parameter->edit());
      factors[name] = parameter;
    }
  }
  return factors;
}

// Behind a quantized kernel; files have both as one kernel, quantized anew.
TEST_F(QuantizedModels, LoraIsAddedAndMergedAsInKeras) {
  for (const std::string mode : {"int8", "int4_groups"}) {
    SCOPED_TRACE(mode);
    const auto model = load_model(kModels + "dense_" + mode + ".keras");
    const io::Safetensors values = io::read_safetensors(kModels + "lora_" + mode + ".safetensors");
    ASSERT_EQ(enable_lora(*model, values).size(), 8U);
    EXPECT_LT(distance((*model)(ctx_, values.at("inputs.x")), values.at("expect.output")), 1e-5);
    save_model(*model, path("merged.keras"));
    expect_close(kModels + "lora_" + mode + ".keras", path("merged.keras"));
    for (HasLora* layer : lora_layers(*model)) layer->merge_lora();
    const auto merged = load_model(path("merged.keras"));
    const Tensor x = values.at("inputs.x");
    EXPECT_TRUE(same_bits((*model)(ctx_, x), (*merged)(ctx_, x)));
  }
}

TEST_F(QuantizedModels, LoraIsTrainedAsInKeras) {
  for (const std::string mode : {"int8", "int4_groups"}) {
    SCOPED_TRACE(mode);
    const auto model = load_model(kModels + "dense_" + mode + ".keras");
    const io::Safetensors values = io::read_safetensors(kModels + "lora_" + mode + ".safetensors");
    const std::map<std::string, Parameter*> factors = enable_lora(*model, values);
    CompiledModel compiled(*model,
                           {.optimizer = std::make_shared<SGD>(SGDConfig{.learning_rate = 0.1}),
                            .loss = {mean_squared_error()}});
    const Tensor zeros = Tensor::zeros(values.at("expect.output").shape(), Dtype::f32);
    compiled.train_on_batch(ctx_, {.x = {values.at("inputs.x")}, .y = {zeros}});
    for (const auto& [name, factor] : factors) {
      EXPECT_TRUE(factor->trainable()) << name;
      EXPECT_LT(distance(factor->value(), values.at("step." + name)), 1e-5) << name;
    }
    EXPECT_EQ(factors.size(), 8U);
  }
}

TEST_F(QuantizedModels, LoraIsTrainedWhereTheLayerIs) {
  const auto model = load_model(kModels + "dense_int8.keras");
  auto* const dense = dynamic_cast<Dense*>(model->layers()[1].get());
  ASSERT_NE(dense, nullptr);
  dense->set_trainable(false);
  dense->enable_lora({.rank = 2});
  for (const auto& [place, parameter] : dense->parameters()) {
    EXPECT_FALSE(parameter->trainable()) << place;
  }
  // A kernel that had a change is trained again where it is made of floating-point numbers.
  HasLora* const other = lora_layers(*model)[1];
  other->enable_lora({.rank = 2});
  other->merge_lora();
  Parameter& kernel = *dynamic_cast<Layer*>(other)->parameters()[0].parameter;
  EXPECT_FALSE(kernel.trainable());
  kernel.edit();
  EXPECT_TRUE(kernel.trainable());
}

// With a quantized layer between others, whose optimizer has no state for its kernel.
TEST_F(QuantizedModels, CompiledModelsAreTrainedFurther) {
  const io::Safetensors values = io::read_safetensors(kModels + "compiled_int8.safetensors");
  const Data batch{.x = {values.at("x")}, .y = {values.at("y")}};
  const Tensor& losses = values.at("expect.losses");
  const TrainableModel loaded = load_compiled_model(kModels + "compiled_int8.keras");
  for (Index step = 0; step < losses.size(); ++step) {
    EXPECT_NEAR(loaded.compiled->train_on_batch(ctx_, batch), losses.data<float>()[step], 1e-5);
    if (step == 0) save_model(*loaded.compiled, path("again.keras"));
  }
  EXPECT_LT(distance((*loaded.model)(ctx_, values.at("x")), values.at("expect.output")), 1e-4);
  const TrainableModel again = load_compiled_model(path("again.keras"));
  for (Index step = 1; step < losses.size(); ++step) {
    EXPECT_NEAR(again.compiled->train_on_batch(ctx_, batch), losses.data<float>()[step], 1e-5);
  }
}

TEST_F(QuantizedModels, ParametersThatAreQuantizedAfterwardsAreNotTrained) {
  const io::Safetensors values = io::read_safetensors(kModels + "compiled_int8.safetensors");
  const auto model = load_model(kModels + "compiled_int8.keras");
  for (const auto& [place, parameter] : model->parameters()) parameter->edit();
  CompiledModel compiled(*model,
                         {.optimizer = std::make_shared<SGD>(), .loss = {mean_squared_error()}});
  load_weights(*model, kModels + "compiled_int8.keras");
  const auto step = [&] {
    compiled.train_on_batch(ctx_, {.x = {values.at("x")}, .y = {values.at("y")}});
  };
  EXPECT_THAT(error_of<ConfigError>(step),
              HasSubstr("expected floating-point numbers, as at build(), got numbers that were "
                        "quantized after it"));
}

TEST_F(QuantizedModels, InputsAreRoundedByRequest) {
  const QuantizedModel given("dense_int8");
  const Tensor rounded = (*given.model)(ctx_, given.x);
  round_inputs(given.model->parameters(), false);
  const Tensor whole = (*given.model)(ctx_, given.x);
  EXPECT_GT(distance(whole, rounded), 1e-3);
  EXPECT_LT(distance(whole, rounded), 0.1);
  // Floating-point numbers compute the same.
  for (const auto& [place, parameter] : given.model->parameters()) parameter->edit();
  EXPECT_LT(distance((*given.model)(ctx_, given.x), whole), 1e-5);
  round_inputs(given.model->parameters(), true);
  EXPECT_LT(distance((*given.model)(ctx_, given.x), whole), 1e-5);
}

TEST_F(QuantizedModels, NumbersOfAnotherModeAreRefused) {
  const auto refusal = [](const std::string& of, const std::string& weights) {
    const auto model = load_model(kModels + of + ".keras");
    return error_of<IoError>([&] { load_weights(*model, kModels + weights + ".keras"); });
  };
  EXPECT_THAT(refusal("dense_int8", "dense_int4_groups"), HasSubstr("expected numbers of 4 bits"));
  EXPECT_THAT(refusal("dense_int8", "dense_int4"), HasSubstr("expected [7, 9], got [7, 5]"));
  EXPECT_THAT(refusal("dense_int4", "dense_int8"),
              HasSubstr("expected numbers of 4 bits with a scale for each"));
  EXPECT_THAT(refusal("dense_float8", "dense_int8"), HasSubstr("expected 8 arrays, got 3"));
}

TEST_F(QuantizedModels, RowsOfInputsMayLieApart) {
  for (const std::string name : {"dense_int8", "dense_float8"}) {
    SCOPED_TRACE(name);
    const QuantizedModel given(name);
    const auto* const dense = dynamic_cast<const Dense*>(given.model->layers()[1].get());
    ASSERT_NE(dense, nullptr);
    const Tensor wide = random_normal({4, 5, 9}, 3);
    const ConstView part = wide.view().slice(2, 1, 8);
    Tensor x(part.shape());
    copy(part, x);
    Tensor apart({4, 5, 9});
    Tensor together({4, 5, 9});
    dense->apply(ctx_, part, apart);
    dense->apply(ctx_, x, together);
    EXPECT_TRUE(same_bits(apart, together));
  }
}

TEST_F(QuantizedModels, NumbersStayInFewBits) {
  const QuantizedModel given("attention_int8");
  int count = 0;
  for (const auto& [place, parameter] : given.model->parameters()) {
    const nn::QuantizedNumbers* const numbers = parameter->quantized();
    if (numbers == nullptr) continue;
    ++count;
    EXPECT_FALSE(parameter->trainable()) << place;
    EXPECT_EQ(numbers->arrays().numbers.bytes(), parameter->shape().size()) << place;
  }
  EXPECT_EQ(count, 9);
}

}  // namespace
}  // namespace grouphead
