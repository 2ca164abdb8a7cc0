// A file of Keras's with convolutions, poolings and moving statistics: run, trained on, written.

#include <gtest/gtest.h>

#include <filesystem>

#include "grouphead/grouphead.h"
#include "io/safetensors.h"
#include "support.h"

namespace grouphead {
namespace {

using testing_support::is_close;
using testing_support::same_bits;

const std::filesystem::path kWindowsFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_convolution";

class KerasFileWindows : public ::testing::Test {
 protected:
  Tensor run(const Model& model) {
    return model(ctx_, std::vector<Tensor>{file_.at("inputs.frames"), file_.at("inputs.image")})[0];
  }

  Context ctx_;
  io::Safetensors file_ = io::read_safetensors(kWindowsFolder / "windows.safetensors");
};

TEST_F(KerasFileWindows, RunsAndGoesOnAsInKeras) {
  const TrainableModel loaded = load_compiled_model(kWindowsFolder / "windows.keras");
  EXPECT_TRUE(is_close(run(*loaded.model), file_.at("expect.output"), 2e-5, "windows.keras"));
  const Data batch{.x = {file_.at("inputs.frames"), file_.at("inputs.image")},
                   .y = {file_.at("target")}};
  for (int step = 0; step < 3; ++step) {
    const double want = static_cast<double>(file_.at("losses").data<float>()[step]);
    EXPECT_NEAR(loaded.compiled->train_on_batch(ctx_, batch), want, 2e-5 * want) << step;
  }
  EXPECT_TRUE(is_close(run(*loaded.model), file_.at("after.output"), 1e-4, "windows.keras"));
}

TEST_F(KerasFileWindows, IsTheSameWhenItWasWritten) {
  const std::shared_ptr<Model> model = load_model(kWindowsFolder / "windows.keras");
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / "windows_again.keras";
  save_model(*model, path);
  const std::shared_ptr<Model> again = load_model(path);
  EXPECT_EQ(model_to_config(*again).to_string(), model_to_config(*model).to_string());
  EXPECT_TRUE(same_bits(run(*again), run(*model)));
}

}  // namespace
}  // namespace grouphead
