// quantize() against Keras's: the numbers, scales and configurations of
// tests/golden/keras_quantized/generate_models.py, whose MODEL.keras is the model before.

#include <gmock/gmock.h>

#include <limits>

#include "grouphead/files/saved_model.h"
#include "grouphead/files/weights.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/einsum_dense.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/layers/wrappers.h"
#include "grouphead/models/model.h"
#include "grouphead/models/quantize.h"
#include "keras_training_support.h"
#include "ops/convert.h"
#include "quantized_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing_support::arrays_of;
using testing_support::distance;
using testing_support::error_of;
using testing_support::kQuantizedModels;
using testing_support::quantized_model_names;
using testing_support::QuantizedModel;

/// What generate_models.py gives Keras's quantize(), by the name of its mode.
Quantization quantization_named(const std::string& mode) {
  if (mode == "int8_weights") return {.mode = QuantizationMode::int8};
  if (mode == "int8_range") {
    return {.mode = QuantizationMode::int8,
            .inputs = InputRounding{.least = -99, .most = 98, .epsilon = 1e-3}};
  }
  if (mode == "int4") return {.mode = QuantizationMode::int4};
  if (mode == "int4_inputs") {
    return {.mode = QuantizationMode::int4, .inputs = InputRounding()};
  }
  if (mode == "int4_groups") return {.mode = QuantizationMode::int4, .block_size = 3};
  return default_quantization(mode == "int8" ? QuantizationMode::int8 : QuantizationMode::float8);
}

Tensor as_f32(const Tensor& from) {
  Tensor made(from.shape());
  ops::convert_rounded(from, Dtype::f32, made);
  return made;
}

class Quantize : public testing_support::FolderTest {
 protected:
  Context ctx_;
};

// Numbers, scales, zeros and groups bit by bit, and what the model then computes.
TEST_F(Quantize, MakesTheNumbersThatKerasMakes) {
  int count = 0;
  for (const std::string& name : quantized_model_names()) {
    const std::string mode = name.substr(name.find('_') + 1);
    if (mode == "float8") continue;  // whose file was trained
    SCOPED_TRACE(name);
    const auto model = load_model(kQuantizedModels + name.substr(0, name.find('_')) + ".keras");
    EXPECT_FALSE(quantize(*model, quantization_named(mode)).empty());
    save_model(*model, path("ours.keras"));
    EXPECT_TRUE(arrays_of(path("ours.keras")) == arrays_of(kQuantizedModels + name + ".keras"));
    const QuantizedModel expected(name);
    EXPECT_LT(distance((*model)(ctx_, expected.x), expected.values.at("expect.output")), 1e-5);
    ++count;
  }
  EXPECT_EQ(count, 36);
}

// Numbers and scales bit by bit; results as far as 16 bits go, which Keras rounds each step to.
TEST_F(Quantize, MakesTheNumbersThatKerasMakesIn16Bits) {
  const std::map<std::string, std::vector<std::string>> modes = {
      {"mixed_bfloat16", {"int8", "int4", "int4_groups", "float8"}},
      {"bfloat16", {"int8", "int4", "int4_groups"}},
      {"mixed_float16", {"int4", "int4_groups"}},
      {"float16", {"int4", "int4_groups"}}};
  for (const auto& [policy, all] : modes) {
    for (const std::string& mode : all) {
      const std::string name = "half_" + policy + "_" + mode;
      SCOPED_TRACE(name);
      const auto model = load_model(kQuantizedModels + "half_" + policy + ".keras");
      quantize(*model, quantization_named(mode));
      save_model(*model, path("ours.keras"));
      EXPECT_TRUE(arrays_of(path("ours.keras")) == arrays_of(kQuantizedModels + name + ".keras"));
      const QuantizedModel keras(name);
      const std::vector<Value> in = {{keras.x, {}}};
      for (const auto& each : {model, keras.model}) {
        const Tensor y = each->call(ctx_, in, {}, nullptr)[0].tensor;
        // Numbers of float8 lie up to a sixteenth apart.
        const double most = mode == "float8" ? 0.1 : 0.03;
        EXPECT_LT(distance(as_f32(y), keras.values.at("expect.output")), most);
      }
    }
  }
}

/// Keras's configuration without the identity that it gives to shared objects, and with one of the
/// two ways to say that there are no blocks.
ConfigValue comparable(const ConfigValue& config) {
  if (config.is_list()) {
    ConfigValue::List list;
    for (const ConfigValue& one : config.as_list("list")) list.push_back(comparable(one));
    return list;
  }
  if (!config.is_object()) return config;
  ConfigValue made = ConfigValue::Object{};
  for (const auto& [key, value] : config.as_object("config")) {
    if (key == "shared_object_id") continue;
    made.set(key, key == "block_size" && value.is_null() ? ConfigValue(-1) : comparable(value));
  }
  return made;
}

TEST_F(Quantize, WritesTheConfigurationThatKerasWrites) {
  for (const std::string mode :
       {"int8", "int8_weights", "int8_range", "int4", "int4_inputs", "int4_groups", "float8"}) {
    SCOPED_TRACE(mode);
    const auto model = load_model(kQuantizedModels + "einsum.keras");
    quantize(*model, quantization_named(mode));
    const auto expected = load_model(kQuantizedModels + "einsum_" + mode + ".keras");
    EXPECT_EQ(comparable(model->get_config()), comparable(expected->get_config()));
    save_model(*model, path("ours.keras"));
    EXPECT_EQ(load_model(path("ours.keras"))->get_config(), model->get_config());
  }
}

TEST_F(Quantize, NamesTheLayersThatItChanged) {
  const auto model = load_model(kQuantizedModels + "attention.keras");
  EXPECT_THAT(quantize(*model, QuantizationMode::int8),
              ElementsAre("multi_head_attention", "grouped_query_attention", "dense"));
  const auto untied = load_model(kQuantizedModels + "untied.keras");
  EXPECT_THAT(quantize(*untied, QuantizationMode::float8), IsEmpty());
}

// Keras computes those of TimeDistributed as if they were none.
TEST_F(Quantize, LeavesFloat8InTimeDistributedOut) {
  const auto model = load_model(kQuantizedModels + "wrapped.keras");
  EXPECT_THAT(quantize(*model, QuantizationMode::float8), ElementsAre("dense_1"));
}

// It calls a model inside as a model, whose layers have their scales.
TEST_F(Quantize, ModelsInTimeDistributedAreQuantizedWhole) {
  const auto inner = std::make_shared<Sequential>();
  inner->add(std::make_shared<Dense>(DenseConfig{.units = 4}));
  TimeDistributed layer({.layer = inner});
  const Tensor x = random_normal({2, 3, 6}, 1);
  const Tensor expected = layer(ctx_, x);
  EXPECT_THAT(quantize(layer, QuantizationMode::int8), ElementsAre("dense"));
  const Tensor got = layer(ctx_, x);
  EXPECT_GT(distance(got, expected), 0);
  EXPECT_LT(distance(got, expected), 0.05);
}

// An activation that has no name in Keras is a function all the same, unlike a layer.
TEST_F(Quantize, LayersWithAFunctionOfOtherNumbersAreQuantized) {
  Dense function({.units = 3, .activation = Activation("elu").with("alpha", 0.5)});
  function.build({{2, 5}});
  EXPECT_THAT(quantize(function, QuantizationMode::int8), ElementsAre("dense"));
  Dense layer(
      {.units = 3, .activation = Activation::from_config(layer_to_config(ELU({.alpha = 0.5})))});
  layer.build({{2, 5}});
  EXPECT_THAT(quantize(layer, QuantizationMode::int8), IsEmpty());
}

TEST_F(Quantize, RefusesWhatKerasRefuses) {
  const auto refusal = [](Layer& layer, const Quantization& how) {
    return error_of<ConfigError>([&] { quantize(layer, how); });
  };
  const Quantization int8 = default_quantization(QuantizationMode::int8);
  Dense dense({.units = 3});
  EXPECT_THAT(refusal(dense, int8), HasSubstr("build()"));
  dense.build({{2, 5}});
  EXPECT_THAT(
      refusal(dense, {.mode = QuantizationMode::int4, .block_size = 2, .inputs = InputRounding()}),
      HasSubstr("expected none beside a block_size, got a rounding"));
  EXPECT_THAT(refusal(dense, {.inputs = InputRounding{.most = 300}}),
              HasSubstr("expected a value_range within -128 and 127"));
  for (const Index length : {0, -3}) {
    EXPECT_THAT(refusal(dense, {.mode = QuantizationMode::float8, .amax_history_length = length}),
                HasSubstr("[quantize] amax_history_length: expected 1 or more"));
    EXPECT_EQ(dense.quantization(), nullptr);
  }
  quantize(dense, int8);
  EXPECT_THAT(refusal(dense, int8), HasSubstr("expected a layer that is not quantized"));
  Dense half({.units = 3, .dtype = DtypePolicy("mixed_float16")});
  half.build({{2, 5}});
  EXPECT_THAT(refusal(half, int8), HasSubstr("expected another policy beside int8"));
  Dense changed({.units = 3});
  changed.build({{2, 5}});
  changed.enable_lora({.rank = 1});
  EXPECT_THAT(refusal(changed, default_quantization(QuantizationMode::float8)),
              HasSubstr("expected no LoRA beside float8"));
}

// Its kernel's outputs are in another order than the result's, with a size that both have.
TEST_F(Quantize, ScalesThatKerasCannotArrangeAreRefused) {
  EinsumDense einsum({.equation = "abc,bxyc->ayx", .output_shape = {8, 8}});
  einsum.build({{2, 3, 5}});
  EXPECT_THAT(error_of<ConfigError>([&] { quantize(einsum, QuantizationMode::int8); }),
              HasSubstr("[quantize] equation: expected one whose scales Keras can arrange"));
  EXPECT_EQ(einsum.quantization(), nullptr);
}

// However large a block is, an output has one.
TEST_F(Quantize, ABlockMayBeAsLargeAsNumbersGo) {
  Dense one({.units = 3});
  Dense other({.units = 3});
  const Tensor x = random_normal({2, 5}, 1);
  one.build({{2, 5}}, 2);
  other.build({{2, 5}}, 2);
  quantize(one, {.mode = QuantizationMode::int4, .block_size = 6});
  quantize(other,
           {.mode = QuantizationMode::int4, .block_size = std::numeric_limits<Index>::max()});
  EXPECT_EQ(distance(one(ctx_, x), other(ctx_, x)), 0);
}

// The change is of the numbers that were there.
TEST_F(Quantize, LoraStaysBesideTheNumbers) {
  Dense dense({.units = 4});
  const Tensor x = random_normal({3, 6}, 1);
  dense.build({{3, 6}}, 2);
  dense.enable_lora({.rank = 2});
  for (const auto& [place, parameter] : dense.parameters()) {
    if (place == "lora_kernel_b") copy(random_normal(parameter->shape(), 3), parameter->edit());
  }
  const Tensor before = dense(ctx_, x);
  quantize(dense, QuantizationMode::int8);
  EXPECT_LT(distance(dense(ctx_, x), before), 0.05);
}

TEST_F(Quantize, AQuantizedModelTakesFloatingPointWeights) {
  const auto model = load_model(kQuantizedModels + "dense.keras");
  const QuantizedModel given("dense_int8");
  const Tensor before = (*model)(ctx_, given.x);
  save_weights(*model, path("float.safetensors"));
  quantize(*model, QuantizationMode::int8);
  EXPECT_GT(distance((*model)(ctx_, given.x), before), 1e-3);
  load_weights(*model, path("float.safetensors"));
  EXPECT_EQ(distance((*model)(ctx_, given.x), before), 0);
}

}  // namespace
}  // namespace grouphead
