// Lookups whose unknown tokens have several places, and those from places to tokens:
// tests/golden/keras_lookups.

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "grouphead/layers/lookup.h"
#include "grouphead/layers/preprocessing.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/model.h"
#include "io/file.h"
#include "io/json.h"
#include "nn/lookup/hash.h"
#include "nn/operations/promotion.h"
#include "support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::error_of;

const std::string kLookupCases = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_lookups/cases.json";
const std::string kAdaptCases = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_lookups/adapt.json";

/// Rows of texts, integers or other numbers as a tensor, or a list of texts.
Tensor tensor_of(const ConfigValue& rows) {
  if (rows.as_list("rows").front().is_string()) {
    std::vector<std::string> list;
    for (const ConfigValue& one : rows.as_list("rows")) list.push_back(one.as_string("text"));
    return text_tensor(list, Shape{static_cast<Index>(list.size())});
  }
  std::vector<std::string> texts;
  std::vector<std::int64_t> numbers;
  std::vector<float> fractions;
  for (const ConfigValue& row : rows.as_list("rows")) {
    for (const ConfigValue& one : row.as_list("row")) {
      if (one.is_string()) {
        texts.push_back(one.as_string("text"));
      } else if (!one.is_integer()) {
        fractions.push_back(static_cast<float>(one.as_number("number")));
      } else {
        numbers.push_back(one.as_integer("number"));
      }
    }
  }
  const auto count = static_cast<Index>(rows.as_list("rows").size());
  if (!texts.empty()) {
    return text_tensor(texts, Shape{count, static_cast<Index>(texts.size()) / count});
  }
  if (!fractions.empty()) {
    return Tensor::from({count, static_cast<Index>(fractions.size()) / count},
                        std::span<const float>(fractions));
  }
  return Tensor::from({count, static_cast<Index>(numbers.size()) / count},
                      std::span<const std::int64_t>(numbers));
}

template <class... Number>
Tensor numbers(Dtype dtype, Number... x) {
  Tensor made({1, sizeof...(x)}, Dtype::f64);
  Index i = 0;
  ((made.data<double>()[i++] = x), ...);
  Context ctx;
  return nn::as_type(ctx, made, dtype);
}

void append_elements(const ConfigValue& rows, std::vector<ConfigValue>& out) {
  if (!rows.is_list()) return out.push_back(rows);
  for (const ConfigValue& row : rows.as_list("rows")) append_elements(row, out);
}

/// `error`: of numbers that are no integers, in terms of them.
void expect_rows(const Tensor& got, const ConfigValue& want, double error = 0) {
  std::vector<ConfigValue> wanted;
  append_elements(want, wanted);
  if (wanted.front().is_string()) {
    const std::vector<std::string> texts = texts_of(got);
    ASSERT_EQ(texts.size(), wanted.size());
    for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(ConfigValue(texts[i]), wanted[i]);
    return;
  }
  ASSERT_EQ(got.size(), static_cast<Index>(wanted.size()));
  for (Index i = 0; i < got.size(); ++i) {
    double number = 0;
    if (got.dtype() == Dtype::i64) {
      number = static_cast<double>(got.data<std::int64_t>()[i]);
    } else if (got.dtype() == Dtype::i32) {
      number = static_cast<double>(got.data<std::int32_t>()[i]);
    } else {
      number = static_cast<double>(got.data<float>()[i]);
    }
    const double right = wanted[static_cast<std::size_t>(i)].as_number("number");
    EXPECT_NEAR(number, right, error * std::abs(right)) << i;
  }
}

TEST(KerasLookup, GivesWhatKerasDoes) {
  const ConfigValue cases = io::parse_json(io::read_file(kLookupCases), "cases.json");
  int count = 0;
  for (const ConfigValue& each : cases["cases"].as_list("cases")) {
    SCOPED_TRACE(each["config"].to_string());
    const auto layer = make_layer(each["class_name"].as_string("class_name"), each["config"]);
    const Tensor x = tensor_of(each["inputs"]);
    Context ctx;
    const std::vector<Value> in = {{x, {}}};
    const Tensor y = layer->call(ctx, in, {}, nullptr)[0].tensor;
    expect_rows(y, each["expect"]);
    const Dtype type = x.dtype();
    if (auto* reads = dynamic_cast<detail::ReadsTypes*>(layer.get())) {
      reads->read_types(std::span(&type, 1));
    }
    EXPECT_EQ(y.shape(), layer->output_shapes(std::span(&x.shape(), 1), nullptr)[0]);
    EXPECT_EQ(y.dtype(), layer->output_dtype(std::span(&type, 1), nullptr));
    for (const char* key : {"oov_method", "salt", "num_oov_indices", "invert", "num_bins",
                            "mask_value", "output_mode"}) {
      EXPECT_EQ(layer->get_config()[key], each["config"][key]) << key;
    }
    ++count;
  }
  EXPECT_EQ(count, 36);
}

std::vector<ConfigValue> vocabulary_of(const Layer& layer) {
  const auto listed = [](const auto& tokens) {
    return std::vector<ConfigValue>(tokens.begin(), tokens.end());
  };
  if (const auto* words = dynamic_cast<const StringLookup*>(&layer)) {
    return listed(words->vocabulary());
  }
  if (const auto* texts = dynamic_cast<const TextVectorization*>(&layer)) {
    return listed(texts->vocabulary());
  }
  return listed(dynamic_cast<const IntegerLookup&>(layer).vocabulary());
}

TEST(KerasLookup, AdaptsAsKerasDoes) {
  const ConfigValue cases = io::parse_json(io::read_file(kAdaptCases), "adapt.json");
  int count = 0;
  for (const ConfigValue& each : cases["cases"].as_list("cases")) {
    SCOPED_TRACE(each["config"].to_string());
    const auto layer = make_layer(each["class_name"].as_string("class_name"), each["config"]);
    const Tensor x = tensor_of(each["data"]);
    Context ctx;
    // What was adapted before is gone.
    auto& lookup = dynamic_cast<LookupLayer&>(*layer);
    lookup.adapt(ctx, x.dtype() == Dtype::i64
                          ? numbers(Dtype::i64, 77)
                          : text_tensor(std::vector<std::string>{"gone"}, Shape{1}));
    lookup.adapt(ctx, x);
    EXPECT_EQ(vocabulary_of(*layer), each["vocabulary"].as_list("vocabulary"));
    const std::vector<Value> in = {{x, {}}};
    // What is unknown weighs a mean of up to 20 weights, which Keras sums in f32.
    expect_rows(layer->call(ctx, in, {}, nullptr)[0].tensor, each["expect"], 20 * 0x1p-24);
    ++count;
  }
  EXPECT_EQ(count, 25);
}

TEST(KerasLookup, NormalizationAdaptsAsKerasDoes) {
  const ConfigValue cases = io::parse_json(io::read_file(kAdaptCases), "adapt.json");
  for (const ConfigValue& each : cases["normalizations"].as_list("normalizations")) {
    SCOPED_TRACE(each["config"].to_string());
    const auto layer = make_layer("Normalization", each["config"]);
    const auto number = [&](const char* key, Index i) {
      return static_cast<float>(each[key].as_list(key)[static_cast<std::size_t>(i)].as_number(key));
    };
    Tensor data({4, 3, 2}, Dtype::f32);
    for (Index i = 0; i < data.size(); ++i) data.data<float>()[i] = number("data", i);
    Context ctx;
    dynamic_cast<Normalization&>(*layer).adapt(ctx, data);
    const Tensor y = (*layer)(ctx, data);
    for (Index i = 0; i < data.size(); ++i) {
      EXPECT_NEAR(y.data<float>()[i], number("expect", i), 2e-6) << i;
    }
  }
}

TEST(KerasLookup, AdaptSaysWhatItCannotTake) {
  Context ctx;
  const auto texts = [](std::vector<std::string> list) {
    return text_tensor(list, Shape{static_cast<Index>(list.size())});
  };
  StringLookup given(StringLookupConfig{.vocabulary = {"a", "b"}});
  EXPECT_THAT(error_of<ConfigError>([&] { given.adapt(ctx, texts({"a"})); }),
              HasSubstr("adapt: expected no vocabulary in the configuration, got 2 tokens"));
  StringLookup words;
  words.set_vocabulary({"x"});
  EXPECT_THAT(error_of<ConfigError>([&] { words.adapt(ctx, texts({"[UNK]"})); }),
              HasSubstr("expected a token or more, got none"));
  EXPECT_THAT(words.vocabulary(), ElementsAre("[UNK]", "x"));
  EXPECT_THAT(error_of<ShapeError>([&] { words.adapt(ctx, numbers(Dtype::f32, 1)); }),
              HasSubstr("u8"));
  EXPECT_THAT(error_of<ShapeError>([&] { words.adapt(ctx, Tensor()); }),
              HasSubstr("expected texts [..., bytes]"));
  EXPECT_THAT(error_of<ShapeError>([&] { IntegerLookup().adapt(ctx, Tensor()); }),
              HasSubstr("data: expected integers, got nothing"));
  EXPECT_THAT(error_of<ShapeError>([&] { Normalization().adapt(ctx, Tensor()); }),
              HasSubstr("data: expected numbers, got nothing"));
  TextVectorization vectors;
  EXPECT_THAT(error_of<ShapeError>([&] {
                vectors.adapt(ctx, Tensor::zeros({2, 3, 4}, Dtype::u8));
              }),
              HasSubstr("texts [B] or [B, 1]"));
  EXPECT_FALSE(vectors.has_vocabulary());
}

TEST(KerasLookup, HashIsThatOfTensorFlow) {
  // tf.strings.to_hash_bucket_fast and to_hash_bucket_strong of 2^62 + 12345 buckets.
  constexpr std::int64_t kBuckets = (std::int64_t{1} << 62) + 12345;
  const nn::HashKey key = {-5, (std::int64_t{1} << 40) + 7};
  EXPECT_EQ(nn::hash_bucket("", kBuckets, {}), 1936946117179596765);
  EXPECT_EQ(nn::hash_bucket("", kBuckets, key), 3328512087719583354);
  EXPECT_EQ(nn::hash_bucket("a", kBuckets, {}), 3694432073954563441);
  EXPECT_EQ(nn::hash_bucket("a", kBuckets, key), 1503676406015799909);
  EXPECT_EQ(nn::hash_bucket("abc", kBuckets, {}), 2640714258260161385);
  EXPECT_EQ(nn::hash_bucket("abc", kBuckets, key), 1379171014911207859);
  EXPECT_EQ(nn::hash_bucket("abcde", kBuckets, {}), 157421906844021801);
  EXPECT_EQ(nn::hash_bucket("abcde", kBuckets, key), 2542110923329206410);
  EXPECT_EQ(nn::hash_bucket("yyyyyyyy", kBuckets, {}), 3441460688694223233);
  EXPECT_EQ(nn::hash_bucket("yyyyyyyy", kBuckets, key), 214518198866835523);
  EXPECT_EQ(nn::hash_bucket("wwwwwwwwwwwwwwwww", kBuckets, {}), 2471948257725526776);
  EXPECT_EQ(nn::hash_bucket("wwwwwwwwwwwwwwwww", kBuckets, key), 4270288611541488818);
  EXPECT_EQ(nn::hash_bucket("papbjSRRmTff hagQQhm lRloiQSam e ", kBuckets, {}),
            2763427446897824312);
  EXPECT_EQ(nn::hash_bucket("papbjSRRmTff hagQQhm lRloiQSam e ", kBuckets, key),
            429871844923308468);
  EXPECT_EQ(nn::hash_bucket("fQgikS ilkkdjhSpeRQdkbncmeekdSRmcRQhRciljRQdoidbjaSacndbghRnfdofh",
                            kBuckets, {}),
            890756395572830100);
  EXPECT_EQ(nn::hash_bucket("fQgikS ilkkdjhSpeRQdkbncmeekdSRmcRQhRciljRQdoidbjaSacndbghRnfdofh",
                            kBuckets, key),
            235764862647093815);
  EXPECT_EQ(nn::hash_bucket(
                "eTmifcSalinQjeoipfo bi dRnclcoaf fcmTiSjg ghkicc lo "
                "QbfjTQilShmQmfpiSkhiShaSmknhigcTfRoReSio feeoljmhdgjcdhmkpdfbbSagbp SokidSfdh",
                kBuckets, {}),
            4524306153728629848);
  EXPECT_EQ(nn::hash_bucket(
                "eTmifcSalinQjeoipfo bi dRnclcoaf fcmTiSjg ghkicc lo "
                "QbfjTQilShmQmfpiSkhiShaSmknhigcTfRoReSio feeoljmhdgjcdhmkpdfbbSagbp SokidSfdh",
                kBuckets, key),
            953663653391229719);
}

TEST(KerasLookup, RefusesWhatIsNone) {
  const auto refused = [](ConfigValue config) {
    config.set("vocabulary", ConfigValue::List{1, 2});
    return error_of<ConfigError>([&] { make_layer("IntegerLookup", config); });
  };
  const auto with = [](const char* key, ConfigValue value) {
    return ConfigValue::Object{{key, std::move(value)}};
  };
  EXPECT_THAT(refused(with("oov_method", "crc")), HasSubstr("floormod or farmhash"));
  EXPECT_THAT(refused(with("salt", 3)), HasSubstr("none without oov_method farmhash"));
  ConfigValue three = with("salt", ConfigValue::List{1, 2, 3});
  three.set("oov_method", "farmhash");
  EXPECT_THAT(refused(three), HasSubstr("one integer or two"));
  // Numbers of places that would fill the memory.
  EXPECT_THAT(refused(with("num_oov_indices", std::int64_t{10'000'000'000})),
              HasSubstr("0 to 2147483647"));
  ConfigValue weighed = with("num_oov_indices", 1'000'001);
  weighed.set("output_mode", "tf_idf");
  EXPECT_THAT(refused(weighed), HasSubstr("0 to 1000000"));
}

// In a model: texts lose the axis of their bytes, and Keras's types are written.
TEST(KerasLookup, HashingInModelsOfTextsAndNumbers) {
  Context ctx;
  const Symbol texts = input({.shape = {2, -1}, .dtype = Dtype::u8});
  const auto hashing = layer<Hashing>({.num_bins = 9});
  const Symbol bins = hashing(texts);
  EXPECT_EQ(bins.dtype(), Dtype::i64);
  EXPECT_EQ(bins.shape().rank(), 2);
  const Model model({.inputs = {texts}, .outputs = {bins}});
  const std::vector<std::string> words = {"red", "green", "blue", "red"};
  const Tensor y = model(ctx, text_tensor(words, Shape{2, 2}));
  ASSERT_EQ(y.shape(), Shape({2, 2}));
  EXPECT_EQ(y.data<std::int64_t>()[0], nn::hash_bucket("red", 9, {}));
  EXPECT_EQ(y.data<std::int64_t>()[0], y.data<std::int64_t>()[3]);
  EXPECT_EQ(model.get_layer("hashing")->get_config()["dtype"]["config"]["name"],
            ConfigValue("int64"));
}

std::vector<std::int64_t> bins_of(const HashingConfig& config, const Tensor& x) {
  Context ctx;
  const std::vector<Value> in = {{x, {}}};
  const Tensor y = Hashing(config).forward(ctx, in, {}, nullptr)[0].tensor;
  return {y.data<std::int64_t>(), y.data<std::int64_t>() + y.size()};
}

// Those of Keras 3.15.1 with TensorFlow 2.21 on x86-64.
TEST(KerasLookup, HashingOfNumbersThatAnIntegerHasNot) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    EXPECT_THAT(bins_of({.num_bins = 1000},
                        numbers(dtype, std::nan(""), kInfinity, -kInfinity, 1e19, -1e19, 9.3e18)),
                ElementsAre(112, 112, 112, 112, 112, 112));
  }
  EXPECT_THAT(bins_of({.num_bins = 1000}, numbers(Dtype::f16, std::nan(""), 1, 2.5)),
              ElementsAre(112, 849, 759));
  EXPECT_THAT(bins_of({.num_bins = 1000}, numbers(Dtype::boolean, 1, 0)), ElementsAre(570, 757));
}

// The same.
TEST(KerasLookup, HashingRoundsTheMaskToTheTypeOfNumbers) {
  const HashingConfig config{.num_bins = 1000, .mask_value = std::int64_t{16777217}};
  EXPECT_THAT(bins_of(config, numbers(Dtype::f32, 16777216, 16777218, 3)),
              ElementsAre(0, 966, 202));
  for (const Dtype dtype : {Dtype::f64, Dtype::i32}) {
    EXPECT_THAT(bins_of(config, numbers(dtype, 16777216, 16777217, 3)), ElementsAre(344, 0, 202));
  }
  EXPECT_THAT(bins_of({.num_bins = 1000, .mask_value = std::int64_t{2049}},
                      numbers(Dtype::f16, 2048, 2050, 3)),
              ElementsAre(0, 397, 202));
}

TEST(KerasLookup, HashingReadsWhatKerasWrites) {
  const auto made = [](const ConfigValue::Object& options) {
    ConfigValue config = ConfigValue::Object{{"num_bins", 9}, {"name", "bins"}};
    for (const auto& [key, value] : options) config.set(key, value);
    return make_layer("Hashing", config);
  };
  EXPECT_EQ(made({{"mask_value", 0.0}})->get_config()["mask_value"], ConfigValue(0));
  EXPECT_THAT(error_of<ConfigError>([&] { made({{"mask_value", 0.5}}); }), HasSubstr("mask_value"));
  for (const char* const mode : {"binary", "tf_idf", "tf-idf", "rows"}) {
    EXPECT_THAT(error_of<ConfigError>([&] {
                  made({{"output_mode", mode}});
                }),
                HasSubstr("expected int, one_hot, multi_hot or count, got"));
  }
  // What makes its rows speaks by its name.
  const auto rows = made({{"output_mode", "count"}});
  const std::vector<Shape> input = {Shape{}};
  EXPECT_THAT(error_of<ShapeError>([&] { rows->output_shapes(input, nullptr); }),
              HasSubstr("[bins]"));
}

TEST(KerasLookup, HashingRefusesWhatItCannotHash) {
  const auto refusal = [](const HashingConfig& config) {
    return error_of<ConfigError>([&] {
      Context ctx;
      const std::vector<Value> in = {{Tensor::zeros({2, 3}, Dtype::i32), {}}};
      Hashing(config).forward(ctx, in, {}, nullptr);
    });
  };
  EXPECT_THAT(refusal({}), HasSubstr("num_bins"));
  EXPECT_THAT(refusal({.num_bins = 3, .mask_value = "red"}), HasSubstr("expected an integer"));
  EXPECT_THAT(error_of<ConfigError>([] {
                bins_of({.num_bins = 3, .mask_value = std::int64_t{1}},
                        Tensor::zeros({1, 2}, Dtype::boolean));
              }),
              HasSubstr("expected none beside booleans"));
  EXPECT_THAT(refusal({.num_bins = 3, .output_mode = LookupMode::tf_idf}),
              HasSubstr("expected int, one_hot, multi_hot or count"));
  EXPECT_THAT(refusal({.num_bins = 3, .integers = Dtype::f32}), HasSubstr("int64 or int32"));
}

}  // namespace
}  // namespace grouphead
