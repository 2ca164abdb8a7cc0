#pragma once

#include <optional>
#include <string>
#include <vector>

#include "grouphead/models/sampling.h"
#include "tools/verbs.h"

namespace grouphead::tools {

/// What the command line of `generate` says.
struct GenerateOptions {
  std::string folder;
  std::string prompt;
  std::string prompt_file;
  std::string prompt_tokens;
  std::string tokenizer;
  Index tokens = 200;
  std::string cache;
  std::string weights;
  SamplingOptions sampling{.temperature = 0.8, .top_k = 0, .top_p = 1};
  std::vector<std::string> stops;
  std::string draft;
  Index draft_tokens = 4;
};

/// The type that --cache and --weights name; absent: as the model has it.
std::optional<Dtype> stored_as(const std::string& name);

/// The text of --prompt or --prompt-file.
std::string prompt_text(const GenerateOptions& options);

/// Lets a model of a Hugging Face folder or of a file of Keras go on, by a tokenizer or by numbers
/// of tokens.
int generate_tokens(const GenerateOptions& options, const Globals& globals);

}  // namespace grouphead::tools
