// KerasHub's layers: its own numbers, and what is refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "grouphead/grouphead.h"
#include "grouphead/layers/serialization.h"
#include "support.h"
#include "testing/keras_golden.h"

namespace grouphead::testing {
namespace {

TEST(KerasHub, LayersAreKerasHubs) {
  const std::string folder = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_hub";
  for (const Isa isa : testing_support::isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const GoldenResult& result : run_keras_golden(ctx, folder)) {
      EXPECT_TRUE(result.passed) << name_of(isa) << " " << result.line;
    }
  }
}

std::string refusal(const std::function<void()>& act) {
  return testing_support::error_of<Error>(act);
}

ConfigValue llama_envelope(const ConfigValue::Object& changes) {
  ConfigValue config = ConfigValue::Object{
      {"name", "m"},     {"vocabulary_size", 5},  {"num_layers", 1},         {"num_query_heads", 2},
      {"hidden_dim", 4}, {"intermediate_dim", 3}, {"num_key_value_heads", 1}};
  for (const auto& [key, value] : changes) config.set(key, value);
  return ConfigValue::Object{{"class_name", "LlamaBackbone"},
                             {"config", config},
                             {"registered_name", "keras_hub>LlamaBackbone"}};
}

TEST(KerasHub, RefusesConfigurationsByName) {
  using ::testing::HasSubstr;
  const auto of = [](const char* key, ConfigValue value) {
    return refusal([&] { model_from_config(llama_envelope({{key, std::move(value)}})); });
  };
  EXPECT_EQ(of("hidden_dim", 8), "no error");
  EXPECT_THAT(of("num_layers", ConfigValue(Index{1} << 60)), HasSubstr("num_layers"));
  EXPECT_THAT(of("num_layers", -1), HasSubstr("num_layers"));
  EXPECT_THAT(of("vocabulary_size", ConfigValue(Index{1} << 40)), HasSubstr("vocabulary_size"));
  EXPECT_THAT(of("hidden_dim", 0), HasSubstr("hidden_dim"));
  EXPECT_THAT(of("num_query_heads", 0), HasSubstr("num_query_heads"));
  EXPECT_THAT(of("num_key_value_heads", 3), HasSubstr("num_key_value_heads"));
  EXPECT_THAT(of("intermediate_dim", "wide"), HasSubstr("intermediate_dim"));
  EXPECT_THAT(of("rope_max_wavelength", -1.0), HasSubstr("max_wavelength"));
  EXPECT_THAT(of("rope_low_freq_factor", 1.0), HasSubstr("rope_frequency_adjustment_factor"));
  EXPECT_THAT(of("layer_norm_epsilon", -1.0), HasSubstr("epsilon"));
  EXPECT_THAT(of("dropout", 2.0), HasSubstr("rate"));
  EXPECT_THAT(of("flavour", "x"), HasSubstr("flavour"));
  EXPECT_THAT(of("hidden_dim", 6), HasSubstr("even"));  // heads of 3
}

// People give their own layers the names of KerasHub's.
TEST(KerasHub, KnowsItsLayersByRegisteredName) {
  ConfigValue envelope = ConfigValue::Object{{"class_name", "TransformerEncoder"},
                                             {"config", ConfigValue::Object{}},
                                             {"registered_name", "Custom>TransformerEncoder"}};
  EXPECT_FALSE(has_layer(envelope));
  envelope.set("registered_name", "keras_hub>TransformerEncoder");
  EXPECT_TRUE(has_layer(envelope));
  envelope.set("registered_name", "keras_nlp>TransformerEncoder");
  EXPECT_TRUE(has_layer(envelope));
}

TEST(KerasHub, RefusesCallsByName) {
  using ::testing::HasSubstr;
  const auto layer = make_layer("keras_hub>TransformerDecoder",
                                ConfigValue::Object{{"intermediate_dim", 4}, {"num_heads", 2}});
  const Symbol x = input({.shape = {3, 4}});
  EXPECT_THAT(refusal([&] {
                connect(layer, x, {{"self_attention_cache", 1}});
              }),
              HasSubstr("caches"));
  EXPECT_THAT(refusal([&] {
                connect(layer, x, {{"use_caches", true}});
              }),
              HasSubstr("use_causal_mask"));
  EXPECT_THAT(refusal([&] { connect(layer, input({.shape = {4}})); }), HasSubstr("[B, T, M]"));
  layer->build({{2, 3, 4}});
  EXPECT_THAT(refusal([&] { connect(layer, {x, x}); }), HasSubstr("encoder_sequence"));

  Context ctx;
  const auto positions =
      make_layer("keras_hub>PositionEmbedding", ConfigValue::Object{{"sequence_length", 2}});
  positions->build({{1, 3, 4}});
  const Value long_input{Tensor::zeros({1, 3, 4}), {}};
  EXPECT_THAT(refusal([&] { positions->call(ctx, std::span(&long_input, 1), {}, nullptr); }),
              HasSubstr("at most 2 positions"));
}

}  // namespace
}  // namespace grouphead::testing
