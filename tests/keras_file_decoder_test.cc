// KerasHub's language models step by step: tests/golden/keras_hub.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "decoded.h"
#include "support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::expect_same;
using testing_support::text_of;

const std::filesystem::path kDecoderFolder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_hub/models";

TEST(KerasFileDecoder, CausalModelsStepByStep) {
  Context ctx({.num_threads = 2});
  for (const char* name : {"gpt2_causal", "llama_causal", "mistral_causal", "gemma2_causal"}) {
    SCOPED_TRACE(name);
    const auto model = load_model(kDecoderFolder / (std::string(name) + ".keras"));
    const Index vocabulary = model->outputs()[0].shape().back();
    expect_same(ctx, *model, text_of(8, vocabulary), {3, 1, 1, 3});
  }
}

TEST(KerasFileDecoder, ModelsThatLookAheadAreRefused) {
  Context ctx;
  const auto model = load_model(kDecoderFolder / "bert_masked.keras");
  EXPECT_THAT(error_of<ConfigError>([&] { make_decoder(ctx, *model); }),
              HasSubstr("[decode] inputs of bert_masked_lm: expected tokens [B, T]"));
}

}  // namespace
}  // namespace grouphead
