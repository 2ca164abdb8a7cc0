// Models that are written into folders and read back, and what their configurations hold.

#include "grouphead/files/model_folder.h"

#include <gmock/gmock.h>

#include "grouphead/layers/serialization.h"
#include "grouphead/models/model.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "model_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

LanguageModelConfig small_config() {
  return {.vocab_size = 20,
          .transformer = {.hidden_size = 16,
                          .num_heads = 4,
                          .num_key_value_heads = 2,
                          .num_layers = 2,
                          .feed_forward = 24,
                          .dropout = 0.25,
                          .norm_epsilon = 1e-3,
                          .random_norm_gains = true,
                          .rope = RopeConfig{.base = 500,
                                             .layout = RopeLayout::interleaved,
                                             .yarn = YarnConfig{.scale = 4, .beta_fast = 16}}},
          .seed = std::uint64_t{1} << 63,
          .name = "reader"};
}

edifice::GqaOptions small_gqa() {
  return {.embed_dim = 6,
          .hidden_size = 8,
          .num_heads = 4,
          .num_key_value_heads = 1,
          .num_layers = 2,
          .dropout = 0.5,
          .seq_len = 7,
          .yarn = true,
          .yarn_scale = 4,
          .output_mode = edifice::OutputMode::mean_pool,
          .final_norm = false,
          .edifice_gains = true,
          .seed = 3,
          .name = "encoder"};
}

/// y = x * gain: a class that this library does not have.
class Gain final : public Layer {
 public:
  explicit Gain(double start) : Layer("gain", DtypePolicy()), start_(start) {}
  static std::shared_ptr<Layer> from_config(const ConfigValue& config) {
    auto layer = std::make_shared<Gain>(config["start"].as_number("start"));
    layer->rename(config["name"].as_string("name"));
    return layer;
  }
  std::string_view class_name() const override { return "Gain"; }
  ConfigValue get_config() const override {
    ConfigValue config = Layer::get_config();
    config.set("start", start_);
    return config;
  }
  void create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) override {
    gain_ = std::make_unique<Parameter>("gain", Shape{1}, policy());
    *gain_->edit().data<float>() = static_cast<float>(start_);
  }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                             std::unique_ptr<Saved>* /*saved*/) const override {
    Tensor y = ctx.tensor(in[0].tensor.shape());
    for (Index i = 0; i < y.size(); ++i) {
      y.data<float>()[i] = in[0].tensor.data<float>()[i] * *gain_->value().data<float>();
    }
    return {{y, {}}};
  }
  void backward(Context& /*ctx*/, Saved& /*saved*/, std::span<const ConstView> /*d_out*/,
                std::span<View> /*d_in*/, Grads& /*grads*/) const override {}
  void append_parameters(const std::string& prefix, ParameterList& out) override {
    if (gain_) out.push_back({prefix + "gain", gain_.get()});
  }

 private:
  double start_;
  std::unique_ptr<Parameter> gain_;
};

std::string error_of_loading(const std::string& folder) {
  return error_of<IoError>([&] { load_model_folder(folder); });
}

class ModelFolder : public FolderTest {
 protected:
  // model.safetensors and config.json as `change` wants the text of the configuration.
  void rewrite(const std::string& from, const std::string& to) {
    io::Safetensors contents = io::read_safetensors(path("model.safetensors"));
    std::string& text = contents.metadata["model"];
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    io::write_file(path("config.json"), text);
    io::write_safetensors(path("model.safetensors"), contents);
  }

  Context ctx_{{.num_threads = 2}};
};

TEST(Configurations, MakeALanguageModelAgain) {
  const LanguageModel model(small_config());
  const ConfigValue envelope = layer_to_config(model);
  EXPECT_EQ(envelope["registered_name"], ConfigValue("grouphead>LanguageModel"));
  const auto again = std::dynamic_pointer_cast<LanguageModel>(layer_from_config(envelope));
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->config().transformer.rope->yarn->beta_fast, 16);
  EXPECT_EQ(again->config().seed, small_config().seed);
  EXPECT_EQ(again->name(), "reader");
  EXPECT_TRUE(same_weights(model, *again));
  EXPECT_EQ(again->get_config(), model.get_config());
  EXPECT_EQ(make_layer("LanguageModel", {})->get_config(),
            LanguageModel(LanguageModelConfig{}).get_config());
  EXPECT_EQ(error_of<ConfigError>([] {
              make_layer("LanguageModel", ConfigValue::Object{{"dtype", "mixed_bfloat16"}});
            }),
            "[language_model] dtype: expected float32 or float64, got mixed_bfloat16");
  EXPECT_THAT(error_of<ConfigError>([] {
                make_layer("LanguageModel", ConfigValue::Object{{"hidden", 4}});
              }),
              HasSubstr("hidden"));
}

TEST(Configurations, MakeAnEdificeModelAgain) {
  const auto model = edifice::build(small_gqa());
  const ConfigValue envelope = layer_to_config(*model);
  const std::shared_ptr<Layer> again = layer_from_config(envelope);
  EXPECT_EQ(again->get_config(), model->get_config());
  EXPECT_EQ(again->get_config()["output_mode"], ConfigValue("mean_pool"));
  EXPECT_EQ(edifice::Gqa({.embed_dim = 3}).get_config()["dropout"], ConfigValue());
  EXPECT_EQ(error_of<ConfigError>([] {
              make_layer("grouphead>EdificeGqa",
                         ConfigValue::Object{{"embed_dim", 3}, {"output_mode", "first"}});
            }),
            "[edifice_gqa] output_mode: expected last_timestep, all, mean_pool, got first");
}

TEST(Configurations, EdificeModelsAreLayersOfModels) {
  Context ctx;
  const Symbol x = input({.shape = {7, 6}});
  const Model model({.inputs = {x}, .outputs = {layer<edifice::Gqa>(small_gqa())(x)}});
  EXPECT_EQ(model.outputs()[0].shape(), Shape::partial({-1, 8}));
  const std::shared_ptr<Model> again = model_from_config(model_to_config(model));
  set_weights(*again, get_weights(model));
  const Tensor data = random_normal({2, 7, 6}, 1);
  EXPECT_TRUE(same_bits((*again)(ctx, data), model(ctx, data)));
}

TEST_F(ModelFolder, ALanguageModelComesBackWithItsWeights) {
  const LanguageModel model(small_config());
  save_model_folder(model, folder_ / "new" / "folder");
  const auto loaded = load_model_folder<LanguageModel>(folder_ / "new" / "folder");
  EXPECT_EQ(loaded->get_config(), model.get_config());
  EXPECT_TRUE(same_weights(model, *loaded));
  const Tensor tokens = random_tokens({2, 5}, 20, 1);
  EXPECT_TRUE(same_bits((*loaded)(ctx_, tokens), model(ctx_, tokens)));
  EXPECT_TRUE(same_bits((*loaded)(ctx_, tokens), call(ctx_, model, {tokens})));
  EXPECT_THAT(error_of<IoError>([&] { load_model_folder<edifice::Gqa>(folder_ / "new/folder"); }),
              HasSubstr("got LanguageModel"));
}

TEST_F(ModelFolder, AnEdificeModelComesBackWithItsWeights) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    edifice::GqaOptions options = small_gqa();
    options.dtype = dtype;
    const auto model = edifice::build(options);
    save_model_folder(*model, folder_);
    const auto loaded = load_model_folder<edifice::Gqa>(folder_);
    EXPECT_EQ(loaded->get_config(), model->get_config());
    const Tensor x = random_tensor({2, 7, 6}, 1, dtype);
    EXPECT_TRUE(same_bits((*loaded)(ctx_, x), (*model)(ctx_, x)));
    const std::vector<Tensor> scores = loaded->attention_scores(ctx_, x);
    ASSERT_EQ(scores.size(), 2U);
    EXPECT_EQ(scores[1].shape(), Shape({2, 4, 7, 7}));
  }
}

TEST_F(ModelFolder, ModelsOfLayersComeBack) {
  register_layer<Gain>("tests>Gain");
  register_layer<Gain>("tests>Gain");
  Sequential model({.seed = 1});
  model.add(input({.shape = {4}})).add(layer<Dense>({.units = 3}));
  model.add(std::make_shared<Gain>(2.5));
  set_weights(model, std::vector<Tensor>{random_normal({4, 3}, 1), random_normal({3}, 2),
                                         random_normal({1}, 3)});
  save_model_folder(model, folder_);
  EXPECT_THAT(io::read_file(path("config.json")), HasSubstr("\"tests>Gain\""));
  const auto loaded = load_model_folder<Sequential>(folder_);
  const Tensor x = random_normal({2, 4}, 4);
  EXPECT_TRUE(same_bits((*loaded)(ctx_, x), model(ctx_, x)));
}

TEST_F(ModelFolder, WhatCannotComeBackIsNotWritten) {
  EXPECT_THAT(error_of<ConfigError>(
                  [&] { save_model_folder(edifice::Gqa(small_gqa()), folder_ / "none"); }),
              HasSubstr("expected a model that is built"));
  struct Unknown final : Layer {
    Unknown() : Layer("unknown", DtypePolicy()) {}
    std::string_view class_name() const override { return "Unknown"; }
    void create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) override {}
    std::vector<Value> forward(Context& /*ctx*/, std::span<const Value> in, const Mode& /*mode*/,
                               std::unique_ptr<Saved>* /*saved*/) const override {
      return {in[0]};
    }
    void backward(Context& /*ctx*/, Saved& /*saved*/, std::span<const ConstView> /*d_out*/,
                  std::span<View> /*d_in*/, Grads& /*grads*/) const override {}
    void append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) override {}
  };
  EXPECT_THAT(error_of<ConfigError>([&] { save_model_folder(Unknown(), folder_ / "other"); }),
              HasSubstr("register_layer() knows, got Unknown"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "other"));
}

TEST_F(ModelFolder, FilesThatLieAreRefused) {
  const LanguageModel model(small_config());
  const auto refusal = [&](const std::string& from, const std::string& to) {
    save_model_folder(model, folder_);
    rewrite(from, to);
    return error_of_loading(folder_);
  };
  EXPECT_THAT(refusal("\"num_layers\": 2", "\"num_layers\": 1000000000"),
              HasSubstr("expected sizes that"));
  EXPECT_THAT(refusal("\"hidden_size\": 16", "\"hidden_size\": 1000000000"),
              HasSubstr("expected sizes that"));
  EXPECT_THAT(refusal("\"hidden_size\": 16", "\"hidden_size\": 4611686018427387904"),
              HasSubstr("expected sizes that"));
  EXPECT_THAT(refusal("\"vocab_size\": 20", "\"vocab_size\": 4611686018427387904"),
              HasSubstr("vocab_size: expected at most 2^30"));
  EXPECT_THAT(refusal("\"num_heads\": 4", "\"num_heads\": \"4\""), HasSubstr("num_heads"));
  EXPECT_THAT(refusal("\"LanguageModel\"", "\"Unheard\""), HasSubstr("configuration"));
  EXPECT_THAT(refusal("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 1"),
              HasSubstr("attn/key/kernel: expected f32 [16, 1, 4], got f32 [16, 2, 4]"));

  save_model_folder(model, folder_);
  std::string text = io::read_file(path("config.json"));
  text.replace(text.find("\"num_heads\": 4"), 14, "\"num_heads\": 2");
  io::write_file(path("config.json"), text);
  EXPECT_THAT(error_of_loading(folder_),
              HasSubstr("config: num_heads: expected 4 as in the weights' file, got 2"));
  io::write_file(path("config.json"), std::string(50'000, '['));
  EXPECT_THAT(error_of_loading(folder_), HasSubstr("config.json"));
  EXPECT_THAT(error_of_loading(folder_ / "nowhere"), HasSubstr("nowhere"));
}

// Weights without our metadata, beside a configuration.
TEST_F(ModelFolder, AConfigurationBesideBareWeightsIsEnough) {
  const LanguageModel model(small_config());
  save_model_folder(model, folder_);
  io::Safetensors contents = io::read_safetensors(path("model.safetensors"));
  contents.metadata.clear();
  io::write_safetensors(path("model.safetensors"), contents);
  EXPECT_TRUE(same_weights(*load_model_folder<LanguageModel>(folder_), model));
  std::filesystem::remove(path("config.json"));
  EXPECT_THAT(error_of_loading(folder_), HasSubstr("config.json beside it"));
}

TEST(RegisterLayer, NamesHaveAPackageAndOneClass) {
  for (const char* name : {"Gain", ">Gain", "tests>", "grouphead>Gain", ""}) {
    EXPECT_THAT(error_of<ConfigError>([&] { register_layer<Gain>(name); }),
                HasSubstr("`package>Class`"))
        << name;
  }
  register_layer<Gain>("tests>Gain");
  EXPECT_THAT(
      error_of<ConfigError>([] { detail::register_layer("tests>Gain", typeid(Dense), nullptr); }),
      HasSubstr("one class for each name"));
  EXPECT_EQ(make_layer("tests>Gain", ConfigValue::Object{{"start", 2.0}, {"name", "g"}})->name(),
            "g");
  EXPECT_TRUE(has_layer(layer_to_config(Gain(1))));
}

TEST(TypedCalls, OfLayersThatMerge) {
  Context ctx;
  const Tensor a = Tensor::from({1, 2}, {1, -2});
  const Tensor b = Tensor::from({1, 2}, {10, 20});
  EXPECT_TRUE(same_bits(Add()(ctx, {a, b}), Tensor::from({1, 2}, {11, 18})));
  EXPECT_TRUE(same_bits(Multiply()(ctx, {a, b}), Tensor::from({1, 2}, {10, -40})));
  EXPECT_TRUE(same_bits(Concatenate()(ctx, {a, b}), Tensor::from({1, 4}, {1, -2, 10, 20})));
}

}  // namespace
}  // namespace grouphead
