#include <algorithm>
#include <cstring>

#include "grouphead/layers/lookup.h"
#include "nn/layer_checks.h"
#include "nn/lookup/lookup_config.h"
#include "nn/registry.h"
#include "nn/shapes.h"

namespace grouphead {
namespace {

constexpr std::string_view kLower = "lower";
constexpr std::string_view kStrip = "strip_punctuation";
constexpr std::string_view kBoth = "lower_and_strip_punctuation";

bool is_punctuation(char c) noexcept {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}
bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string standardized(const TextVectorizationConfig& config, std::string_view text) {
  std::string made;
  for (char c : text) {
    if (config.lower && c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!config.strip_punctuation || !is_punctuation(c)) made += c;
  }
  return made;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : text) {
    if (!is_space(c)) {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

/// How many bytes the UTF-8 character at the front has; 0 where it is none.
std::size_t character_size(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  std::size_t size = 0;
  if (first < 0x80) {
    size = 1;
  } else if (first >= 0xC2 && first < 0xE0) {
    size = 2;
  } else if (first >= 0xE0 && first < 0xF0) {
    size = 3;
  } else if (first >= 0xF0 && first < 0xF5) {
    size = 4;
  }
  if (size == 0 || size > text.size()) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return size;
}

std::vector<std::string> characters_of(std::string_view text) {
  std::vector<std::string> characters;
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    characters.emplace_back(size > 0 ? text.substr(0, size) : "\xEF\xBF\xBD");  // U+FFFD
    text.remove_prefix(std::max<std::size_t>(1, size));
  }
  return characters;
}

/// Neighbours joined by a space, those of each number of tokens in turn.
std::vector<std::string> joined(const std::vector<std::string>& tokens,
                                const std::vector<Index>& widths) {
  std::vector<std::string> made;
  for (const Index wide : widths) {
    const auto width = static_cast<std::size_t>(wide);
    for (std::size_t first = 0; first + width <= tokens.size(); ++first) {
      std::string one = tokens[first];
      for (std::size_t i = 1; i < width; ++i) one.append(" ").append(tokens[first + i]);
      made.push_back(std::move(one));
    }
  }
  return made;
}

StringLookupConfig lookup_of(const TextVectorizationConfig& config) {
  StringLookupConfig made = config.tokens;
  if (made.name.empty()) made.name = "text_vectorization";
  made.mask_token = "";
  return made;
}

}  // namespace

Tensor text_tensor(std::span<const std::string> texts, const std::optional<Shape>& shape) {
  const Shape of_texts = shape ? *shape : Shape{static_cast<Index>(texts.size()), 1};
  if (of_texts.size() != static_cast<Index>(texts.size())) {
    core::throw_shape_error("text_tensor", "texts", std::to_string(of_texts.size()),
                            std::to_string(texts.size()));
  }
  std::size_t longest = 1;
  for (const std::string& text : texts) {
    if (text.find('\0') != std::string::npos) {
      core::throw_config_error("text_tensor", "texts", "no byte 0", "one");
    }
    longest = std::max(longest, text.size());
  }
  Tensor made =
      Tensor::zeros(nn::with_appended_axis(of_texts, static_cast<Index>(longest)), Dtype::u8);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty()) continue;
    std::memcpy(made.data<std::uint8_t>() + i * longest, texts[i].data(), texts[i].size());
  }
  return made;
}

std::vector<std::string> texts_of(const Tensor& tensor) {
  if (!tensor.has_value() || tensor.rank() < 1) {
    core::throw_shape_error("texts_of", "tensor", "u8 [..., bytes]",
                            tensor.has_value() ? tensor.shape().to_string() : "nothing");
  }
  core::require_dtype("texts_of", "tensor", tensor, Dtype::u8);
  const auto width = static_cast<std::size_t>(tensor.shape().back());
  std::vector<std::string> texts;
  if (width == 0) return texts;
  const auto* bytes = reinterpret_cast<const char*>(tensor.data<std::uint8_t>());
  for (Index i = 0; i < tensor.size() / tensor.shape().back(); ++i, bytes += width) {
    texts.emplace_back(bytes, strnlen(bytes, width));
  }
  return texts;
}

TextVectorization::TextVectorization(const TextVectorizationConfig& config)
    : LookupLayer(lookup_of(config).name, config.tokens.output_mode, config.tokens.trainable),
      config_(config),
      words_(std::make_unique<nn::Vocabulary<std::string>>(name(), lookup_of(config), "[UNK]")) {
  const auto fail = [&](std::string_view option, const char* expected, const std::string& got) {
    core::throw_config_error(name(), option, expected, got);
  };
  const bool is_integers = output_mode() == LookupMode::integers;
  if (output_mode() == LookupMode::one_hot) fail("output_mode", "another than one_hot", "one_hot");
  if (config.output_sequence_length) {
    const Index length = *config.output_sequence_length;
    if (!is_integers || length < 0 || config.split == TextSplit::none) {
      fail("output_sequence_length", "0 or more, of integers and texts that are split",
           std::to_string(length));
    }
  }
  if (config.split == TextSplit::none && !config.ngrams.empty()) {
    fail("ngrams", "none of texts that are not split", "some");
  }
  for (const Index width : config.ngrams) {
    if (width < 1) fail("ngrams", "1 or more", std::to_string(width));
  }
}
TextVectorization::~TextVectorization() = default;

ConfigValue TextVectorization::get_config() const {
  ConfigValue config = Layer::get_config();
  const StringLookupConfig& tokens = words_->config();
  config.set("max_tokens", nn::number_or_null(tokens.max_tokens));
  ConfigValue standardize;
  if (config_.lower) standardize = config_.strip_punctuation ? kBoth : kLower;
  if (!config_.lower && config_.strip_punctuation) standardize = kStrip;
  config.set("standardize", std::move(standardize));
  ConfigValue split;
  if (config_.split != TextSplit::none) {
    split = config_.split == TextSplit::whitespace ? "whitespace" : "character";
  }
  config.set("split", std::move(split));
  ConfigValue::List ngrams(config_.ngrams.begin(), config_.ngrams.end());
  config.set("ngrams", ngrams.empty() ? ConfigValue() : ConfigValue(std::move(ngrams)));
  config.set("output_mode", nn::name_of(tokens.output_mode));
  config.set("output_sequence_length", nn::number_or_null(config_.output_sequence_length));
  config.set("pad_to_max_tokens", tokens.pad_to_max_tokens);
  config.set("sparse", false);
  config.set("ragged", false);
  nn::write_vocabulary(*words_, config);
  config.set("encoding", "utf-8");
  return config;
}

std::vector<Shape> TextVectorization::output_shapes(std::span<const Shape> inputs,
                                                    const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  const Shape& x = inputs[0];
  const bool is_list = x.rank() == 2 || (x.rank() == 3 && (x[1] == 1 || x[1] == -1));
  if (config_.split == TextSplit::none) {
    if (x.rank() < 2) core::throw_shape_error(name(), "input", "texts", x.to_string());
    const Shape texts = nn::without_last_axis(x);
    const bool is_one_each = texts.rank() == 1 && output_mode() != LookupMode::integers;
    return {
        looked_up_shape(is_one_each ? nn::with_appended_axis(texts, 1) : texts, words_->depth())};
  }
  if (!is_list) {
    core::throw_shape_error(name(), "input", "texts [B] or [B, 1], see text_tensor()",
                            x.to_string());
  }
  if (output_mode() == LookupMode::integers) {
    return {Shape::partial({x[0], config_.output_sequence_length.value_or(-1)})};
  }
  return {Shape::partial({x[0], words_->depth()})};
}

std::vector<std::string> TextVectorization::split(std::string_view text) const {
  const std::string standard = standardized(config_, text);
  std::vector<std::string> tokens{standard};
  if (config_.split == TextSplit::whitespace) tokens = words_of(standard);
  if (config_.split == TextSplit::character) tokens = characters_of(standard);
  return config_.ngrams.empty() ? tokens : joined(tokens, config_.ngrams);
}

std::vector<Value> TextVectorization::forward(Context& ctx, std::span<const Value> in,
                                              const Mode& /*mode*/,
                                              std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  words_->require_set();
  const Tensor& x = in[0].tensor;
  output_shapes(std::span(&x.shape(), 1), nullptr);  // checks
  const bool is_integers = output_mode() == LookupMode::integers;
  std::vector<std::vector<std::int64_t>> rows;
  std::size_t longest = 0;
  for (const std::string& text : texts_of(x)) {
    std::vector<std::int64_t>& row = rows.emplace_back();
    for (const std::string& token : split(text)) row.push_back(words_->place(token));
    longest = std::max(longest, row.size());
  }
  const Index width = config_.output_sequence_length.value_or(static_cast<Index>(longest));
  Tensor places = ctx.tensor({static_cast<Index>(rows.size()), width}, Dtype::i64);
  auto* to = places.data<std::int64_t>();
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(width); ++i) {
      const std::int64_t padding = is_integers ? 0 : nn::Vocabulary<std::string>::kDropped;
      *to++ = i < row.size() ? row[i] : padding;
    }
  }
  if (config_.split == TextSplit::none) {
    const Shape texts = nn::without_last_axis(x.shape());
    if (texts.rank() > 1 || is_integers) places = places.reshaped(texts);
  }
  return {result(ctx, places, words_->depth(), words_->idf_weights(), saved)};
}

Tensor TextVectorization::vectorize(Context& ctx, std::span<const std::string> texts) const {
  const Value in{text_tensor(texts), {}};
  return forward(ctx, std::span(&in, 1), Mode{}, nullptr)[0].tensor;
}

void TextVectorization::adapt(Context& /*ctx*/, const Tensor& data) {
  output_shapes(std::span(&data.shape(), 1), nullptr);  // checks
  const std::vector<std::string> texts = texts_of(data);
  std::vector<std::vector<std::string>> tokens;
  tokens.reserve(texts.size());
  for (const std::string& text : texts) tokens.push_back(split(text));
  if (config_.split == TextSplit::none) {  // rows of texts are documents
    std::vector<std::string> all;
    for (std::vector<std::string>& one : tokens) all.push_back(std::move(one[0]));
    tokens = nn::documents_of(all, nn::without_last_axis(data.shape()));
  }
  words_->learn(tokens);
}

void TextVectorization::set_vocabulary(std::vector<std::string> tokens,
                                       std::vector<double> idf_weights) {
  words_->set(tokens, idf_weights);
}
std::vector<std::string> TextVectorization::vocabulary() const { return words_->all(); }
bool TextVectorization::has_vocabulary() const { return words_->is_set(); }
void TextVectorization::set_vocabulary_lines(const std::vector<std::string>& lines) {
  words_->set(lines, words_->config().idf_weights);
}

namespace nn {
namespace {

void read_standardize(ConfigReader& reader, TextVectorizationConfig& config) {
  if (!reader.has("standardize")) return;
  const ConfigValue& value = reader.value("standardize");
  config.lower = value == ConfigValue(kLower) || value == ConfigValue(kBoth);
  config.strip_punctuation = value == ConfigValue(kStrip) || value == ConfigValue(kBoth);
  if (!config.lower && !config.strip_punctuation && !value.is_null()) {
    core::throw_config_error(config.tokens.name, "standardize",
                             "null, lower, strip_punctuation or lower_and_strip_punctuation: "
                             "standardize texts of another function before the model",
                             value.to_string());
  }
}

void read_split(ConfigReader& reader, TextVectorizationConfig& config) {
  if (!reader.has("split")) return;
  const ConfigValue& value = reader.value("split");
  if (value.is_null()) {
    config.split = TextSplit::none;
  } else if (value == ConfigValue("character")) {
    config.split = TextSplit::character;
  } else if (value != ConfigValue("whitespace")) {
    core::throw_config_error(config.tokens.name, "split",
                             "null, whitespace or character: split texts of another function "
                             "before the model",
                             value.to_string());
  }
}

constexpr Index kMostNgrams = 64;

void read_ngrams(ConfigReader& reader, TextVectorizationConfig& config) {
  const ConfigValue& value = reader.value("ngrams");
  if (value.is_null()) return;
  if (value.is_list()) {
    for (const ConfigValue& one : value.as_list("ngrams")) {
      config.ngrams.push_back(one.as_integer("ngrams"));
    }
    return;
  }
  const Index last = value.as_integer("ngrams");
  if (last < 1 || last > kMostNgrams) {
    core::throw_config_error(config.tokens.name, "ngrams", "1 to " + std::to_string(kMostNgrams),
                             std::to_string(last));
  }
  for (Index width = 1; width <= last; ++width) config.ngrams.push_back(width);
}

}  // namespace

std::shared_ptr<Layer> make_text_vectorization(const ConfigValue& given) {
  ConfigReader reader("TextVectorization", given);
  TextVectorizationConfig config;
  config.tokens.name = "text_vectorization";
  read_lookup(reader, config.tokens);
  read_standardize(reader, config);
  read_split(reader, config);
  read_ngrams(reader, config);
  config.output_sequence_length = optional_integer(reader, "output_sequence_length");
  refuse(reader, config.tokens.name, "ragged");
  reader.string("encoding", "utf-8");
  reader.finish();
  return std::make_shared<TextVectorization>(config);
}

}  // namespace nn
}  // namespace grouphead
