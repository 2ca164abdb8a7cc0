#pragma once

// The configurations of layers with a vocabulary, as Keras writes them.

#include "nn/config_reader.h"
#include "nn/lookup/vocabulary.h"

namespace grouphead::nn {

inline ConfigValue token_config(std::int64_t token) { return ConfigValue(Index{token}); }
inline ConfigValue token_config(const std::string& token) { return ConfigValue(token); }
inline void token_from(const ConfigValue& value, std::int64_t& token) {
  token = value.as_integer("vocabulary");
}
inline void token_from(const ConfigValue& value, std::string& token) {
  token = value.as_string("vocabulary");
}

LookupMode lookup_mode_from(std::string_view layer, const std::string& name);
std::string_view name_of(LookupMode mode) noexcept;
/// Errors: ConfigError unless absent, null or false.
void refuse(ConfigReader& reader, std::string_view layer, const char* key);
/// Two integers, or one for both; null: none. Errors: ConfigError for others.
std::optional<HashKey> read_salt(ConfigReader& reader, std::string_view layer);
std::optional<Index> optional_integer(ConfigReader& reader, const char* key);
/// An optional number as Keras writes it.
ConfigValue number_or_null(const std::optional<Index>& number);

/// A list of tokens; null: none. Errors: ConfigError, also for the name of a file.
template <class Token>
std::vector<Token> tokens_from(std::string_view layer, const ConfigValue& list) {
  std::vector<Token> tokens;
  if (list.is_null()) return tokens;
  if (list.is_string()) {
    core::throw_config_error(layer, "vocabulary", "a list: other files are not read",
                             list.to_string());
  }
  for (const ConfigValue& one : list.as_list("vocabulary")) {
    token_from(one, tokens.emplace_back());
  }
  return tokens;
}

/// What all of them have; the keys of tokens are those of the class.
template <class Token>
void read_lookup(ConfigReader& reader, LookupConfig<Token>& config) {
  config.name = reader.name(config.name);
  config.trainable = reader.trainable();
  reader.dtype();
  config.max_tokens = optional_integer(reader, "max_tokens");
  config.output_mode = lookup_mode_from(config.name, reader.string("output_mode", "int"));
  config.pad_to_max_tokens = reader.boolean("pad_to_max_tokens", false);
  refuse(reader, config.name, "sparse");
  config.vocabulary = tokens_from<Token>(config.name, reader.value("vocabulary"));
  if (const ConfigValue& weights = reader.value("idf_weights"); !weights.is_null()) {
    for (const ConfigValue& one : weights.as_list("idf_weights")) {
      config.idf_weights.push_back(one.as_number("idf_weights"));
    }
  }
  config.vocabulary_size = optional_integer(reader, "vocabulary_size");
  reader.value("has_input_vocabulary");
}

/// IntegerLookup's and StringLookup's.
template <class Token>
LookupConfig<Token> read_index_lookup(ConfigReader& reader, std::string_view name) {
  LookupConfig<Token> config;
  config.name = name;
  read_lookup(reader, config);
  config.num_oov_indices = reader.integer("num_oov_indices", config.num_oov_indices);
  for (const auto& [key, target] :
       {std::pair{"mask_token", &config.mask_token}, std::pair{"oov_token", &config.oov_token}}) {
    const ConfigValue& token = reader.value(key);
    if (token.is_null()) continue;
    token_from(token, target->emplace());
  }
  config.invert = reader.boolean("invert", config.invert);
  config.salt = read_salt(reader, config.name);
  const std::string method = reader.string("oov_method", "floormod");
  config.hashes_integers = method == "farmhash";
  if (!config.hashes_integers && method != "floormod") {
    core::throw_config_error(config.name, "oov_method", "floormod or farmhash", method);
  }
  return config;
}

/// The vocabulary as it is now, in Keras's keys.
template <class Token>
void write_vocabulary(const Vocabulary<Token>& words, ConfigValue& config) {
  ConfigValue::List tokens;
  for (const Token& token : words.all()) tokens.push_back(token_config(token));
  ConfigValue::List weights;
  for (const double weight : words.idf_weights()) weights.emplace_back(weight);
  config.set("idf_weights", weights.empty() ? ConfigValue() : ConfigValue(std::move(weights)));
  config.set("vocabulary", tokens.empty() ? ConfigValue() : ConfigValue(std::move(tokens)));
  const Index depth = words.is_set() || words.config().vocabulary_size
                          ? (words.is_set() ? static_cast<Index>(words.all().size())
                                            : *words.config().vocabulary_size)
                          : -1;
  config.set("vocabulary_size", depth < 0 ? ConfigValue() : ConfigValue(depth));
}

template <class Token>
void write_index_lookup(const Vocabulary<Token>& words, ConfigValue& config) {
  const LookupConfig<Token>& own = words.config();
  config.set("invert", own.invert);
  config.set("max_tokens", number_or_null(own.max_tokens));
  config.set("num_oov_indices", own.num_oov_indices);
  config.set("oov_token", token_config(*own.oov_token));
  config.set("mask_token", own.mask_token ? token_config(*own.mask_token) : ConfigValue());
  config.set("output_mode", name_of(own.output_mode));
  config.set("sparse", false);
  config.set("pad_to_max_tokens", own.pad_to_max_tokens);
  write_vocabulary(words, config);
  config.set("oov_method", own.hashes_integers ? "farmhash" : "floormod");
  config.set("salt", own.salt ? ConfigValue(ConfigValue::List{(*own.salt)[0], (*own.salt)[1]})
                              : ConfigValue());
}

}  // namespace grouphead::nn
