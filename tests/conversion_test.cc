// Conversions of attention layers and models to fewer key/value heads.

#include "grouphead/models/conversion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "grouphead/files/model_json.h"
#include "grouphead/layers/serialization.h"
#include "support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::same_bits;

Parameter& parameter(Layer& layer, const std::string& path) {
  for (const auto& entry : layer.parameters()) {
    if (entry.path == path) return *entry.parameter;
  }
  throw std::runtime_error("no parameter " + path);
}

// Biases that are not zero show whether they are pooled.
void fill_biases(Layer& layer) {
  std::uint64_t seed = 100;
  for (const auto& entry : layer.parameters()) {
    if (entry.parameter->name() != "bias") continue;
    copy(random_normal(entry.parameter->shape(), ++seed), entry.parameter->edit());
  }
}

std::shared_ptr<MultiHeadAttention> built_mha(const MultiHeadAttentionConfig& config) {
  auto layer = std::make_shared<MultiHeadAttention>(config);
  const Shape shapes[] = {{2, 5, 12}, {2, 7, 12}};
  RandomStream random(3);
  layer->build(shapes, random);
  fill_biases(*layer);
  return layer;
}

MultiHeadAttentionConfig mha_config() {
  return {.num_heads = 4, .key_dim = 3, .use_gate = true, .name = "attn"};
}

TEST(ConvertHeads, AsManyHeadsLoseNothing) {
  Context ctx;
  const auto before = built_mha(mha_config());
  const auto after = convert_heads(*before, {.num_key_value_heads = 4});
  EXPECT_EQ(after->name(), "attn");
  EXPECT_EQ(after->config().num_key_value_heads, 4);
  EXPECT_TRUE(after->config().use_gate);
  const AttentionInputs in{.query = random_normal({2, 5, 12}, 1),
                           .value = random_normal({2, 7, 12}, 2),
                           .use_causal_mask = true};
  const Tensor want = (*before)(ctx, in);
  CHECK_CLOSE((*after)(ctx, in), want, 1e-6, "MHA as GQA");
}

TEST(ConvertHeads, MeanFirstAndRandomHeads) {
  const auto before = built_mha(mha_config());
  const auto kernel = parameter(*before, "value/kernel").value();  // [12, 4, 3]
  const auto bias = parameter(*before, "key/bias").value();        // [4, 3]
  const auto mean = convert_heads(*before, {.num_key_value_heads = 2});
  const auto first =
      convert_heads(*before, {.num_key_value_heads = 2, .pooling = HeadPooling::first});
  const float* old_kernel = kernel.data<float>();
  const float* old_bias = bias.data<float>();
  for (Index m = 0; m < 12; ++m) {
    for (Index h = 0; h < 2; ++h) {
      for (Index d = 0; d < 3; ++d) {
        const float a = old_kernel[(m * 4 + 2 * h) * 3 + d];
        const float b = old_kernel[(m * 4 + 2 * h + 1) * 3 + d];
        const Index at = (m * 2 + h) * 3 + d;
        EXPECT_FLOAT_EQ(parameter(*mean, "value/kernel").value().data<float>()[at], (a + b) / 2);
        EXPECT_EQ(parameter(*first, "value/kernel").value().data<float>()[at], a);
      }
    }
  }
  EXPECT_FLOAT_EQ(parameter(*mean, "key/bias").value().data<float>()[3],
                  (old_bias[6] + old_bias[9]) / 2);
  for (const char* path :
       {"query/kernel", "query/bias", "gate/kernel", "attention_output/kernel"}) {
    EXPECT_TRUE(same_bits(parameter(*mean, path).value(), parameter(*before, path).value()));
  }
  const auto random = [&](std::uint64_t seed) {
    return convert_heads(*before,
                         {.num_key_value_heads = 1, .pooling = HeadPooling::random, .seed = seed});
  };
  const auto one = random(1);
  EXPECT_TRUE(same_bits(parameter(*one, "key/kernel").value(),
                        parameter(*random(1), "key/kernel").value()));
  EXPECT_FALSE(same_bits(parameter(*one, "key/kernel").value(),
                         parameter(*random(2), "key/kernel").value()));
  EXPECT_TRUE(same_bits(parameter(*one, "query/kernel").value(),
                        parameter(*before, "query/kernel").value()));
}

// Equal heads in each group: pooling them changes nothing but the number of heads.
TEST(ConvertHeads, EqualHeadsPoolWithoutLoss) {
  Context ctx;
  for (const DtypePolicy& policy : {DtypePolicy(), DtypePolicy("float64")}) {
    MultiHeadAttentionConfig config = mha_config();
    config.dtype = policy;
    const auto layer = std::make_shared<MultiHeadAttention>(config);
    const Shape x{2, 5, 12};
    RandomStream random(3);
    layer->build(std::span(&x, 1), random);
    for (const char* path : {"key/kernel", "value/kernel"}) {
      const View kernel = parameter(*layer, path).edit();
      for (const Index head : {0, 2}) {
        copy(kernel.slice(1, head, head + 1), kernel.slice(1, head + 1, head + 2));
      }
    }
    Tensor input(x, layer->dtype());
    const Tensor numbers = random_normal(x, 1);
    for (Index i = 0; i < input.size(); ++i) {
      if (input.dtype() == Dtype::f32) input.data<float>()[i] = numbers.data<float>()[i];
      if (input.dtype() == Dtype::f64) input.data<double>()[i] = numbers.data<float>()[i];
    }
    const AttentionInputs in{.query = input, .value = input};
    for (const HeadPooling pooling : {HeadPooling::mean, HeadPooling::first}) {
      const auto after = convert_heads(*layer, {.num_key_value_heads = 2, .pooling = pooling});
      CHECK_CLOSE((*after)(ctx, in), (*layer)(ctx, in), 1e-6, "equal heads");
    }
  }
}

TEST(ConvertHeads, SixteenBitKernelsStaySo) {
  MultiHeadAttentionConfig config = mha_config();
  config.dtype = DtypePolicy("bfloat16");
  const auto after = convert_heads(*built_mha([&] {
    config.use_bias = false;
    return config;
  }()),
                                   {.num_key_value_heads = 2});
  EXPECT_EQ(parameter(*after, "key/kernel").dtype(), Dtype::bf16);
}

TEST(ConvertHeads, RefusesLayersThatCannotBeGrouped) {
  const auto error = [](const Layer& layer, Index heads) {
    return error_of<ConfigError>([&] { convert_heads(layer, {.num_key_value_heads = heads}); });
  };
  EXPECT_THAT(error(*built_mha(mha_config()), 3),
              HasSubstr("attn: expected a layer that can have 3 "
                        "key/value heads, got 4 key/value heads"));
  EXPECT_THAT(error(*built_mha(mha_config()), 0), HasSubstr("got 4 key/value heads"));
  EXPECT_THAT(error(*built_mha(mha_config()), 8), HasSubstr("got 4 key/value heads"));
  EXPECT_THAT(error(MultiHeadAttention(mha_config()), 2), HasSubstr("not built"));
  MultiHeadAttentionConfig wide = mha_config();
  wide.value_dim = 5;
  EXPECT_THAT(error(*built_mha(wide), 2), HasSubstr("value_dim 5 is not key_dim 3"));
  MultiHeadAttentionConfig shaped = mha_config();
  shaped.output_shape = {2, 3};
  EXPECT_THAT(error(*built_mha(shaped), 2), HasSubstr("an output_shape of several axes"));
  EXPECT_THAT(error(Dense(DenseConfig{.units = 2}), 2), HasSubstr("neither MultiHeadAttention"));
  EXPECT_THROW(head_pooling_from_name("median"), ConfigError);
  EXPECT_EQ(head_pooling_from_name("first"), HeadPooling::first);
}

// Two attention layers, one in a model inside, one called twice, around a Dense layer.
std::shared_ptr<Model> nested_model() {
  const Symbol inner_input = input({.shape = {6, 12}});
  const auto inner_attention = layer<MultiHeadAttention>({.num_heads = 4, .key_dim = 3});
  const auto inner =
      std::make_shared<Model>(ModelConfig{.inputs = {inner_input},
                                          .outputs = {inner_attention({inner_input, inner_input})},
                                          .name = "inner"});
  const Symbol x = input({.shape = {6, 12}, .name = "x"});
  const auto attention =
      layer<MultiHeadAttention>({.num_heads = 4, .key_dim = 3, .name = "attention"});
  const auto grouped = layer<GroupQueryAttention>(
      {.head_dim = 3, .num_query_heads = 4, .num_key_value_heads = 2, .name = "grouped"});
  const Symbol mask = input({.shape = {6}, .dtype = Dtype::boolean, .name = "mask"});
  Symbol y = attention({x, x}, {{"use_causal_mask", true}, {"query_mask", mask}});
  y = attention({y, x});
  y = connect(std::static_pointer_cast<Layer>(inner), y);
  y = layer<Dense>({.units = 12, .name = "dense"})(y);
  y = grouped({y, y});
  auto model = std::make_shared<Model>(ModelConfig{.inputs = {x, mask}, .outputs = {y}, .seed = 5});
  fill_biases(*model);
  return model;
}

TEST(ConvertHeads, ModelsKeepAllOtherWeights) {
  Context ctx;
  const auto before = nested_model();
  const auto after = convert_heads(*before, {.num_key_value_heads = 2});
  const auto inner = std::dynamic_pointer_cast<Model>(after->get_layer("inner"));
  ASSERT_NE(inner, nullptr);
  EXPECT_EQ(inner->get_layer("multi_head_attention")->class_name(), "GroupQueryAttention");
  EXPECT_EQ(after->get_layer("attention")->class_name(), "GroupQueryAttention");
  const auto from = before->parameters();
  const auto to = after->parameters();
  ASSERT_EQ(from.size(), to.size());
  int pooled = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].path, to[i].path);
    const bool is_pooled = from[i].parameter->shape() != to[i].parameter->shape();
    pooled += is_pooled ? 1 : 0;
    EXPECT_TRUE(is_pooled || same_bits(from[i].parameter->value(), to[i].parameter->value()))
        << from[i].path;
  }
  EXPECT_EQ(pooled, 8);  // kernel and bias of keys and values of two layers
  const std::vector<Tensor> inputs = random_inputs(*before, 7);
  const ConversionReport report = compare_heads(ctx, *before, *after, inputs);
  ASSERT_EQ(report.layers.size(), 2U);
  EXPECT_EQ(report.layers[0].path, "attention");
  EXPECT_EQ(report.layers[1].path, "inner/multi_head_attention");
  for (const ConvertedLayer& layer : report.layers) {
    EXPECT_GT(layer.error, 1e-2);
    EXPECT_LT(layer.error, 2);
    EXPECT_EQ(layer.cache_bytes_before, 4 * 2 * 3 * 4);
    EXPECT_EQ(layer.cache_bytes, 2 * 2 * 3 * 4);
  }
  EXPECT_GT(report.output_error, 0);
  EXPECT_EQ(report.cache_bytes_before() - report.cache_bytes(), 96);
  EXPECT_THAT(report.to_string(), HasSubstr("inner/multi_head_attention"));
  EXPECT_NO_THROW(model_from_json(to_json(*after)));
}

// GroupQueryAttention would honour the explicit query_mask that MultiHeadAttention ignores.
TEST(ConvertHeads, ModelsWithAsManyHeadsHaveTheSameOutputs) {
  Context ctx;
  const Symbol x = input({.shape = {6, 12}, .name = "x"});
  const Symbol mask = input({.shape = {6}, .dtype = Dtype::boolean, .name = "mask"});
  const auto attention = layer<MultiHeadAttention>({.num_heads = 4, .key_dim = 3});
  const Symbol y = attention({x, x}, {{"query_mask", mask}});
  Model before({.inputs = {x, mask}, .outputs = {y}, .seed = 5});
  const auto after = convert_heads(before, {.num_key_value_heads = 4});
  std::vector<Tensor> inputs = random_inputs(before, 7);
  inputs[1].data<bool>()[2] = false;
  const ConversionReport report = compare_heads(ctx, before, *after, inputs);
  EXPECT_LT(report.layers.at(0).error, 1e-6);
  EXPECT_LT(report.output_error, 1e-6);
  EXPECT_EQ(report.layers[0].cache_bytes, report.layers[0].cache_bytes_before);
}

TEST(ConvertHeads, SequentialModelsToo) {
  Context ctx;
  Sequential before({.name = "chain"});
  before.add(input({.shape = {6}, .dtype = Dtype::i32}));
  before.add(std::make_shared<Embedding>(EmbeddingConfig{.input_dim = 11, .output_dim = 12}));
  before.add(std::make_shared<MultiHeadAttention>(mha_config()));
  before.add(std::make_shared<Dense>(DenseConfig{.units = 2}));
  const auto after = convert_heads(before, {.num_key_value_heads = 1});
  EXPECT_EQ(after->class_name(), "Sequential");
  EXPECT_EQ(after->name(), "chain");
  const ConversionReport report = compare_heads(ctx, before, *after, random_inputs(before, 1));
  ASSERT_EQ(report.layers.size(), 1U);
  EXPECT_GT(report.layers[0].error, 0);
  EXPECT_THROW(convert_heads(Sequential(), {}), ConfigError);
}

TEST(ConvertHeads, OneErrorListsAllLayersThatCannotBeConverted) {
  const Symbol x = input({.shape = {6, 12}});
  const auto a = layer<MultiHeadAttention>({.num_heads = 3, .key_dim = 4, .name = "a"});
  const auto b =
      layer<MultiHeadAttention>({.num_heads = 4, .key_dim = 4, .value_dim = 2, .name = "b"});
  const auto c = layer<MultiHeadAttention>({.num_heads = 4, .key_dim = 4, .name = "c"});
  Symbol y = a({x, x});
  y = b({y, y});
  y = c({y, y});
  Model model({.inputs = {x}, .outputs = {y}, .name = "m"});
  const std::string error =
      error_of<ConfigError>([&] { convert_heads(model, {.num_key_value_heads = 2}); });
  EXPECT_THAT(error, HasSubstr("m/a: 3 key/value heads, m/b: value_dim 2 is not key_dim 4"));
  EXPECT_THAT(error, ::testing::Not(HasSubstr("m/c")));
  const Symbol z = input({.shape = {4}});
  Model dense({.inputs = {z}, .outputs = {layer<Dense>({.units = 2})(z)}});
  EXPECT_THAT(error_of<ConfigError>([&] { convert_heads(dense, {}); }), HasSubstr("got none"));
}

TEST(ConvertHeads, LanguageModels) {
  Context ctx;
  LanguageModelConfig config;
  config.transformer = {.hidden_size = 16,
                        .num_heads = 4,
                        .num_key_value_heads = 4,
                        .num_layers = 2,
                        .rope = RopeConfig{}};
  LanguageModel before(config);
  const auto after = convert_heads(before, {.num_key_value_heads = 2});
  EXPECT_EQ(after->config().transformer.num_key_value_heads, 2);
  EXPECT_TRUE(same_bits(parameter(*after, "head/kernel").value(),
                        parameter(before, "head/kernel").value()));
  Tensor tokens = Tensor::zeros({1, 8}, Dtype::i32);
  for (int i = 0; i < 8; ++i) tokens.data<std::int32_t>()[i] = 31 * i % 256;
  const ConversionReport report = compare_heads(ctx, before, *after, tokens);
  ASSERT_EQ(report.layers.size(), 2U);
  EXPECT_EQ(report.layers[1].path, "gqa_block_2/attn");
  EXPECT_GT(report.layers[0].error, 1e-2);
  EXPECT_GT(report.output_error, 0);
  EXPECT_EQ(report.cache_bytes(), 2 * 2 * 2 * 4 * 4);
  EXPECT_THROW(convert_heads(before, {.num_key_value_heads = 4}), ConfigError);
  EXPECT_THROW(convert_heads(before, {.num_key_value_heads = 3}), ConfigError);
}

TEST(RandomInputs, AreTokensWhereAnEmbeddingLooksThemUp) {
  Context ctx;
  const Symbol ids = input({.shape = {16}, .name = "ids"});  // f32, as in Keras by default
  const Symbol shifted = input({.shape = {16}, .dtype = Dtype::i32, .name = "shifted"});
  const Symbol other = input({.shape = {16, 4}, .name = "other"});
  const auto shift = connect(make_operation("keras.src.ops.numpy", "Add", ConfigValue::Object{}),
                             shifted, {{"args", ConfigValue::List{ConfigValue(), ConfigValue(1)}}});
  const auto embed = [](const Symbol& x) {
    return layer<Embedding>({.input_dim = 20, .output_dim = 4})(x);
  };
  const Model model({.inputs = {ids, shifted, other},
                     .outputs = {layer<Add>({})({embed(ids), embed(shift), other})}});
  const std::vector<Tensor> inputs = random_inputs(model, 3);
  bool has_fractions = false;
  for (Index i = 0; i < inputs[0].size(); ++i) {
    const float id = inputs[0].data<float>()[i];
    EXPECT_TRUE(id == std::floor(id) && id >= 0 && id < 20) << id;
    EXPECT_LT(inputs[1].data<std::int32_t>()[i], 19);
    has_fractions =
        has_fractions || inputs[2].data<float>()[i] != std::floor(inputs[2].data<float>()[i]);
  }
  EXPECT_TRUE(has_fractions);
  EXPECT_EQ(model(ctx, inputs)[0].shape(), (Shape{2, 16, 4}));
}

}  // namespace
}  // namespace grouphead
