// The examples of docs/models.md, word for word.

#include <fstream>
#include <sstream>

#include "graph_support.h"
#include "grouphead/grouphead.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Without indentation and line breaks.
std::string words_of(const std::string& text) {
  std::istringstream in(text);
  std::string words;
  for (std::string word; in >> word;) words.append(word).append(" ");
  return words;
}

TEST(ModelsPage, HasTheseExamples) {
  const std::string page = text_of(GROUPHEAD_SOURCE_DIR "/docs/models.md");
  const std::string here = words_of(text_of(GROUPHEAD_SOURCE_DIR "/tests/graph_docs_test.cc"));
  const std::string open = "```cpp\n";
  int num_examples = 0;
  for (std::size_t at = page.find(open); at != std::string::npos; at = page.find(open, at)) {
    at += open.size();
    const std::string example = page.substr(at, page.find("```", at) - at);
    EXPECT_NE(here.find(words_of(example)), std::string::npos) << example;
    ++num_examples;
  }
  EXPECT_EQ(num_examples, 6);
}

TEST(ModelsPage, CallsALayerOnTensors) {
  RandomStream random(7);
  Dense dense({.units = 16, .activation = "gelu"});
  const Shape shape = {8, 32};
  dense.build(std::span(&shape, 1), random);

  Context ctx;
  const Tensor x = random_normal({8, 32}, 1);
  const Tensor y = dense(ctx, x);
  EXPECT_EQ(y.shape(), Shape({8, 16}));
}

TEST(ModelsPage, CallsLayersOnSymbols) {
  Context ctx;
  Tensor padded_tokens = random_tokens({2, 5}, 256, 1);
  padded_tokens.data<std::int32_t>()[9] = 0;

  const Symbol tokens = input({.shape = {-1}, .dtype = Dtype::i32, .name = "tokens"});
  const Symbol h =
      layer<Embedding>({.input_dim = 256, .output_dim = 32, .mask_zero = true})(tokens);
  const auto attention = layer<GroupQueryAttention>(
      {.head_dim = 8, .num_query_heads = 4, .num_key_value_heads = 2, .name = "attention"});
  const Symbol a = attention({h, h}, {{"use_causal_mask", true}});
  const Symbol sum = layer<Add>({})({h, a});
  const Symbol normed = layer<LayerNormalization>({})(sum);
  const Symbol logits = layer<Dense>({.units = 256, .name = "logits"})(normed);
  const Model model({.inputs = {tokens}, .outputs = {logits}, .name = "net", .seed = 42});

  const Tensor y = model(ctx, padded_tokens);
  EXPECT_EQ(y.shape(), Shape({2, 5, 256}));

  const Model features({.inputs = model.inputs(), .outputs = {model.outputs_of("attention")[0]}});
  const Tensor attended = features(ctx, padded_tokens);
  EXPECT_EQ(attended.shape(), Shape({2, 5, 32}));
}

TEST(ModelsPage, PassesArgumentsByKeyword) {
  Context ctx;
  const Tensor q = random_tensor({2, 4, 32}, 1);
  const Tensor m = random_tensor({2, 6, 32}, 2);
  Tensor may_attend({1, 4, 6}, Dtype::boolean);
  for (Index i = 0; i < 24; ++i) may_attend.data<bool>()[i] = i % 6 < 5;

  const Symbol x = input({.shape = {4, 32}, .name = "x"});
  const Symbol memory = input({.shape = {6, 32}, .name = "memory"});
  const auto cross = layer<MultiHeadAttention>({.num_heads = 4, .key_dim = 8});
  const Outputs both =
      cross({x, memory}, {{"attention_mask", may_attend}, {"return_attention_scores", true}});
  const Model model({.inputs = {x, memory}, .outputs = {both[0], both[1]}, .name = "cross"});

  const std::vector<Tensor> outputs = model(ctx, {{"memory", m}, {"x", q}});
  EXPECT_EQ(outputs[1].shape(), Shape({2, 4, 4, 6}));
  for (Index row = 0; row < 2 * 4 * 4; ++row) {
    EXPECT_EQ(outputs[1].data<float>()[row * 6 + 5], 0);
  }
}

TEST(ModelsPage, ChainsLayersAndWritesThemAsText) {
  Context ctx;
  const Tensor x = random_tensor({2, 10, 32}, 1);

  Sequential chain({.name = "encoder"});
  chain.add(input({.shape = {10, 32}}))
      .add(layer<GroupQueryAttention>(
          {.head_dim = 8, .num_query_heads = 4, .num_key_value_heads = 2}))
      .add(layer<Dense>({.units = 3}));
  const Tensor y = chain(ctx, x);
  EXPECT_EQ(y.shape(), Shape({2, 10, 3}));

  const Sequential& model = chain;
  const std::string table = chain.summary();
  const std::string text = to_json(model);
  const std::shared_ptr<Model> again = model_from_json(text);
  set_weights(*again, get_weights(model));
  EXPECT_TRUE(same_bits((*again)(ctx, x), y));
  EXPECT_EQ(again->summary(), table);
}

}  // namespace
}  // namespace grouphead
