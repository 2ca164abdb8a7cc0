// compile, fit, evaluate and predict: Keras's histories and weights.

#include <gmock/gmock.h>

#include "grouphead/layers/dense.h"
#include "grouphead/layers/embedding.h"
#include "grouphead/layers/merging.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"
#include "grouphead/train/keras_callbacks.h"
#include "keras_training_support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::distance;
using testing_support::error_of;
using testing_support::keras_cases;
using testing_support::KerasCase;
using testing_support::random_tensor;
using testing_support::same_bits;

// ---- The fixture's models, in float64
// ------------------------------------------------------------

std::unique_ptr<Model> dense_model(Index outputs, Activation activation, Regularizer regularizer) {
  const Symbol x = input({.shape = {3}, .dtype = Dtype::f64, .name = "x"});
  const Symbol hidden = layer<Dense>(DenseConfig{.units = 4,
                                                 .activation = Activation::tanh,
                                                 .kernel_regularizer = std::move(regularizer),
                                                 .name = "hidden",
                                                 .dtype = Dtype::f64})(x);
  const Symbol out = layer<Dense>(DenseConfig{
      .units = outputs, .activation = activation, .name = "out", .dtype = Dtype::f64})(hidden);
  return std::make_unique<Model>(ModelConfig{.inputs = {x}, .outputs = {out}});
}

std::unique_ptr<Model> token_model() {
  const Symbol tokens = input({.shape = {5}, .dtype = Dtype::i32, .name = "tokens"});
  const Symbol embedded = layer<Embedding>(EmbeddingConfig{
      .input_dim = 7, .output_dim = 4, .mask_zero = true, .name = "embed", .dtype = Dtype::f64})(
      tokens);
  const Symbol out =
      layer<Dense>(DenseConfig{.units = 3, .name = "out", .dtype = Dtype::f64})(embedded);
  return std::make_unique<Model>(ModelConfig{.inputs = {tokens}, .outputs = {out}});
}

Regularizer regularizer(const char* name, const char* key, double strength) {
  return ConfigValue(
      ConfigValue::Object{{"class_name", name}, {"config", ConfigValue::Object{{key, strength}}}});
}

std::unique_ptr<Model> two_model() {
  const Symbol a = input({.shape = {3}, .dtype = Dtype::f64, .name = "a"});
  const Symbol b = input({.shape = {2}, .dtype = Dtype::f64, .name = "b"});
  const Symbol h = layer<Dense>(DenseConfig{.units = 4,
                                            .activation = Activation::tanh,
                                            .kernel_regularizer = regularizer("L2", "l2", 0.0625),
                                            .name = "hidden",
                                            .dtype = Dtype::f64})(a);
  const Symbol g = layer<Dense>(DenseConfig{.units = 4,
                                            .bias_regularizer = regularizer("L1", "l1", 0.125),
                                            .name = "gate",
                                            .dtype = Dtype::f64})(b);
  const Symbol sum = layer<Add>(AddConfig{.name = "sum", .dtype = Dtype::f64})({h, g});
  const Symbol first =
      layer<Dense>(DenseConfig{.units = 2, .name = "first", .dtype = Dtype::f64})(sum);
  const Symbol second =
      layer<Dense>(DenseConfig{.units = 3, .name = "second", .dtype = Dtype::f64})(h);
  return std::make_unique<Model>(ModelConfig{.inputs = {a, b}, .outputs = {first, second}});
}

/// A case's model and what the generator compiles it with.
struct FixtureModel {
  std::unique_ptr<Model> model;
  CompileConfig compile;
};

FixtureModel model_of(const KerasCase& c) {
  const std::string& name = c.name();
  const auto is = [&](const char* part) { return name.find(part) != std::string::npos; };
  FixtureModel s;
  if (is("fit_regression")) {
    const bool regularized = is("regularized");
    s.model = dense_model(2, Activation::linear,
                          regularized ? regularizer("L2", "l2", 0.125) : Regularizer());
    s.compile.loss = {regularized ? "mae" : "mse"};
    s.compile.metrics = {{regularized ? "mse" : "mae"}};
    if (is("steps") || is("accumulate") || is("weighted_split")) s.compile.metrics.clear();
    if (is("__weighted")) s.compile.weighted_metrics = {{"mae", "mse"}};
    if (is("weighted_split")) s.compile.weighted_metrics = {{"mae"}};
  } else if (is("fit_classes")) {
    s.model = dense_model(3, Activation::softmax, {});
    s.compile.loss = {is("one_hot") ? "categorical_crossentropy"
                                    : "sparse_categorical_crossentropy"};
    s.compile.metrics = {{is("one_hot") ? "acc" : "accuracy"}};
    if (name == "fit_classes") s.compile.weighted_metrics = {{"accuracy"}};
  } else if (is("fit_tokens")) {
    s.model = token_model();
    s.compile.loss = {sparse_categorical_crossentropy({.from_logits = true})};
    (is("weighted") ? s.compile.weighted_metrics : s.compile.metrics) = {{"accuracy"}};
  } else {
    s.model = two_model();
    s.compile.loss = {"mse", sparse_categorical_crossentropy({.from_logits = true})};
    if (is("weighted")) {
      s.compile.metrics = {{"mae"}, {}};
      s.compile.weighted_metrics = {{"mae"}, {"accuracy"}};
    } else {
      s.compile.loss_weights = {0.7, 2.0};
      s.compile.metrics = {{"mae"}, {"accuracy"}};
    }
  }
  s.compile.optimizer = c["optimizer"];
  for (const auto& [path, parameter] : s.model->parameters()) {
    copy(c.tensor("initial." + path), parameter->edit());
  }
  return s;
}

std::vector<Tensor> tensors_of(const KerasCase& c, const std::string& prefix) {
  std::vector<Tensor> tensors;
  for (int i = 0; c.has(prefix + std::to_string(i)); ++i) {
    tensors.push_back(c.tensor(prefix + std::to_string(i)));
  }
  return tensors;
}

FitConfig fit_config(const KerasCase& c) {
  const ConfigValue& fit = c["fit"];
  const auto integer = [&](const char* key) {
    return fit.contains(key) ? fit[key].as_integer(key) : Index{0};
  };
  FitConfig config{.batch_size = integer("batch_size"),
                   .epochs = integer("epochs"),
                   .shuffle = false,
                   .steps_per_epoch = integer("steps_per_epoch")};
  if (fit.contains("validation_split")) {
    config.validation_split = fit["validation_split"].as_number("split");
  }
  if (c.has("validation.x")) {
    config.validation_data = Data{.x = {c.tensor("validation.x")}, .y = {c.tensor("validation.y")}};
  }
  if (!c["class_weight"].is_null()) {
    for (const auto& [label, weight] : c["class_weight"].as_object("class_weight")) {
      config.class_weight[std::stoll(label)] = weight.as_number("weight");
    }
  }
  const ConfigValue& stopping = c["early_stopping"];
  if (!stopping.is_null()) {
    EarlyStoppingConfig options{.monitor = stopping["monitor"].as_string("monitor"),
                                .patience = stopping["patience"].as_integer("patience")};
    if (stopping.contains("min_delta")) options.min_delta = stopping["min_delta"].as_number("");
    if (stopping.contains("baseline")) options.baseline = stopping["baseline"].as_number("");
    options.restore_best_weights = stopping.contains("restore_best_weights");
    if (stopping.contains("start_from_epoch")) options.start_from_epoch = 1;
    config.callbacks.push_back(std::make_shared<EarlyStopping>(options));
  }
  if (const ConfigValue& swap = c["swap"]; !swap.is_null()) {
    config.callbacks.push_back(std::make_shared<SwapEMAWeights>(
        SwapEMAWeightsConfig{.swap_on_epoch = swap["swap_on_epoch"].as_bool("swap_on_epoch")}));
  }
  return config;
}

TEST(Fit, HistoriesAndWeightsAreKeras) {
  constexpr double kTolerance = 1e-9;
  Context ctx({.num_threads = 2});
  const std::vector<KerasCase> cases = keras_cases("fit");
  EXPECT_EQ(cases.size(), 17U);
  for (const KerasCase& c : cases) {
    SCOPED_TRACE(c.name());
    const FixtureModel fixture = model_of(c);
    CompiledModel compiled = compile(*fixture.model, fixture.compile);
    const Data data{.x = tensors_of(c, "x."),
                    .y = tensors_of(c, "y."),
                    .sample_weight = tensors_of(c, "sample_weight.")};
    const History history = compiled.fit(ctx, data, fit_config(c));
    EXPECT_FALSE(history.interrupted);
    const ConfigValue::Object& want = c["history"].as_object("history");
    EXPECT_EQ(history.series.size(), want.size());
    for (const auto& [name, values] : want) {
      // On JAX the masks of predictions are lost on the way to the metrics of training, not to
      // those of evaluate(); here they count in both.
      if (c.name().starts_with("fit_tokens") && name == "accuracy") continue;
      const ConfigValue::List& list = values.as_list("history");
      ASSERT_EQ(history[name].size(), list.size()) << name;
      for (std::size_t i = 0; i < list.size(); ++i) {
        EXPECT_NEAR(history[name][i], list[i].as_number(name), kTolerance) << name << " " << i;
      }
    }
    for (const auto& [path, parameter] : fixture.model->parameters()) {
      EXPECT_LT(distance(parameter->value(), c.tensor("final." + path)), kTolerance) << path;
    }
    const Logs logs = compiled.evaluate(ctx, {.x = data.x, .y = data.y}, {.batch_size = 5});
    const ConfigValue::Object& evaluated = c["evaluate"].as_object("evaluate");
    EXPECT_EQ(logs.size(), evaluated.size());
    for (const auto& [name, value] : evaluated) {
      ASSERT_TRUE(find(logs, name)) << name;
      EXPECT_NEAR(*find(logs, name), value.as_number(name), kTolerance) << name;
    }
  }
}

// ---- Behaviour of our own
// ------------------------------------------------------------------------

struct Regression {
  Regression() : model(dense_model(2, Activation::linear, {})) {
    testing_support::randomize(*model, 5);
    data.x = {random_tensor({11, 3}, 1, Dtype::f64)};
    data.y = {random_tensor({11, 2}, 2, Dtype::f64)};
  }
  CompiledModel compiled(const char* optimizer = "adam") const {
    return compile(*model, {.optimizer = optimizer, .loss = {"mse"}, .metrics = {{"mae"}}});
  }
  std::unique_ptr<Model> model;
  Data data;
};

TEST(Fit, ScalesTheLossOfMixedFloat16) {
  Context ctx;
  const auto model_with = [](const char* policy) {
    const Symbol x = input({.shape = {3}, .name = "x"});
    const Symbol h = layer<Dense>(DenseConfig{.units = 4, .dtype = policy})(x);
    auto model = std::make_unique<Model>(
        ModelConfig{.inputs = {x}, .outputs = {layer<Dense>(DenseConfig{.units = 2})(h)}});
    testing_support::randomize(*model, 5);
    return model;
  };
  const auto mixed = model_with("mixed_float16");
  CompiledModel scaled = compile(*mixed, {.optimizer = "sgd", .loss = {"mse"}});
  EXPECT_EQ(scaled.optimizer().loss_scale(), 32768);
  EXPECT_EQ(scaled.compile_config()["optimizer"]["class_name"], ConfigValue("LossScaleOptimizer"));
  // What is beyond f16 is infinite, and leaves the step out.
  Data data{.x = {random_tensor({4, 3}, 1)}, .y = {random_tensor({4, 2}, 2)}};
  data.x[0].data<float>()[5] = 1e6F;
  const std::vector<Tensor> before = get_weights(*mixed);
  scaled.train_on_batch(ctx, data);
  EXPECT_EQ(scaled.optimizer().loss_scale(), 16384);
  EXPECT_EQ(scaled.optimizer().iterations(), 0);
  const std::vector<Tensor> after = get_weights(*mixed);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(testing_support::same_bits(after[i], before[i]));
  }
  const auto plain = model_with("float32");
  EXPECT_FALSE(compile(*plain, {.optimizer = "sgd", .loss = {"mse"}}).optimizer().scales_loss());
  EXPECT_FALSE(compile(*mixed, {.optimizer = "sgd", .loss = {"mse"}, .auto_scale_loss = false})
                   .optimizer()
                   .scales_loss());
}

TEST(Fit, ShufflesBySeedAndEpoch) {
  Context ctx;
  const auto trained = [&](bool shuffle, std::uint64_t seed, Index first_epochs) {
    const Regression r;
    CompiledModel compiled = r.compiled("sgd");
    FitConfig config{
        .batch_size = 3, .epochs = first_epochs, .shuffle = shuffle, .shuffle_seed = seed};
    compiled.fit(ctx, r.data, config);
    config.initial_epoch = first_epochs;
    config.epochs = 4;
    compiled.fit(ctx, r.data, config);
    return get_weights(*r.model)[0].clone();
  };
  const Tensor once = trained(true, 1, 4);
  EXPECT_TRUE(same_bits(once, trained(true, 1, 4)));
  EXPECT_TRUE(same_bits(once, trained(true, 1, 2)));  // an epoch's order is its own
  EXPECT_FALSE(same_bits(once, trained(true, 2, 4)));
  EXPECT_FALSE(same_bits(once, trained(false, 1, 4)));
}

TEST(Fit, TakesBatchesFromAFunction) {
  Context ctx;
  const Regression by_array;
  const Regression by_function;
  CompiledModel first = by_array.compiled();
  CompiledModel second = by_function.compiled();
  const History want = first.fit(ctx, by_array.data, {.batch_size = 11, .epochs = 3});
  const auto source = [&](Index /*epoch*/, Index step) {
    return step == 0 ? std::optional(by_function.data) : std::nullopt;
  };
  const History got = second.fit(ctx, source, {.epochs = 3, .shuffle = false});
  ASSERT_EQ(got["loss"].size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(got["loss"][i], want["loss"][i], 1e-12);
  EXPECT_THROW(second.fit(ctx, source, {.validation_split = 0.5}), ConfigError);
}

TEST(Fit, StopsBetweenStepsWhenAsked) {
  Context ctx;
  const Regression r;
  CompiledModel compiled = r.compiled();
  std::atomic<bool> stop = false;
  Index steps = 0;
  bool ended = false;
  const auto watcher = std::make_shared<LambdaCallback>(
      LambdaCallback::Functions{.on_train_batch_end =
                                    [&](CompiledModel&, Index, const Logs&) {
                                      if (++steps == 6)
                                        stop = true;  // the second batch of the second epoch
                                    },
                                .on_train_end = [&](CompiledModel&) { ended = true; }});
  const History history = compiled.fit(
      ctx, r.data, {.batch_size = 3, .epochs = 5, .callbacks = {watcher}, .stop = &stop});
  EXPECT_TRUE(history.interrupted);
  EXPECT_TRUE(ended);
  EXPECT_EQ(steps, 6);
  EXPECT_EQ(history["loss"].size(), 1U);
  EXPECT_EQ(compiled.optimizer().iterations(), 6);
}

TEST(Fit, CallbacksMayEndItAndProgressIsTold) {
  Context ctx;
  const Regression r;
  CompiledModel compiled = r.compiled();
  const auto ender = std::make_shared<LambdaCallback>(LambdaCallback::Functions{
      .on_train_batch_end = [](CompiledModel& model, Index batch, const Logs&) {
        model.stop_training = batch == 1;
      }});
  std::vector<std::string> told;
  const History history = compiled.fit(
      ctx, r.data,
      {.batch_size = 4, .epochs = 5, .callbacks = {ender}, .progress = [&](const FitProgress& p) {
         told.push_back(std::to_string(p.step) + "/" + std::to_string(p.steps) +
                        (p.epoch_is_over ? " over" : ""));
       }});
  EXPECT_THAT(told, ElementsAre("1/3", "2/3", "2/3 over"));
  EXPECT_EQ(history.epochs, std::vector<Index>{0});
}

TEST(Fit, PredictsBatchAfterBatch) {
  Context ctx;
  const Regression r;
  CompiledModel compiled = r.compiled();
  const std::vector<Tensor> by_four = compiled.predict(ctx, r.data.x, 4);
  ASSERT_EQ(by_four.size(), 1U);
  EXPECT_EQ(by_four[0].shape(), Shape({11, 2}));
  EXPECT_TRUE(same_bits(by_four[0], (*r.model)(ctx, r.data.x[0])));
}

TEST(Fit, ThreadsDoNotChangeTheBits) {
  const auto trained = [](int threads) {
    Context ctx({.num_threads = threads});
    const Symbol x = input({.shape = {65}, .name = "x"});
    const Symbol hidden =
        layer<Dense>(DenseConfig{.units = 300, .activation = Activation::gelu})(x);
    const Symbol out = layer<Dense>(DenseConfig{.units = 5})(hidden);
    Model model({.inputs = {x}, .outputs = {out}});
    CompiledModel compiled = compile(
        model,
        {.optimizer = std::make_shared<AdamW>(AdamWConfig{.options = {.global_clipnorm = 1.0}}),
         .loss = {sparse_categorical_crossentropy({.from_logits = true})}});
    const History history = compiled.fit(
        ctx,
        {.x = {random_tensor({500, 65}, 1)}, .y = {testing_support::random_tokens({500}, 5, 2)}},
        {.batch_size = 200, .epochs = 2});
    return std::pair(history["loss"], get_weights(model));
  };
  const auto one = trained(1);
  const auto many = trained(3);
  EXPECT_EQ(one.first, many.first);
  ASSERT_EQ(one.second.size(), many.second.size());
  for (std::size_t i = 0; i < one.second.size(); ++i) {
    EXPECT_TRUE(same_bits(one.second[i], many.second[i])) << i;
  }
}

TEST(Fit, WhatDoesNotFitIsRefused) {
  Context ctx;
  const Regression r;
  CompiledModel compiled = r.compiled();
  Data other = r.data;
  other.y = {random_tensor({10, 2}, 2, Dtype::f64)};
  EXPECT_THAT(error_of<ShapeError>([&] { compiled.fit(ctx, other); }), HasSubstr("11 samples"));
  EXPECT_THROW(compiled.fit(ctx, Data{}), ShapeError);
  EXPECT_THROW(compiled.fit(ctx, Data{.x = r.data.x}), ShapeError);
  EXPECT_THROW(compiled.fit(ctx, r.data, {.validation_split = 1.0}), ConfigError);
  EXPECT_THROW(compiled.fit(ctx, r.data, {.validation_split = 0.95}), ConfigError);
  EXPECT_THROW(compiled.fit(ctx, r.data, {.batch_size = -1}), ConfigError);
  Data weighted = r.data;
  weighted.sample_weight = {random_tensor({11}, 3)};
  EXPECT_THAT(error_of<ConfigError>([&] {
                compiled.fit(ctx, weighted, {.class_weight = {{0, 1.0}}});
              }),
              HasSubstr("no sample_weight"));
  CompiledModel without = compile(*r.model, {.loss = {"mse"}});
  EXPECT_NO_THROW(without.evaluate(ctx, r.data));
  EXPECT_THROW(without.fit(ctx, r.data), ConfigError);
  CompiledModel many = compile(*r.model, {.optimizer = "sgd", .loss = {"mse", "mae"}});
  EXPECT_THROW(many.fit(ctx, r.data), ConfigError);
  EXPECT_THROW(compile(*r.model, {.loss = {mean_squared_error({.reduction = Reduction::none})}}),
               ConfigError);
}

TEST(Fit, OfNothingIsRefusedAndPredictsNothing) {
  Context ctx;
  const Symbol x = input({.shape = {3}, .name = "x"});
  const Symbol a = layer<Dense>(DenseConfig{.units = 2, .name = "a"})(x);
  const Symbol b = layer<Dense>(DenseConfig{.units = 1, .name = "b"})(x);
  Model model({.inputs = {x}, .outputs = {a, b}});
  CompiledModel compiled = compile(model, {.optimizer = "sgd", .loss = {"mse"}});
  const Data none{.x = {Tensor::zeros({0, 3})},
                  .y = {Tensor::zeros({0, 2}), Tensor::zeros({0, 1})}};
  const Data some{.x = {Tensor::zeros({2, 3})},
                  .y = {Tensor::zeros({2, 2}), Tensor::zeros({2, 1})}};
  const std::vector<Tensor> predicted = compiled.predict(ctx, none.x);
  ASSERT_EQ(predicted.size(), 2U);
  EXPECT_EQ(predicted[0].shape(), (Shape{0, 2}));
  EXPECT_EQ(predicted[1].shape(), (Shape{0, 1}));
  EXPECT_THAT(error_of<ShapeError>([&] { compiled.fit(ctx, none); }),
              HasSubstr("[fit] data: expected 1 sample or more, got none"));
  EXPECT_THAT(error_of<ShapeError>([&] { compiled.evaluate(ctx, none); }),
              HasSubstr("[evaluate] data: expected 1 sample or more, got none"));
  EXPECT_THROW(compiled.fit(ctx, some, {.validation_data = none}), ShapeError);
  EXPECT_EQ(compiled.optimizer().iterations(), 0);
}

}  // namespace
}  // namespace grouphead
