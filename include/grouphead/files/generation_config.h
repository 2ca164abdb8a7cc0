#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/models/generation.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// How a Hugging Face folder wants its texts to be drawn.
struct PretrainedGeneration {
  bool is_stated = false;  ///< whether there is a generation_config.json
  /// Sampling, stop tokens and processors. Without do_sample the most likely token is drawn
  /// (temperature 0); max_tokens is what max_new_tokens says, where it is given.
  GenerationOptions options{};
  bool has_max_tokens = false;
  std::optional<Index> max_length{};  ///< of prompt and text; without max_new_tokens alone
  double temperature = 1;             ///< of draws, also where do_sample is false
  std::vector<std::string> stop_strings{};
  /// Settings that would change what transformers draws and that are not honoured: `num_beams`.
  std::vector<std::string> ignored{};
};

/// Reads generation_config.json, whose meanings and defaults are those of transformers 5.24:
/// do_sample, temperature, top_k (50 where it draws), top_p, min_p, repetition_penalty,
/// max_new_tokens, max_length, min_new_tokens, min_length, no_repeat_ngram_size, suppress_tokens,
/// begin_suppress_tokens, eos_token_id, stop_strings. Where the file is missing, the defaults of
/// GenerationOptions, with eos_token_id of config.json.
///
/// Errors: IoError that names the file and the setting, for values that make no sense.
PretrainedGeneration load_generation_config(const std::filesystem::path& folder);

}  // namespace grouphead
#pragma GCC visibility pop
