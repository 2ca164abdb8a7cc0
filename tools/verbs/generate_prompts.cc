#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "grouphead/files/pretrained.h"
#include "grouphead/models/batch_generation.h"
#include "grouphead/text/tokenizer.h"
#include "io/json.h"
#include "saved/model_folder.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/text_input.h"
#include "tools/verbs/generate.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;

/// A model, and its tokens: of a tokenizer, or bytes.
struct Source {
  std::shared_ptr<Layer> layer{};
  std::function<BatchGenerator(Context& ctx, const BatchGeneratorConfig& config)> batch{};
  std::optional<Tokenizer> tokenizer{};
  PretrainedGeneration stated{};

  std::vector<std::int32_t> tokens_of(const std::string& text) const {
    if (tokenizer) return tokenizer->encode(text).ids;
    std::vector<std::int32_t> tokens;
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }
};

Source source_of(const GenerateOptions& options) {
  Source source;
  if (saved::is_pretrained_folder(options.folder)) {
    const auto model = load_pretrained(options.folder).model;
    source.layer = model;
    source.batch = [model](Context& ctx, const BatchGeneratorConfig& config) {
      return BatchGenerator(ctx, *model, config);
    };
    source.tokenizer =
        Tokenizer::load(options.tokenizer.empty() ? options.folder : options.tokenizer);
    source.stated = load_generation_config(options.folder);
    return source;
  }
  if (!fs::is_directory(options.folder)) {
    throw ConfigError("[generate] --prompts: expected a folder, got " + options.folder);
  }
  const auto model = saved::load_language_model(options.folder).model;
  source.layer = model;
  source.batch = [model](Context& ctx, const BatchGeneratorConfig& config) {
    return BatchGenerator(ctx, *model, config);
  };
  return source;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  if (lines.empty()) throw IoError("[generate] --prompts: expected a line or more, got none");
  return lines;
}

/// One prompt's text as it comes.
class Text {
 public:
  Text(const Source& source, const std::vector<std::string>& stops) : stops_(stops) {
    if (source.tokenizer) stream_.emplace(*source.tokenizer);
  }
  void add(std::int32_t token) {
    text_ += stops_.add(stream_ ? stream_->push(token) : std::string(1, static_cast<char>(token)));
  }
  bool is_at_end() const { return stops_.found(); }
  std::string finish() {
    if (stream_ && !stops_.found()) text_ += stops_.add(stream_->finish());
    return text_ + stops_.rest();
  }

 private:
  StopStrings stops_;
  std::optional<StreamDecoder> stream_;
  std::string text_;
};

}  // namespace

int generate_prompts(const GenerateOptions& options, const Globals& globals) {
  const Source source = source_of(options);
  if (const auto form = stored_as(options.weights)) {
    pack_weights(source.layer->parameters(), *form);
  }
  const std::vector<std::string> prompts = lines_of(read_text(options.prompts));
  std::vector<std::string> stops = options.stops;
  stops.insert(stops.end(), source.stated.stop_strings.begin(), source.stated.stop_strings.end());

  std::vector<std::vector<std::int32_t>> tokens;
  std::vector<GenerationOptions> how;
  Index capacity = 1;
  for (const std::string& prompt : prompts) {
    tokens.push_back(source.tokens_of(prompt));
    const auto length = static_cast<Index>(tokens.back().size());
    how.push_back(generation_of(source.stated, options, length, globals));
    capacity = std::max(capacity, length + how.back().max_tokens);
  }
  Context ctx({.num_threads = globals.threads});
  const Index running = std::min(options.batch, static_cast<Index>(prompts.size()));
  BatchGenerator batch = source.batch(
      ctx,
      {.max_sequences = running, .capacity = capacity, .cache_dtype = stored_as(options.cache)});
  std::map<Index, Text> texts;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    texts.emplace(batch.add(tokens[i], how[i]), Text(source, stops));
  }
  const StopsOnSignal stops_on_signal;
  const auto start = std::chrono::steady_clock::now();
  Index written = 0;
  while (!batch.is_idle() && !stop_requested()) {
    for (const BatchToken& one : batch.step()) {
      Text& text = texts.at(one.id);
      text.add(one.token);
      ++written;
      if (text.is_at_end()) batch.cancel(one.id);
    }
  }
  Index id = 0;
  for (auto& [number, text] : texts) {
    const std::size_t at = static_cast<std::size_t>(id++);
    if (batch.is_done(number)) static_cast<void>(batch.take(number));  // throws what ended it
    const ConfigValue line = ConfigValue::Object{{"prompt", prompts[at]}, {"text", text.finish()}};
    print_out("{}\n", io::json_text(line, -1, io::OtherBytes::replaced));
  }
  flush_output();
  if (!globals.quiet) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    print_err("{} tokens of {} prompts, {:.0f} tokens/s; {} tokens of prompts were shared\n",
              written, prompts.size(),
              static_cast<double>(written) / std::max(seconds.count(), 1e-9), batch.num_shared());
  }
  return stop_requested() ? exit_code_of_signal() : kOk;
}

}  // namespace grouphead::tools
