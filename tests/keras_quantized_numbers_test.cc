// Numbers in few bits apart from layers, and what layers' configurations say of them.

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "grouphead/layers/serialization.h"
#include "io/safetensors.h"
#include "keras_training_support.h"
#include "nn/quantized_numbers.h"

namespace grouphead {
namespace {

using nn::QuantizedNumbers;
using ::testing::HasSubstr;
using testing_support::distance;
using testing_support::error_of;
using testing_support::same_bits;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Numbers 0 of a kernel [5, 3] in 4 bits, with one group.
QuantizedNumbers one_group(Index block_size) {
  return {{.mode = QuantizationMode::int4, .block_size = block_size},
          {5, 3},
          QuantizedNumbers::Form::kernel,
          {.numbers = Tensor::zeros({5, 2}, Dtype::u8),
           .scale = Tensor::zeros({1, 3}, Dtype::f32),
           .zero = Tensor::zeros({1, 3}, Dtype::u8),
           .groups = Tensor::zeros({5}, Dtype::f32)},
          Dtype::f32};
}

TEST(QuantizedNumbers, AGroupThatIsShorterThanABlockHasZero) {
  const io::Safetensors values = io::read_safetensors(
      GROUPHEAD_SOURCE_DIR "/tests/golden/keras_quantized/one_short_group.safetensors");
  const auto made = one_group(128).requantized(values.at("w"));
  EXPECT_TRUE(same_bits(made->arrays().numbers, values.at("expect.numbers")));
  EXPECT_LT(distance(made->arrays().scale, values.at("expect.scale")), 1e-8);
  EXPECT_TRUE(same_bits(made->arrays().zero, values.at("expect.zero")));
  // A whole block has the scale of the numbers alone.
  const auto whole = one_group(5).requantized(values.at("w"));
  EXPECT_GT(distance(whole->arrays().scale, values.at("expect.scale")), 0.01);
}

// Its column has a scale that is no number either, as NumPy's greatest number of it is none.
TEST(QuantizedNumbers, WhatIsNoNumberBecomesZeroWithItsColumn) {
  const Tensor w = random_normal({5, 3}, 1);
  Tensor damaged = w.clone();
  damaged.data<float>()[4] = kNan;
  const QuantizedNumbers int8(
      {}, {5, 3}, QuantizedNumbers::Form::kernel,
      {.numbers = Tensor::zeros({5, 3}, Dtype::u8), .scale = Tensor::zeros({3}, Dtype::f32)},
      Dtype::f32);
  const QuantizedNumbers int4(
      {.mode = QuantizationMode::int4}, {5, 3}, QuantizedNumbers::Form::kernel,
      {.numbers = Tensor::zeros({5, 2}, Dtype::u8), .scale = Tensor::zeros({3}, Dtype::f32)},
      Dtype::f32);
  // In groups also one that is filled up.
  for (const QuantizedNumbers& form : {int8, int4, one_group(5), one_group(128)}) {
    const auto made = form.requantized(damaged);
    const auto whole = form.requantized(w);
    const Tensor bytes = made->bytes();
    const Tensor whole_bytes = whole->bytes();
    const auto* scale = made->arrays().scale.data<float>();
    EXPECT_TRUE(std::isnan(scale[1]));
    for (const int column : {0, 2}) {
      EXPECT_EQ(scale[column], whole->arrays().scale.data<float>()[column]);
    }
    for (Index i = 0; i < w.size(); ++i) {
      const auto expected = i % 3 == 1 ? 0 : whole_bytes.data<std::uint8_t>()[i];
      EXPECT_EQ(bytes.data<std::uint8_t>()[i], expected) << i;
    }
  }
  for (Index i = 0; i < w.size(); ++i) damaged.data<float>()[i] = kNan;
  const auto none = one_group(5).requantized(damaged);
  EXPECT_TRUE(same_bits(none->arrays().numbers, Tensor::zeros({5, 2}, Dtype::u8)));
  EXPECT_TRUE(same_bits(none->arrays().zero, Tensor::zeros({1, 3}, Dtype::u8)));
}

ConfigValue envelope(const char* class_name, ConfigValue::Object config) {
  return ConfigValue::Object{{"class_name", class_name}, {"config", std::move(config)}};
}

TEST(QuantizationConfig, BlocksHaveASize) {
  const auto refusal = [](const char* mode) {
    const ConfigValue dtype =
        envelope("Int4DTypePolicy", {{"mode", mode}, {"source_name", "float32"}});
    return error_of<ConfigError>([&] {
      layer_from_config(envelope("Dense", {{"units", 3}, {"dtype", dtype}}));
    });
  };
  for (const char* mode : {"int4", "int4/-1", "int4/128"}) {
    EXPECT_EQ(refusal(mode), "no error") << mode;
  }
  for (const char* mode : {"int4/0", "int4/", "int4/-2", "int4/3x"}) {
    EXPECT_THAT(refusal(mode), HasSubstr("int4 with a block size of 1 or more, or -1")) << mode;
  }
}

// Other layers give the axis themselves.
TEST(QuantizationConfig, AReversibleEmbeddingRoundsAlongItsLastAxis) {
  const auto refusal = [](const char* layer, const ConfigValue& axis) {
    const ConfigValue quantizer = envelope("AbsMaxQuantizer", {{"axis", axis}});
    const ConfigValue rounds =
        envelope("Int8QuantizationConfig", {{"activation_quantizer", quantizer}});
    const ConfigValue dtype =
        envelope("QuantizedDTypePolicy", {{"mode", "int8"}, {"source_name", "float32"}});
    ConfigValue::Object config{{"dtype", dtype}, {"quantization_config", rounds}};
    if (layer == std::string("Dense")) {
      config.emplace_back("units", 3);
    } else {
      config.emplace_back("input_dim", 5);
      config.emplace_back("output_dim", 3);
    }
    return error_of<ConfigError>([&] { layer_from_config(envelope(layer, config)); });
  };
  const ConfigValue last(-1);
  for (const ConfigValue& axis : {ConfigValue(), last, ConfigValue(ConfigValue::List{last})}) {
    EXPECT_EQ(refusal("ReversibleEmbedding", axis), "no error");
  }
  for (const ConfigValue& axis : {ConfigValue(1), ConfigValue(ConfigValue::List{0, -1})}) {
    EXPECT_THAT(refusal("ReversibleEmbedding", axis),
                HasSubstr("expected a quantizer along the last axis"));
    EXPECT_EQ(refusal("Dense", axis), "no error");
  }
}

}  // namespace
}  // namespace grouphead
