// Recurrent layers, wrappers and preprocessing without Keras: configurations, errors, threads.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "grouphead/grouphead.h"
#include "grouphead/layers/serialization.h"
#include "io/file.h"
#include "io/json.h"
#include "support.h"

namespace grouphead {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::same_bits;

const std::string kRecurrentGolden = GROUPHEAD_SOURCE_DIR "/tests/golden/";

/// The first difference between what Keras writes and what is written here; empty: none.
std::string difference(const ConfigValue& keras, const ConfigValue& own, const std::string& place) {
  if (keras.is_object() && own.is_object()) {
    for (const auto& [key, value] : keras.as_object(place)) {
      if (key == "shared_object_id" || key == "build_config") continue;
      if (key == "compile_config" && value.as_object(key).empty()) continue;
      if (!own.contains(key)) return place + "/" + key + " is missing";
      const std::string found = difference(value, own[key], place + "/" + key);
      if (!found.empty()) return found;
    }
    return "";
  }
  if (keras.is_list() && own.is_list() &&
      keras.as_list(place).size() == own.as_list(place).size()) {
    for (std::size_t i = 0; i < keras.as_list(place).size(); ++i) {
      const std::string found = difference(keras.as_list(place)[i], own.as_list(place)[i],
                                           place + "/" + std::to_string(i));
      if (!found.empty()) return found;
    }
    return "";
  }
  const bool is_equal = keras.is_number() && own.is_number()
                            ? keras.as_number(place) == own.as_number(place)
                            : keras == own;
  return is_equal ? "" : place + ": " + keras.to_string() + ", not " + own.to_string();
}

TEST(RecurrentConfigs, AreWrittenAsKerasWritesThem) {
  for (const char* folder : {"keras_recurrent", "keras_wrappers"}) {
    const std::string path = kRecurrentGolden + folder + "/cases.json";
    const ConfigValue cases = io::parse_json(io::read_file(path), path);
    for (const ConfigValue& each : cases["cases"].as_list("cases")) {
      const std::string name = each["name"].as_string("name");
      const auto layer = make_layer(each["layer"].as_string("layer"), each["config"]);
      // Where Keras keeps arrays of other types as they are given.
      if (name == "rescaling_lists") continue;
      EXPECT_EQ(difference(each["config"], layer->get_config(), name), "");
    }
  }
}

std::string refused(const char* class_name, const ConfigValue& config) {
  return error_of<ConfigError>([&] { make_layer(class_name, config); });
}

ConfigValue with(ConfigValue config, const char* key, ConfigValue value) {
  config.set(key, std::move(value));
  return config;
}

TEST(RecurrentConfigs, RefuseWhatIsNone) {
  const ConfigValue units = ConfigValue::Object{{"units", 4}};
  for (const char* name : {"LSTM", "GRU", "SimpleRNN"}) {
    EXPECT_THAT(refused(name, with(units, "units", 0)), HasSubstr("units: expected"));
    EXPECT_THAT(refused(name, with(units, "units", -3)), HasSubstr("units: expected"));
    EXPECT_THAT(refused(name, with(units, "units", Index{1} << 40)), HasSubstr("units: expected"));
    EXPECT_THAT(refused(name, with(units, "units", "4")), HasSubstr("units"));
    EXPECT_THAT(refused(name, with(units, "activation", "nothing")), HasSubstr("activation"));
    EXPECT_THAT(refused(name, with(units, "dropout", "much")), HasSubstr("dropout"));
    EXPECT_THAT(refused(name, with(units, "seed", -1)), HasSubstr("seed"));
    EXPECT_THAT(refused(name, with(units, "use_cudnn", true)), HasSubstr("use_cudnn"));
    EXPECT_THAT(refused(name, with(units, "time_major", true)), HasSubstr("time_major"));
    EXPECT_THAT(refused(name, with(units, "implementation", 3)), HasSubstr("implementation"));
    EXPECT_THAT(refused(name, with(units, "speed", 1)), HasSubstr("speed"));
  }
  EXPECT_THAT(refused("SimpleRNN", with(units, "reset_after", true)), HasSubstr("reset_after"));
  EXPECT_THAT(refused("RNN", ConfigValue::Object{{"cell", nullptr}}), HasSubstr("class_name"));
  const ConfigValue cell = config_envelope("keras.layers", "LSTMCell", units);
  EXPECT_THAT(
      refused("RNN",
              ConfigValue::Object{{"cell", config_envelope("keras.layers", "Dense", units)}}),
      HasSubstr("LSTMCell, GRUCell"));
  const auto stack = [&](ConfigValue::List cells) {
    return ConfigValue::Object{{"cell", config_envelope("keras.layers", "StackedRNNCells",
                                                        ConfigValue::Object{{"cells", cells}})}};
  };
  EXPECT_THROW(make_layer("RNN", stack({})), ShapeError);
  EXPECT_THROW(make_layer("RNN", stack(ConfigValue::List(40, cell))), ShapeError);
}

ConfigValue lstm_envelope(bool backwards) {
  return config_envelope("keras.layers", "LSTM",
                         ConfigValue::Object{{"units", 3}, {"go_backwards", backwards}});
}

TEST(WrapperConfigs, RefuseWhatIsNone) {
  const ConfigValue one = ConfigValue::Object{{"layer", lstm_envelope(false)}};
  EXPECT_THAT(refused("Bidirectional", with(one, "merge_mode", "both")), HasSubstr("merge_mode"));
  EXPECT_THAT(refused("Bidirectional", with(one, "backward_layer", lstm_envelope(false))),
              HasSubstr("go_backwards"));
  EXPECT_THAT(refused("Bidirectional", ConfigValue::Object{}), HasSubstr("layer"));
  const ConfigValue dense =
      config_envelope("keras.layers", "Dense", ConfigValue::Object{{"units", 3}});
  EXPECT_THAT(refused("Bidirectional", ConfigValue::Object{{"layer", dense}}),
              HasSubstr("LSTM, GRU, SimpleRNN or RNN"));
  ConfigValue deep = dense;
  for (int i = 0; i < 40; ++i) {
    deep = config_envelope("keras.layers", "TimeDistributed", ConfigValue::Object{{"layer", deep}});
  }
  EXPECT_THAT(refused("TimeDistributed", deep["config"]), HasSubstr("layers in each other"));
  EXPECT_THAT(refused("TimeDistributed", ConfigValue::Object{{"layer", 3}}), HasSubstr("a layer"));
}

TEST(Preprocessing, RefusesWhatIsNone) {
  EXPECT_THAT(refused("Rescaling", ConfigValue::Object{{"scale", "much"}}), HasSubstr("scale"));
  const ConfigValue ragged = ConfigValue::List{ConfigValue::List{1, 2}, ConfigValue::List{1}};
  EXPECT_THAT(refused("Rescaling", ConfigValue::Object{{"scale", ragged}}), HasSubstr("scale"));
  ConfigValue deep = 1.0;
  for (int i = 0; i < 200; ++i) deep = ConfigValue::List{deep};
  EXPECT_THAT(refused("Rescaling", ConfigValue::Object{{"scale", deep}}), HasSubstr("scale"));
  EXPECT_THAT(refused("Normalization", ConfigValue::Object{{"mean", 1.0}}),
              HasSubstr("both or none"));
  EXPECT_THAT(refused("CategoryEncoding", ConfigValue::Object{{"num_tokens", 0}}),
              HasSubstr("num_tokens"));
  EXPECT_THAT(refused("CategoryEncoding", ConfigValue::Object{{"num_tokens", 3}, {"sparse", true}}),
              HasSubstr("sparse"));
  EXPECT_THAT(
      refused("CategoryEncoding", ConfigValue::Object{{"num_tokens", 3}, {"output_mode", "int"}}),
      HasSubstr("output_mode"));
  const auto words = [](ConfigValue::List list) {
    return ConfigValue::Object{{"vocabulary", std::move(list)}};
  };
  EXPECT_THAT(refused("IntegerLookup", words({3, 3})), HasSubstr("3 twice"));
  EXPECT_THAT(refused("StringLookup", words({"a", "b", "a"})), HasSubstr("'a' twice"));
  EXPECT_THAT(refused("StringLookup", ConfigValue::Object{{"vocabulary", "words.txt"}}),
              HasSubstr("other files are not read"));
  EXPECT_THAT(refused("IntegerLookup", with(words({1, 2}), "max_tokens", 2)),
              HasSubstr("max_tokens"));
  EXPECT_THAT(refused("TextVectorization", ConfigValue::Object{{"split", "words"}}),
              HasSubstr("split"));
  EXPECT_THAT(refused("TextVectorization", ConfigValue::Object{{"ngrams", 1000}}),
              HasSubstr("ngrams"));
}

TEST(Recurrent, RefusesShapesThatAreNone) {
  Context ctx;
  LSTM lstm({.units = 3, .return_state = true});
  lstm.build({{2, 5, 4}});
  const auto call = [&](std::vector<Value> in) {
    return error_of<ShapeError>([&] { lstm.forward(ctx, in, {}, nullptr); });
  };
  EXPECT_THAT(call({{Tensor::zeros({2, 4}), {}}}), HasSubstr("sequences"));
  EXPECT_THAT(call({{Tensor::zeros({2, 5, 3}), {}}}), HasSubstr("sequences"));
  EXPECT_THAT(call({{Tensor::zeros({2, 0, 4}), {}}}), HasSubstr("1 step or more"));
  EXPECT_THAT(call({{Tensor::zeros({2, 5, 4}), {}}, {}, {Tensor::zeros({2, 3}), {}}}),
              HasSubstr("initial_state: expected 2 tensors"));
  EXPECT_THAT(call({{Tensor::zeros({2, 5, 4}), {}},
                    {},
                    {Tensor::zeros({1, 3}), {}},
                    {Tensor::zeros({2, 3}), {}}}),
              HasSubstr("as many rows"));
  EXPECT_THAT(call({{Tensor::zeros({2, 5, 4}), Tensor::zeros({2, 4}, Dtype::boolean)}}),
              HasSubstr("mask"));
  EXPECT_THAT(call({{Tensor::zeros({2, 5, 4}, Dtype::f64), {}}}), HasSubstr("f32"));
  EXPECT_THROW(lstm.build({{2, 5, 4}}), ConfigError);
  LSTM fresh({.units = 3});
  EXPECT_THROW(std::as_const(fresh)(ctx, Tensor::zeros({2, 5, 4})), ConfigError);
}

struct Numbers {
  std::vector<Tensor> tensors;
};

/// Outputs and gradients of one call.
Numbers numbers_of(Layer& layer, const Value& in, int threads) {
  Context ctx({.num_threads = threads});
  std::unique_ptr<Saved> saved;
  const std::vector<Value> out = layer.call(ctx, std::span(&in, 1), {.training = true}, &saved);
  Numbers made;
  std::vector<ConstView> d_out;
  for (const Value& value : out) {
    made.tensors.push_back(value.tensor.clone());
    d_out.push_back(made.tensors.back());
  }
  Grads grads(ctx, layer.parameters());
  Tensor d_x = Tensor::zeros(in.tensor.shape());
  View d_in = d_x;
  layer.call_backward(ctx, *saved, d_out, std::span(&d_in, 1), grads);
  made.tensors.push_back(d_x);
  for (const auto& [path, parameter] : layer.parameters()) {
    Tensor copied(parameter->shape());
    copy(grads.of(*parameter), copied);
    made.tensors.push_back(copied);
  }
  return made;
}

/// One of each class. Kernels of 70 units are small, so that threads take rows through all steps;
/// those of 300 are not, and threads share each step.
std::vector<std::shared_ptr<Layer>> layers_of(Index units) {
  const RecurrentConfig config{.units = units, .return_sequences = true, .return_state = true};
  RecurrentConfig before = config;
  before.reset_after = false;
  return {std::make_shared<LSTM>(config), std::make_shared<GRU>(config),
          std::make_shared<GRU>(before), std::make_shared<SimpleRNN>(config),
          std::make_shared<Bidirectional>(
              BidirectionalConfig{.layer = std::make_shared<LSTM>(config)})};
}

TEST(Recurrent, ThreadsDoNotChangeBits) {
  for (const Index units : {70, 300}) {
    const Value in{random_normal({19, units == 70 ? 11 : 2, 40}, 3), {}};
    for (const auto& layer : layers_of(units)) {
      layer->build({in.tensor.shape()}, 5);
      const Numbers one = numbers_of(*layer, in, 1);
      for (const int threads : {2, 5}) {
        const Numbers many = numbers_of(*layer, in, threads);
        ASSERT_EQ(one.tensors.size(), many.tensors.size());
        for (std::size_t i = 0; i < one.tensors.size(); ++i) {
          EXPECT_TRUE(same_bits(one.tensors[i], many.tensors[i]))
              << layer->class_name() << units << ' ' << i;
        }
      }
    }
  }
}

Tensor first_of(Layer& layer, Context& ctx, const Tensor& x) {
  const Value in{x, {}};
  return layer.call(ctx, std::span(&in, 1), {}, nullptr)[0].tensor;
}

TEST(Recurrent, ARowDoesNotDependOnOthers) {
  Context ctx({.num_threads = 2});
  const Tensor x = random_normal({19, 3, 10}, 4);
  for (const Index units : {70, 300}) {
    for (const Dtype form : {Dtype::f32, Dtype::bf16, Dtype::u8}) {
      for (const auto& layer : layers_of(units)) {
        layer->build({x.shape()}, 2);
        const Tensor whole = first_of(*layer, ctx, x);
        pack_weights(layer->parameters(), form);
        const Tensor all = first_of(*layer, ctx, x);
        for (const Index row : {0, 7, 8, 18}) {
          const Tensor one = first_of(*layer, ctx, slice(x, 0, row, row + 1));
          EXPECT_TRUE(same_bits(one, contiguous(all.view().slice(0, row, row + 1))))
              << layer->class_name() << units << ' ' << row;
        }
        // Numbers of 8 bits are off by 1/254 of a column's largest, those of bf16 by 2^-9.
        const float bound = form == Dtype::f32 ? 0.0F : 0.05F;
        for (Index i = 0; i < all.size(); ++i) {
          ASSERT_NEAR(all.data<float>()[i], whole.data<float>()[i], bound);
        }
      }
    }
  }
}

TEST(Lookup, IntegersGetTheirPlaces) {
  Context ctx;
  IntegerLookup lookup({.mask_token = 0, .vocabulary = {12, 36, 1138, 42}});
  const Tensor x =
      Tensor::from<std::int64_t>({2, 3}, std::vector<std::int64_t>{12, 1138, 0, 7, 42, 36});
  const Value in{x, {}};
  const auto places = lookup.forward(ctx, std::span(&in, 1), {}, nullptr)[0].tensor;
  EXPECT_EQ(to_string(places), "i64 [2, 3] [[2, 4, 0], [1, 5, 3]]");
  IntegerLookup back({.mask_token = 0, .vocabulary = lookup.vocabulary(), .invert = true});
  const Value found{places, {}};
  EXPECT_EQ(to_string(back.forward(ctx, std::span(&found, 1), {}, nullptr)[0].tensor),
            "i64 [2, 3] [[12, 1138, 0], [-1, 42, 36]]");
  IntegerLookup two({.num_oov_indices = 2, .vocabulary = {12, 36}});
  const Tensor unknown = Tensor::from<std::int64_t>({3}, std::vector<std::int64_t>{-3, 4, 36});
  const Value next{unknown, {}};
  EXPECT_EQ(to_string(two.forward(ctx, std::span(&next, 1), {}, nullptr)[0].tensor),
            "i64 [3] [1, 0, 3]");
  IntegerLookup none({.num_oov_indices = 0, .vocabulary = {12}});
  EXPECT_THAT(error_of<ConfigError>([&] { none.forward(ctx, std::span(&in, 1), {}, nullptr); }),
              HasSubstr("tokens of the vocabulary, got 1138"));
  IntegerLookup weighted({.vocabulary = {12, 36, 1138, 42},
                          .idf_weights = {0.25, 0.75, 0.6, 0.4},
                          .output_mode = LookupMode::tf_idf});
  EXPECT_EQ(to_string(weighted.forward(ctx, std::span(&in, 1), {}, nullptr)[0].tensor),
            "f32 [2, 5] [[0.5, 0.25, 0, 0.6, 0], [0.5, 0, 0.75, 0, 0.4]]");
}

TEST(Lookup, TextsAreTensorsOfBytes) {
  const std::vector<std::string> texts{"ab", "", "äß"};
  const Tensor tensor = text_tensor(texts);
  EXPECT_EQ(tensor.shape(), (Shape{3, 1, 4}));
  EXPECT_EQ(texts_of(tensor), texts);
  EXPECT_THROW(text_tensor(texts, Shape{2}), ShapeError);
  EXPECT_THROW(text_tensor(std::vector<std::string>{std::string("a\0b", 3)}), ConfigError);
  EXPECT_THROW(texts_of(Tensor::zeros({2, 3})), ShapeError);
}

}  // namespace
}  // namespace grouphead
