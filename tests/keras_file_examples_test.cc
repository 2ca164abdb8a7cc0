// The examples of docs/keras-examples.md: tests/golden/keras_examples. What a user of such a file
// does: predict, train on, save, and go on from there.

#include <gmock/gmock.h>

#include <map>

#include "grouphead/files/classes.h"
#include "grouphead/files/saved_model.h"
#include "grouphead/models/model.h"
#include "io/safetensors.h"
#include "keras_training_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using testing_support::distance;
using testing_support::element;

const std::string kExamples = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_examples/";

class KerasExamples : public testing_support::FolderTest {
 protected:
  static void SetUpTestSuite() { register_classes(kExamples + "classes.json"); }

  /// Predicts and trains as Keras does; then the loss is below the first one times `share`.
  void expect_trains(const TrainableModel& model, const std::string& name, double share) {
    const io::Safetensors values = io::read_safetensors(kExamples + name + ".safetensors");
    const io::Safetensors logs = io::read_safetensors(kExamples + name + ".logs.safetensors");
    Data data{.y = {values.at("y")}};
    for (const std::string_view input : model.model->input_names()) {
      data.x.push_back(values.at("inputs." + std::string(input)));
    }
    if (values.tensors.contains("sample_weight")) {
      data.sample_weight = {values.at("sample_weight")};
    }
    Context ctx({.num_threads = 2});
    EXPECT_LT(distance(model.compiled->predict(ctx, data.x)[0], values.at("expect.output")), 1e-5);
    const Index epochs = logs.at("loss").size();
    const History history =
        model.compiled->fit(ctx, data, {.batch_size = 16, .epochs = epochs, .shuffle = false});
    EXPECT_EQ(history.series.size() + 1, logs.tensors.size());
    for (const auto& [key, series] : history.series) {
      ASSERT_EQ(static_cast<Index>(series.size()), epochs);
      for (Index i = 0; i < epochs; ++i) {
        const double bound = i < 3 ? 5e-5 : 1e-3;  // differences grow with the steps
        EXPECT_NEAR(series[static_cast<std::size_t>(i)], element(logs.at(key), i), bound)
            << key << i;
      }
    }
    EXPECT_LT(history["loss"].back(), share * history["loss"].front());
    EXPECT_LT(distance(model.compiled->predict(ctx, data.x)[0], logs.at("output")), 5e-3);
  }
};

TEST_F(KerasExamples, PredictAndTrainAsInKeras) {
  const std::map<std::string, double> shares = {
      {"text_classification", 0.1}, {"time_series", 0.1},           {"image_patches", 0.1},
      {"bidirectional_lstm", 0.1},  {"masked_language_model", 0.7}, {"translation", 0.7}};
  for (const auto& [name, share] : shares) {
    SCOPED_TRACE(name);
    const TrainableModel loaded = load_compiled_model(kExamples + name + ".keras");
    save_model(*loaded.compiled, path(name + ".keras"));
    expect_trains(loaded, name, share);
    expect_trains(load_compiled_model(path(name + ".keras")), name, share);
  }
}

}  // namespace
}  // namespace grouphead
