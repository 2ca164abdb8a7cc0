// Models that are not built when they are compiled: the first batch builds them, as in Keras.

#include <gmock/gmock.h>

#include "gradient_support.h"
#include "grouphead/layers/dense.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::random_tensor;
using testing_support::same_bits;

std::unique_ptr<Sequential> late_chain() {
  auto model = std::make_unique<Sequential>(SequentialConfig{.seed = 11});
  model->add(layer<Dense>({.units = 5, .activation = "tanh"})).add(layer<Dense>({.units = 2}));
  return model;
}

std::unique_ptr<Sequential> built_chain() {
  auto model = late_chain();
  model->build({-1, 3});
  return model;
}

CompileConfig late_compile() {
  return {.optimizer = "adam", .loss = {"mse"}, .metrics = {{"mae"}}};
}

Data late_data() { return {.x = {random_tensor({10, 3}, 1)}, .y = {random_tensor({10, 2}, 2)}}; }

void expect_same_parameters(const Layer& a, const Layer& b) {
  const ConstParameterList ours = a.parameters();
  const ConstParameterList theirs = b.parameters();
  ASSERT_EQ(ours.size(), 4U);
  ASSERT_EQ(theirs.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(ours[i].path, theirs[i].path);
    EXPECT_TRUE(same_bits(ours[i].parameter->value(), theirs[i].parameter->value()))
        << ours[i].path;
  }
}

/// Trains a model that is built late and one that was built before, and expects the same of both.
template <class Train>
void expect_trains_alike(Train&& train) {
  Context ctx({.num_threads = 2});
  const auto late = late_chain();
  const auto early = built_chain();
  const auto start = built_chain();
  CompiledModel late_model = compile(*late, late_compile());
  CompiledModel early_model = compile(*early, late_compile());
  EXPECT_FALSE(late->is_built());
  train(ctx, late_model);
  train(ctx, early_model);
  expect_same_parameters(*late, *early);
  EXPECT_EQ(late_model.logs(), early_model.logs());
  EXPECT_FALSE(same_bits(late->parameters()[0].parameter->value(),
                         start->parameters()[0].parameter->value()));
}

TEST(LateBuild, FitOfDataTrainsAsIfBuiltBefore) {
  std::vector<History> histories;
  // The last batch of an epoch is a smaller one.
  expect_trains_alike([&](Context& ctx, CompiledModel& model) {
    histories.push_back(model.fit(ctx, late_data(), {.batch_size = 4, .epochs = 3}));
  });
  ASSERT_EQ(histories.size(), 2U);
  EXPECT_EQ(histories[0].series, histories[1].series);
  EXPECT_EQ(histories[0].series[0].second.size(), 3U);
}

TEST(LateBuild, FitOfABatchSourceAsksForEachBatchOnce) {
  std::vector<std::pair<Index, Index>> asked;
  expect_trains_alike([&](Context& ctx, CompiledModel& model) {
    asked.clear();
    const BatchSource source = [&](Index epoch, Index step) -> std::optional<Data> {
      asked.emplace_back(epoch, step);
      if (step == 2) return {};
      return late_data();
    };
    model.fit(ctx, source, {.epochs = 2});
    const std::vector<std::pair<Index, Index>> expected = {{0, 0}, {0, 1}, {0, 2},
                                                           {1, 0}, {1, 1}, {1, 2}};
    EXPECT_EQ(asked, expected);
  });
}

TEST(LateBuild, TrainOnBatchTrains) {
  expect_trains_alike([](Context& ctx, CompiledModel& model) {
    for (int step = 0; step < 3; ++step) model.train_on_batch(ctx, late_data());
  });
}

TEST(LateBuild, CallbacksFindTheModelBuilt) {
  struct Looks final : Callback {
    void on_train_begin(CompiledModel& model) override {
      is_built = model.model().is_built() && model.optimizer().is_built();
    }
    bool is_built = false;
  };
  Context ctx;
  const auto chain = late_chain();
  CompiledModel model = compile(*chain, late_compile());
  const auto looks = std::make_shared<Looks>();
  model.fit(ctx, late_data(), {.callbacks = {looks}});
  EXPECT_TRUE(looks->is_built);
}

TEST(LateBuild, HappensInEveryOtherCallThatTakesABatch) {
  Context ctx;
  const auto early = built_chain();
  CompiledModel known = compile(*early, late_compile());
  const auto first = late_chain();
  CompiledModel predicting = compile(*first, late_compile());
  EXPECT_TRUE(same_bits(predicting.predict(ctx, late_data().x, 4)[0],
                        known.predict(ctx, late_data().x, 4)[0]));
  const auto second = late_chain();
  CompiledModel tested = compile(*second, late_compile());
  EXPECT_EQ(tested.test_on_batch(ctx, late_data()), known.test_on_batch(ctx, late_data()));
  const auto third = late_chain();
  CompiledModel evaluated = compile(*third, late_compile());
  EXPECT_EQ(evaluated.evaluate(ctx, late_data()), known.evaluate(ctx, late_data()));
  const auto fourth = late_chain();
  CompiledModel differentiated = compile(*fourth, late_compile());
  EXPECT_EQ(differentiated.compute_gradients(ctx, late_data()),
            known.compute_gradients(ctx, late_data()));
  EXPECT_TRUE(same_bits(differentiated.gradients().of(*fourth->parameters()[0].parameter),
                        known.gradients().of(*early->parameters()[0].parameter)));
  // What predicted first trains afterwards.
  predicting.train_on_batch(ctx, late_data());
  known.train_on_batch(ctx, late_data());
  expect_same_parameters(*first, *early);
}

TEST(LateBuild, BetweenCompilingAndTheFirstBatchIsAsGood) {
  expect_trains_alike([](Context& ctx, CompiledModel& model) {
    if (!model.model().is_built()) dynamic_cast<Sequential&>(model.model()).build({-1, 3});
    model.train_on_batch(ctx, late_data());
  });
}

TEST(LateBuild, NeedsAShape) {
  Context ctx;
  const auto chain = late_chain();
  CompiledModel model = compile(*chain, late_compile());
  const std::string expected =
      "[sequential] x: expected a tensor, whose shape the model is built for, got none";
  EXPECT_EQ(error_of<ConfigError>([&] { model.train_on_batch(ctx, {}); }), expected);
  EXPECT_EQ(error_of<ConfigError>([&] { model.test_on_batch(ctx, {.x = {Tensor()}}); }), expected);
  EXPECT_EQ(error_of<ConfigError>([&] { model.predict(ctx, {}); }), expected);
  Sequential empty;
  CompiledModel of_nothing = compile(empty, late_compile());
  EXPECT_THAT(error_of<ConfigError>([&] { of_nothing.fit(ctx, late_data()); }),
              HasSubstr("[sequential] layers: expected 1 or more, got none"));
}

}  // namespace
}  // namespace grouphead
