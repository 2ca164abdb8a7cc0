// Models of layers that read a text step by step: what they say is what the whole pass says.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "decoded.h"
#include "support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::expect_same;
using testing_support::text_of;
using testing_support::Tokens;
using testing_support::whole_pass;

Symbol block(const Symbol& x, const std::string& name, std::optional<Index> window, bool grouped) {
  const Symbol h = layer<LayerNormalization>({.name = name + "_norm"})(x);
  const auto attend = [&]() -> Symbol {
    if (grouped) {
      return layer<GroupQueryAttention>({.head_dim = 8,
                                         .num_query_heads = 4,
                                         .num_key_value_heads = 2,
                                         .sliding_window = window,
                                         .rope = RopeConfig{},
                                         .name = name})({h, h}, {{"use_causal_mask", true}});
    }
    return layer<MultiHeadAttention>({.num_heads = 2, .key_dim = 8, .name = name})(
        {h, h}, {{"use_causal_mask", true}});
  };
  const Symbol attended = attend();
  const Symbol y = layer<Add>({.name = name + "_sum"})({x, attended});
  const Symbol up = layer<Dense>({.units = 32, .activation = Activation::gelu})(y);
  return layer<Add>({})({y, layer<Dense>({.units = 16})(up)});
}

std::shared_ptr<Model> small_model(Index length, bool grouped, std::optional<Index> window = {},
                                   Activation last = Activation::linear) {
  const Symbol tokens = input({.shape = {length}, .dtype = Dtype::i32, .name = "tokens"});
  Symbol x = layer<Embedding>({.input_dim = 50, .output_dim = 16})(tokens);
  x = block(x, "first", window, grouped);
  x = block(layer<Dropout>({.rate = 0.1})(x), "second", window, grouped);
  const Symbol logits = layer<Dense>({.units = 50, .activation = last})(x);
  return std::make_shared<Model>(ModelConfig{.inputs = {tokens}, .outputs = {logits}, .seed = 3});
}

class GraphDecoding : public ::testing::Test {
 protected:
  Context ctx_{{.num_threads = 2}};
};

TEST_F(GraphDecoding, StepsArePartsOfTheWholePass) {
  const Tokens text = text_of(40, 50);
  expect_same(ctx_, *small_model(-1, true), text, {1, 1, 20, 1, 7, 10});
  expect_same(ctx_, *small_model(-1, false), text, {30, 1, 1, 1, 7});
  expect_same(ctx_, *small_model(40, false), text, {1, 38, 1});  // a fixed length
  expect_same(ctx_, *small_model(-1, true, 5), text, {20, 1, 1, 1, 17});
  expect_same(ctx_, *small_model(-1, true, {}, Activation::softmax), text, {20, 20}, true);
}

TEST_F(GraphDecoding, ModelsInsideModelsAndSharedLayersHaveCachesOfTheirOwn) {
  const auto attention = layer<MultiHeadAttention>({.num_heads = 2, .key_dim = 4, .name = "twice"});
  const Symbol inner_x = input({.shape = {-1, 16}});
  const Symbol once = attention({inner_x, inner_x}, {{"use_causal_mask", true}});
  const Symbol again = attention({once, once}, {{"use_causal_mask", true}});
  const auto inner = std::make_shared<Model>(
      ModelConfig{.inputs = {inner_x}, .outputs = {again}, .name = "inner", .seed = 4});
  const Symbol tokens = input({.shape = {-1}, .dtype = Dtype::i32});
  const Symbol x = layer<Embedding>({.input_dim = 30, .output_dim = 16})(tokens);
  const Symbol y = connect(inner, connect(inner, x));
  const Model model({.inputs = {tokens}, .outputs = {layer<Dense>({.units = 30})(y)}, .seed = 1});
  expect_same(ctx_, model, text_of(20, 30), {5, 1, 1, 13});
}

TEST_F(GraphDecoding, AChainOfLayersDecodesToo) {
  Sequential model;
  model.add(input({.shape = {-1}, .dtype = Dtype::i32}));
  model.add(layer<Embedding>({.input_dim = 30, .output_dim = 16}));
  model.add(layer<GroupQueryAttention>(
      {.head_dim = 4, .num_query_heads = 4, .num_key_value_heads = 2, .causal = true}));
  model.add(layer<Dense>({.units = 30}));
  expect_same(ctx_, model, text_of(12, 30), {3, 1, 8});
}

TEST_F(GraphDecoding, GenerationAndDraftsWork) {
  const auto model = small_model(-1, true);
  const Tokens prompt = {5, 6, 7};
  GenerationOptions options{.max_tokens = 30, .sampling = {.temperature = 0}};
  const Tokens got = generate(ctx_, make_decoder(ctx_, *model), prompt, options);
  Tokens text = prompt;
  for (const std::int32_t token : got) {
    const Tensor all = whole_pass(ctx_, *model, text);
    const float* last = all.data<float>() + (all.dim(0) - 1) * all.dim(1);
    ASSERT_NEAR(last[token], *std::max_element(last, last + 50), 1e-5) << text.size();
    text.push_back(token);
  }
  options.draft = make_decoder(ctx_, *model);
  EXPECT_EQ(generate(ctx_, make_decoder(ctx_, *model), prompt, options), got);
}

/// The error of a decoder for Embedding, what `body` makes, and a projection.
std::string refusal(Context& ctx, const std::function<Symbol(const Symbol&)>& body) {
  const Symbol tokens = input({.shape = {-1}, .dtype = Dtype::i32, .name = "tokens"});
  const Symbol x = layer<Embedding>({.input_dim = 30, .output_dim = 16})(tokens);
  const Model model({.inputs = {tokens}, .outputs = {layer<Dense>({.units = 30})(body(x))}});
  return error_of<ConfigError>([&] { make_decoder(ctx, model); });
}

TEST_F(GraphDecoding, WhatLooksAtOtherPositionsIsRefusedByName) {
  const MultiHeadAttentionConfig attention{.num_heads = 2, .key_dim = 4, .name = "looks_ahead"};
  EXPECT_THAT(refusal(ctx_,
                      [&](const Symbol& x) {
                        return layer<MultiHeadAttention>(attention)({x, x});
                      }),
              HasSubstr("[looks_ahead/multi_head_attention] use_causal_mask: expected true"));
  EXPECT_THAT(refusal(ctx_,
                      [](const Symbol& x) {
                        return layer<Conv1D>({.filters = 16,
                                              .kernel_size = 3,
                                              .padding = Padding::causal,
                                              .name = "kernel"})(x);
                      }),
              HasSubstr("[kernel/decode] kernel: expected causal self-attention or a layer that "
                        "works on each position alone, got Conv1D"));
  EXPECT_THAT(
      refusal(ctx_,
              [](const Symbol& x) { return layer<Softmax>({.axis = {1}, .name = "wide"})(x); }),
      HasSubstr("wide: expected"));
  EXPECT_THAT(refusal(ctx_,
                      [](const Symbol& x) {
                        return layer<Concatenate>({.axis = 1, .name = "longer"})({x, x});
                      }),
              HasSubstr("longer: expected"));
}

TEST_F(GraphDecoding, WhatDoesNotFitLeavesTheDecoderAsItIs) {
  const auto model = small_model(-1, true);
  const auto decoder = make_decoder(ctx_, *model, {.capacity = 16});
  const Tokens text = text_of(20, 50);
  Tensor logits({50});
  decoder->read(ctx_, ConstView(text.data(), {10}), logits);
  EXPECT_THAT(
      error_of<ShapeError>([&] { decoder->read(ctx_, ConstView(text.data(), {7}), logits); }),
      HasSubstr("[decode] tokens: expected 1 to 6, for which there is room, got 7"));
  const std::int32_t unknown = 50;
  EXPECT_THROW(decoder->read(ctx_, ConstView(&unknown, {1}), logits), ShapeError);
  EXPECT_EQ(decoder->length(), 10);
  EXPECT_THROW(decoder->truncate(11), ShapeError);
  decoder->reserve(ctx_, 20);
  decoder->read(ctx_, ConstView(text.data() + 10, {10}), logits);
  const Tensor want = whole_pass(ctx_, *model, text);
  for (Index i = 0; i < 50; ++i) {
    EXPECT_NEAR(logits.data<float>()[i], want.data<float>()[19 * 50 + i], 2e-5);
  }
}

}  // namespace
}  // namespace grouphead
