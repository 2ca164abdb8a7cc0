#include "saved/huggingface/hub_config.h"

#include <algorithm>
#include <cmath>

#include "core/number_text.h"

namespace grouphead::saved {
namespace {

// What config.json holds besides a model's settings: who made it, how to generate and to train,
// names of classes, and settings of heads that are not loaded. `_...` is transformers' own.
constexpr std::string_view kWithoutEffect[] = {
    "architectures",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cls_token_id",
    "custom_pipelines",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "init_std",
    "initializer_range",
    "is_encoder_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "max_position_embeddings",
    "min_length",
    "model_type",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
};

bool has_no_effect(std::string_view key) {
  return key.starts_with('_') || std::find(std::begin(kWithoutEffect), std::end(kWithoutEffect),
                                           key) != std::end(kWithoutEffect);
}

}  // namespace

HubConfig::HubConfig(std::string where, const ConfigValue& config)
    : where_(std::move(where)), config_(config) {
  if (!config.is_object()) throw IoError(where_ + ": expected an object, got another value");
}

void HubConfig::refuse(std::string_view key, std::string_view expected,
                       std::string_view got) const {
  constexpr std::size_t kMost = 200;
  throw IoError(where_ + ": " + std::string(key) + ": expected " + std::string(expected) +
                ", got " + std::string(got.substr(0, kMost)));
}

const ConfigValue& HubConfig::value(std::string_view key) {
  asked_.emplace(key);
  return config_[key];
}

bool HubConfig::has(std::string_view key) { return !value(key).is_null(); }

template <class T, class Read>
T HubConfig::first(std::initializer_list<std::string_view> keys, T fallback, const Read& read) {
  std::optional<T> found;
  for (const std::string_view key : keys) {
    if (key.empty()) continue;
    const ConfigValue& given = value(key);
    if (given.is_null()) continue;
    T read_value{};
    try {
      read_value = read(given, key);
    } catch (const ConfigError& error) {
      throw IoError(where_ + ": " + std::string(key) + ": " + error.what());
    }
    if (found && *found != read_value) refuse(key, "what the key of the same meaning says");
    found = std::move(read_value);
  }
  return found ? std::move(*found) : std::move(fallback);
}

Index HubConfig::integer(std::initializer_list<std::string_view> keys, Index fallback) {
  return first<Index>(keys, fallback,
                      [](const ConfigValue& v, std::string_view key) { return v.as_integer(key); });
}

double HubConfig::number(std::initializer_list<std::string_view> keys, double fallback) {
  return first<double>(keys, fallback, [](const ConfigValue& v, std::string_view key) {
    const double number = v.as_number(key);
    if (!std::isfinite(number)) {
      throw ConfigError("expected a finite number, got " + core::number_text(number));
    }
    return number;
  });
}

bool HubConfig::boolean(std::string_view key, bool fallback) {
  return first<bool>({key}, fallback,
                     [](const ConfigValue& v, std::string_view k) { return v.as_bool(k); });
}

std::string HubConfig::text(std::initializer_list<std::string_view> keys,
                            std::string_view fallback) {
  return first<std::string>(
      keys, std::string(fallback),
      [](const ConfigValue& v, std::string_view k) { return v.as_string(k); });
}

std::optional<double> HubConfig::optional_number(std::string_view key) {
  return has(key) ? std::optional(number({key}, 0)) : std::nullopt;
}

Index HubConfig::size(std::initializer_list<std::string_view> keys, Index fallback) {
  constexpr Index kMost = Index{1} << 30;
  const Index found = integer(keys, fallback);
  if (found < 1 || found > kMost) refuse(*keys.begin(), "1 to 2^30", std::to_string(found));
  return found;
}

Index HubConfig::count(std::initializer_list<std::string_view> keys, Index fallback) {
  constexpr Index kMost = 65536;
  const Index found = integer(keys, fallback);
  if (found < 1 || found > kMost) refuse(*keys.begin(), "1 to 65536", std::to_string(found));
  return found;
}

void HubConfig::require(std::string_view key, const ConfigValue& only) {
  const ConfigValue& given = value(key);
  const bool is_same =
      given.is_number() && only.is_number() && given.as_number(key) == only.as_number(key);
  if (given.is_null() || given == only || is_same) return;
  refuse(key, only.to_string() + ", which is all that is supported");
}

void HubConfig::ignore(std::initializer_list<std::string_view> keys) {
  asked_.insert(keys.begin(), keys.end());
}

void HubConfig::finish() const {
  std::string unknown;
  for (const auto& [key, value] : config_.as_object(where_)) {
    if (asked_.contains(key) || value.is_null() || has_no_effect(key)) continue;
    unknown.append(unknown.empty() ? "" : ", ").append(key);
  }
  if (!unknown.empty()) refuse("settings", "those that are supported", unknown);
}

}  // namespace grouphead::saved
