// Metrics of a batch that several processes share out.

#include <gtest/gtest.h>

#include <cmath>

#include "grouphead/models/model.h"
#include "thread_communicator.h"
#include "training_support.h"

namespace grouphead {
namespace {

using testing_support::run_processes;

constexpr Index kSamples = 10, kInputs = 4, kClasses = 3;

Data labelled() {
  Tensor classes = Tensor::zeros({kSamples, kClasses});
  for (Index i = 0; i < kSamples; ++i) classes.data<float>()[i * kClasses + i * i % kClasses] = 1;
  return {.x = {random_normal({kSamples, kInputs}, 1)},
          .y = {classes, random_normal({kSamples, 2}, 2)},
          .sample_weight = {}};
}

/// A new metric of each kind that Keras has, of classes.
std::vector<MetricChoice> metrics_of_classes() {
  return {"accuracy",
          mean_of({.loss = "categorical_crossentropy", .name = "cross_entropy"}),
          top_k_categorical_accuracy({.k = 2}),
          precision({.top_k = 1}),
          recall({.threshold = 0.3}),
          false_negatives(),
          sensitivity_at_specificity({.value = 0.5}),
          auc({.num_thresholds = 20}),
          auc({.num_thresholds = 20, .multi_label = true, .name = "auc_of_labels"}),
          f1_score({.average = "macro"}),
          one_hot_mean_iou({.num_classes = kClasses, .sparse_y_pred = false}),
          binary_iou({.threshold = 0.4}),
          sum_metric()};
}

std::vector<MetricChoice> metrics_of_numbers() {
  return {"mse", root_mean_squared_error(), cosine_similarity_metric(), r2_score(),
          pearson_correlation()};
}

/// Logs of a training and of an evaluation. Batches of 4, 4 and 2 samples, in three blocks.
std::vector<Logs> logs_of(const std::shared_ptr<Communicator>& job) {
  Context ctx({.num_threads = 1});
  const Symbol x = input({.shape = {kInputs}});
  Model model({.inputs = {x},
               .outputs = {layer<Dense>({.units = kClasses, .activation = Activation::softmax})(x),
                           layer<Dense>({.units = 2})(x)},
               .seed = 3});
  CompiledModel compiled = compile(model, {.optimizer = "sgd",
                                           .loss = {"categorical_crossentropy", "mse"},
                                           .metrics = {metrics_of_classes(), metrics_of_numbers()},
                                           .weighted_metrics = {{"mae"}, {"mae"}},
                                           .communicator = job,
                                           .batch_blocks = 3});
  const Data data = labelled();
  const History history = compiled.fit(ctx, data, {.batch_size = 4, .epochs = 2, .shuffle = false});
  std::vector<Logs> all(3);
  for (const auto& [name, values] : history.series) {
    for (std::size_t epoch = 0; epoch < 2; ++epoch) all[epoch].emplace_back(name, values[epoch]);
  }
  all[2] = compiled.evaluate(ctx, data, {.batch_size = 4});
  return all;
}

// Processes without samples, of the last batch's two, go along.
TEST(DataParallel, MetricsAndLossesOfOutputsAreThoseOfTheJob) {
  const std::vector<Logs> alone = logs_of(nullptr);
  ASSERT_GT(alone[0].size(), 20U);
  for (const int size : {1, 2, 3}) {
    run_processes(size, [&](std::shared_ptr<Communicator> job) {
      const std::vector<Logs> logs = logs_of(job);
      for (std::size_t i = 0; i < alone.size(); ++i) {
        ASSERT_EQ(logs[i].size(), alone[i].size());
        for (std::size_t k = 0; k < alone[i].size(); ++k) {
          EXPECT_EQ(logs[i][k].first, alone[i][k].first);
          EXPECT_NEAR(logs[i][k].second, alone[i][k].second,
                      1e-12 * std::max(1.0, std::abs(alone[i][k].second)))
              << logs[i][k].first << ", process " << job->rank() << " of " << size;
        }
      }
    });
  }
}

/// Counts its calls, and says nothing of sums.
class Calls final : public Metric {
 public:
  Calls() : Metric("calls") {}
  std::string_view class_name() const override { return "Calls"; }
  void update(Context& /*ctx*/, const LossOperands& /*operands*/) override { ++calls_; }
  double result() const override { return calls_; }
  void reset() override { calls_ = 0; }

 private:
  double calls_ = 0;
};

TEST(DataParallel, MetricsWithoutSumsAreOfAProcess) {
  run_processes(3, [&](std::shared_ptr<Communicator> job) {
    Context ctx({.num_threads = 1});
    Dense model({.units = 1});
    const std::vector<MetricChoice> metrics = {MetricChoice(std::make_shared<Calls>()), "mse"};
    CompiledModel compiled = compile(
        model, {.loss = {"mse"}, .metrics = {metrics}, .communicator = job, .batch_blocks = 4});
    const Data data{.x = {random_normal({4, 2}, 1)}, .y = {random_normal({4, 1}, 2)}};
    const Logs logs = compiled.evaluate(ctx, data, {.batch_size = 4});
    EXPECT_EQ(find(logs, "calls"), job->rank() == 2 ? 2 : 1);
    EXPECT_NEAR(*find(logs, "mse"), *find(logs, "loss"), 1e-6);
  });
}

// A metric object of the caller's has its result, however many blocks there are.
TEST(DataParallel, MetricObjectsKeepTheirResults) {
  Context ctx({.num_threads = 1});
  Dense model({.units = 1});
  const auto calls = std::make_shared<Calls>();
  const std::shared_ptr<Metric> mse = root_mean_squared_error();
  CompiledModel compiled = compile(
      model,
      {.loss = {"mse"}, .metrics = {{MetricChoice(calls), MetricChoice(mse)}}, .batch_blocks = 2});
  const Data data{.x = {random_normal({4, 2}, 1)}, .y = {random_normal({4, 1}, 2)}};
  const Logs logs = compiled.evaluate(ctx, data, {.batch_size = 4});
  EXPECT_EQ(calls->result(), 2);
  EXPECT_GT(mse->result(), 0);
  EXPECT_EQ(find(logs, "root_mean_squared_error"), mse->result());
}

}  // namespace
}  // namespace grouphead
