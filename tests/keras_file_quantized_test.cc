// Files with weights of 4 and 8 bits and of LoRA: tests/golden/keras_quantized.

#include <gmock/gmock.h>

#include "grouphead/files/saved_model.h"
#include "grouphead/layers/lora.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"
#include "io/safetensors.h"
#include "keras_training_support.h"
#include "saved/keras_config.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::distance;
using testing_support::error_of;

const std::string kFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_quantized/";

class Quantized : public testing_support::FolderTest {
 protected:
  Tensor predicted(const std::string& file, const io::Safetensors& values) {
    return (*load_model(file))(ctx_, values.at("inputs.tokens"));
  }
  Context ctx_;
};

TEST_F(Quantized, FilesComputeWhatKerasDoes) {
  for (const std::string name : {"int4", "int4_blocks", "int4_rows", "float8", "lora"}) {
    SCOPED_TRACE(name);
    const io::Safetensors values = io::read_safetensors(kFolder + name + ".safetensors");
    const Tensor got = predicted(kFolder + name + ".keras", values);
    EXPECT_LT(distance(got, values.at("expect.output")), 1e-5);
    save_model(*load_model(kFolder + name + ".keras"), path("again.keras"));
    EXPECT_TRUE(testing_support::same_bits(predicted(path("again.keras"), values), got));
  }
}

TEST_F(Quantized, LoraIsTrainedAsInKeras) {
  const io::Safetensors values = io::read_safetensors(kFolder + "lora_steps.safetensors");
  const auto model = load_model(kFolder + "lora_steps.keras");
  const auto weights = [&](const std::string& when) {
    std::vector<Tensor> list;
    for (std::size_t i = 0; i < model->parameters().size(); ++i) {
      list.push_back(values.at(when + "." + std::to_string(i)));
    }
    return list;
  };
  set_weights(*model, weights("start"));
  CompiledModel compiled(*model,
                         {.optimizer = std::make_shared<Adam>(AdamConfig{.learning_rate = 0.02}),
                          .loss = {mean_squared_error()}});
  const Data batch{.x = {values.at("x")}, .y = {values.at("y")}};
  const Tensor& losses = values.at("expect.losses");
  for (Index step = 0; step < losses.size(); ++step) {
    EXPECT_NEAR(compiled.train_on_batch(ctx_, batch), losses.data<float>()[step], 2e-6) << step;
  }
  const std::vector<Tensor> end = weights("end");
  const ParameterList parameters = model->parameters();
  for (std::size_t i = 0; i < end.size(); ++i) {
    SCOPED_TRACE(parameters[i].path);
    Tensor got(end[i].shape(), Dtype::f32);
    copy(parameters[i].parameter->value(), got);
    EXPECT_LT(distance(got, end[i]), 1e-5);
  }
}

TEST_F(Quantized, LoraIsMergedInFilesAndByRequest) {
  const io::Safetensors values = io::read_safetensors(kFolder + "lora_steps.safetensors");
  const auto model = load_model(kFolder + "lora_steps.keras");
  std::vector<Tensor> start;
  for (std::size_t i = 0; i < model->parameters().size(); ++i) {
    start.push_back(values.at("start." + std::to_string(i)));
  }
  set_weights(*model, start);
  const Tensor with_change = (*model)(ctx_, values.at("x"));
  save_model(*model, path("merged.keras"));
  const auto again = load_model(path("merged.keras"));
  EXPECT_LT(distance((*again)(ctx_, values.at("x")), with_change), 1e-5);

  const std::size_t count = model->parameters().size();
  int num_changes = 0;
  for (const auto& layer : again->layers()) {
    auto* lora = dynamic_cast<HasLora*>(layer.get());
    if (lora == nullptr) continue;
    ++num_changes;
    const ConfigValue config = layer->get_config();
    EXPECT_EQ(config["lora_rank"], ConfigValue(2));
    EXPECT_EQ(config["lora_alpha"], ConfigValue(3));
    EXPECT_THAT(error_of<ConfigError>([&] { lora->enable_lora({.rank = 2}); }),
                HasSubstr("expected a built one without LoRA, got one that has it"));
    lora->merge_lora();
    EXPECT_FALSE(layer->get_config().contains("lora_rank"));
    EXPECT_TRUE(layer->parameters()[0].parameter->trainable());
    EXPECT_THAT(error_of<ConfigError>([&] { lora->enable_lora({.rank = 65}); }),
                HasSubstr("rank: expected 1 to 64"));
  }
  EXPECT_EQ(num_changes, 6);
  EXPECT_EQ(again->parameters().size() + 2 * 6, count);
  EXPECT_LT(distance((*again)(ctx_, values.at("x")), with_change), 1e-5);
}

TEST_F(Quantized, LoraIsLeftOutOfLayersThatHaveNone) {
  const auto plain = [](const char* key) {
    const ConfigValue config = ConfigValue::Object{{key, 3}, {"input_dim", 4}, {"lora_rank", 2}};
    return saved::plain_config(ConfigValue::Object{{"config", config}})["config"];
  };
  EXPECT_EQ(plain("output_dim")["lora_rank"], ConfigValue(2));
  EXPECT_FALSE(plain("tie_weights").contains("lora_rank"));  // ReversibleEmbedding
}

TEST_F(Quantized, DamagedFilesAreRefused) {
  const auto refusal = [](const char* name) {
    return error_of<IoError>([&] { load_model(kFolder + name); });
  };
  EXPECT_THAT(refusal("broken_groups.keras"), HasSubstr("expected groups below 3, got another"));
  EXPECT_THAT(refusal("broken_last_group.keras"), HasSubstr("expected groups below 3, got"));
  for (const char* name : {"broken_table.keras", "broken_kernel.keras"}) {
    EXPECT_THAT(refusal(name), HasSubstr("expected numbers of 4 bits in groups")) << name;
  }
  EXPECT_THAT(refusal("broken_one_scale.keras"),
              HasSubstr("expected int8 numbers with a scale for each that is not summed over"));
  EXPECT_THAT(
      refusal("broken_scale.keras"),
      HasSubstr("layers/dense ('dense_1'): expected numbers of 4 bits in groups, with a scale "
                "and a zero for each"));
}

}  // namespace
}  // namespace grouphead
