#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "grouphead/files/pretrained.h"
#include "grouphead/models/generation.h"
#include "grouphead/text/tokenizer.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/verbs/causal_model.h"
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

bool GenerateOptions::is_given(std::string_view name) const {
  return std::find(given.begin(), given.end(), name) != given.end();
}

GenerationOptions generation_of(const PretrainedGeneration& stated, const GenerateOptions& options,
                                Index prompt, const Globals& globals) {
  GenerationOptions how = stated.options;
  SamplingOptions& sampling = how.sampling;
  const SamplingOptions& given = options.sampling;
  if (!stated.is_stated) sampling = given;
  const auto take = [&](std::string_view name, auto& to, const auto& from) {
    const bool is_given = options.is_given(name);
    if (is_given) to = from;
    return is_given;
  };
  bool draws = take("--top-k", sampling.top_k, given.top_k);
  draws = take("--top-p", sampling.top_p, given.top_p) || draws;
  draws = take("--min-p", sampling.min_p, given.min_p) || draws;
  if (draws && sampling.temperature == 0) sampling.temperature = stated.temperature;
  take("--temperature", sampling.temperature, given.temperature);
  take("--repetition-penalty", sampling.repetition_penalty, given.repetition_penalty);
  take("--frequency-penalty", sampling.frequency_penalty, given.frequency_penalty);
  take("--presence-penalty", sampling.presence_penalty, given.presence_penalty);
  sampling.seed = globals.seed;
  if (stated.max_length) how.max_tokens = std::max<Index>(*stated.max_length - prompt, 0);
  const bool says_length = stated.has_max_tokens || stated.max_length;
  if (!says_length || options.is_given("--tokens")) how.max_tokens = options.tokens;
  if (!stated.ignored.empty() && !globals.quiet) {
    print_err("grouphead: generation_config.json: not honoured: {}\n",
              fmt::join(stated.ignored, ", "));
  }
  return how;
}

int generate_tokens(const GenerateOptions& options, const Globals& globals) {
  Context ctx({.num_threads = globals.threads});
  const CausalModel model = read_causal_model(options.folder);
  const PretrainedGeneration stated = fs::is_directory(options.folder)
                                          ? load_generation_config(options.folder)
                                          : PretrainedGeneration();
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
  const auto length = static_cast<Index>(prompt.size());
  GenerationOptions how = generation_of(stated, options, length, globals);
  const Index room = length + std::min<Index>(how.max_tokens, 256);
  const DecoderOptions cache{.capacity = std::max<Index>(room, 1),
                             .cache_dtype = stored_as(options.cache)};
  std::optional<CausalModel> draft;
  if (!options.draft.empty()) {
    draft = read_causal_model(options.draft);
    how.draft = draft->decoder(ctx, cache);
    how.draft_tokens = options.draft_tokens;
  }
  const StopsOnSignal stops;
  const auto start = std::chrono::steady_clock::now();
  Generation generation(ctx, model.decoder(ctx, cache), prompt, how);
  const auto read = std::chrono::steady_clock::now();
  std::vector<std::string> stop_texts = options.stops;
  stop_texts.insert(stop_texts.end(), stated.stop_strings.begin(), stated.stop_strings.end());
  Output output(tokenizer, stop_texts);
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
