#include "grouphead/layers/lookup.h"

#include <charconv>
#include <cstring>

#include "nn/categories.h"
#include "nn/layer_checks.h"
#include "nn/lookup/lookup_config.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "ops/broadcasting.h"
#include "ops/encoding.h"

namespace grouphead {
namespace {

template <class Config>
Config named(Config config, std::string_view name) {
  if (config.name.empty()) config.name = name;
  return config;
}

/// Texts of [..., N] have one axis less.
Shape shape_of_texts(std::string_view layer, const Shape& bytes) {
  if (bytes.rank() < 2) {
    core::throw_shape_error(layer, "input", "texts [..., bytes], see text_tensor()",
                            bytes.to_string());
  }
  return nn::without_last_axis(bytes);
}

/// The tokens at places (i64), as text_tensor() has them, all as wide as the longest that there is.
Tensor tokens_at(const nn::Vocabulary<std::string>& words, const Tensor& places) {
  const Index width = words.longest();
  Tensor texts = Tensor::zeros(nn::with_appended_axis(places.shape(), width), Dtype::u8);
  for (Index i = 0; i < places.size(); ++i) {
    const std::string token = words.token(places.data<std::int64_t>()[i]);
    if (token.empty()) continue;
    std::memcpy(texts.data<std::uint8_t>() + i * width, token.data(), token.size());
  }
  return texts;
}

}  // namespace

LookupLayer::LookupLayer(const std::string& name, LookupMode mode, bool trainable)
    : Layer(name, DtypePolicy()), mode_(mode) {
  set_trainable(trainable);
}

void LookupLayer::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

void LookupLayer::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

Dtype LookupLayer::output_dtype(std::span<const Dtype> /*inputs*/,
                                const CallArguments* /*arguments*/) const {
  return mode_ == LookupMode::integers ? Dtype::i64 : Dtype::f32;
}

Shape LookupLayer::looked_up_shape(const Shape& tokens, Index depth) const {
  if (mode_ == LookupMode::integers) return tokens;
  return nn::encoded_shape(name(), tokens, depth, mode_ == LookupMode::one_hot);
}

Value LookupLayer::result(Context& ctx, const Tensor& places, Index depth,
                          std::span<const double> idf_weights,
                          std::unique_ptr<Saved>* saved) const {
  if (saved != nullptr) *saved = std::make_unique<Saved>();
  if (mode_ == LookupMode::integers) return {places, {}};
  Tensor y = ctx.tensor(looked_up_shape(places.shape(), depth), Dtype::f32);
  if (mode_ == LookupMode::one_hot) {
    ops::one_hot(ctx, places, y);
    return {std::move(y), {}};
  }
  const bool counts = mode_ != LookupMode::multi_hot;
  ops::many_hot(ctx, places.reshaped(nn::category_axes(places.shape())), {}, counts, y);
  if (mode_ == LookupMode::tf_idf) {
    Tensor weights = ctx.zeros({depth}, Dtype::f32);
    for (std::size_t i = 0; i < idf_weights.size(); ++i) {
      weights.data<float>()[i] = static_cast<float>(idf_weights[i]);
    }
    ops::binary_forward(ctx, ops::Binary::multiply, y, weights, y);
  }
  return {std::move(y), {}};
}

void LookupLayer::backward(Context& /*ctx*/, Saved& /*saved*/, std::span<const ConstView> /*d_out*/,
                           std::span<View> d_in, Grads& /*grads*/) const {
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
}

IntegerLookup::IntegerLookup(const IntegerLookupConfig& config)
    : LookupLayer(named(config, "integer_lookup").name, config.output_mode, config.trainable),
      words_(std::make_unique<nn::Vocabulary<std::int64_t>>(name(), config, -1)) {
  if (config.salt && !config.hashes_integers) {
    core::throw_config_error(name(), "salt", "none without oov_method farmhash", "one");
  }
}
IntegerLookup::~IntegerLookup() = default;

ConfigValue IntegerLookup::get_config() const {
  ConfigValue config = Layer::get_config();
  nn::write_index_lookup(*words_, config);
  config.set("vocabulary_dtype", "int64");
  return config;
}

std::vector<Shape> IntegerLookup::output_shapes(std::span<const Shape> inputs,
                                                const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  return {looked_up_shape(inputs[0], words_->depth())};
}

std::vector<Value> IntegerLookup::forward(Context& ctx, std::span<const Value> in,
                                          const Mode& /*mode*/,
                                          std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  words_->require_set();
  const Tensor x = nn::as_type(ctx, in[0].tensor, Dtype::i64);
  Tensor places = ctx.tensor(x.shape(), Dtype::i64);
  const auto* from = x.data<std::int64_t>();
  auto* to = places.data<std::int64_t>();
  for (Index i = 0; i < x.size(); ++i) {
    to[i] = words_->config().invert ? words_->token(from[i]) : words_->place(from[i]);
  }
  return {result(ctx, places, words_->depth(), words_->idf_weights(), saved)};
}

void IntegerLookup::adapt(Context& ctx, const Tensor& data) {
  if (!data.has_value()) core::throw_shape_error(name(), "data", "integers", "nothing");
  const Tensor x = nn::as_type(ctx, data, Dtype::i64);
  const auto* const numbers = x.data<std::int64_t>();
  words_->learn(
      nn::documents_of(std::vector<std::int64_t>(numbers, numbers + x.size()), x.shape()));
}

void IntegerLookup::set_vocabulary(std::vector<std::int64_t> tokens,
                                   std::vector<double> idf_weights) {
  words_->set(tokens, idf_weights);
}
std::vector<std::int64_t> IntegerLookup::vocabulary() const { return words_->all(); }
bool IntegerLookup::has_vocabulary() const { return words_->is_set(); }

void IntegerLookup::set_vocabulary_lines(const std::vector<std::string>& lines) {
  std::vector<std::int64_t> tokens;
  for (const std::string& line : lines) {
    std::int64_t token = 0;
    const char* const end = line.data() + line.size();
    const auto [stop, problem] = std::from_chars(line.data(), end, token);
    if (problem != std::errc() || stop != end) {
      core::throw_config_error(name(), "vocabulary", "an integer in each line", line);
    }
    tokens.push_back(token);
  }
  words_->set(tokens, words_->config().idf_weights);
}

StringLookup::StringLookup(const StringLookupConfig& config)
    : LookupLayer(named(config, "string_lookup").name, config.output_mode, config.trainable),
      words_(std::make_unique<nn::Vocabulary<std::string>>(name(), config, "[UNK]")) {}
StringLookup::~StringLookup() = default;

ConfigValue StringLookup::get_config() const {
  ConfigValue config = Layer::get_config();
  nn::write_index_lookup(*words_, config);
  config.set("encoding", "utf-8");
  return config;
}

std::vector<Shape> StringLookup::output_shapes(std::span<const Shape> inputs,
                                               const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  if (words_->config().invert) {
    return {nn::with_appended_axis(inputs[0], words_->is_set() ? words_->longest() : -1)};
  }
  return {looked_up_shape(shape_of_texts(name(), inputs[0]), words_->depth())};
}

Dtype StringLookup::output_dtype(std::span<const Dtype> inputs,
                                 const CallArguments* arguments) const {
  return words_->config().invert ? Dtype::u8 : LookupLayer::output_dtype(inputs, arguments);
}

std::vector<Value> StringLookup::forward(Context& ctx, std::span<const Value> in,
                                         const Mode& /*mode*/,
                                         std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  words_->require_set();
  const Tensor& x = in[0].tensor;
  if (words_->config().invert) {
    if (saved != nullptr) *saved = std::make_unique<Saved>();
    return {{tokens_at(*words_, nn::as_type(ctx, x, Dtype::i64)), {}}};
  }
  Tensor places = ctx.tensor(shape_of_texts(name(), x.shape()), Dtype::i64);
  const std::vector<std::string> texts = texts_of(x);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    places.data<std::int64_t>()[i] = words_->place(texts[i]);
  }
  return {result(ctx, places, words_->depth(), words_->idf_weights(), saved)};
}

void StringLookup::adapt(Context& /*ctx*/, const Tensor& data) {
  const Shape shape = shape_of_texts(name(), data.shape());
  words_->learn(nn::documents_of(texts_of(data), shape));
}

void StringLookup::set_vocabulary(std::vector<std::string> tokens,
                                  std::vector<double> idf_weights) {
  words_->set(tokens, idf_weights);
}
std::vector<std::string> StringLookup::vocabulary() const { return words_->all(); }
bool StringLookup::has_vocabulary() const { return words_->is_set(); }
void StringLookup::set_vocabulary_lines(const std::vector<std::string>& lines) {
  words_->set(lines, words_->config().idf_weights);
}

namespace nn {

std::shared_ptr<Layer> make_integer_lookup(const ConfigValue& given) {
  ConfigReader reader("IntegerLookup", given);
  auto config = read_index_lookup<std::int64_t>(reader, "integer_lookup");
  const std::string dtype = reader.string("vocabulary_dtype", "int64");
  if (dtype != "int64") {
    core::throw_config_error(config.name, "vocabulary_dtype", "int64", dtype);
  }
  reader.finish();
  return std::make_shared<IntegerLookup>(config);
}

std::shared_ptr<Layer> make_string_lookup(const ConfigValue& given) {
  ConfigReader reader("StringLookup", given);
  auto config = read_index_lookup<std::string>(reader, "string_lookup");
  reader.string("encoding", "utf-8");
  reader.finish();
  return std::make_shared<StringLookup>(config);
}

}  // namespace nn
}  // namespace grouphead
