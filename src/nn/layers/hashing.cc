#include <cmath>
#include <limits>

#include "core/check.h"
#include "grouphead/layers/lookup.h"
#include "grouphead/layers/preprocessing.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/lookup/hash.h"
#include "nn/lookup/lookup_config.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

constexpr const char* kModes = "int, one_hot, multi_hot or count";

/// Without the old names that lookups take.
LookupMode mode_from(std::string_view layer, const std::string& name) {
  for (const LookupMode mode :
       {LookupMode::integers, LookupMode::one_hot, LookupMode::multi_hot, LookupMode::count}) {
    if (nn::name_of(mode) == name) return mode;
  }
  core::throw_config_error(layer, "output_mode", kModes, name);
}

EncodingMode encoding_of(LookupMode mode) {
  if (mode == LookupMode::one_hot) return EncodingMode::one_hot;
  return mode == LookupMode::count ? EncodingMode::count : EncodingMode::multi_hot;
}

using MaskValue = std::optional<std::variant<std::int64_t, std::string>>;

ConfigValue mask_config(const MaskValue& mask) {
  if (!mask) return {};
  if (const auto* number = std::get_if<std::int64_t>(&*mask)) return ConfigValue(Index{*number});
  return ConfigValue(std::get<std::string>(*mask));
}

/// Which inputs are the mask value, compared in their type.
std::vector<bool> masked(Context& ctx, const Tensor& x, std::int64_t mask) {
  std::vector<bool> is_mask(static_cast<std::size_t>(x.size()));
  if (!ops::is_floating(x.dtype())) {
    const Tensor numbers = nn::as_type(ctx, x, Dtype::i64);
    for (Index i = 0; i < x.size(); ++i) {
      is_mask[static_cast<std::size_t>(i)] = numbers.data<std::int64_t>()[i] == mask;
    }
    return is_mask;
  }
  Tensor one({1}, Dtype::i64);
  *one.data<std::int64_t>() = mask;
  const Tensor rounded = nn::as_type(ctx, nn::as_type(ctx, one, x.dtype()), Dtype::f64);
  const Tensor numbers = nn::as_type(ctx, x, Dtype::f64);
  for (Index i = 0; i < x.size(); ++i) {
    is_mask[static_cast<std::size_t>(i)] = numbers.data<double>()[i] == *rounded.data<double>();
  }
  return is_mask;
}

/// As TensorFlow's cast on x86-64, where what an i64 has not becomes the least.
std::int64_t whole_part(double x) {
  constexpr double kEnd = 9223372036854775808.0;  // 2^63
  return x >= -kEnd && x < kEnd ? static_cast<std::int64_t>(x)
                                : std::numeric_limits<std::int64_t>::min();
}

/// What TensorFlow hashes for each number.
std::vector<std::string> texts_of_numbers(Context& ctx, const Tensor& x) {
  std::vector<std::string> texts;
  const bool is_floating = ops::is_floating(x.dtype());
  const Tensor numbers = nn::as_type(ctx, x, is_floating ? Dtype::f64 : Dtype::i64);
  for (Index i = 0; i < x.size(); ++i) {
    const std::int64_t number =
        is_floating ? whole_part(numbers.data<double>()[i]) : numbers.data<std::int64_t>()[i];
    if (x.dtype() == Dtype::boolean) {
      texts.emplace_back(number != 0 ? "true" : "false");
    } else {
      texts.push_back(std::to_string(number));
    }
  }
  return texts;
}

}  // namespace

Hashing::Hashing(const HashingConfig& config) : Layer(config.name, config.dtype), config_(config) {
  core::require_positive(name(), "num_bins", config.num_bins);
  if (config.output_mode == LookupMode::tf_idf) {
    core::throw_config_error(name(), "output_mode", kModes, "tf_idf");
  }
  if (config.integers != Dtype::i64 && config.integers != Dtype::i32) {
    core::throw_config_error(name(), "dtype", "int64 or int32", name_of(config.integers));
  }
  if (config.output_mode == LookupMode::integers) return;
  encoding_ = std::make_unique<CategoryEncoding>(
      CategoryEncodingConfig{.num_tokens = config.num_bins,
                             .output_mode = encoding_of(config.output_mode),
                             .name = config.name,
                             .dtype = config.dtype});
}

Hashing::~Hashing() = default;

ConfigValue Hashing::get_config() const {
  ConfigValue config = Layer::get_config();
  if (!encoding_) {
    const char* const type = config_.integers == Dtype::i64 ? "int64" : "int32";
    config.set("dtype",
               config_envelope("keras", "DTypePolicy", ConfigValue::Object{{"name", type}}));
  }
  config.set("num_bins", config_.num_bins);
  config.set("salt", config_.salt ? ConfigValue(ConfigValue::List{Index{(*config_.salt)[0]},
                                                                  Index{(*config_.salt)[1]}})
                                  : ConfigValue());
  config.set("mask_value", mask_config(config_.mask_value));
  config.set("output_mode", nn::name_of(config_.output_mode));
  config.set("sparse", false);
  return config;
}

Shape Hashing::tokens_shape(const Shape& input) const {
  if (!takes_texts_) return input;
  if (input.rank() < 2) {
    core::throw_shape_error(name(), "input", "texts [..., bytes], see text_tensor()",
                            input.to_string());
  }
  return nn::without_last_axis(input);
}

std::vector<Shape> Hashing::output_shapes(std::span<const Shape> inputs,
                                          const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  const Shape tokens = tokens_shape(inputs[0]);
  return encoding_ ? encoding_->output_shapes(std::span(&tokens, 1), nullptr)
                   : std::vector<Shape>{tokens};
}

Dtype Hashing::output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const {
  return encoding_ ? encoding_->output_dtype(inputs, arguments) : config_.integers;
}

void Hashing::read_types(std::span<const Dtype> inputs) {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  takes_texts_ = inputs[0] == Dtype::u8;
}

void Hashing::create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) {}
void Hashing::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

Tensor Hashing::bins(Context& ctx, const Tensor& x) const {
  const bool is_text = x.dtype() == Dtype::u8;
  const std::vector<std::string> texts = is_text ? texts_of(x) : texts_of_numbers(ctx, x);
  std::vector<bool> is_mask;
  const auto* number =
      config_.mask_value ? std::get_if<std::int64_t>(&*config_.mask_value) : nullptr;
  const bool has_mask = config_.mask_value.has_value() && config_.num_bins > 1;
  if (has_mask && x.dtype() == Dtype::boolean) {
    core::throw_config_error(name(), "mask_value", "none beside booleans",
                             mask_config(config_.mask_value).to_string());
  }
  if (has_mask && is_text == (number != nullptr)) {
    core::throw_config_error(name(), "mask_value", is_text ? "a text beside texts" : "an integer",
                             mask_config(config_.mask_value).to_string());
  }
  if (has_mask && is_text) {
    for (const std::string& text : texts) {
      is_mask.push_back(text == std::get<std::string>(*config_.mask_value));
    }
  } else if (has_mask) {
    is_mask = masked(ctx, x, *number);
  }
  Tensor places = ctx.tensor(is_text ? nn::without_last_axis(x.shape()) : x.shape(), Dtype::i64);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::int64_t& place = places.data<std::int64_t>()[i];
    place = nn::hash_bucket(texts[i], config_.num_bins - (has_mask ? 1 : 0), config_.salt);
    if (has_mask) place = is_mask[i] ? 0 : place + 1;
  }
  return places;
}

std::vector<Value> Hashing::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                    std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Value places{bins(ctx, in[0].tensor), {}};
  if (encoding_) return encoding_->forward(ctx, std::span(&places, 1), mode, saved);
  if (saved != nullptr) *saved = std::make_unique<Saved>();
  return {{nn::as_type(ctx, places.tensor, config_.integers), {}}};
}

void Hashing::backward(Context& /*ctx*/, Saved& /*saved*/, std::span<const ConstView> /*d_out*/,
                       std::span<View> /*d_in*/, Grads& /*grads*/) const {}

std::shared_ptr<Layer> nn::make_hashing(const ConfigValue& given) {
  ConfigReader reader("Hashing", given);
  HashingConfig config;
  config.name = reader.name(config.name);
  reader.trainable();
  config.num_bins = reader.integer("num_bins", 0);
  config.output_mode = mode_from(config.name, reader.string("output_mode", "int"));
  if (config.output_mode != LookupMode::integers) {
    config.dtype = reader.dtype();
  } else if (const ConfigValue& dtype = reader.value("dtype"); !dtype.is_null()) {
    const ConfigValue& type = dtype.is_string() ? dtype : dtype["config"]["name"];
    if (type != ConfigValue("int64") && type != ConfigValue("int32")) {
      core::throw_config_error(config.name, "dtype", "int64 or int32", type.to_string());
    }
    config.integers = type == ConfigValue("int64") ? Dtype::i64 : Dtype::i32;
  }
  config.salt = read_salt(reader, config.name);
  if (const ConfigValue& mask = reader.value("mask_value"); !mask.is_null()) {
    if (mask.is_string()) {
      config.mask_value = mask.as_string("mask_value");
    } else {
      const double number = mask.as_number("mask_value");
      config.mask_value = mask.is_integer() || std::trunc(number) != number
                              ? std::int64_t{mask.as_integer("mask_value")}
                              : whole_part(number);
    }
  }
  refuse(reader, config.name, "sparse");
  reader.finish();
  return with_trainable(std::make_shared<Hashing>(config), given);
}

}  // namespace grouphead
