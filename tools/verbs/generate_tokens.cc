#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>

#include "grouphead/files/pretrained.h"
#include "grouphead/files/saved_model.h"
#include "grouphead/models/generation.h"
#include "grouphead/text/tokenizer.h"
#include "io/file.h"
#include "io/json.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/verbs/generate.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;

std::vector<std::int32_t> numbers_of(const std::string& list) {
  std::vector<std::int32_t> numbers;
  std::size_t begin = 0;
  while (begin <= list.size()) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    std::int32_t number = 0;
    if (!read_number(std::string_view(list).substr(begin, end - begin), number) || number < 0) {
      throw ConfigError("[generate] --prompt-tokens: expected numbers with commas between, got " +
                        list);
    }
    numbers.push_back(number);
    begin = end + 1;
  }
  return numbers;
}

/// The tokens that end a text: eos_token_id of generation_config.json, or of config.json.
std::vector<std::int32_t> stop_tokens(const fs::path& folder, const ConfigValue& config) {
  constexpr std::string_view kKey = "eos_token_id";
  const fs::path file = folder / "generation_config.json";
  ConfigValue how;
  std::error_code ignored;
  if (fs::is_regular_file(file, ignored)) how = io::parse_json(io::read_file(file), file.string());
  const ConfigValue& stated = how.is_object() && how.contains(kKey) ? how[kKey] : config[kKey];
  std::vector<std::int32_t> tokens;
  const auto add = [&](const ConfigValue& one) {
    if (one.is_integer()) tokens.push_back(static_cast<std::int32_t>(one.as_integer(kKey)));
  };
  add(stated);
  if (stated.is_list()) {
    for (const ConfigValue& one : stated.as_list(kKey)) add(one);
  }
  return tokens;
}

/// A model that goes on by tokens.
struct TokenModel {
  std::shared_ptr<Layer> layer{};
  std::function<std::unique_ptr<Decoder>(Context& ctx, const DecoderOptions& options)> decoder{};
  std::vector<std::int32_t> stop_tokens{};
};

TokenModel token_model(const fs::path& path) {
  if (fs::is_directory(path)) {
    const PretrainedModel loaded = load_pretrained(path);
    return {.layer = loaded.model,
            .decoder =
                [model = loaded.model](Context& ctx, const DecoderOptions& options) {
                  return make_decoder(ctx, *model, options);
                },
            .stop_tokens = stop_tokens(path, loaded.config)};
  }
  const std::shared_ptr<Model> loaded = load_model(path);
  return {.layer = loaded, .decoder = [loaded](Context& ctx, const DecoderOptions& options) {
            return make_decoder(ctx, *loaded, options);
          }};
}

/// Writes tokens as they come: as text until a stop string, or as numbers.
class Output {
 public:
  Output(const std::optional<Tokenizer>& tokenizer, const std::vector<std::string>& stops)
      : stops_(stops) {
    if (tokenizer) stream_.emplace(*tokenizer);
  }

  void add(std::int32_t token) {
    if (stream_) {
      write_out(stops_.add(stream_->push(token)));
    } else {
      print_out("{}{}", is_first_ ? "" : ",", token);
    }
    is_first_ = false;
    flush_output();
  }
  bool is_at_end() const { return stops_.found(); }
  void finish() {
    if (stream_ && !stops_.found()) write_out(stops_.add(stream_->finish()));
    write_out(stops_.rest());
    if (!stream_) print_out("\n");
    flush_output();
  }

 private:
  StopStrings stops_;
  std::optional<StreamDecoder> stream_;
  bool is_first_ = true;
};

}  // namespace

int generate_tokens(const GenerateOptions& options, const Globals& globals) {
  Context ctx({.num_threads = globals.threads});
  const TokenModel model = token_model(options.folder);
  if (const auto form = stored_as(options.weights)) {
    pack_weights(model.layer->parameters(), *form);
  }
  std::optional<Tokenizer> tokenizer;
  std::vector<std::int32_t> prompt;
  if (options.prompt_tokens.empty()) {
    tokenizer = Tokenizer::load(options.tokenizer.empty() ? options.folder : options.tokenizer);
    prompt = tokenizer->encode(prompt_text(options)).ids;
  } else {
    prompt = numbers_of(options.prompt_tokens);
  }
  GenerationOptions how{.max_tokens = options.tokens, .sampling = options.sampling};
  how.sampling.seed = globals.seed;
  how.stop_tokens = model.stop_tokens;
  const Index room = static_cast<Index>(prompt.size()) + std::min<Index>(options.tokens, 256);
  const DecoderOptions cache{.capacity = std::max<Index>(room, 1),
                             .cache_dtype = stored_as(options.cache)};
  std::optional<TokenModel> draft;
  if (!options.draft.empty()) {
    draft = token_model(options.draft);
    how.draft = draft->decoder(ctx, cache);
    how.draft_tokens = options.draft_tokens;
  }
  const StopsOnSignal stops;
  const auto start = std::chrono::steady_clock::now();
  Generation generation(ctx, model.decoder(ctx, cache), prompt, how);
  const auto read = std::chrono::steady_clock::now();
  Output output(tokenizer, options.stops);
  Index written = 0;
  while (generation.remaining() > 0 && !stop_requested() && !output.is_at_end()) {
    output.add(generation.next());
    ++written;
  }
  output.finish();
  if (!globals.quiet) {
    const std::chrono::duration<double> reading = read - start;
    const std::chrono::duration<double> writing = std::chrono::steady_clock::now() - read;
    print_err("\n{} tokens, {:.0f} tokens/s, after {:.2f} s for a prompt of {}\n", written,
              static_cast<double>(written) / std::max(writing.count(), 1e-9), reading.count(),
              prompt.size());
    if (draft) {
      print_err("the draft was right {} times of {}\n", generation.accepted(),
                generation.proposed());
    }
  }
  return stop_requested() ? exit_code_of_signal() : kOk;
}

}  // namespace grouphead::tools
