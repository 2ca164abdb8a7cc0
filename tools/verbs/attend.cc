#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/files/pretrained.h"
#include "grouphead/text/tokenizer.h"
#include "io/file.h"
#include "saved/model_folder.h"
#include "tools/memory.h"
#include "tools/other_file.h"
#include "tools/output.h"
#include "tools/report/attention_page.h"
#include "tools/text_input.h"
#include "tools/verbs.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;
using report::AttentionPage;

struct AttendOptions {
  std::string model;
  std::string text;
  std::string file;
  std::string out;
};

/// A text as a model reads it, and what gives each layer's scores.
struct Attended {
  AttentionPage::Facts facts{};
  std::vector<std::int32_t> tokens{};
  Index layers_at_once = 1;  ///< whose scores are in memory together
  std::function<void(Context& ctx, const Tensor& tokens, AttentionPage& page)> visit{};
};

/// What each token adds to the text, or its name where that is nothing yet.
std::vector<std::string> shown(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  StreamDecoder stream(tokenizer, {.skip_special_tokens = false});
  std::vector<std::string> texts;
  for (const std::int32_t id : ids) {
    std::string text = stream.push(id);
    texts.push_back(text.empty() ? tokenizer.id_to_token(id).value_or("?") : std::move(text));
  }
  return texts;
}

Attended of_pretrained(const fs::path& folder, const std::string& text) {
  const std::shared_ptr<TransformerModel> model = load_pretrained(folder).model;
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const TransformerModelConfig& config = model->config();
  Attended found;
  found.tokens =
      tokenizer.encode(text, {.max_length = AttentionPage::kMostTokens, .pads = false}).ids;
  found.facts = {.tokens = shown(tokenizer, found.tokens),
                 .num_layers = config.num_layers,
                 .num_heads = config.attention.num_heads,
                 .is_causal = config.causal};
  found.visit = [model](Context& ctx, const Tensor& tokens, AttentionPage& page) {
    model->visit_attention_scores(ctx, {.tokens = tokens},
                                  [&](const Tensor& scores) { page.add(scores); });
  };
  return found;
}

Attended of_language_model(const fs::path& folder, const std::string& text) {
  const std::shared_ptr<LanguageModel> model = saved::load_language_model(folder).model;
  const TransformerConfig& config = model->config().transformer;
  Attended found;
  found.facts = {.num_layers = config.num_layers, .num_heads = config.num_heads};
  for (const char byte : text.substr(0, AttentionPage::kMostTokens)) {
    const auto value = static_cast<unsigned char>(byte);
    const bool is_text = byte == '\n' || (value >= ' ' && value < 127);
    found.tokens.push_back(value);
    found.facts.tokens.push_back(is_text ? std::string(1, byte) : fmt::format("\\x{:02x}", value));
  }
  found.layers_at_once = config.num_layers;
  found.visit = [model](Context& ctx, const Tensor& tokens, AttentionPage& page) {
    for (const Tensor& scores : model->attention_scores(ctx, tokens)) page.add(scores);
  };
  return found;
}

void require_memory_for(const Attended& attended) {
  const auto count = static_cast<double>(attended.tokens.size());
  const double bytes = 4 * count * count * static_cast<double>(attended.facts.num_heads) *
                       static_cast<double>(attended.layers_at_once);
  const double free = available_memory().value_or(bytes);
  if (bytes <= free) return;
  throw Error(fmt::format("[attend] text: expected room for the shares of {} tokens, {}, got {}",
                          attended.tokens.size(), bytes_text(bytes), bytes_text(free)));
}

int attend(const AttendOptions& options, const Globals& globals) {
  if (!options.file.empty()) require_other_file("attend", options.out, options.file);
  const std::string text = options.file.empty() ? options.text : read_text(options.file);
  Attended attended = saved::is_pretrained_folder(options.model)
                          ? of_pretrained(options.model, text)
                          : of_language_model(options.model, text);
  if (attended.tokens.empty())
    throw ConfigError("[attend] text: expected 1 token or more, got none");
  require_memory_for(attended);
  const fs::path folder = fs::path(options.model) / "";
  attended.facts.title = folder.parent_path().filename().string();
  AttentionPage page(std::move(attended.facts));
  Context ctx({.num_threads = globals.threads});
  const auto count = static_cast<Index>(attended.tokens.size());
  attended.visit(ctx, Tensor::from<std::int32_t>({1, count}, attended.tokens), page);
  io::write_file(options.out, page.html());
  if (!globals.quiet) print_out("{} tokens, {}\n", count, options.out);
  return kOk;
}

}  // namespace

void add_attend(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("attend", "A page of what a model's heads look at in a text");
  verb->footer(
      "Example:\n  grouphead attend llama --text \"The cat sat on the mat.\" --out page.html\n"
      "The page is one file without any others: the text, a map of each layer and head with the\n"
      "values under the pointer, and all heads at a glance. Long texts are shown 64 rows at a "
      "time;\n"
      "of long rows the greatest shares are kept.");
  const auto options = std::make_shared<AttendOptions>();
  verb->add_option("model", options->model, "Folder that train wrote, or of Hugging Face")
      ->required();
  CLI::Option* text = verb->add_option("--text", options->text, "The text");
  verb->add_option("--text-file", options->file, "A file with the text; -: standard input")
      ->excludes(text);
  verb->add_option("--out", options->out, "Where the page goes, .html")->required();
  verb->callback(
      [=, &globals, &action] { action = [=, &globals] { return attend(*options, globals); }; });
}

}  // namespace grouphead::tools
