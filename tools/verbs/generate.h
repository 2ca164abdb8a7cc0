#pragma once

#include <optional>
#include <string>
#include <vector>

#include "grouphead/files/generation_config.h"
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
  std::string prompts;  // a file of prompts, each a line
  Index batch = 8;
  std::vector<std::string> given{};  // names of the options that the command line has
  bool is_given(std::string_view name) const;
};

/// The type that --cache and --weights name; absent: as the model has it.
std::optional<Dtype> stored_as(const std::string& name);

/// The text of --prompt or --prompt-file.
std::string prompt_text(const GenerateOptions& options);

/// What a folder's generation_config.json says, and over it the command line. `prompt`: tokens of
/// the prompt.
GenerationOptions generation_of(const PretrainedGeneration& stated, const GenerateOptions& options,
                                Index prompt, const Globals& globals);

/// Continues each line of a file, all in one batch, and writes a line of JSON for each.
int generate_prompts(const GenerateOptions& options, const Globals& globals);

/// Lets a model of a Hugging Face folder or of a file of Keras go on, by a tokenizer or by numbers
/// of tokens.
int generate_tokens(const GenerateOptions& options, const Globals& globals);

}  // namespace grouphead::tools
