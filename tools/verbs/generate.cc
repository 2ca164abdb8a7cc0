#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "grouphead/models/generation.h"
#include "saved/model_folder.h"
#include "tools/verbs.h"

namespace grouphead::tools {
namespace {

struct GenerateOptions {
  std::string folder;
  std::string prompt;
  Index tokens = 200;
  std::string cache;
  std::string weights;
  SamplingOptions sampling{.temperature = 0.8, .top_k = 0, .top_p = 1};
};

void put_byte(std::int32_t byte) {
  if (std::fputc(byte, stdout) == EOF || std::fflush(stdout) != 0) {
    throw IoError("[generate] stdout: " + std::generic_category().message(errno));
  }
}

// Absent: as the model has them.
std::optional<Dtype> stored_as(const std::string& name) {
  if (name.empty()) return {};
  if (name == "f32") return Dtype::f32;
  return name == "bf16" ? Dtype::bf16 : Dtype::u8;
}

int generate(const GenerateOptions& options, const Globals& globals) {
  Context ctx({.num_threads = globals.threads});
  const saved::LoadedModel loaded = saved::load_language_model(options.folder);
  if (const auto form = stored_as(options.weights)) {
    pack_weights(loaded.model->parameters(), *form);
  }
  std::vector<std::int32_t> prompt;
  for (const char c : options.prompt) prompt.push_back(static_cast<unsigned char>(c));
  if (prompt.empty()) prompt.push_back('\n');
  SamplingOptions sampling = options.sampling;
  sampling.seed = globals.seed;
  Generation generation(ctx, *loaded.model, prompt,
                        {.max_tokens = options.tokens,
                         .sampling = sampling,
                         .cache_dtype = stored_as(options.cache)});
  const auto start = std::chrono::steady_clock::now();
  while (generation.remaining() > 0) put_byte(generation.next());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (!globals.quiet) {
    fmt::print(stderr, "\n{} tokens, {:.0f} tokens/s\n", options.tokens,
               static_cast<double>(options.tokens) / seconds.count());
  }
  return kOk;
}

}  // namespace

void add_generate(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("generate", "Lets a trained model continue a text");
  verb->footer(
      "Example:\n  grouphead generate model --prompt \"Once upon\" --tokens 300 --temperature 0.7\n"
      "Writes the continuation to stdout, byte by byte, the speed to stderr. Every byte sees the\n"
      "whole prompt and all that was written, also beyond the length that was trained (--seq of\n"
      "train), where quality may fall.");
  const auto options = std::make_shared<GenerateOptions>();
  verb->add_option("model", options->folder, "Folder that train wrote")->required();
  verb->add_option("--prompt", options->prompt, "Text to continue; empty: the start of a line");
  verb->add_option("--tokens", options->tokens, "Bytes to write")
      ->check(CLI::Range(Index{0}, Index{1} << 30));
  verb->add_option("--temperature", options->sampling.temperature,
                   "Below 1: more likely bytes; 0: always the most likely")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--cache", options->cache,
                   "Numbers of the KV cache: f32, bf16 (half the memory) or int8 (a quarter)")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  verb->add_option("--weights", options->weights,
                   "Numbers that products read: f32, bf16 or int8; the model's file stays")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  verb->add_option("--top-k", options->sampling.top_k, "Only the K most likely; 0: all")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--top-p", options->sampling.top_p,
                   "Only the most likely that hold this probability, in (0, 1]");
  verb->callback(
      [=, &globals, &action] { action = [=, &globals] { return generate(*options, globals); }; });
}

}  // namespace grouphead::tools
