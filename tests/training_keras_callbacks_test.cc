// Callbacks that change the learning rate, end a training, and write for
// TensorBoard.

#include <gmock/gmock.h>

#include <bit>

#include "grouphead/layers/dense.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"
#include "grouphead/train/keras_callbacks.h"
#include "io/file.h"
#include "model_support.h"
#include "train/event_file.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::random_tensor;

class KerasCallbacks : public testing_support::FolderTest {
 protected:
  KerasCallbacks() {
    const Symbol x = input({.shape = {3}, .name = "x"});
    const Symbol y = layer<Dense>(DenseConfig{.units = 2})(x);
    model_ = std::make_unique<Model>(ModelConfig{.inputs = {x}, .outputs = {y}});
    testing_support::randomize(*model_, 5);
    data_ = {.x = {random_tensor({8, 3}, 1)}, .y = {random_tensor({8, 2}, 2)}};
  }
  CompiledModel compiled(double learning_rate = 0.1) {
    return compile(*model_,
                   {.optimizer = std::make_shared<SGD>(SGDConfig{.learning_rate = learning_rate}),
                    .loss = {"mse"}});
  }

  Context ctx_;
  std::unique_ptr<Model> model_;
  Data data_;
};

// The rates that keras.callbacks.ReduceLROnPlateau 3.15.1 sets for these
// losses.
TEST_F(KerasCallbacks, ReduceLROnPlateauFollowsKeras) {
  constexpr double kLosses[] = {1, 0.9, 0.95, 0.96, 0.97, 0.98, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6};
  const auto rates = [&](const ReduceLROnPlateauConfig& config) {
    CompiledModel model = compiled(1);
    ReduceLROnPlateau callback(config);
    callback.on_train_begin(model);
    std::vector<double> all;
    for (std::size_t i = 0; i < std::size(kLosses); ++i) {
      callback.on_epoch_end(model, static_cast<Index>(i), {{"loss", kLosses[i]}});
      all.push_back(model.optimizer().learning_rate());
    }
    return all;
  };
  EXPECT_THAT(
      rates({.monitor = "loss", .factor = 0.5, .patience = 2, .cooldown = 1}),
      ElementsAre(1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625, 0.03125));
  EXPECT_THAT(rates({.monitor = "loss", .patience = 1, .min_lr = 0.05}),
              ElementsAre(1, 1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05));
  EXPECT_THROW(ReduceLROnPlateau({.factor = 1}), ConfigError);
}

TEST_F(KerasCallbacks, LearningRateSchedulerSetsEachEpochsRate) {
  CompiledModel model = compiled();
  std::vector<double> seen;
  const auto scheduler = std::make_shared<LearningRateScheduler>([&](Index epoch, double rate) {
    seen.push_back(rate);
    return epoch == 1 ? rate / 2 : rate;
  });
  model.fit(ctx_, data_, {.epochs = 3, .callbacks = {scheduler}});
  EXPECT_THAT(seen, ElementsAre(0.1, 0.1, 0.05));
  EXPECT_EQ(model.optimizer().learning_rate(), 0.05);
}

TEST_F(KerasCallbacks, TerminateOnNaNEndsAtTheFirstLossThatIsNone) {
  CompiledModel model = compiled(1e30);
  const History history =
      model.fit(ctx_, data_,
                {.batch_size = 2, .epochs = 4, .callbacks = {std::make_shared<TerminateOnNaN>()}});
  EXPECT_EQ(history.epochs.size(), 1U);
  EXPECT_FALSE(std::isfinite(history["loss"][0]));
}

TEST(EventFile, ChecksumsAreTensorFlows) {
  // crc32c("123456789") = 0xE3069283 (RFC 3720, appendix B.4); masked as
  // TFRecord does.
  EXPECT_EQ(train::masked_crc32c("123456789"), std::rotr(0xE3069283U, 15) + 0xA282EAD8U);
}

struct Event {
  Index step = 0;
  std::string tag{};
  float value = 0;
};

std::uint64_t integer_at(std::string_view bytes, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i > 0; --i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  }
  return value;
}

/// The fields of a message, of tags below 16 and lengths below 128.
Event event_of(std::string_view message) {
  Event event;
  while (!message.empty()) {
    const int field = message[0] >> 3;
    const int type = message[0] & 7;
    message.remove_prefix(1);
    std::size_t size = type == 1 ? 8 : type == 5 ? 4 : 1;
    if (type == 2) {
      size = static_cast<std::size_t>(message[0]);
      message.remove_prefix(1);
    }
    const std::string_view content = message.substr(0, size);
    if (field == 2 && type == 0) event.step = content[0];
    if (field == 2 && type == 5) {
      event.value = std::bit_cast<float>(static_cast<std::uint32_t>(integer_at(content, 4)));
    }
    if (field == 5) {  // the summary's one value
      const Event inner = event_of(content.substr(2));
      event.tag = inner.tag;
      event.value = inner.value;
    }
    if (field == 1 && type == 2) event.tag = content;
    message.remove_prefix(size);
  }
  return event;
}

std::vector<Event> events_of(const std::filesystem::path& folder) {
  std::vector<Event> events;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string all = io::read_file(entry.path());
    std::string_view bytes = all;
    while (!bytes.empty()) {
      const std::size_t size = integer_at(bytes, 8);
      EXPECT_EQ(integer_at(bytes.substr(8), 4), train::masked_crc32c(bytes.substr(0, 8)));
      const std::string_view message = bytes.substr(12, size);
      EXPECT_EQ(integer_at(bytes.substr(12 + size), 4), train::masked_crc32c(message));
      if (message.find("brain.Event:2") == std::string_view::npos) {
        events.push_back(event_of(message));
      }
      bytes.remove_prefix(16 + size);
    }
  }
  return events;
}

TEST_F(KerasCallbacks, TensorBoardWritesTheHistory) {
  CompiledModel model = compiled();
  const auto board =
      std::make_shared<TensorBoard>(TensorBoardConfig{.log_dir = path("logs"), .update_freq = 2});
  const History history = model.fit(
      ctx_, data_, {.batch_size = 2, .epochs = 2, .callbacks = {board}, .validation_data = data_});
  std::vector<std::string> tags;
  for (const Event& event : events_of(path("logs/train"))) {
    tags.push_back(event.tag + std::to_string(event.step));
    const auto epoch = static_cast<std::size_t>(event.step);
    if (event.tag == "epoch_loss") {
      EXPECT_EQ(event.value, static_cast<float>(history["loss"][epoch]));
    }
    if (event.tag == "epoch_learning_rate") {
      EXPECT_EQ(event.value, 0.1F);
    }
  }
  EXPECT_THAT(tags,
              ElementsAre("batch_loss0", "batch_loss2", "epoch_loss0", "epoch_learning_rate0",
                          "batch_loss4", "batch_loss6", "epoch_loss1", "epoch_learning_rate1"));
  const std::vector<Event> validation = events_of(path("logs/validation"));
  ASSERT_EQ(validation.size(), 2U);
  EXPECT_EQ(validation[1].tag, "epoch_loss");
  EXPECT_EQ(validation[1].value, static_cast<float>(history["val_loss"][1]));
  EXPECT_THROW(TensorBoard({.update_freq = -1}), ConfigError);
}

TEST_F(KerasCallbacks, TensorBoardSaysWhatItCannotWrite) {
  CompiledModel model = compiled();
  const auto board = std::make_shared<TensorBoard>(TensorBoardConfig{.log_dir = "/dev/null/logs"});
  EXPECT_THAT(error_of<IoError>([&] { model.fit(ctx_, data_, {.callbacks = {board}}); }),
              HasSubstr("[tensor_board] /dev/null/logs"));
}

}  // namespace
}  // namespace grouphead
