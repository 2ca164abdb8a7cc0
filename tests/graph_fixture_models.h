#pragma once

// The models of tests/golden/graph: each NAME.json there is what to_json() makes of NAME here, and
// NAME.safetensors holds weights, inputs and outputs of the model that Keras made of that text.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "grouphead/layers/attention.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/embedding.h"
#include "grouphead/layers/group_query_attention.h"
#include "grouphead/layers/merging.h"
#include "grouphead/layers/multi_head_attention.h"
#include "grouphead/layers/normalization.h"
#include "grouphead/layers/pooling.h"
#include "grouphead/models/model.h"
#include "grouphead/models/symbol_operations.h"

namespace grouphead::testing_support {

/// Two inputs, a layer called on both and on its own result, two outputs with keys.
inline std::shared_ptr<Model> shared_branches() {
  const Symbol a = input({.shape = {4}, .name = "a"});
  const Symbol b = input({.shape = {4}, .name = "b"});
  const auto shared = layer<Dense>({.units = 4, .activation = "tanh", .name = "shared"});
  const Symbol of_b = shared(b);
  const Symbol of_a = shared(shared(a));
  const Symbol joined = layer<Concatenate>({})({of_a, of_b, a});
  return std::make_shared<Model>(
      ModelConfig{.inputs = {a, b},
                  .outputs = {layer<Dense>({.units = 3, .use_bias = false})(joined),
                              layer<Add>({})({of_a, of_b})},
                  .name = "shared_branches",
                  .output_keys = {"joined", "sum"}});
}

/// Padded tokens: the mask goes from the embedding to the pooling.
inline std::shared_ptr<Model> masked_tokens() {
  const Symbol tokens = input({.shape = {6}, .dtype = Dtype::i32, .name = "tokens"});
  const Symbol h = layer<Embedding>({.input_dim = 9, .output_dim = 5, .mask_zero = true})(tokens);
  const Symbol f = layer<Dense>({.units = 5, .activation = "gelu"})(h);
  const Symbol sum = layer<Add>({})({h, f});
  const Symbol normed = layer<LayerNormalization>({.epsilon = 1e-5})(sum);
  const Symbol pooled = layer<GlobalAveragePooling1D>({})(normed);
  return std::make_shared<Model>(
      ModelConfig{.inputs = {tokens},
                  .outputs = {layer<Dense>({.units = 3, .activation = "softmax"})(pooled)},
                  .name = "masked_tokens"});
}

/// Models inside models, one of them called twice.
inline std::shared_ptr<Model> nested_chain() {
  const Symbol x = input({.shape = {-1, 4}, .name = "x"});
  const Symbol h = layer<Dense>({.units = 4, .activation = "relu"})(x);
  const auto residual = std::make_shared<Model>(
      ModelConfig{.inputs = {x}, .outputs = {layer<Add>({})({x, h})}, .name = "residual"});
  const auto chain = std::make_shared<Sequential>(SequentialConfig{.name = "chain"});
  chain->add(layer<RMSNormalization>({})).add(layer<Dense>({.units = 4}));
  const Symbol y = input({.shape = {5, 4}, .name = "y"});
  const auto body = std::make_shared<Model>(
      ModelConfig{.inputs = {y},
                  .outputs = {connect(residual, connect(chain, connect(residual, y)))},
                  .name = "body"});
  auto model = std::make_shared<Sequential>(SequentialConfig{.name = "nested_chain"});
  model->add(input({.shape = {5, 4}, .name = "features"}))
      .add(body)
      .add(layer<Dense>({.units = 2, .name = "head"}));
  return model;
}

/// Every kind of attention, with masks as inputs and as constants, and scores as an output.
inline std::shared_ptr<Model> attentions() {
  const Symbol x = input({.shape = {4, 6}, .name = "x"});
  const Symbol memory = input({.shape = {5, 6}, .name = "memory"});
  const Symbol is_real = input({.shape = {5}, .dtype = Dtype::boolean, .name = "is_real"});
  Tensor may_attend({1, 4, 5}, Dtype::boolean);
  for (Index i = 0; i < 20; ++i) may_attend.data<bool>()[i] = i % 5 <= i / 5 + 1;
  const auto grouped = layer<GroupQueryAttention>(
      {.head_dim = 4, .num_query_heads = 4, .num_key_value_heads = 2, .name = "grouped"});
  const Symbol of_x = grouped({x, x}, {{"use_causal_mask", true}});
  const Symbol of_memory = grouped({of_x, memory}, {{"attention_mask", may_attend}});
  const Outputs with_scores = layer<MultiHeadAttention>({.num_heads = 2, .key_dim = 3})(
      {of_memory, memory}, {{"value_mask", is_real}, {"return_attention_scores", true}});
  const Symbol dot =
      layer<Attention>({.use_scale = true})({with_scores[0], memory}, {{"value_mask", is_real}});
  const Symbol additive = layer<AdditiveAttention>({})({dot, x, x});
  return std::make_shared<Model>(ModelConfig{
      .inputs = {x, memory, is_real}, .outputs = {additive, with_scores[1]}, .name = "attentions"});
}

/// Arithmetic between layers, and a mask made by a comparison.
inline std::shared_ptr<Model> arithmetic() {
  const Symbol x = input({.shape = {5, 4}, .name = "x"});
  const Symbol tokens = input({.shape = {5}, .dtype = Dtype::i32, .name = "tokens"});
  const Symbol h = layer<Dense>({.units = 4})(x);
  const Symbol y = 2 * h - x / 3 + 1;
  const Symbol joined = operation("Concatenate", {-y, h}, {{"axis", -1}});
  const Symbol pooled =
      layer<GlobalAveragePooling1D>({})(joined, {{"mask", operation("NotEqual", {tokens, 0})}});
  return std::make_shared<Model>(
      ModelConfig{.inputs = {x, tokens}, .outputs = {pooled}, .name = "arithmetic"});
}

inline std::map<std::string, std::function<std::shared_ptr<Model>()>> fixture_models() {
  return {{"shared_branches", shared_branches},
          {"masked_tokens", masked_tokens},
          {"nested_chain", nested_chain},
          {"attentions", attentions},
          {"arithmetic", arithmetic}};
}

}  // namespace grouphead::testing_support
