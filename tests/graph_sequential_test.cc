// Chains of layers.

#include <gmock/gmock.h>

#include "graph_support.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/group_query_attention.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

TEST(Sequential, RunsItsLayersInTurn) {
  Sequential model({.name = "chain"});
  model.add(input({.shape = {3}}))
      .add(layer<Dense>({.units = 4, .activation = "tanh"}))
      .add(layer<Dense>({.units = 2}));
  ASSERT_EQ(model.layers().size(), 2U);
  EXPECT_EQ(model.layers()[1]->name(), "dense_1");
  EXPECT_EQ(model.parameters().size(), 4U);
  randomize(model, 1);
  Context ctx;
  const Tensor x = random_tensor({5, 3}, 1);
  const Tensor h = call(ctx, *model.layers()[0], {x});
  EXPECT_TRUE(same_bits(model(ctx, x), call(ctx, *model.layers()[1], {h})));
}

TEST(Sequential, IsBuiltLateWithoutAnInput) {
  Sequential late({.seed = 3});
  late.add(layer<Dense>({.units = 4})).add(layer<Dense>({.units = 2}));
  Context ctx;
  const Tensor x = random_tensor({5, 3}, 1);
  EXPECT_TRUE(late.parameters().empty());
  EXPECT_EQ(error_of<ConfigError>([&] { std::as_const(late)(ctx, x); }),
            "[sequential] parameters: expected build() before the first call, got none");
  late.build({-1, 3});
  Sequential early({.seed = 3});
  early.add(input({.shape = {3}})).add(layer<Dense>({.units = 4})).add(layer<Dense>({.units = 2}));
  EXPECT_TRUE(same_bits(late(ctx, x), early(ctx, x)));
}

TEST(Sequential, IsBuiltByTheModelAroundIt) {
  const Symbol x = input({.shape = {3}, .dtype = Dtype::f64, .name = "x"});
  const auto chain = layer<Sequential>({.name = "chain", .dtype = Dtype::f64});
  chain->add(layer<Dense>({.units = 4, .activation = "tanh", .dtype = Dtype::f64}))
      .add(layer<Dense>({.units = 3, .dtype = Dtype::f64}));
  const Symbol y = chain(chain(x));
  EXPECT_EQ(y.shape(), Shape::partial({-1, 3}));
  Model model({.inputs = {x}, .outputs = {y}});
  EXPECT_EQ(model.parameters()[0].path, "chain/dense/kernel");
  randomize(model, 2);
  Context ctx({.num_threads = 1});
  check_gradients(ctx, {.layer = model, .in = {random_tensor({4, 3}, 1, Dtype::f64)}});
}

TEST(Sequential, AttendsToItself) {
  Sequential model;
  const auto attention =
      layer<GroupQueryAttention>({.head_dim = 3, .num_query_heads = 2, .num_key_value_heads = 1});
  model.add(input({.shape = {5, 4}})).add(attention);
  randomize(model, 1);
  Context ctx;
  const Tensor x = random_tensor({2, 5, 4}, 1);
  EXPECT_TRUE(same_bits(model(ctx, x), (*attention)(ctx, {.query = x, .value = x})));
}

TEST(Sequential, TakesItsInputFromAModelInFront) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  const auto front = std::make_shared<Model>(
      ModelConfig{.inputs = {x}, .outputs = {layer<Dense>({.units = 4})(x)}, .name = "front"});
  Sequential model;
  model.add(front).add(layer<Dense>({.units = 2}));
  EXPECT_EQ(model.inputs()[0].shape(), Shape::partial({-1, 3}));
  EXPECT_EQ(count_params(model), 3 * 4 + 4 + 4 * 2 + 2);
}

TEST(Sequential, MayFreezeItsParameters) {
  Sequential model({.trainable = false});
  model.add(input({.shape = {3}})).add(layer<Dense>({.units = 4}));
  EXPECT_FALSE(model.parameters()[0].parameter->trainable());
  model.set_trainable(true);
  EXPECT_TRUE(model.parameters()[0].parameter->trainable());
}

TEST(Sequential, RefusesWhatCannotFollow) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  Sequential model;
  model.add(x);
  EXPECT_EQ(error_of<ConfigError>([&] { model.add(x); }),
            "[sequential] add: expected an input as first layer, once, got x");
  EXPECT_EQ(error_of<ConfigError>([&] { model.add(Symbol(layer<Dense>({.units = 4})(x))); }),
            "[sequential] add: expected a layer or an input, got a symbol that a layer makes");
  model.add(layer<Dense>({.units = 4, .name = "d"}));
  EXPECT_EQ(error_of<ConfigError>([&] { model.add(layer<Dense>({.units = 4, .name = "d"})); }),
            "[sequential] layers: expected one of each name, got two named 'd'");
  EXPECT_EQ(error_of<ShapeError>([&] {
              model.add(layer<GroupQueryAttention>(
                  {.head_dim = 3, .num_query_heads = 2, .num_key_value_heads = 1}));
            }),
            "[group_query_attention] query: expected [*, *, *], got [-1, 4]");
  EXPECT_EQ(model.layers().size(), 1U);  // what was refused is not in it
  Sequential empty;
  EXPECT_EQ(error_of<ConfigError>([&] {
              empty.build({-1, 3});
            }),
            "[sequential] layers: expected 1 or more, got none");
}

}  // namespace
}  // namespace grouphead
