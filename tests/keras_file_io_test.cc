// Three models as the examples of keras.io build them: tests/golden/keras_io. What a user of such a
// file does: predict, train on, save, and go on from there.

#include <gmock/gmock.h>

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

const std::string kIoFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_io/";

class KerasIo : public testing_support::FolderTest {
 protected:
  static void SetUpTestSuite() { register_classes(kIoFolder + "classes.json"); }

  void expect_trains(const TrainableModel& model, const io::Safetensors& values) {
    const auto tensor = [&](const std::string& name) { return values.at(name); };
    Data data{.y = {tensor("y")}};
    for (int i = 0; values.tensors.contains("x" + std::to_string(i)); ++i) {
      data.x.push_back(tensor("x" + std::to_string(i)));
    }
    Context ctx({.num_threads = 2});
    EXPECT_LT(distance(model.compiled->predict(ctx, data.x)[0], tensor("predictions")), 1e-5);
    const History history =
        model.compiled->fit(ctx, data, {.batch_size = 3, .epochs = 3, .shuffle = false});
    for (const auto& [name, series] : history.series) {
      const Tensor want = tensor("logs." + name);
      for (std::size_t i = 0; i < series.size(); ++i) {
        EXPECT_NEAR(series[i], element(want, static_cast<Index>(i)), 5e-5) << name << i;
      }
    }
    EXPECT_LT(distance(model.compiled->predict(ctx, data.x)[0], tensor("trained")), 5e-5);
  }
};

TEST_F(KerasIo, ModelsPredictAndTrainAsInKeras) {
  for (const std::string name : {"time_series", "text_classification", "translation"}) {
    SCOPED_TRACE(name);
    const io::Safetensors values = io::read_safetensors(kIoFolder + name + ".safetensors");
    const TrainableModel loaded = load_compiled_model(kIoFolder + name + ".keras");
    save_model(*loaded.compiled, path(name + ".keras"));
    expect_trains(loaded, values);
    expect_trains(load_compiled_model(path(name + ".keras")), values);
  }
}

}  // namespace
}  // namespace grouphead
