// BackupAndRestore: a fit() that is interrupted goes on to the bit.

#include <gmock/gmock.h>

#include "grouphead/files/backup_and_restore.h"
#include "grouphead/layers/layers.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"
#include "io/file.h"
#include "io/json.h"
#include "model_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::random_tensor;
using testing_support::same_bits;

constexpr Index kEpochs = 4;  // of 3 steps

class Backup : public testing_support::FolderTest {
 protected:
  Backup() : data_{.x = {random_tensor({11, 3}, 1)}, .y = {random_tensor({11, 2}, 2)}} {}

  static std::unique_ptr<Model> fresh_model() {
    const Symbol x = input({.shape = {3}, .name = "x"});
    Symbol h = layer<Dense>(DenseConfig{.units = 4})(x);
    h = layer<BatchNormalization>(BatchNormalizationConfig{})(h);
    h = layer<Dropout>(DropoutConfig{.rate = 0.3})(h);
    const Symbol y = layer<Dense>(DenseConfig{.units = 2})(h);
    auto model = std::make_unique<Model>(ModelConfig{.inputs = {x}, .outputs = {y}});
    testing_support::randomize(*model, 5);
    return model;
  }
  static CompileConfig compile_config() {
    return {.optimizer = std::make_shared<Adam>(
                AdamConfig{.learning_rate = 0.037,
                           .options = {.use_ema = true, .gradient_accumulation_steps = 2}}),
            .loss = {"mse"}};
  }
  BackupAndRestoreConfig options(Index save_freq, RandomStream& random) const {
    return {.backup_dir = folder_ / "backup", .save_freq = save_freq, .random = &random};
  }

  /// The weights after a fit() that stops after so many steps, or does not.
  std::vector<Tensor> fit(std::optional<BackupAndRestoreConfig> backup, RandomStream& random,
                          Index stop_after = -1) {
    const std::unique_ptr<Model> model = fresh_model();
    CompiledModel compiled = compile(*model, compile_config());
    std::atomic<bool> stop = false;
    Index steps = 0;
    FitConfig config{.batch_size = 4, .epochs = kEpochs, .random = &random, .stop = &stop};
    if (backup) config.callbacks.push_back(std::make_shared<BackupAndRestore>(*backup));
    config.callbacks.push_back(std::make_shared<LambdaCallback>(
        LambdaCallback::Functions{.on_train_batch_end = [&](CompiledModel&, Index, const Logs&) {
          if (++steps == stop_after) stop = true;
        }}));
    history_ = compiled.fit(ctx_, data_, config);
    EXPECT_EQ(history_.interrupted, stop_after >= 0);
    return get_weights(*model);
  }

  void expect_same(const std::vector<Tensor>& got, const std::vector<Tensor>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(same_bits(got[i], want[i])) << i;
  }
  std::string metadata() const { return path("backup/training_metadata.json"); }

  Context ctx_;
  Data data_;
  History history_;
};

TEST_F(Backup, GoesOnToTheBit) {
  RandomStream whole(7);
  const std::vector<Tensor> want = fit({}, whole);
  // Saved at the ends of epochs, of each step, and of each second one, stopped between and at them.
  for (const Index save_freq : {0, 1, 2}) {
    for (const Index stop_after : {1, 3, 5, 6, 10}) {
      SCOPED_TRACE(std::to_string(save_freq) + " " + std::to_string(stop_after));
      std::filesystem::remove_all(folder_ / "backup");
      RandomStream first(7);
      fit(options(save_freq, first), first, stop_after);
      RandomStream second(7);
      expect_same(fit(options(save_freq, second), second), want);
      EXPECT_EQ(second.next_draw(), whole.next_draw());
      EXPECT_FALSE(std::filesystem::exists(folder_ / "backup"));  // the training ended
    }
  }
}

TEST_F(Backup, KilledBetweenItsTwoFilesGoesOnToo) {
  RandomStream whole(7);
  const std::vector<Tensor> want = fit({}, whole);
  RandomStream first(7);
  fit(options(0, first), first, 4);
  const std::string weights = io::read_file(path("backup/latest.weights.h5"));
  RandomStream second(7);
  fit(options(0, second), second, 4);
  io::write_file(path("backup/latest.weights.h5"), weights);  // the metadata are of epoch 2
  RandomStream third(7);
  expect_same(fit(options(0, third), third), want);
  EXPECT_EQ(history_.epochs.front(), 1);
}

TEST_F(Backup, ReadsWhatKerasWrites) {
  RandomStream random(7);
  fit(options(0, random), random, 7);
  io::write_file(metadata(), R"({"epoch": 3, "batch": 0})");
  fit(options(0, random), random);
  EXPECT_EQ(history_.epochs, std::vector<Index>{3});
}

TEST_F(Backup, RefusesWhatItCannotRead) {
  EXPECT_THAT(error_of<ConfigError>([] { BackupAndRestore({}); }), HasSubstr("a folder"));
  RandomStream random(7);
  EXPECT_THAT(error_of<ConfigError>([&] { BackupAndRestore(options(-1, random)); }),
              HasSubstr("0 or more steps"));
  fit(options(0, random), random, 4);
  io::write_file(metadata(), R"({"epoch": -3, "batch": 0})");
  EXPECT_THAT(error_of<IoError>([&] { fit(options(0, random), random); }),
              HasSubstr("epoch: expected an integer of 0 or more, got -3"));
  io::write_file(metadata(), "{");
  EXPECT_THROW(fit(options(0, random), random), IoError);
  io::write_file(path("backup/latest.weights.h5"), "nothing");
  EXPECT_THROW(fit(options(0, random), random), IoError);
}

}  // namespace
}  // namespace grouphead
