#include "grouphead/files/generation_config.h"

#include <algorithm>
#include <array>
#include <limits>

#include "saved/huggingface/folder.h"
#include "saved/huggingface/hub_config.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFileName = "generation_config.json";
constexpr double kExcluded = -std::numeric_limits<double>::infinity();

/// Settings that change nothing about which tokens follow which.
constexpr std::array<std::string_view, 30> kWithoutEffect = {"_from_model_config",
                                                             "assistant_confidence_threshold",
                                                             "assistant_early_exit",
                                                             "assistant_ensemble_weight",
                                                             "assistant_lookbehind",
                                                             "bos_token_id",
                                                             "cache_config",
                                                             "cache_implementation",
                                                             "compile_config",
                                                             "continuous_batching_config",
                                                             "decoder_start_token_id",
                                                             "disable_compile",
                                                             "is_assistant",
                                                             "low_memory",
                                                             "max_cache_len",
                                                             "max_matching_ngram_size",
                                                             "num_assistant_tokens",
                                                             "num_assistant_tokens_schedule",
                                                             "output_attentions",
                                                             "output_hidden_states",
                                                             "output_logits",
                                                             "output_scores",
                                                             "pad_token_id",
                                                             "prefill_chunk_size",
                                                             "prompt_lookup_num_tokens",
                                                             "return_dict_in_generate",
                                                             "speculation_type",
                                                             "target_lookbehind",
                                                             "transformers_version",
                                                             "use_cache"};

struct Neutral {
  std::string_view key;
  double value;
};
/// Settings that are not honoured, and the values with which they do nothing.
constexpr std::array<Neutral, 14> kNeutral = {{{"num_beams", 1},
                                               {"num_beam_groups", 1},
                                               {"num_return_sequences", 1},
                                               {"typical_p", 1},
                                               {"epsilon_cutoff", 0},
                                               {"eta_cutoff", 0},
                                               {"diversity_penalty", 0},
                                               {"penalty_alpha", 0},
                                               {"encoder_repetition_penalty", 1},
                                               {"encoder_no_repeat_ngram_size", 0},
                                               {"length_penalty", 1},
                                               {"guidance_scale", 1},
                                               {"top_h", 1},
                                               {"early_stopping", 0}}};

bool is_neutral(std::string_view key, const ConfigValue& value) {
  if (value.is_null() || value == ConfigValue(false)) return true;
  if (value.is_list() && value.as_list(key).empty()) return true;
  return std::any_of(kNeutral.begin(), kNeutral.end(), [&](const Neutral& one) {
    return one.key == key && value.is_number() && value.as_number(key) == one.value;
  });
}

/// One token or several.
std::vector<std::int32_t> tokens_of(saved::HubConfig& config, std::string_view key) {
  const ConfigValue& stated = config.value(key);
  if (stated.is_null()) return {};
  ConfigValue::List list{stated};
  if (stated.is_list()) list = stated.as_list(key);
  std::vector<std::int32_t> tokens;
  for (const ConfigValue& one : list) {
    const Index token = one.is_integer() ? one.as_integer(key) : -1;
    if (token < 0 || token > std::numeric_limits<std::int32_t>::max()) {
      config.refuse(key, "tokens");
    }
    tokens.push_back(static_cast<std::int32_t>(token));
  }
  return tokens;
}

std::vector<std::string> texts_of(saved::HubConfig& config, std::string_view key) {
  const ConfigValue& stated = config.value(key);
  if (stated.is_null()) return {};
  ConfigValue::List list{stated};
  if (stated.is_list()) list = stated.as_list(key);
  std::vector<std::string> texts;
  for (const ConfigValue& one : list) {
    if (!one.is_string() || one.as_string(key).empty()) config.refuse(key, "texts");
    texts.push_back(one.as_string(key));
  }
  return texts;
}

std::optional<Index> count_of(saved::HubConfig& config, std::string_view key, Index lowest) {
  if (!config.has(key)) return {};
  const Index count = config.integer({key}, 0);
  if (count < lowest) config.refuse(key, std::to_string(lowest) + " or more");
  return count;
}

void exclude(const std::vector<std::int32_t>& tokens, std::span<double> logits) {
  for (const std::int32_t token : tokens) {
    const auto at = static_cast<std::size_t>(token);
    if (at < logits.size()) logits[at] = kExcluded;
  }
}

/// No token that would end a run of `size` tokens that is there already.
/// Source: transformers' NoRepeatNGramLogitsProcessor.
LogitsProcessor without_repeats(Index size) {
  return [size](std::span<const std::int32_t> tokens, std::span<double> logits) {
    const auto before = static_cast<std::size_t>(size - 1);
    if (tokens.size() < before) return;
    const auto last = tokens.last(before);
    for (std::size_t i = 0; i + before < tokens.size(); ++i) {
      if (std::equal(last.begin(), last.end(), tokens.begin() + static_cast<std::ptrdiff_t>(i))) {
        exclude({tokens[i + before]}, logits);
      }
    }
  };
}

/// Processors see the prompt and the text as one; where the text begins they learn at its first
/// token.
LogitsProcessor from_the_start(
    std::function<void(Index drawn, std::span<const std::int32_t> tokens, std::span<double> logits)>
        change) {
  return [change = std::move(change), start = std::optional<std::size_t>()](
             std::span<const std::int32_t> tokens, std::span<double> logits) mutable {
    if (!start) start = tokens.size();
    change(static_cast<Index>(tokens.size() - *start), tokens, logits);
  };
}

void read_sampling(saved::HubConfig& config, PretrainedGeneration& how) {
  SamplingOptions& sampling = how.options.sampling;
  const bool draws = config.boolean("do_sample", false);
  how.temperature = config.number({"temperature"}, 1);
  if (!(how.temperature > 0)) config.refuse("temperature", "a number above 0");
  const auto top_k = count_of(config, "top_k", 0);
  const double top_p = config.number({"top_p"}, 1);
  const double min_p = config.number({"min_p"}, 0);
  if (!(top_p > 0 && top_p <= 1)) config.refuse("top_p", "a number in (0, 1]");
  if (!(min_p >= 0 && min_p < 1)) config.refuse("min_p", "a number in [0, 1)");
  sampling.repetition_penalty = config.number({"repetition_penalty"}, 1);
  if (!(sampling.repetition_penalty > 0)) {
    config.refuse("repetition_penalty", "a number above 0");
  }
  sampling.temperature = draws ? how.temperature : 0;
  if (!draws) return;
  constexpr Index kDefaultTopK = 50;
  sampling.top_k = top_k.value_or(kDefaultTopK);
  sampling.top_p = top_p;
  sampling.min_p = min_p;
}

void read_processors(saved::HubConfig& config, PretrainedGeneration& how) {
  std::vector<LogitsProcessor>& processors = how.options.processors;
  if (const auto size = count_of(config, "no_repeat_ngram_size", 0); size.value_or(0) > 0) {
    processors.push_back(without_repeats(*size));
  }
  const auto shortest = count_of(config, "min_new_tokens", 0);
  const auto shortest_whole = count_of(config, "min_length", 0);
  if (shortest.value_or(0) > 0 || (!shortest && shortest_whole.value_or(0) > 0)) {
    processors.push_back(from_the_start(
        [shortest, shortest_whole, ends = how.options.stop_tokens](
            Index drawn, std::span<const std::int32_t> tokens, std::span<double> logits) {
          const bool is_short =
              shortest ? drawn < *shortest : static_cast<Index>(tokens.size()) < *shortest_whole;
          if (is_short) exclude(ends, logits);
        }));
  }
  if (auto tokens = tokens_of(config, "suppress_tokens"); !tokens.empty()) {
    processors.push_back(
        [tokens = std::move(tokens)](std::span<const std::int32_t> /*text*/,
                                     std::span<double> logits) { exclude(tokens, logits); });
  }
  if (auto tokens = tokens_of(config, "begin_suppress_tokens"); !tokens.empty()) {
    processors.push_back(from_the_start(
        [tokens = std::move(tokens)](Index drawn, std::span<const std::int32_t> /*text*/,
                                     std::span<double> logits) {
          if (drawn == 0) exclude(tokens, logits);
        }));
  }
}

}  // namespace

PretrainedGeneration load_generation_config(const fs::path& folder) {
  PretrainedGeneration how;
  const fs::path file = folder / kFileName;
  std::error_code error;
  how.is_stated = fs::is_regular_file(file, error);
  const fs::path model_file = folder / saved::kConfigName;
  const ConfigValue model = fs::is_regular_file(model_file, error)
                                ? saved::read_json(model_file)
                                : ConfigValue(ConfigValue::Object{});
  const ConfigValue json = how.is_stated ? saved::read_json(file) : model;
  const fs::path& read = how.is_stated ? file : model_file;
  saved::HubConfig config("[load_generation_config] " + read.string(), json);
  how.options.stop_tokens = tokens_of(config, "eos_token_id");
  if (!how.is_stated) return how;
  if (!json.contains("eos_token_id")) {
    saved::HubConfig of_model("[load_generation_config] " + model_file.string(), model);
    how.options.stop_tokens = tokens_of(of_model, "eos_token_id");
  }
  read_sampling(config, how);
  how.stop_strings = texts_of(config, "stop_strings");
  const auto max_tokens = count_of(config, "max_new_tokens", 0);
  how.has_max_tokens = max_tokens.has_value();
  how.options.max_tokens = max_tokens.value_or(how.options.max_tokens);
  how.max_length = count_of(config, "max_length", 1);
  if (max_tokens) how.max_length.reset();
  read_processors(config, how);
  for (const auto& [key, value] : json.as_object("generation_config")) {
    const bool is_known =
        config.was_asked(key) ||
        std::find(kWithoutEffect.begin(), kWithoutEffect.end(), key) != kWithoutEffect.end();
    if (!is_known && !is_neutral(key, value)) how.ignored.push_back(key);
  }
  return how;
}

}  // namespace grouphead
