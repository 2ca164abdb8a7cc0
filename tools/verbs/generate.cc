#include "tools/verbs/generate.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/models/generation.h"
#include "saved/model_folder.h"
#include "tools/memory.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/text_input.h"
#include "tools/verbs.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {
namespace {

std::vector<std::int32_t> prompt_of(const GenerateOptions& options) {
  std::vector<std::int32_t> tokens;
  for (const char c : prompt_text(options)) tokens.push_back(static_cast<unsigned char>(c));
  if (tokens.empty()) tokens.push_back('\n');
  return tokens;
}

/// What ends the reading of a prompt after a signal.
struct Stopped {};

/// Shows on a terminal how far a long prompt is read.
class PromptProgress {
 public:
  PromptProgress(Index total, bool quiet)
      : total_(total), shown_(!quiet && total > kLong && ::isatty(STDERR_FILENO) == 1) {}
  ~PromptProgress() {
    if (shown_) write_err("\r\x1b[K");
  }
  PromptProgress(const PromptProgress&) = delete;
  PromptProgress& operator=(const PromptProgress&) = delete;

  void update(Index read) const {
    if (stop_requested()) throw Stopped();
    if (shown_) write_err(fmt::format("\rreading the prompt: {} of {} bytes\x1b[K", read, total_));
  }

 private:
  static constexpr Index kLong = 2048;
  Index total_;
  bool shown_;
};

/// Bytes of keys and values at `positions` positions.
double cache_bytes(const LanguageModel& model, const std::string& cache, Index positions) {
  const TransformerConfig& config = model.config().transformer;
  const Index values =
      2 * config.num_layers * config.num_key_value_heads * (config.hidden_size / config.num_heads);
  const Index size = size_of(stored_as(cache).value_or(model.dtype()));
  return static_cast<double>(values * size) * static_cast<double>(positions);
}

/// What is said when the cache grows beyond memory.
std::string memory_text(const LanguageModel& model, const GenerateOptions& options,
                        Index positions) {
  const std::string free = available_memory() ? bytes_text(*available_memory()) : "less";
  return fmt::format(
      "[generate] --tokens {}: expected room for a KV cache of {} positions, {}, got {} free; "
      "fewer "
      "tokens, or --cache bf16 or int8, need less",
      options.tokens, positions, bytes_text(cache_bytes(model, options.cache, positions)), free);
}

/// Writes byte for byte until a signal or a stop string, and asks before the cache takes twice its
/// memory.
void write_text(Generation& generation, const LanguageModel& model,
                const GenerateOptions& options) {
  StopStrings stops(options.stops);
  while (generation.remaining() > 0 && !stop_requested() && !stops.found()) {
    const Index length = generation.decoder().length();
    if (length + 1 >= generation.decoder().capacity()) {
      // While it grows there are the old cache and the new one.
      const Index grown = 2 * generation.decoder().capacity();
      const double wanted = cache_bytes(model, options.cache, grown);
      if (wanted > available_memory().value_or(wanted)) {
        throw Error(memory_text(model, options, grown));
      }
    }
    const char byte = static_cast<char>(generation.next());
    write_out(stops.add({&byte, 1}));
    flush_output();
  }
  write_out(stops.rest());
  flush_output();
}

int generate(const GenerateOptions& options, const Globals& globals) {
  if (!options.prompts.empty()) return generate_prompts(options, globals);
  std::error_code ignored;
  if (std::filesystem::is_regular_file(options.folder, ignored) ||
      saved::is_pretrained_folder(options.folder)) {
    return generate_tokens(options, globals);
  }
  for (const auto& [name, value] : {std::pair("--prompt-tokens", options.prompt_tokens),
                                    std::pair("--tokenizer", options.tokenizer)}) {
    if (value.empty()) continue;
    throw ConfigError(
        fmt::format("[generate] {}: expected a Hugging Face folder or a .keras file, got {}", name,
                    options.folder));
  }
  Context ctx({.num_threads = globals.threads});
  const saved::LoadedLanguageModel loaded = saved::load_language_model(options.folder);
  if (const auto form = stored_as(options.weights)) {
    pack_weights(loaded.model->parameters(), *form);
  }
  const std::vector<std::int32_t> prompt = prompt_of(options);
  const auto length = static_cast<Index>(prompt.size());
  GenerationOptions how{.max_tokens = options.tokens,
                        .sampling = options.sampling,
                        .cache_dtype = stored_as(options.cache)};
  how.sampling.seed = globals.seed;
  std::optional<saved::LoadedLanguageModel> draft;
  if (!options.draft.empty()) {
    draft = saved::load_language_model(options.draft);
    how.draft = make_decoder(ctx, *draft->model, {.cache_dtype = how.cache_dtype});
    how.draft_tokens = options.draft_tokens;
  }
  const StopsOnSignal stops;
  std::optional<Generation> generation;
  const auto start = std::chrono::steady_clock::now();
  try {
    const PromptProgress progress(length, globals.quiet);
    how.on_prompt = [&](Index read) { progress.update(read); };
    generation.emplace(ctx, *loaded.model, prompt, how);
  } catch (const Stopped&) {
    return exit_code_of_signal();
  } catch (const std::bad_alloc&) {
    throw Error(memory_text(*loaded.model, options, length));
  }
  const auto read = std::chrono::steady_clock::now();
  try {
    write_text(*generation, *loaded.model, options);
  } catch (const std::bad_alloc&) {
    throw Error(memory_text(*loaded.model, options, 2 * generation->decoder().capacity()));
  }
  if (!globals.quiet) {
    const std::chrono::duration<double> reading = read - start;
    const std::chrono::duration<double> writing = std::chrono::steady_clock::now() - read;
    const Index written = options.tokens - generation->remaining();
    print_err("\n{} tokens, {:.0f} tokens/s, after {:.2f} s for a prompt of {}\n", written,
              static_cast<double>(written) / std::max(writing.count(), 1e-9), reading.count(),
              length);
    if (draft) {
      print_err("the draft was right {} times of {}\n", generation->accepted(),
                generation->proposed());
    }
  }
  return stop_requested() ? exit_code_of_signal() : kOk;
}

}  // namespace

std::optional<Dtype> stored_as(const std::string& name) {
  if (name.empty()) return {};
  if (name == "f32") return Dtype::f32;
  return name == "bf16" ? Dtype::bf16 : Dtype::u8;
}

std::string prompt_text(const GenerateOptions& options) {
  return options.prompt_file.empty() ? options.prompt : read_text(options.prompt_file);
}

void add_generate(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("generate", "Lets a trained model continue a text");
  verb->footer(
      "Example:\n  grouphead generate model --prompt \"Once upon\" --tokens 300 --temperature 0.7\n"
      "  grouphead generate model --prompt-file book.txt\n"
      "  grouphead generate llama --prompt-tokens 1,306,763 --tokens 20\n"
      "  grouphead generate llama --prompts questions.txt --batch 16\n"
      "  grouphead generate model.keras --tokenizer folder --prompt \"Once upon\"\n"
      "Writes the continuation to stdout, byte by byte, the speed to stderr. Every byte sees the\n"
      "whole prompt and all that was written, also beyond the length that was trained (--seq of\n"
      "train), where quality may fall. A model of a Hugging Face folder or of a .keras file goes "
      "on\n"
      "token by token: as text by the folder's tokenizer or that of --tokenizer, or with\n"
      "--prompt-tokens as numbers; that of a folder until its end token. Ctrl-C ends it with exit\n"
      "code 130.");
  const auto options = std::make_shared<GenerateOptions>();
  verb->add_option("model", options->folder,
                   "Folder that train wrote, or of Hugging Face, or a .keras file")
      ->required();
  CLI::Option* prompt =
      verb->add_option("--prompt", options->prompt, "Text to continue; empty: the start of a line");
  verb->add_option("--prompt-file", options->prompt_file, "File to continue; -: standard input")
      ->excludes(prompt);
  verb->add_option("--prompt-tokens", options->prompt_tokens,
                   "Numbers of tokens to continue, with commas between, in place of text")
      ->excludes(prompt);
  CLI::Option* prompts =
      verb->add_option("--prompts", options->prompts,
                       "File of prompts, each a line, that are continued in one batch; writes a "
                       "line of JSON for each")
          ->excludes("--prompt")
          ->excludes("--prompt-file")
          ->excludes("--prompt-tokens");
  add_whole(*verb, "--batch", options->batch, "Prompts of --prompts that run beside each other", 1,
            Index{1} << 16)
      ->needs(prompts);
  verb->add_option("--tokenizer", options->tokenizer,
                   "Tokenizer of a .keras file: a tokenizer.json or a folder with one");
  add_whole(*verb, "--tokens", options->tokens, "Bytes or tokens to write", 0, Index{1} << 30);
  add_real(*verb, "--temperature", options->sampling.temperature,
           "Below 1: more likely bytes; 0: always the most likely", kZeroOrMore);
  verb->add_option("--cache", options->cache,
                   "Type of the KV cache: f32, bf16 (half the memory) or int8 (a quarter)")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  verb->add_option("--weights", options->weights,
                   "Type of the weights that matrix products read; the model's file stays")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  add_whole(*verb, "--top-k", options->sampling.top_k, "Only the N most likely; 0: all", 0,
            Index{1} << 30);
  add_real(*verb, "--top-p", options->sampling.top_p,
           "Only the most likely that hold this probability together", kUpToOne);
  add_real(*verb, "--min-p", options->sampling.min_p,
           "Only those with this part of the most likely one's probability", kBelowOne);
  add_real(*verb, "--repetition-penalty", options->sampling.repetition_penalty,
           "Above 1: bytes of the prompt and the text are less likely", kAboveZero);
  add_real(*verb, "--frequency-penalty", options->sampling.frequency_penalty,
           "Taken off a byte's logit for each time the text has it", kAny);
  add_real(*verb, "--presence-penalty", options->sampling.presence_penalty,
           "Taken off the logit of a byte that the text has", kAny);
  verb->add_option("--stop", options->stops, "Text that ends the continuation; may be repeated")
      ->check([](const std::string& text) {
        return text.empty() ? std::string("expected 1 character or more, got none") : std::string();
      });
  CLI::Option* draft =
      verb->add_option("--draft", options->draft,
                       "Smaller model of the same kind, which proposes what comes next: "
                       "faster, and the same text");
  add_whole(*verb, "--draft-tokens", options->draft_tokens,
            "Bytes or tokens that it proposes at a time", 1, Index{1} << 10)
      ->needs(draft);
  draft->excludes(prompts);
  verb->callback([=, &globals, &action] {
    action = [=, &globals] {
      for (const CLI::Option* option : verb->get_options()) {
        if (option->count() > 0) options->given.push_back(option->get_name());
      }
      return generate(*options, globals);
    };
  });
}

}  // namespace grouphead::tools
