// Hugging Face folders with fewer key/value heads.

#include <gmock/gmock.h>

#include "grouphead/core/tensor_functions.h"
#include "grouphead/files/pretrained.h"
#include "grouphead/files/tensors.h"
#include "io/file.h"
#include "io/json.h"
#include "model_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

const fs::path kCases = fs::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/hf";
constexpr const char* kShared = "grouphead_key_value_heads";

class PretrainedConversion : public FolderTest {};

Tensor text() { return random_tokens({2, 6}, 20, 4); }

/// The folder as a reader that does not know kShared sees it.
PretrainedModel without_shared_heads(const fs::path& folder, const fs::path& to) {
  fs::copy(folder, to);
  ConfigValue::Object config =
      io::parse_json(io::read_file(folder / "config.json"), "config").as_object("config");
  std::erase_if(config, [](const auto& entry) { return entry.first == kShared; });
  write_tensors(to / "model.safetensors", read_tensors(folder / "model.safetensors"));
  io::write_file(to / "config.json", io::json_text(ConfigValue(std::move(config))));
  return load_pretrained(to);
}

TEST_F(PretrainedConversion, EveryFamilyGoesThereAndBack) {
  Context ctx({.num_threads = 1});
  Index num_converted = 0;
  for (const auto& entry : fs::directory_iterator(kCases)) {
    if (!entry.is_directory()) continue;
    SCOPED_TRACE(entry.path());
    const PretrainedModel before = load_pretrained(entry.path());
    if (before.model->config().attention.num_key_value_heads == 1) continue;
    ++num_converted;
    const PretrainedModel after = convert_heads(before, {.num_key_value_heads = 1});
    const fs::path to = folder_ / entry.path().filename();
    save_pretrained(after, to);
    const PretrainedModel again = load_pretrained(to);
    EXPECT_EQ(again.model->config().attention.num_key_value_heads, 1);
    EXPECT_TRUE(same_weights(*again.model, *after.model));
    const Tensor want = (*after.model)(ctx, {.tokens = text()});
    EXPECT_TRUE(same_bits((*again.model)(ctx, {.tokens = text()}), want));
    if (!after.config.contains(kShared)) continue;
    const PretrainedModel many = without_shared_heads(to, folder_ / "many");
    EXPECT_EQ(many.model->config().attention.num_key_value_heads,
              before.model->config().attention.num_heads);
    const Tensor got = (*many.model)(ctx, {.tokens = text()});
    const testing::Comparison compared =
        testing::compare("output", got, want, 1e-5 * testing::max_abs(want));
    EXPECT_TRUE(compared.ok()) << compared.to_string();
    fs::remove_all(folder_ / "many");
  }
  EXPECT_GT(num_converted, 25);
}

// c_attn of GPT-2 has queries, keys and values side by side.
TEST_F(PretrainedConversion, HeadsAreMeansAndRepeated) {
  const PretrainedModel before = load_pretrained(kCases / "gpt2");
  const SelfAttentionConfig& a = before.model->config().attention;
  const std::string name = "transformer.h.0.attn.c_attn.weight";
  const Tensor old = pretrained_tensors(before).at(name);
  const Index width = a.num_heads * a.head_dim;
  const Index group = a.num_heads / 2;
  const PretrainedModel after = convert_heads(before, {.num_key_value_heads = 2});
  EXPECT_EQ(after.config[kShared], ConfigValue(2));
  const Tensor got = pretrained_tensors(after).at(name);
  ASSERT_EQ(got.shape(), old.shape());
  for (Index row = 0; row < old.dim(0); ++row) {
    for (Index n = 0; n < 3 * width; ++n) {
      const Index d = n % a.head_dim;
      const Index first = n / width * width + n % width / a.head_dim / group * group * a.head_dim;
      double want = 0;
      for (Index i = 0; i < group; ++i) {
        want += element(old, row * 3 * width + first + i * a.head_dim + d);
      }
      want = n < width ? element(old, row * 3 * width + n) : want / static_cast<double>(group);
      ASSERT_NEAR(element(got, row * 3 * width + n), want, 1e-7);
    }
  }
  const PretrainedModel first =
      convert_heads(before, {.num_key_value_heads = 1, .pooling = HeadPooling::first});
  const Tensor firsts = pretrained_tensors(first).at(name);
  EXPECT_EQ(element(firsts, width + a.head_dim), element(old, width));
}

// One head's gains are a row of a matrix, as those of several are.
TEST_F(PretrainedConversion, GainsOfEachHeadKeepTheirShape) {
  const PretrainedModel before = load_pretrained(kCases / "cohere");
  const std::string name = "model.layers.0.self_attn.k_norm.weight";
  const Tensor old = pretrained_tensors(before).at(name);
  const Tensor got = pretrained_tensors(convert_heads(before, {.num_key_value_heads = 1})).at(name);
  ASSERT_EQ(got.shape(), Shape({1, old.dim(1)}));
  for (Index d = 0; d < old.dim(1); ++d) {
    EXPECT_NEAR(element(got, d), (element(old, d) + element(old, old.dim(1) + d)) / 2, 1e-7);
  }
}

TEST_F(PretrainedConversion, TheReportHasEachLayer) {
  Context ctx({.num_threads = 1});
  const PretrainedModel before = load_pretrained(kCases / "opt");
  const PretrainedModel after = convert_heads(before, {.num_key_value_heads = 1});
  const ConversionReport report = compare_heads(ctx, *before.model, *after.model, text());
  const TransformerModelConfig& config = before.model->config();
  ASSERT_EQ(static_cast<Index>(report.layers.size()), config.num_layers);
  EXPECT_EQ(report.layers[0].path, "layers/0/attention");
  EXPECT_GT(report.layers[0].error, 0.01);
  EXPECT_GT(report.output_error, 0.01);
  EXPECT_EQ(report.cache_bytes_before(), config.attention.num_heads * report.cache_bytes());
  EXPECT_EQ(compare_heads(ctx, *before.model, *before.model, text()).output_error, 0);
}

TEST_F(PretrainedConversion, WhatCannotBeIsRefused) {
  const PretrainedModel before = load_pretrained(kCases / "gpt2");
  const auto refusal = [&](Index heads) {
    return error_of<ConfigError>([&] { convert_heads(before, {.num_key_value_heads = heads}); });
  };
  EXPECT_THAT(refusal(3), HasSubstr("num_key_value_heads: expected a divisor of the model's"));
  EXPECT_THAT(refusal(before.model->config().attention.num_heads), HasSubstr("less than it"));
  // Heads that were trained apart are not one.
  const fs::path to = folder_ / "gpt2";
  save_pretrained(before, to);
  ConfigValue config = before.config;
  config.set(kShared, 1);
  io::write_file(to / "config.json", io::json_text(config));
  EXPECT_THAT(error_of<IoError>([&] { load_pretrained(to); }),
              HasSubstr("attn.c_attn.weight: expected heads that are repeated"));
  ConfigValue llama = load_pretrained(kCases / "llama").config;
  llama.set(kShared, 1);
  EXPECT_THAT(error_of<IoError>([&] { make_pretrained(llama); }),
              HasSubstr("expected none beside num_key_value_heads"));
}

}  // namespace
}  // namespace grouphead
