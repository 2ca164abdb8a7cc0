// summary() gives what Keras prints: tests/golden/graph/summary_*.txt are Keras's, and the models
// there are built here again.

#include <fstream>
#include <sstream>

#include "graph_support.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/dropout.h"
#include "grouphead/layers/embedding.h"
#include "grouphead/layers/group_query_attention.h"
#include "grouphead/layers/merging.h"
#include "grouphead/layers/normalization.h"

namespace grouphead {
namespace {

std::string printed_by_keras(const std::string& model) {
  std::ifstream file(GROUPHEAD_SOURCE_DIR "/tests/golden/graph/summary_" + model + ".txt");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Summary, OfAChainHasThreeColumns) {
  const auto norm = layer<LayerNormalization>({.name = "norm"});
  norm->set_trainable(false);
  Sequential model({.name = "chain"});
  model.add(input({.shape = {7}}))
      .add(layer<Dense>({.units = 7, .activation = "gelu", .name = "d1"}))
      .add(layer<Dropout>({.rate = 0.2}))
      .add(layer<Dense>(
          {.units = 4000, .use_bias = false, .name = "a_very_long_name_of_a_layer_that_wraps"}))
      .add(norm);
  EXPECT_EQ(model.summary(), printed_by_keras("chain"));
}

TEST(Summary, OfAGraphHasItsConnections) {
  const Symbol x = input({.shape = {60}, .dtype = Dtype::i32, .name = "tokens"});
  const Symbol h = layer<Embedding>({.input_dim = 256, .output_dim = 64, .name = "embed"})(x);
  const Symbol a = layer<GroupQueryAttention>(
      {.head_dim = 16, .num_query_heads = 4, .num_key_value_heads = 2, .name = "attention"})(
      {h, h});
  const Symbol sum = layer<Add>({.name = "residual"})({h, a});
  const Symbol y = layer<LayerNormalization>({.name = "norm"})(sum);
  Model model({.inputs = {x},
               .outputs = {layer<Dense>({.units = 256, .name = "a_head_with_a_long_name"})(y)},
               .name = "network"});
  EXPECT_EQ(model.summary(), printed_by_keras("network"));
}

TEST(Summary, OfSharedAndNestedLayersHasTheirConnections) {
  const Symbol a = input({.shape = {5, 3}, .name = "a"});
  const auto inner = std::make_shared<Model>(
      ModelConfig{.inputs = {a},
                  .outputs = {layer<Dense>({.units = 3, .name = "shared"})(a)},
                  .name = "inner"});
  const Symbol x = input({.shape = {5, 3}, .name = "x"});
  const Symbol y = connect(inner, connect(inner, x));
  Model model({.inputs = {x},
               .outputs = {layer<Dense>({.units = 1000000, .name = "wide"})(y)},
               .name = "outer"});
  EXPECT_EQ(model.summary(), printed_by_keras("nested"));
}

TEST(Summary, SaysWhatIsNotBuilt) {
  Sequential model({.name = "unbuilt"});
  model.add(layer<Dense>({.units = 3, .name = "first"}))
      .add(layer<Dense>({.units = 2, .name = "second"}));
  EXPECT_EQ(model.summary(), printed_by_keras("unbuilt"));
}

}  // namespace
}  // namespace grouphead
