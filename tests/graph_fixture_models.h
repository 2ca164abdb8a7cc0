#pragma once

// The models of tests/golden/graph: each NAME.json there is what to_json() makes of NAME here, and
// NAME.safetensors holds weights, inputs and outputs of the model that Keras made of that text.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "grouphead/dense.h"
#include "grouphead/embedding.h"
#include "grouphead/merging.h"
#include "grouphead/model.h"
#include "grouphead/normalization.h"
#include "grouphead/pooling.h"

namespace grouphead::testing_support {

/// Two inputs, a layer called on both and on its own result, two outputs with keys.
inline std::shared_ptr<Model> shared_branches() {
  const Symbol a = input({.shape = {4}, .name = "a"});
  const Symbol b = input({.shape = {4}, .name = "b"});
  const auto shared = layer<Dense>({.units = 4, .activation = "tanh", .name = "shared"});
  const Symbol of_b = shared(b);
  const Symbol of_a = shared(shared(a));
  const Symbol joined = layer<Concatenate>()({of_a, of_b, a});
  return std::make_shared<Model>(
      ModelConfig{.inputs = {a, b},
                  .outputs = {layer<Dense>({.units = 3, .use_bias = false})(joined),
                              layer<Add>()({of_a, of_b})},
                  .name = "shared_branches",
                  .output_keys = {"joined", "sum"}});
}

/// Padded tokens: the mask goes from the embedding to the pooling.
inline std::shared_ptr<Model> masked_tokens() {
  const Symbol tokens = input({.shape = {6}, .dtype = Dtype::i32, .name = "tokens"});
  const Symbol h = layer<Embedding>({.input_dim = 9, .output_dim = 5, .mask_zero = true})(tokens);
  const Symbol f = layer<Dense>({.units = 5, .activation = "gelu"})(h);
  const Symbol sum = layer<Add>()({h, f});
  const Symbol normed = layer<LayerNormalization>({.epsilon = 1e-5})(sum);
  const Symbol pooled = layer<GlobalAveragePooling1D>()(normed);
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
      ModelConfig{.inputs = {x}, .outputs = {layer<Add>()({x, h})}, .name = "residual"});
  const auto chain = std::make_shared<Sequential>(SequentialConfig{.name = "chain"});
  chain->add(layer<RMSNormalization>()).add(layer<Dense>({.units = 4}));
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

inline std::map<std::string, std::function<std::shared_ptr<Model>()>> fixture_models() {
  return {{"shared_branches", shared_branches},
          {"masked_tokens", masked_tokens},
          {"nested_chain", nested_chain}};
}

}  // namespace grouphead::testing_support
