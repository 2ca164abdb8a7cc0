// Models of connected layers: numbers, gradients, shapes, names, errors.

#include <gmock/gmock.h>
#include <tbb/global_control.h>

#include "graph_support.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/dropout.h"
#include "grouphead/layers/embedding.h"
#include "grouphead/layers/group_query_attention.h"
#include "grouphead/models/model.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

std::vector<std::string> names_of(const std::vector<std::shared_ptr<Layer>>& layers) {
  std::vector<std::string> names;
  for (const auto& layer : layers) names.push_back(layer->name());
  return names;
}

std::vector<std::string> paths_of(const Layer& layer) {
  std::vector<std::string> paths;
  for (const auto& entry : layer.parameters()) paths.push_back(entry.path);
  return paths;
}

SharedLayer<Dense> dense_f64(Index units, Activation activation = Activation("linear")) {
  return layer<Dense>({.units = units, .activation = activation, .dtype = Dtype::f64});
}

TEST(Model, ComputesWhatItsLayersDo) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  const auto first = layer<Dense>({.units = 4});
  const auto second = layer<Dense>({.units = 2});
  Model model({.inputs = {x}, .outputs = {second(first(x))}, .name = "net"});
  randomize(model, 1);
  Context ctx;
  const Tensor in = random_tensor({5, 3}, 1);
  EXPECT_TRUE(same_bits(model(ctx, in), (*second)(ctx, (*first)(ctx, in))));
  EXPECT_THAT(names_of(model.layers()), ElementsAre("x", "dense", "dense_1"));
  EXPECT_THAT(paths_of(model),
              ElementsAre("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"));
  EXPECT_EQ(count_params(model), 3 * 4 + 4 + 4 * 2 + 2);
  EXPECT_EQ(model.outputs()[0].shape(), Shape::partial({-1, 2}));
}

TEST(Model, StartsFromItsSeed) {
  const auto kernel = [](std::uint64_t seed) {
    const Symbol x = input({.shape = {3}});
    Model model({.inputs = {x}, .outputs = {layer<Dense>({.units = 4})(x)}, .seed = seed});
    return get_weights(model)[0];
  };
  EXPECT_TRUE(same_bits(kernel(1), kernel(1)));
  EXPECT_FALSE(same_bits(kernel(1), kernel(2)));
}

TEST(Model, SharesALayerCalledTwice) {
  const Symbol x = input({.shape = {3}, .dtype = Dtype::f64, .name = "x"});
  const auto shared = dense_f64(3, Activation("tanh"));
  const Symbol once = shared(x);
  const Symbol twice = shared(once);
  Model model(
      {.inputs = {x}, .outputs = {layer<Sum>(DtypePolicy("float64"))({x, once, twice, once})}});
  randomize(model, 2);
  EXPECT_EQ(model.parameters().size(), 2U);
  Context ctx({.num_threads = 1});
  check_gradients(ctx, {.layer = model, .in = {random_tensor({4, 3}, 1, Dtype::f64)}});
}

TEST(Model, AttendsToOneTensorThreeTimes) {
  const Symbol x = input({.shape = {5, 4}, .dtype = Dtype::f64, .name = "x"});
  const auto attention = layer<GroupQueryAttention>(
      {.head_dim = 3, .num_query_heads = 2, .num_key_value_heads = 1, .dtype = Dtype::f64});
  const Symbol h = dense_f64(4)(x);
  Model model({.inputs = {x}, .outputs = {attention({h, h, h})}});
  randomize(model, 3);
  Context ctx({.num_threads = 1});
  check_gradients(ctx, {.layer = model, .in = {random_tensor({2, 5, 4}, 1, Dtype::f64)}});
}

TEST(Model, IsALayerOfAnotherModel) {
  const Symbol a = input({.shape = {3}, .dtype = Dtype::f64, .name = "a"});
  const auto inner = std::make_shared<Model>(ModelConfig{
      .inputs = {a}, .outputs = {dense_f64(3, Activation("tanh"))(a)}, .name = "inner"});
  const Symbol x = input({.shape = {3}, .dtype = Dtype::f64, .name = "x"});
  const Symbol y = connect(inner, connect(inner, x));
  Model outer({.inputs = {x}, .outputs = {dense_f64(2)(y)}, .name = "outer"});
  randomize(outer, 4);
  EXPECT_THAT(paths_of(outer),
              ElementsAre("inner/dense/kernel", "inner/dense/bias", "dense/kernel", "dense/bias"));
  Context ctx({.num_threads = 1});
  check_gradients(ctx, {.layer = outer, .in = {random_tensor({4, 3}, 1, Dtype::f64)}});
  const Tensor in = random_tensor({4, 3}, 2, Dtype::f64);
  const Tensor once = (*inner)(ctx, in);
  EXPECT_TRUE(
      same_bits(outer(ctx, in), call(ctx, *outer.get_layer("dense"), {(*inner)(ctx, once)})));
}

TEST(Model, MayStartInsideAnotherModel) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  const Symbol h = layer<Dense>({.units = 4, .name = "first"})(x);
  const Symbol y = layer<Dense>({.units = 2, .name = "second"})(h);
  Model whole({.inputs = {x}, .outputs = {y}});
  randomize(whole, 1);
  Model head({.inputs = {h}, .outputs = {y}, .name = "head"});
  Model body({.inputs = {x}, .outputs = {h}, .name = "body"});
  Context ctx;
  const Tensor in = random_tensor({5, 3}, 1);
  EXPECT_TRUE(same_bits(head(ctx, body(ctx, in)), whole(ctx, in)));
  EXPECT_THAT(names_of(head.layers()), ElementsAre("input_layer", "second"));
}

struct Branches {
  Symbol a = input({.shape = {3}, .dtype = Dtype::f64, .name = "a"});
  Symbol b = input({.shape = {3}, .dtype = Dtype::f64, .name = "b"});
  SharedLayer<TwoMultiples> multiples = layer<TwoMultiples>(DtypePolicy("float64"));
  SharedLayer<Dense> on_a = dense_f64(3);
  SharedLayer<Dense> on_b = dense_f64(3);
  Outputs of_b = multiples(on_b(b));
  Model model{{.inputs = {a, b},
               .outputs = {layer<Sum>(DtypePolicy("float64"))({on_a(a), of_b[0]}), of_b[1]},
               .name = "branches"}};
};

TEST(Model, HasSeveralInputsAndOutputs) {
  Branches branches;
  randomize(branches.model, 1);
  Context ctx({.num_threads = 1});
  const Tensor a = random_tensor({2, 3}, 1, Dtype::f64);
  const Tensor b = random_tensor({2, 3}, 2, Dtype::f64);
  const std::vector<Tensor> by_name = branches.model(ctx, {{"b", b}, {"a", a}});
  const Tensor on_b = (*branches.on_b)(ctx, b);
  const Tensor on_a = (*branches.on_a)(ctx, a);
  for (Index i = 0; i < 6; ++i) {
    EXPECT_DOUBLE_EQ(element(by_name[0], i), element(on_a, i) + 2 * element(on_b, i));
    EXPECT_DOUBLE_EQ(element(by_name[1], i), 3 * element(on_b, i));
  }
  const std::vector<Tensor> in = {a, b};
  EXPECT_TRUE(same_bits(branches.model(ctx, in)[1], by_name[1]));
  check_gradients(ctx, {.layer = branches.model, .in = in});
}

// d_out for each output (absent: zero), d_in for each input: gradients of all parameters.
std::vector<Tensor> gradients(Context& ctx, const Model& model, const std::vector<Tensor>& in,
                              const std::vector<ConstView>& d_out, std::span<View> d_in) {
  Grads grads(ctx, model.parameters());
  std::unique_ptr<Saved> saved;
  forward(ctx, model, in, {}, &saved);
  model.backward(ctx, *saved, d_out, d_in, grads);
  std::vector<Tensor> found;
  for (const auto& entry : model.parameters()) {
    found.push_back(dense(grads.of(*entry.parameter)));
  }
  return found;
}

TEST(Model, TakesAnAbsentGradientForZero) {
  Branches branches;
  randomize(branches.model, 1);
  Context ctx;
  const std::vector<Tensor> in = {random_tensor({2, 3}, 1, Dtype::f64),
                                  random_tensor({2, 3}, 2, Dtype::f64)};
  const Tensor d_y = random_tensor({2, 3}, 3, Dtype::f64);
  const Tensor zero = Tensor::zeros({2, 3}, Dtype::f64);
  for (const int given : {0, 1}) {
    std::vector<ConstView> absent(2);
    absent[static_cast<std::size_t>(given)] = d_y;
    std::vector<ConstView> zeros = {zero, zero};
    zeros[static_cast<std::size_t>(given)] = d_y;
    const auto got = gradients(ctx, branches.model, in, absent, {});
    const auto want = gradients(ctx, branches.model, in, zeros, {});
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(same_bits(got[i], want[i])) << i;
  }
}

TEST(Model, SkipsWhatNobodyNeeds) {
  Branches branches;
  randomize(branches.model, 1);
  branches.on_b->set_trainable(false);
  Context ctx;
  const std::vector<Tensor> in = {random_tensor({2, 3}, 1, Dtype::f64),
                                  random_tensor({2, 3}, 2, Dtype::f64)};
  const Tensor d_y = random_tensor({2, 3}, 3, Dtype::f64);
  const std::vector<ConstView> d_out = {d_y, d_y};
  Grads grads(ctx, branches.model.parameters());
  std::unique_ptr<Saved> saved;
  forward(ctx, branches.model, in, {}, &saved);
  branches.model.backward(ctx, *saved, d_out, {}, grads);
  EXPECT_EQ(branches.multiples->num_backward_calls, 0);
  EXPECT_GT(testing::max_abs(grads.of(*branches.on_a->parameters()[0].parameter)), 0);

  // Nothing comes back to the branch of `b` from an output that does not use it.
  std::vector<Tensor> d_x = {Tensor::zeros({2, 3}, Dtype::f64), Tensor::zeros({2, 3}, Dtype::f64)};
  std::vector<View> d_in = {d_x[0], d_x[1]};
  forward(ctx, branches.model, in, {}, &saved);
  branches.model.backward(ctx, *saved, std::vector<ConstView>(2), d_in, grads);
  EXPECT_EQ(branches.multiples->num_backward_calls, 0);
  EXPECT_EQ(testing::max_abs(d_x[1]), 0);
}

TEST(Model, AddsToGradientsThatAreThere) {
  Branches branches;
  randomize(branches.model, 1);
  Context ctx;
  const std::vector<Tensor> in = {random_tensor({2, 3}, 1, Dtype::f64),
                                  random_tensor({2, 3}, 2, Dtype::f64)};
  const Tensor d_y = random_tensor({2, 3}, 3, Dtype::f64);
  const auto input_gradients = [&](const Tensor& start) {
    std::vector<Tensor> d_x = {start.clone(), start.clone()};
    std::vector<View> d_in = {d_x[0], d_x[1]};
    gradients(ctx, branches.model, in, {d_y, d_y}, d_in);
    return d_x;
  };
  const auto from_zero = input_gradients(Tensor::zeros({2, 3}, Dtype::f64));
  const Tensor start = random_tensor({2, 3}, 9, Dtype::f64);
  const auto from_start = input_gradients(start);
  for (std::size_t k = 0; k < 2; ++k) {
    for (Index i = 0; i < 6; ++i) {
      EXPECT_NEAR(element(from_start[k], i), element(from_zero[k], i) + element(start, i), 1e-14);
    }
  }
}

TEST(Model, MayMixTypes) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  const auto narrow = layer<Dense>({.units = 3});
  Model model({.inputs = {x}, .outputs = {dense_f64(2)(narrow(x))}});
  randomize(model, 1);
  EXPECT_EQ(model.dtype(), Dtype::f64);
  Context ctx;
  const Tensor in = random_tensor({4, 3}, 1);
  std::unique_ptr<Saved> saved;
  Grads grads(ctx, model.parameters());
  forward(ctx, model, {in}, {}, &saved);
  const Tensor d_y = random_tensor({4, 2}, 2, Dtype::f64);
  const ConstView d_out = d_y;
  Tensor d_x = Tensor::zeros({4, 3});
  View d_in = d_x;
  model.backward(ctx, *saved, std::span(&d_out, 1), std::span(&d_in, 1), grads);
  // By hand: d_x = d_y W2^T W1^T.
  const auto parameters = model.parameters();
  const ConstView w1 = parameters[0].parameter->value();
  const ConstView w2 = parameters[2].parameter->value();
  Tensor want({4, 3}, Dtype::f64);
  for (Index i = 0; i < 12; ++i) {
    double sum = 0;
    for (Index h = 0; h < 3; ++h) {
      double d_h = 0;
      for (Index n = 0; n < 2; ++n) d_h += element(d_y, i / 3 * 2 + n) * element(w2, h * 2 + n);
      sum += d_h * element(w1, i % 3 * 3 + h);
    }
    want.data<double>()[i] = sum;
  }
  CHECK_CLOSE(d_x, want, 8 * testing::unit_roundoff(Dtype::f32) * 3, "mixed types");
}

TEST(Model, HandsMasksOn) {
  const Symbol x = input({.shape = {4, 3}, .name = "x"});
  Model model({.inputs = {x}, .outputs = {layer<Dense>({.units = 2})(x)}});
  Context ctx;
  const Value in{random_tensor({2, 4, 3}, 1), Tensor::zeros({2, 4}, Dtype::boolean)};
  const std::vector<Value> out = model.forward(ctx, std::span(&in, 1), {}, nullptr);
  ASSERT_TRUE(out[0].mask.has_value());
  EXPECT_TRUE(same_bits(*out[0].mask, *in.mask));
}

TEST(Model, AttachesAMaskGivenByKeyword) {
  const Symbol x = input({.shape = {4, 3}, .name = "x"});
  const Symbol mask = input({.shape = {4}, .dtype = Dtype::boolean, .name = "m"});
  const Symbol y = layer<Dense>({.units = 2})(x, {{"mask", mask}});
  Model model({.inputs = {x, mask}, .outputs = {y}});
  Context ctx;
  const Tensor given = Tensor::zeros({2, 4}, Dtype::boolean);
  const std::vector<Value> out = forward(ctx, model, {random_tensor({2, 4, 3}, 1), given});
  ASSERT_TRUE(out[0].mask.has_value());
  EXPECT_TRUE(same_bits(*out[0].mask, given));
}

TEST(Model, AddsConstants) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  const Tensor constant = random_tensor({2, 3}, 5);
  Model model({.inputs = {x}, .outputs = {layer<Sum>()({x, constant})}});
  Context ctx;
  const Tensor in = random_tensor({2, 3}, 1);
  for (int k = 0; k < 2; ++k) {
    const Tensor y = model(ctx, in);
    for (Index i = 0; i < 6; ++i) {
      EXPECT_EQ(y.data<float>()[i], in.data<float>()[i] + constant.data<float>()[i]);
    }
  }
}

TEST(Model, FitsTheRankByAnAxisOfOne) {
  const Symbol x = input({.shape = {3}, .dtype = Dtype::f64, .name = "x"});
  Model model({.inputs = {x}, .outputs = {dense_f64(2)(x)}});
  randomize(model, 1);
  Context ctx({.num_threads = 1});
  const Tensor in = random_tensor({4, 3}, 1, Dtype::f64);
  EXPECT_TRUE(same_bits(model(ctx, in.reshaped({4, 3, 1})), model(ctx, in)));
  check_gradients(ctx, {.layer = model, .in = {in.reshaped({4, 3, 1})}});
}

TEST(Model, TrainsAsItIsTold) {
  const Symbol x = input({.shape = {100}, .name = "x"});
  const auto dropout = [](double rate) { return layer<Dropout>({.rate = rate}); };
  Model plain({.inputs = {x}, .outputs = {dropout(0.5)(x)}});
  Model always({.inputs = {x}, .outputs = {dropout(0.5)(x, {{"training", true}})}});
  Context ctx;
  Tensor ones({2, 100});
  std::fill_n(ones.data<float>(), 200, 1.0F);
  RandomStream random(1);
  const auto drops = [&](const Model& model, bool training) {
    return !same_bits(call(ctx, model, {ones}, {.training = training, .random = &random}), ones);
  };
  EXPECT_FALSE(drops(plain, false));
  EXPECT_TRUE(drops(plain, true));
  // As in Keras, fit() and predict() overrule what the call was given; model(x) does not.
  EXPECT_FALSE(drops(always, false));
  EXPECT_TRUE(drops(always, true));
}

TEST(Model, ReleasesWhatInferenceNeedsNoMore) {
  const Symbol x = input({.shape = {1000}, .name = "x"});
  Symbol h = x;
  for (int i = 0; i < 12; ++i) h = layer<Dense>({.units = 1000})(h);
  Model model({.inputs = {x}, .outputs = {h}});
  Context ctx({.num_threads = 1});
  const Tensor in = random_tensor({64, 1000}, 1);
  model(ctx, in);  // packs the weights
  const Index before = ctx.memory().in_use_bytes;
  ctx.reset_memory_peak();
  const Tensor y = model(ctx, in);
  // One layer's input and output, and the products' workspace: not twelve tensors.
  EXPECT_LE(ctx.memory().peak_bytes - before, 4 * y.bytes());
}

TEST(Model, HasTheSameBitsForAnyNumberOfThreads) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 8);
  const Symbol x = input({.shape = {40, 24}, .name = "x"});
  const auto attention = layer<GroupQueryAttention>(
      GroupQueryAttentionConfig{.head_dim = 8, .num_query_heads = 4, .num_key_value_heads = 2});
  const Symbol h = layer<Dense>({.units = 24})(x);
  Model model({.inputs = {x}, .outputs = {layer<Sum>()({h, attention({h, h})})}});
  randomize(model, 1);
  std::vector<Gradients> found;
  const Tensor in = random_tensor({30, 40, 24}, 1);
  for (const int threads : {1, 2, 5}) {
    Context ctx({.num_threads = threads});
    found.push_back(gradients_of(ctx, {.layer = model, .in = {in}}));
    for (std::size_t i = 0; i < found[0].values.size(); ++i) {
      EXPECT_TRUE(same_bits(found.back().values[i], found[0].values[i])) << found[0].names[i];
    }
  }
}

TEST(Model, ListsLayersInKerassOrder) {
  // Made by Keras 3.15.1: layers created late, early, pre on inputs a, b.
  const Symbol a = input({.shape = {3}, .name = "a"});
  const Symbol b = input({.shape = {3}, .name = "b"});
  const auto named = [](const char* name) { return layer<Dense>({.units = 3, .name = name}); };
  const auto late = named("late");
  const auto early = named("early");
  const auto pre = named("pre");
  const Symbol h = early(pre(a));
  Model model({.inputs = {a, b}, .outputs = {layer<Sum>()({h, late(b)})}});
  EXPECT_THAT(names_of(model.layers()), ElementsAre("a", "pre", "b", "early", "late", "sum"));
}

TEST(Weights, AreCopiedOutAndIn) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  Model model({.inputs = {x}, .outputs = {layer<Dense>({.units = 2})(x)}});
  std::vector<Tensor> weights = {random_tensor({3, 2}, 1), random_tensor({2}, 2)};
  set_weights(model, weights);
  const std::vector<Tensor> got = get_weights(model);
  EXPECT_TRUE(same_bits(got[0], weights[0]));
  EXPECT_TRUE(same_bits(got[1], weights[1]));
  EXPECT_EQ(error_of<ShapeError>([&] { set_weights(model, std::span(weights).first(1)); }),
            "[functional] number of weights: expected 2, got 1");
  std::swap(weights[0], weights[1]);
  EXPECT_EQ(error_of<ShapeError>([&] { set_weights(model, weights); }),
            "[functional] dense/kernel: expected [3, 2], got [2]");
}

TEST(Model, RefusesGraphsThatDoNotHold) {
  const Symbol x = input({.shape = {3}, .name = "x"});
  const Symbol other = input({.shape = {3}, .name = "other"});
  const auto named = [](const char* name) { return layer<Dense>({.units = 3, .name = name}); };
  EXPECT_EQ(error_of<ConfigError>([&] { Model({.inputs = {x}, .outputs = {named("d")(other)}}); }),
            "[functional] outputs: expected what the inputs alone lead to, got a need of the input "
            "'other'");
  EXPECT_EQ(error_of<ConfigError>(
                [&] { Model({.inputs = {x}, .outputs = {named("d")(named("d")(x))}}); }),
            "[functional] layers: expected one of each name, got two named 'd'");
  EXPECT_EQ(error_of<ConfigError>([&] { Model({.inputs = {}, .outputs = {x}}); }),
            "[functional] inputs: expected 1 or more, got none");
  EXPECT_EQ(error_of<ConfigError>([&] {
              Model({.inputs = {x, x}, .outputs = {x}});
            }),
            "[functional] inputs: expected each once, got 'x' twice");
  EXPECT_EQ(error_of<ConfigError>([&] {
              named("d")(x, {{"use_causal_mask", true}});
            }),
            "[d] call: expected keywords among inputs, mask, training, got use_causal_mask");
  EXPECT_THAT(error_of<ConfigError>([&] { const Symbol one = layer<TwoMultiples>()(x); }),
              HasSubstr("outputs: expected one, or a choice among them, got 2"));
}

TEST(Model, RefusesInputsThatDoNotFit) {
  const Symbol x = input({.shape = {-1, 3}, .name = "x"});
  Model model({.inputs = {x}, .outputs = {layer<Dense>({.units = 2})(x)}});
  Context ctx;
  EXPECT_EQ(model(ctx, random_tensor({2, 7, 3}, 1)).shape(), Shape({2, 7, 2}));
  EXPECT_EQ(error_of<ShapeError>([&] {
              model(ctx, random_tensor({2, 7, 4}, 1));
            }),
            "[functional] x: expected [-1, -1, 3], got [2, 7, 4]");
  EXPECT_EQ(error_of<ShapeError>([&] {
              model(ctx, random_tokens({2, 7, 3}, 5, 1));
            }),
            "[functional] x: expected f32, got i32");
  EXPECT_EQ(error_of<ShapeError>([&] { model(ctx, Tensor()); }),
            "[functional] x: expected a tensor, got nothing");
  EXPECT_EQ(error_of<ConfigError>([&] {
              model(ctx, {{"y", random_tensor({2, 7, 3}, 1)}});
            }),
            "[functional] inputs: expected x, got y");
  EXPECT_THAT(error_of<ConfigError>([&] { model.get_layer("none"); }),
              HasSubstr("layer: expected one of x, dense, got none"));
}

TEST(Model, NamesTheLayerOfAnErrorByItsPath) {
  const Symbol tokens = input({.shape = {-1}, .dtype = Dtype::i32, .name = "tokens"});
  const auto encoder = std::make_shared<Model>(ModelConfig{
      .inputs = {tokens},
      .outputs = {layer<Embedding>({.input_dim = 5, .output_dim = 2, .name = "words"})(tokens)},
      .name = "encoder"});
  const Symbol ids = input({.shape = {-1}, .dtype = Dtype::i32, .name = "ids"});
  const Model model({.inputs = {ids}, .outputs = {connect(encoder, ids)}, .name = "net"});
  Context ctx;
  const std::int32_t id = 9;
  const Tensor outside = Tensor::from({1, 1}, std::span(&id, 1));
  EXPECT_THAT(error_of<ShapeError>([&] { (*encoder)(ctx, outside); }),
              StartsWith("[words/embedding] tokens: "));
  EXPECT_THAT(error_of<ShapeError>([&] { model(ctx, outside); }),
              StartsWith("[encoder/words/embedding] tokens: "));
}

}  // namespace
}  // namespace grouphead
