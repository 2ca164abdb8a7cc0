// Configurations, properties and symbolic shapes of GroupQueryAttention and MultiHeadAttention.

#include <gmock/gmock.h>

#include "attention_layer_support.h"
#include "grouphead/layers/serialization.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

std::vector<std::string> keys_of(const ConfigValue& config) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : config.as_object("config")) keys.push_back(key);
  return keys;
}

ConfigValue gqa_config(ConfigValue::Object more = {}) {
  ConfigValue config =
      ConfigValue::Object{{"head_dim", 4}, {"num_query_heads", 4}, {"num_key_value_heads", 2}};
  for (auto& [key, value] : more) config.set(key, value);
  return config;
}
ConfigValue mha_config(ConfigValue::Object more = {}) {
  ConfigValue config = ConfigValue::Object{{"num_heads", 2}, {"key_dim", 4}};
  for (auto& [key, value] : more) config.set(key, value);
  return config;
}

// The order is that of keras.layers.GroupQueryAttention(...).get_config() of 3.15.1.
TEST(GroupQueryAttentionConfig, HasKerasKeysInKerasOrder) {
  EXPECT_THAT(keys_of(make_layer("GroupQueryAttention", gqa_config())->get_config()),
              ElementsAre("name", "trainable", "dtype", "head_dim", "num_query_heads",
                          "num_key_value_heads", "use_bias", "use_gate", "sliding_window",
                          "dropout", "kernel_initializer", "bias_initializer", "kernel_regularizer",
                          "bias_regularizer", "activity_regularizer", "kernel_constraint",
                          "bias_constraint", "seed"));
  EXPECT_THAT(
      keys_of(make_layer("GroupQueryAttention", gqa_config({{"activity_regularizer", "l2"}}))
                  ->get_config()),
      ElementsAre("name", "trainable", "dtype", "activity_regularizer", "head_dim",
                  "num_query_heads", "num_key_value_heads", "use_bias", "use_gate",
                  "sliding_window", "dropout", "kernel_initializer", "bias_initializer",
                  "kernel_regularizer", "bias_regularizer", "kernel_constraint", "bias_constraint",
                  "seed"));
}

TEST(GroupQueryAttentionConfig, OptionsOfLogitsComeBack) {
  const ConfigValue slopes = ConfigValue::List{0.5, 0.25, 0.125, 0.0625};
  const auto layer =
      make_layer("GroupQueryAttention",
                 gqa_config({{"softcap", 20.0}, {"alibi_slopes", slopes}, {"sinks", true}}));
  const ConfigValue config = layer->get_config();
  EXPECT_EQ(config["softcap"].as_number("softcap"), 20);
  EXPECT_EQ(config["alibi_slopes"], slopes);
  EXPECT_EQ(make_layer("GroupQueryAttention", config)->get_config(), config);
  layer->build({{1, 3, 8}});
  EXPECT_EQ(layer->parameters().back().path, "sinks");
  const auto error = [](ConfigValue::Object more) {
    return error_of<ConfigError>([&] { make_layer("GroupQueryAttention", gqa_config(more)); });
  };
  EXPECT_THAT(error({{"softcap", 0.0}}), HasSubstr("softcap: expected a positive number, got 0"));
  EXPECT_THAT(error({{"alibi_slopes", ConfigValue::List{0.5}}}),
              HasSubstr("alibi_slopes: expected 4, one for each head, got 1"));
  EXPECT_THAT(error({{"sinks", true}, {"masked_rows", "uniform"}}),
              HasSubstr("masked_rows: expected zeros, as there are sinks, got uniform"));
}

TEST(MultiHeadAttentionConfig, HasKerasKeysInKerasOrder) {
  EXPECT_THAT(keys_of(make_layer("MultiHeadAttention", mha_config({{"activity_regularizer", "l2"}}))
                          ->get_config()),
              ElementsAre("name", "trainable", "dtype", "num_heads", "key_dim", "value_dim",
                          "dropout", "use_bias", "use_gate", "output_shape", "attention_axes",
                          "sliding_window", "kernel_initializer", "bias_initializer",
                          "kernel_regularizer", "bias_regularizer", "activity_regularizer",
                          "kernel_constraint", "bias_constraint", "seed"));
}

TEST(AttentionConfig, ComesBackAsItWasGiven) {
  const ConfigValue::Object common = {{"name", "mine"},
                                      {"trainable", false},
                                      {"dropout", 0.25},
                                      {"use_bias", false},
                                      {"use_gate", true},
                                      {"sliding_window", 3},
                                      {"seed", 5},
                                      {"kernel_initializer", "he_normal"},
                                      {"bias_regularizer", "l2"},
                                      {"kernel_constraint", "non_neg"},
                                      {"masked_rows", "zeros"},
                                      {"dtype", "mixed_bfloat16"}};
  ConfigValue::Object more = common;
  more.emplace_back("rope", ConfigValue::Object{{"base", 500.0},
                                                {"layout", "interleaved"},
                                                {"yarn", ConfigValue::Object{{"scale", 4.0}}}});
  more.emplace_back("causal", true);
  more.emplace_back("output_dim", 6);
  const auto gqa = make_layer("GroupQueryAttention", gqa_config(more));
  const ConfigValue config = gqa->get_config();
  EXPECT_EQ(make_layer("GroupQueryAttention", config)->get_config(), config);
  EXPECT_EQ(config["sliding_window"], ConfigValue(3));
  EXPECT_EQ(config["trainable"], ConfigValue(false));
  EXPECT_EQ(config["masked_rows"], ConfigValue("zeros"));
  EXPECT_EQ(config["rope"]["layout"], ConfigValue("interleaved"));
  EXPECT_EQ(config["rope"]["yarn"]["scale"], ConfigValue(4.0));
  EXPECT_EQ(config["kernel_initializer"]["class_name"], ConfigValue("HeNormal"));

  more = common;
  more.emplace_back("value_dim", 6);
  more.emplace_back("output_shape", ConfigValue::List{2, 3});
  more.emplace_back("attention_axes", ConfigValue::List{-2});
  const auto mha = make_layer("MultiHeadAttention", mha_config(more));
  const ConfigValue before = mha->get_config();
  EXPECT_EQ(make_layer("MultiHeadAttention", before)->get_config(), before);
  EXPECT_EQ(before["attention_axes"], ConfigValue(ConfigValue::List{-2}));
  build(*mha, {{2, 3, 4, 5}});
  EXPECT_EQ(mha->get_config()["attention_axes"], ConfigValue(ConfigValue::List{2}));
  for (const auto& entry : mha->parameters()) {
    EXPECT_FALSE(entry.parameter->trainable()) << entry.path;
  }
}

TEST(AttentionConfig, OfOlderFilesTakesTheDefaults) {
  const auto layer = make_layer("MultiHeadAttention", mha_config());
  const ConfigValue config = layer->get_config();
  EXPECT_EQ(config["name"], ConfigValue("multi_head_attention"));
  EXPECT_EQ(config["value_dim"], ConfigValue(4));
  EXPECT_EQ(config["use_bias"], ConfigValue(true));
  EXPECT_EQ(config["use_gate"], ConfigValue(false));
  EXPECT_TRUE(config["output_shape"].is_null());
  EXPECT_TRUE(config["attention_axes"].is_null());
  EXPECT_EQ(config["kernel_initializer"]["class_name"], ConfigValue("GlorotUniform"));
  EXPECT_EQ(config["bias_initializer"]["class_name"], ConfigValue("Zeros"));
  EXPECT_EQ(make_layer("GroupQueryAttention", gqa_config())->name(), "grouped_query_attention");
}

TEST(AttentionConfig, IsRefusedByName) {
  const auto gqa = [](ConfigValue::Object more) {
    return error_of<ConfigError>([&] { make_layer("GroupQueryAttention", gqa_config(more)); });
  };
  const auto mha = [](ConfigValue::Object more) {
    return error_of<ConfigError>([&] { make_layer("MultiHeadAttention", mha_config(more)); });
  };
  EXPECT_EQ(gqa({{"sliding_window", 0}}),
            "[group_query_attention] sliding_window: expected none or 1 or more, got 0");
  EXPECT_THAT(gqa({{"sliding_window", 2.5}}), HasSubstr("sliding_window"));
  EXPECT_THAT(gqa({{"dropout", 1.5}}),
              HasSubstr("[group_query_attention] dropout: expected 0 to 1, got 1.5"));
  EXPECT_THAT(
      gqa({{"dropout", 0.1}, {"flash_attention", true}}),
      HasSubstr("[group_query_attention] dropout: expected 0 with flash_attention, got 0.1"));
  EXPECT_EQ(gqa({{"masked_rows", "none"}}),
            "[group_query_attention] masked_rows: expected one of keras, zeros, uniform, got none");
  EXPECT_THAT(gqa({{"seed", -1}}), HasSubstr("seed"));
  EXPECT_THAT(gqa({{"no_such_argument", 1}}), HasSubstr("no_such_argument"));
  EXPECT_EQ(mha({{"num_heads", 0}}), "[multi_head_attention] num_heads: expected 1 or more, got 0");
  EXPECT_THAT(mha({{"num_heads", 2.0}}), HasSubstr("num_heads"));
  EXPECT_EQ(mha({{"key_dim", -1}}), "[multi_head_attention] key_dim: expected 1 or more, got -1");
  EXPECT_EQ(mha({{"value_dim", 0}}), "[multi_head_attention] value_dim: expected 1 or more, got 0");
  EXPECT_THAT(mha({{"attention_axes", "ab"}}), HasSubstr("attention_axes"));
  EXPECT_EQ(mha({{"output_shape", ConfigValue::List{2, 0}}}),
            "[multi_head_attention] output_shape: expected 1 or more, got 0");
  EXPECT_EQ(mha({{"output_shape", 0}}), "no error");  // none, as in Keras
  EXPECT_EQ(mha({{"output_shape", 3}, {"attention_axes", 1}}), "no error");
}

TEST(FlashAttention, ChangesNothingButWhatKerasRefuses) {
  Context ctx;
  Context off({.flash_attention = FlashAttention::off});
  EXPECT_EQ(off.flash_attention(), FlashAttention::off);
  GroupQueryAttentionConfig config{.head_dim = 4, .num_query_heads = 2, .num_key_value_heads = 1};
  const AttentionInputs in{.query = random_tensor({1, 3, 5}, 1),
                           .value = random_tensor({1, 4, 5}, 2)};
  const std::vector<Value> operands = operands_of(in);
  const Tensor want = (*made<GroupQueryAttention>(config, operands))(ctx, in);
  for (const bool flash : {false, true}) {
    config.flash_attention = flash;
    const auto layer = made<GroupQueryAttention>(config, operands);
    EXPECT_TRUE(same_bits((*layer)(ctx, in), want));
    EXPECT_TRUE(same_bits((*layer)(off, in), want));
    EXPECT_EQ(error_of<ConfigError>([&] { layer->with_scores(ctx, in); }),
              flash ? "[group_query_attention] return_attention_scores: expected false with "
                      "flash_attention, got true"
                    : "no error");
  }
}

TEST(AttentionArguments, HaveKerasKeywords) {
  const auto layer = make_layer("GroupQueryAttention", gqa_config());
  const ConfigValue keywords = ConfigValue::Object{
      {"return_attention_scores", true}, {"use_causal_mask", true}, {"causal_offset", 2}};
  const auto arguments = layer->arguments_from_config(keywords);
  const auto* own = dynamic_cast<const AttentionArguments*>(arguments.get());
  ASSERT_NE(own, nullptr);
  EXPECT_TRUE(own->use_causal_mask);
  EXPECT_TRUE(own->return_attention_scores);
  EXPECT_EQ(own->causal_offset, 2);
  EXPECT_EQ(layer->arguments_config(arguments.get()), keywords);
  EXPECT_EQ(layer->arguments_config(nullptr), ConfigValue(ConfigValue::Object{}));
  EXPECT_THAT(error_of<ConfigError>([&] {
                layer->arguments_from_config(ConfigValue::Object{{"mask", true}});
              }),
              HasSubstr("mask"));
  EXPECT_THAT(layer->input_names(), ElementsAre("query", "value", "key", "query_mask", "value_mask",
                                                "key_mask", "attention_mask", "attention_bias"));
}

TEST(AttentionShapes, AreKnownWithoutNumbers) {
  AttentionArguments scores;
  scores.return_attention_scores = true;
  const auto gqa = make_layer("GroupQueryAttention", gqa_config());
  const Shape query = Shape::partial({-1, 3, 5});
  const Shape value = Shape::partial({-1, -1, 5});
  EXPECT_THAT(gqa->output_shapes(std::vector<Shape>{query, value}, &scores),
              ElementsAre(query, Shape::partial({-1, 4, 3, -1})));
  EXPECT_THAT(gqa->output_shapes(std::vector<Shape>{query}, nullptr), ElementsAre(query));
  const auto refusal = [&](const std::vector<Shape>& shapes) {
    return error_of<ShapeError>([&] { gqa->output_shapes(shapes, nullptr); });
  };
  // errors.json: gqa_symbolic_feature_dims_differ
  EXPECT_EQ(refusal({query, Shape::partial({-1, 7, 6})}),
            "[group_query_attention] value: expected query's last axis, 5, got [-1, 7, 6]");
  EXPECT_EQ(refusal({query, {2, 7, 5}, {2, 8, 5}}),
            "[group_query_attention] key: expected [2, 7, *], got [2, 8, 5]");
  EXPECT_THAT(refusal({{2, 3, 4, 5}}), HasSubstr("query"));

  MultiHeadAttention mha(
      {.num_heads = 2, .key_dim = 4, .output_shape = {2, 3}, .attention_axes = {1}});
  EXPECT_THAT(
      mha.output_shapes(std::vector<Shape>{Shape::partial({-1, 3, 4, 5}), {2, 6, 4, 7}}, &scores),
      ElementsAre(Shape::partial({-1, 3, 4, 2, 3}), Shape::partial({-1, 4, 2, 3, 6})));
}

TEST(MultiHeadAttention, TellsWhatItIs) {
  MultiHeadAttention layer({.num_heads = 2,
                            .key_dim = 4,
                            .value_dim = 3,
                            .dropout = 0.5,
                            .use_bias = false,
                            .output_shape = {6},
                            .attention_axes = {-2}});
  EXPECT_EQ(layer.num_heads(), 2);
  EXPECT_EQ(layer.key_dim(), 4);
  EXPECT_EQ(layer.value_dim(), 3);
  EXPECT_EQ(layer.dropout(), 0.5);
  EXPECT_FALSE(layer.use_bias());
  EXPECT_EQ(layer.output_shape(), Shape({6}));
  EXPECT_THAT(layer.attention_axes(), ElementsAre(-2));
  EXPECT_TRUE(layer.query_dense().empty());
  build(layer, {{2, 3, 4, 5}, {2, 3, 7, 8}});
  EXPECT_THAT(layer.attention_axes(), ElementsAre(2));
  ASSERT_EQ(layer.query_dense().size(), 1U);
  EXPECT_EQ(layer.query_dense()[0].path, "kernel");
  EXPECT_EQ(layer.query_dense()[0].parameter->shape(), Shape({5, 2, 4}));
  EXPECT_EQ(layer.key_dense()[0].parameter->shape(), Shape({8, 2, 4}));
  EXPECT_EQ(layer.value_dense()[0].parameter->shape(), Shape({8, 2, 3}));
  EXPECT_EQ(layer.output_dense()[0].parameter->shape(), Shape({2, 3, 6}));
}

TEST(AttentionParameters, StandInKerasOrder) {
  const auto paths = [](const Layer& layer) {
    std::vector<std::string> found;
    for (const auto& entry : layer.parameters()) found.push_back(entry.path);
    return found;
  };
  for (const auto& layer : {make_layer("GroupQueryAttention", gqa_config({{"use_gate", true}})),
                            make_layer("MultiHeadAttention", mha_config({{"use_gate", true}}))}) {
    build(*layer, {{2, 3, 5}});
    EXPECT_THAT(paths(*layer), ElementsAre("query/kernel", "query/bias", "key/kernel", "key/bias",
                                           "gate/kernel", "gate/bias", "value/kernel", "value/bias",
                                           "attention_output/kernel", "attention_output/bias"));
    // An unseeded initializer draws anew for each kernel.
    EXPECT_FALSE(same_bits(layer->parameters()[0].parameter->value(),
                           layer->parameters()[4].parameter->value()));
  }
}

}  // namespace
}  // namespace grouphead
