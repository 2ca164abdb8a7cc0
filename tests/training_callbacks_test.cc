// Callbacks: what they write, when they save, what they refuse.

#include <gmock/gmock.h>

#include "grouphead/files/weights.h"
#include "grouphead/layers/dense.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"
#include "io/file.h"
#include "model_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::random_tensor;
using testing_support::same_bits;

class Callbacks : public testing_support::FolderTest {
 protected:
  Callbacks() {
    const Symbol x = input({.shape = {3}, .name = "x"});
    const Symbol y = layer<Dense>(DenseConfig{.units = 2})(x);
    model_ = std::make_unique<Model>(ModelConfig{.inputs = {x}, .outputs = {y}});
    testing_support::randomize(*model_, 5);
    data_ = {.x = {random_tensor({10, 3}, 1)}, .y = {random_tensor({10, 2}, 2)}};
  }
  History fit(std::shared_ptr<Callback> callback, Index epochs, double learning_rate = 0.1) {
    CompiledModel compiled = compile(
        *model_, {.optimizer = std::make_shared<SGD>(SGDConfig{.learning_rate = learning_rate}),
                  .loss = {"mse"},
                  .metrics = {{"mae"}}});
    return compiled.fit(ctx_, data_,
                        {.batch_size = 4, .epochs = epochs, .callbacks = {std::move(callback)}});
  }

  Context ctx_;
  std::unique_ptr<Model> model_;
  Data data_;
};

TEST_F(Callbacks, ModelCheckpointSavesEachEpochUnderItsName) {
  std::vector<std::string> files;
  const auto save = [&](const CompiledModel& model, const std::filesystem::path& file) {
    files.push_back(file.filename());
    save_weights(model.model(), file);
  };
  fit(std::make_shared<ModelCheckpoint>(
          ModelCheckpointConfig{.filepath = path("runs/{epoch:02d}.safetensors")}, save),
      2);
  EXPECT_THAT(files, ElementsAre("01.safetensors", "02.safetensors"));
  const std::vector<Tensor> last = get_weights(*model_);
  testing_support::randomize(*model_, 6);
  load_weights(*model_, path("runs/02.safetensors"));
  EXPECT_TRUE(same_bits(get_weights(*model_)[0], last[0]));
  EXPECT_THROW(load_weights(*model_, path("runs/03.safetensors")), IoError);
}

TEST_F(Callbacks, ModelCheckpointKeepsTheBestOnly) {
  std::vector<std::string> files;
  const auto save = [&](const CompiledModel&, const std::filesystem::path& file) {
    files.push_back(file);
  };
  const ModelCheckpointConfig config{
      .filepath = "{epoch}-{loss:.1f}", .monitor = "loss", .save_best_only = true};
  // So large a rate makes the loss grow from the first epoch on.
  const History history = fit(std::make_shared<ModelCheckpoint>(config, save), 3, 5.0);
  EXPECT_GT(history["loss"][2], history["loss"][0]);
  ASSERT_EQ(files.size(), 1U);
  EXPECT_TRUE(files[0].starts_with("1-")) << files[0];
}

TEST_F(Callbacks, ModelCheckpointCountsBatches) {
  std::vector<std::string> files;
  const auto save = [&](const CompiledModel&, const std::filesystem::path& file) {
    files.push_back(file);
  };
  fit(std::make_shared<ModelCheckpoint>(
          ModelCheckpointConfig{.filepath = "{epoch}.{batch}", .save_freq = 4}, save),
      3);
  EXPECT_THAT(files, ElementsAre("2.1", "3.2"));  // three batches an epoch
  EXPECT_THAT(error_of<ConfigError>([&] {
                fit(std::make_shared<ModelCheckpoint>(
                        ModelCheckpointConfig{.filepath = "{accuracy}"}, save),
                    1);
              }),
              HasSubstr("accuracy"));
  EXPECT_THROW(ModelCheckpoint({.save_freq = -1}, save), ConfigError);
}

TEST_F(Callbacks, CSVLoggerWritesKerasColumns) {
  const History history = fit(std::make_shared<CSVLogger>(path("log.csv")), 2);
  const std::string text = io::read_file(path("log.csv"));
  EXPECT_THAT(text, HasSubstr("epoch,loss,mae,val_loss,val_mae\r\n0,"));
  EXPECT_THAT(text, HasSubstr(",NA,NA\r\n1,"));
  const std::size_t second = text.find("\r\n1,") + 4;
  EXPECT_EQ(std::stod(text.substr(second)), history["loss"][1]);
  fit(std::make_shared<CSVLogger>(path("log.csv"), ",", true), 1);
  const std::string longer = io::read_file(path("log.csv"));
  EXPECT_TRUE(longer.starts_with(text));
  EXPECT_EQ(longer.find("epoch", 1), std::string::npos);
  EXPECT_THROW(fit(std::make_shared<CSVLogger>(path("none/log.csv")), 1), IoError);
}

TEST_F(Callbacks, WhatCannotBeMonitoredIsRefused) {
  const auto refusal = [&](const EarlyStoppingConfig& config) {
    return error_of<ConfigError>([&] { fit(std::make_shared<EarlyStopping>(config), 1); });
  };
  EXPECT_THAT(refusal({}), HasSubstr("expected loss, mae, got val_loss"));
  EXPECT_THAT(refusal({.monitor = "accuracy"}), HasSubstr("a mode"));
  EXPECT_THAT(refusal({.monitor = "loss", .mode = "least"}), HasSubstr("auto, min or max"));
}

/// Fits with a validation in every second epoch.
class Validations : public Callbacks {
 protected:
  History fit_every_second(std::shared_ptr<Callback> callback, Index epochs, Index freq = 2) {
    CompiledModel compiled = compile(
        *model_,
        {.optimizer = std::make_shared<SGD>(SGDConfig{.learning_rate = 0.05}), .loss = {"mse"}});
    return compiled.fit(ctx_, data_,
                        {.batch_size = 4,
                         .epochs = epochs,
                         .callbacks = {std::move(callback)},
                         .validation_split = 0.2,
                         .shuffle = false,
                         .validation_freq = freq});
  }
  std::vector<std::string> files_;
  ModelCheckpoint::Save save_ = [this](const CompiledModel&, const std::filesystem::path& file) {
    files_.push_back(file);
  };
};

TEST_F(Validations, EarlyStoppingWaitsForThem) {
  // Nothing improves by 100: of the validations after epochs 2, 4 and 6 the third ends it.
  const History history = fit_every_second(
      std::make_shared<EarlyStopping>(EarlyStoppingConfig{.min_delta = 100, .patience = 2}), 8);
  EXPECT_EQ(history.epochs.size(), 6);
  EXPECT_EQ(history["val_loss"].size(), 3);
}

TEST_F(Validations, ModelCheckpointSavesBetweenThem) {
  const History history = fit_every_second(
      std::make_shared<ModelCheckpoint>(
          ModelCheckpointConfig{.filepath = "{epoch}", .save_best_only = true, .mode = "max"},
          save_),
      4);
  EXPECT_LT(history["val_loss"][1], history["val_loss"][0]);  // so the fourth is not better
  EXPECT_THAT(files_, ElementsAre("1", "2", "3"));
}

TEST_F(Validations, ModelCheckpointNamesTheirNumbers) {
  fit_every_second(std::make_shared<ModelCheckpoint>(
                       ModelCheckpointConfig{.filepath = "{epoch}-{val_loss:.0f}"}, save_),
                   4);
  ASSERT_EQ(files_.size(), 2U);
  EXPECT_TRUE(files_[0].starts_with("2-"));
  EXPECT_TRUE(files_[1].starts_with("4-"));
}

TEST_F(Validations, WhatNeverComesIsRefused) {
  const auto stopping = [](const char* monitor) {
    return std::make_shared<EarlyStopping>(EarlyStoppingConfig{.monitor = monitor, .mode = "min"});
  };
  EXPECT_THAT(error_of<ConfigError>([&] { fit_every_second(stopping("val_mae"), 4); }),
              HasSubstr("[callback] monitor: expected loss, got val_mae"));
  EXPECT_THAT(error_of<ConfigError>([&] { fit_every_second(stopping("val_loss"), 4, 5); }),
              HasSubstr("[callback] monitor: expected loss, got val_loss"));
}

}  // namespace
}  // namespace grouphead
