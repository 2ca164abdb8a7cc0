// Metrics: Keras's numbers batch by batch, names, what is refused.

#include <gmock/gmock.h>

#include "grouphead/train/metrics.h"
#include "keras_training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::keras_cases;
using testing_support::KerasCase;

std::shared_ptr<Metric> metric_of(const KerasCase& c) {
  return Metric::from_config(
      ConfigValue::Object{{"class_name", c["class_name"]}, {"config", c["config"]}});
}

TEST(Metrics, AreKeras) {
  Context ctx;
  const std::vector<KerasCase> cases = keras_cases("metric");
  EXPECT_GT(cases.size(), 30U);
  for (const KerasCase& c : cases) {
    SCOPED_TRACE(c.name());
    const auto metric = metric_of(c);
    for (int pass = 0; pass < 2; ++pass) {
      for (Index i = 0; i < c["batches"].as_integer("batches"); ++i) {
        const std::string batch = std::to_string(i) + ".";
        metric->update(ctx, {.target = c.optional(batch + "target"),
                             .prediction = c.optional(batch + "prediction"),
                             .mask = c.optional(batch + "mask"),
                             .sample_weight = c.optional(batch + "sample_weight")});
        EXPECT_NEAR(metric->result(), testing_support::first<double>(c.tensor(batch + "expect")),
                    1e-12)
            << i;
      }
      metric->reset();
      EXPECT_EQ(metric->result(), 0);
    }
  }
}

TEST(Metrics, ConfigurationsAreKerasAndComeBack) {
  for (const KerasCase& c : keras_cases("metric")) {
    SCOPED_TRACE(c.name());
    const ConfigValue config = metric_of(c)->get_config();
    for (const auto& [key, value] : c["config"].as_object("config")) {
      // The fixture computes in float64.
      if (value.is_number()) {
        EXPECT_EQ(config[key].as_number(key), value.as_number(key)) << key;
      } else if (key == "label_weights" && !value.is_null()) {
        EXPECT_EQ(config[key]["config"]["value"], value["config"]["value"]);
      } else if (key != "dtype") {
        EXPECT_EQ(config[key], value) << key;
      }
    }
    const ConfigValue envelope =
        ConfigValue::Object{{"class_name", c["class_name"]}, {"config", config}};
    EXPECT_EQ(Metric::from_config(envelope)->get_config(), config);
  }
}

TEST(Metrics, MeanWeighsWhatItIsGiven) {
  Mean mean;
  mean.add(1);
  mean.add(5, 3);
  EXPECT_DOUBLE_EQ(mean.result(), 4);
  EXPECT_EQ(mean.name(), "mean");
}

TEST(Metrics, AccuracyIsChosenByShapes) {
  const auto chosen = [](const char* name, const Shape& target, const Shape& prediction) {
    const auto metric = MetricChoice(name).resolve(target, prediction);
    EXPECT_EQ(metric->name(), name);
    return std::string(metric->class_name());
  };
  EXPECT_EQ(chosen("accuracy", {4, 1}, {4, 1}), "BinaryAccuracy");
  EXPECT_EQ(chosen("acc", {4}, {4, 3}), "SparseCategoricalAccuracy");
  EXPECT_EQ(chosen("accuracy", {4, 1}, {4, 3}), "SparseCategoricalAccuracy");
  EXPECT_EQ(chosen("accuracy", {4, 3}, {4, 3}), "CategoricalAccuracy");
  EXPECT_EQ(chosen("mse", {4, 3}, {4, 3}), "MeanSquaredError");
}

// perplexity = exp of the loss, over batches of any sizes.
TEST(Metrics, PerplexityIsTheExponentialOfTheCrossEntropy) {
  Context ctx;
  const Tensor logits = testing_support::random_tensor({6, 5}, 1);
  const Tensor labels = testing_support::random_tokens({6}, 5, 2);
  const auto metric = perplexity({.from_logits = true});
  for (const auto& [begin, end] : {std::pair<Index, Index>{0, 2}, {2, 6}}) {
    metric->update(ctx, {.target = labels.view().slice(0, begin, end),
                         .prediction = logits.view().slice(0, begin, end)});
  }
  const double loss = sparse_categorical_crossentropy({.from_logits = true})
                          ->value(ctx, {.target = labels, .prediction = logits});
  EXPECT_NEAR(metric->result(), std::exp(loss), 1e-6);
}

TEST(Metrics, WhatDoesNotFitIsRefused) {
  Context ctx;
  const Tensor x = Tensor::zeros({2, 3});
  const auto refusal = [&](const std::shared_ptr<Metric>& metric, const LossOperands& operands) {
    return error_of<ShapeError>([&] { metric->update(ctx, operands); });
  };
  EXPECT_THAT(refusal(accuracy(), {.target = Tensor::zeros({2, 2}), .prediction = x}),
              HasSubstr("target: expected [2, 3], got [2, 2]"));
  EXPECT_THAT(refusal(categorical_accuracy(), {.target = Tensor::zeros({2}), .prediction = x}),
              HasSubstr("target: expected [2, 3], got [2]"));
  EXPECT_THAT(refusal(sparse_categorical_accuracy(), {.target = x, .prediction = x}),
              HasSubstr("target: expected [2], got [2, 3]"));
  EXPECT_THAT(refusal(accuracy(), {.target = x, .prediction = x, .sample_weight = Tensor({3})}),
              HasSubstr("sample_weight"));
  EXPECT_THROW(Metric::from_config("unknown"), ConfigError);
  EXPECT_THROW(mean_of({.loss = sparse_categorical_crossentropy({.ignore_class = 0}), .name = "x"}),
               ConfigError);
}

TEST(Metrics, OfClassesAndLabelsRefuseWhatDoesNotFit) {
  Context ctx;
  const auto refusal = [](const auto& make) { return error_of<ConfigError>(make); };
  EXPECT_THAT(refusal([] { iou({.num_classes = 3, .target_class_ids = {3}}); }),
              HasSubstr("classes below 3, got 3"));
  EXPECT_THAT(refusal([] { iou({.num_classes = 3}); }), HasSubstr("target_class_ids"));
  EXPECT_THAT(refusal([] { mean_iou({.num_classes = 1 << 20}); }), HasSubstr("num_classes"));
  EXPECT_THAT(refusal([] { auc({.num_labels = 2}); }), HasSubstr("num_labels"));
  EXPECT_THAT(refusal([] { auc({.curve = "GAIN"}); }), HasSubstr("ROC, PR, PRGAIN"));
  EXPECT_THAT(refusal([] {
                auc({.multi_label = true, .num_labels = 2, .label_weights = {1, 2, 3}});
              }),
              HasSubstr("label_weights: expected 2 numbers, got 3"));
  const auto mean = mean_iou({.num_classes = 3});
  EXPECT_THAT(error_of<ShapeError>([&] {
                mean->update(ctx, {.target = Tensor::zeros({4}), .prediction = Tensor::zeros({3})});
              }),
              HasSubstr("target: expected 3 classes, got 4"));
  const auto labels = auc({.multi_label = true, .num_labels = 2});
  EXPECT_THAT(
      error_of<ShapeError>([&] {
        labels->update(ctx, {.target = Tensor::zeros({4, 3}), .prediction = Tensor::zeros({4, 3})});
      }),
      HasSubstr("prediction: expected 2 labels, got 3"));
}

}  // namespace
}  // namespace grouphead
