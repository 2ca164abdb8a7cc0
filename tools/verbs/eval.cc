#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <string>

#include "grouphead/models/perplexity.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/text_input.h"
#include "tools/verbs.h"
#include "tools/verbs/causal_model.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {
namespace {

struct EvalOptions {
  std::string model;
  std::string text;
  std::string tokenizer;
  Index length = 0;
  Index stride = 0;
};

int evaluate(const EvalOptions& options, const Globals& globals) {
  constexpr Index kUsualLength = 1024;
  const CausalModel model = load_causal_model("eval", options.model, options.tokenizer);
  const std::string text = read_text(options.text);
  const std::vector<std::int32_t> tokens = model.tokens_of(text);
  PerplexityOptions how;
  how.length = options.length > 0 ? options.length
                                  : std::min(model.length.value_or(kUsualLength), kUsualLength);
  how.stride = options.stride > 0 ? options.stride : std::max<Index>(how.length / 2, 1);
  const CountProgress progress(globals.quiet, static_cast<Index>(tokens.size()), "tokens");
  how.on_window = [&](Index read) { progress.update(read); };
  Context ctx({.num_threads = globals.threads});
  const auto decoder = model.decoder(ctx, {.capacity = how.length});
  const Perplexity found = perplexity(ctx, *decoder, tokens, how);
  const double bits = found.loss * static_cast<double>(found.tokens) / std::numbers::ln2;
  print_out("tokens      {} of {}, {} bytes\n", found.tokens, tokens.size(), text.size());
  print_out("windows     {} tokens, {} apart\n", how.length, how.stride);
  print_out("loss        {:.6f} nats for each token\n", found.loss);
  print_out("bits        {:.6f} for each byte\n", bits / static_cast<double>(text.size()));
  print_out("perplexity  {:.6f}\n", found.value());
  return kOk;
}

}  // namespace

void add_eval(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("eval", "The perplexity of a text under a causal model");
  verb->footer(
      "Example:\n  grouphead eval llama --text book.txt\n"
      "  grouphead eval gpt2 --text book.txt --length 1024 --stride 256\n"
      "The text is read in windows of --length tokens that begin --stride apart. Each token but "
      "the\n"
      "first counts once, in the first window that has it. Smaller strides give tokens more "
      "before\n"
      "them, and take longer. As transformers' documentation describes it.");
  const auto options = std::make_shared<EvalOptions>();
  verb->add_option("model", options->model,
                   "Folder that train wrote, or of Hugging Face, or a .keras file")
      ->required();
  verb->add_option("--text", options->text, "File to read; -: standard input")->required();
  verb->add_option("--tokenizer", options->tokenizer,
                   "A tokenizer.json or a folder with one, in place of the model's own");
  add_whole(*verb, "--length", options->length,
            "Tokens of a window; 0: as the model was made for, at most 1024", 0, Index{1} << 30);
  add_whole(*verb, "--stride", options->stride, "How far windows are apart; 0: half of one", 0,
            Index{1} << 30);
  verb->callback(
      [=, &globals, &action] { action = [=, &globals] { return evaluate(*options, globals); }; });
}

}  // namespace grouphead::tools
