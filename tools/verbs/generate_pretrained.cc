#include <algorithm>
#include <chrono>
#include <filesystem>

#include "grouphead/files/pretrained.h"
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

int generate_pretrained(const GenerateOptions& options, const Globals& globals) {
  Context ctx({.num_threads = globals.threads});
  const PretrainedModel loaded = load_pretrained(options.folder);
  if (const auto form = stored_as(options.weights)) {
    pack_weights(loaded.model->parameters(), *form);
  }
  std::optional<Tokenizer> tokenizer;
  std::vector<std::int32_t> prompt;
  if (options.prompt_tokens.empty()) {
    tokenizer = Tokenizer::load(options.folder);
    prompt = tokenizer->encode(prompt_text(options)).ids;
  } else {
    prompt = numbers_of(options.prompt_tokens);
  }
  GenerationOptions how{.max_tokens = options.tokens, .sampling = options.sampling};
  how.sampling.seed = globals.seed;
  how.stop_tokens = stop_tokens(options.folder, loaded.config);
  const Index room = static_cast<Index>(prompt.size()) + std::min<Index>(options.tokens, 256);
  const StopsOnSignal stops;
  const auto start = std::chrono::steady_clock::now();
  Generation generation(
      ctx,
      make_decoder(ctx, *loaded.model,
                   {.capacity = std::max<Index>(room, 1), .cache_dtype = stored_as(options.cache)}),
      prompt, how);
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
  }
  return stop_requested() ? exit_code_of_signal() : kOk;
}

}  // namespace grouphead::tools
