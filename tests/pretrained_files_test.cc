// Hugging Face folders there and back, and folders that lie.

#include <gmock/gmock.h>

#include "grouphead/core/tensor_functions.h"
#include "grouphead/files/pretrained.h"
#include "grouphead/files/sentence_encoder.h"
#include "grouphead/files/tensors.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

constexpr const char* kShard = "model-00001-of-00003.safetensors";  // of llama_bf16_shards
const fs::path kFileCases = fs::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/hf";

class PretrainedFiles : public FolderTest {
 protected:
  /// A copy of a golden case that a test may damage.
  fs::path copied(const std::string& name) {
    const fs::path to = folder_ / name;
    fs::copy(kFileCases / name, to, fs::copy_options::recursive);
    for (const auto& file : fs::directory_iterator(to)) {
      fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
    }
    return to;
  }
  static ConfigValue config_of(const fs::path& folder) {
    return io::parse_json(io::read_file(folder / "config.json"), "config");
  }
  static void write_config(const fs::path& folder, const ConfigValue& config) {
    io::write_file(folder / "config.json", io::json_text(config));
  }
  static std::string refusal(const fs::path& folder) {
    return error_of<IoError>([&] { load_pretrained(folder); });
  }
  /// The refusal of "llama" with one setting changed.
  std::string refusal_with(const std::string& key, const ConfigValue& value) {
    const fs::path folder = fs::exists(folder_ / "llama") ? folder_ / "llama" : copied("llama");
    ConfigValue config = config_of(kFileCases / "llama");
    config.set(key, value);
    write_config(folder, config);
    return refusal(folder);
  }
};

Tensor text_tokens() { return random_tokens({1, 6}, 20, 4); }

TEST_F(PretrainedFiles, TensorsAreThoseOfTheFile) {
  for (const auto& entry : fs::directory_iterator(kFileCases)) {
    if (!fs::exists(entry.path() / "model.safetensors")) continue;
    SCOPED_TRACE(entry.path());
    const std::map<std::string, Tensor> got = pretrained_tensors(load_pretrained(entry.path()));
    const std::map<std::string, Tensor> want = read_tensors(entry.path() / "model.safetensors");
    ASSERT_EQ(got.size(), want.size());
    for (const auto& [name, tensor] : want) {
      ASSERT_TRUE(got.contains(name)) << name;
      EXPECT_TRUE(same_bits(got.at(name), tensor)) << name;
    }
  }
}

TEST_F(PretrainedFiles, SavedModelsComputeTheSame) {
  Context ctx({.num_threads = 1});
  for (const auto& entry : fs::directory_iterator(kFileCases)) {
    if (!entry.is_directory()) continue;
    SCOPED_TRACE(entry.path());
    const PretrainedModel first = load_pretrained(entry.path());
    const fs::path to = folder_ / entry.path().filename();
    save_pretrained(first, to);
    const PretrainedModel second = load_pretrained(to);
    EXPECT_EQ(second.family, first.family);
    EXPECT_TRUE(same_bits((*second.model)(ctx, {.tokens = text_tokens()}),
                          (*first.model)(ctx, {.tokens = text_tokens()})));
    save_pretrained(second, to);  // over what is there
    EXPECT_EQ(load_pretrained(to).config, second.config);
  }
}

TEST_F(PretrainedFiles, AModelInShardsBecomesOneFile) {
  const fs::path folder = copied("llama_bf16_shards");
  const PretrainedModel model = load_pretrained(folder);
  ASSERT_TRUE(fs::exists(folder / kShard));
  save_pretrained(model, folder);
  EXPECT_FALSE(fs::exists(folder / "model.safetensors.index.json"));
  EXPECT_FALSE(fs::exists(folder / kShard));
  EXPECT_TRUE(fs::exists(folder / "expect.safetensors"));  // not ours
  EXPECT_EQ(load_pretrained(folder).config["dtype"], ConfigValue("float32"));
}

// A save that is killed between its two files leaves the new weights, which name their model.
TEST_F(PretrainedFiles, ASaveThatWasKilledLeavesAModel) {
  Context ctx({.num_threads = 1});
  const fs::path folder = copied("llama");
  const PretrainedModel other = load_pretrained(kFileCases / "gpt2");
  save_pretrained(other, folder_ / "other");
  fs::copy_file(folder_ / "other/model.safetensors", folder / "model.safetensors",
                fs::copy_options::overwrite_existing);
  fs::last_write_time(folder / "config.json",
                      fs::last_write_time(folder / "model.safetensors") - std::chrono::hours(1));
  const PretrainedModel found = load_pretrained(folder);
  EXPECT_EQ(found.family, "gpt2");
  EXPECT_TRUE(same_bits((*found.model)(ctx, {.tokens = text_tokens()}),
                        (*other.model)(ctx, {.tokens = text_tokens()})));
}

TEST_F(PretrainedFiles, ANewModelIsMadeOfAConfiguration) {
  Context ctx({.num_threads = 1});
  const PretrainedModel made = make_pretrained(config_of(kFileCases / "qwen3"), 3);
  save_pretrained(made, folder_ / "new");
  const PretrainedModel loaded = load_pretrained(folder_ / "new");
  EXPECT_TRUE(same_bits((*loaded.model)(ctx, {.tokens = text_tokens()}),
                        (*made.model)(ctx, {.tokens = text_tokens()})));
}

TEST_F(PretrainedFiles, OlderKeysMeanTheSame) {
  Context ctx({.num_threads = 1});
  const fs::path folder = copied("llama_linear");
  const Tensor want = (*load_pretrained(folder).model)(ctx, {.tokens = text_tokens()});
  const ConfigValue newer = config_of(folder);
  ConfigValue config;
  for (const auto& [key, value] : newer.as_object("config")) {
    if (key != "rope_parameters" && key != "dtype") config.set(key, value);
  }
  ConfigValue scaling;
  scaling.set("type", "linear");
  scaling.set("factor", 2.5);
  config.set("rope_scaling", scaling);
  config.set("rope_theta", 10000.0);
  config.set("torch_dtype", "float32");
  write_config(folder, config);
  EXPECT_TRUE(same_bits((*load_pretrained(folder).model)(ctx, {.tokens = text_tokens()}), want));
}

// Files of a base model have no prefix; those of a task have one, and its head.
TEST_F(PretrainedFiles, PrefixesAndHeadsOfTasks) {
  Context ctx({.num_threads = 1});
  const fs::path folder = copied("bert");
  const Tensor want = (*load_pretrained(folder).model)(ctx, {.tokens = text_tokens()});
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, tensor] : read_tensors(folder / "model.safetensors")) {
    std::string old = "bert." + name;
    if (const auto at = old.find("LayerNorm.weight"); at != std::string::npos) {
      old.replace(at, std::string::npos, "LayerNorm.gamma");
    }
    tensors.emplace(old, tensor);
  }
  tensors.emplace("cls.predictions.bias", Tensor::zeros({29}));
  write_tensors(folder / "model.safetensors", tensors);
  const PretrainedModel found = load_pretrained(folder);
  EXPECT_TRUE(same_bits((*found.model)(ctx, {.tokens = text_tokens()}), want));
  EXPECT_EQ(found.unused, std::vector<std::string>{"cls.predictions.bias"});
}

ConfigValue module(const char* path, const char* type) {
  ConfigValue one;
  one.set("path", path);
  one.set("type", std::string("sentence_transformers.models.") + type);
  return one;
}

// Means over the hidden states that transformers computed.
TEST_F(PretrainedFiles, SentencesAreMeansOfLengthOne) {
  Context ctx({.num_threads = 1});
  const fs::path folder = copied("bert");
  io::write_file(
      folder / "modules.json",
      io::json_text(ConfigValue::List{module("", "Transformer"), module("1_Pooling", "Pooling"),
                                      module("2_Normalize", "Normalize")}));
  fs::create_directory(folder / "1_Pooling");
  io::write_file(folder / "1_Pooling/config.json",
                 R"({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": true})");
  const SentenceEncoder encoder = load_sentence_encoder(folder);
  const std::map<std::string, Tensor> expected = read_tensors(folder / "expect.safetensors");
  const Tensor& hidden = expected.at("hidden");
  const Tensor mask = cast(expected.at("mask"), Dtype::boolean);
  const Tensor got = encoder(ctx, {.tokens = cast(expected.at("tokens"), Dtype::i32),
                                   .mask = mask,
                                   .token_types = cast(expected.at("types"), Dtype::i32)});
  ASSERT_EQ(got.shape(), Shape({2, 16}));
  for (Index b = 0; b < 2; ++b) {
    std::vector<double> mean(16, 0.0);
    double squares = 0;
    for (Index t = 0; t < hidden.dim(1); ++t) {
      if (!mask.data<bool>()[b * hidden.dim(1) + t]) continue;
      for (Index i = 0; i < 16; ++i) {
        mean[static_cast<std::size_t>(i)] += element(hidden, (b * hidden.dim(1) + t) * 16 + i);
      }
    }
    for (const double x : mean) squares += x * x;
    for (Index i = 0; i < 16; ++i) {
      EXPECT_NEAR(element(got, b * 16 + i), mean[static_cast<std::size_t>(i)] / std::sqrt(squares),
                  1e-5);
    }
  }
  io::write_file(
      folder / "modules.json",
      io::json_text(ConfigValue::List{module("", "Transformer"), module("1_Pooling", "Pooling"),
                                      module("2_Dense", "Dense")}));
  EXPECT_THAT(error_of<IoError>([&] { load_sentence_encoder(folder); }),
              HasSubstr("got sentence_transformers.models.Dense"));
}

TEST_F(PretrainedFiles, SettingsThatAreNotHonouredAreRefusedByName) {
  EXPECT_THAT(refusal_with("model_type", "mamba"),
              HasSubstr("config.json: model_type: expected one of bert, bloom, "));
  EXPECT_THAT(refusal_with("quantization_config", ConfigValue::Object{{"bits", Index{4}}}),
              HasSubstr("settings: expected those that are supported, got quantization_config"));
  EXPECT_THAT(refusal_with("hidden_act", "quick_gelu"),
              HasSubstr("hidden_act: expected one of gelu, "));
  EXPECT_THAT(refusal_with("architectures", ConfigValue::List{"LlamaForSequenceClassification"}),
              HasSubstr("architectures: expected a class with a language model's head, or none"));
  ConfigValue rule;
  rule.set("rope_type", "mrope");
  EXPECT_THAT(refusal_with("rope_parameters", rule), HasSubstr("rope_type: expected default, "));
  rule.set("rope_type", "default");
  rule.set("mrope_section", ConfigValue::List{Index{1}});
  EXPECT_THAT(refusal_with("rope_parameters", rule), HasSubstr("mrope_section"));
  EXPECT_THAT(refusal_with("num_hidden_layers", "two"), HasSubstr("num_hidden_layers"));
}

TEST_F(PretrainedFiles, AbsurdSizesTakeNoMemory) {
  constexpr Index kHuge = Index{1} << 30;
  for (const char* key : {"hidden_size", "intermediate_size", "vocab_size"}) {
    EXPECT_THAT(refusal_with(key, kHuge), HasSubstr("[load_pretrained]")) << key;
    EXPECT_THAT(refusal_with(key, Index{1} << 62), HasSubstr(key));
    EXPECT_THAT(refusal_with(key, Index{0}), HasSubstr(key));
    EXPECT_THAT(refusal_with(key, Index{-3}), HasSubstr(key));
  }
  for (const char* key : {"num_hidden_layers", "num_attention_heads", "head_dim"}) {
    for (const Index size : {kHuge, Index{65536}, Index{0}}) {
      EXPECT_THAT(refusal_with(key, size), HasSubstr("[load_pretrained]")) << key << " " << size;
    }
  }
  EXPECT_THAT(refusal_with("max_position_embeddings", Index{1} << 40),
              HasSubstr("max_position_embeddings"));
  ConfigValue wide = config_of(kFileCases / "llama");
  wide.set("head_dim", nullptr);
  wide.set("hidden_size", kHuge);
  wide.set("num_attention_heads", Index{1});
  write_config(folder_ / "llama", wide);
  EXPECT_THAT(refusal(folder_ / "llama"), HasSubstr("head_dim: expected 1 to 65536"));
}

TEST_F(PretrainedFiles, DamagedConfigurationsAreErrors) {
  const fs::path folder = copied("llama");
  io::write_file(folder / "config.json", std::string(100000, '['));
  EXPECT_THAT(refusal(folder), HasSubstr("config.json"));
  io::write_file(folder / "config.json", "[1]");
  EXPECT_THAT(refusal(folder), HasSubstr("expected an object"));
  const std::string whole = io::read_file(kFileCases / "llama/config.json");
  for (std::size_t length = 0; length < whole.size() - 2; length += 7) {
    io::write_file(folder / "config.json", whole.substr(0, length));
    EXPECT_FALSE(refusal(folder).empty()) << length;
  }
  fs::remove(folder / "config.json");
  EXPECT_FALSE(refusal(folder).empty());
  EXPECT_THAT(refusal(folder_ / "nothing"), HasSubstr("expected a folder"));
}

TEST_F(PretrainedFiles, TensorsThatDoNotFitAreListed) {
  const fs::path folder = copied("llama");
  std::map<std::string, Tensor> tensors = read_tensors(folder / "model.safetensors");
  tensors.at("model.norm.weight") = Tensor::zeros({15});
  tensors.erase("lm_head.weight");
  tensors.emplace("model.layers.7.mlp.up_proj.weight", Tensor::zeros({2, 2}));
  write_tensors(folder / "model.safetensors", tensors);
  const std::string text_tokens = refusal(folder);
  EXPECT_THAT(text_tokens, HasSubstr("model.norm.weight: expected numbers [16], got f32 [15]"));
  EXPECT_THAT(text_tokens, HasSubstr("lm_head.weight: missing"));
  EXPECT_THAT(text_tokens,
              HasSubstr("model.layers.7.mlp.up_proj.weight: not part of such a model"));
}

TEST_F(PretrainedFiles, IndexesThatLieAreErrors) {
  const fs::path folder = copied("llama_bf16_shards");
  const auto with_index = [&](const std::string& text_tokens) {
    io::write_file(folder / "model.safetensors.index.json", text_tokens);
    return refusal(folder);
  };
  EXPECT_THAT(with_index("{}"), HasSubstr("weight_map: expected names"));
  for (const char* shard :
       {"../llama/model.safetensors", "/etc/passwd", "model.safetensors.index.json", ""}) {
    EXPECT_THAT(
        with_index(std::string("{\"weight_map\": {\"model.norm.weight\": \"") + shard + "\"}}"),
        HasSubstr("model.norm.weight: expected a .safetensors file beside it"));
  }
  EXPECT_THAT(with_index(R"({"weight_map": {"a": "missing.safetensors"}})"),
              HasSubstr("missing.safetensors"));
  EXPECT_THAT(with_index(std::string(R"({"weight_map": {"a": ")") + kShard + "\"}}"),
              HasSubstr("weight_map: a: not in model-00001"));
  EXPECT_THAT(with_index(R"({"weight_map": {"a": 3}})"), HasSubstr("weight_map: a"));
  fs::remove(folder / "model.safetensors.index.json");
  EXPECT_THAT(refusal(folder), HasSubstr("got neither"));
  io::write_file(folder / "pytorch_model.bin", "PK");
  EXPECT_THAT(refusal(folder), HasSubstr("pytorch_model.bin: expected model.safetensors, got a "
                                         "pickle, which runs code"));
}

}  // namespace
}  // namespace grouphead
