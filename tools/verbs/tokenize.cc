#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/text/tokenizer.h"
#include "tools/output.h"
#include "tools/text_input.h"
#include "tools/verbs.h"

namespace grouphead::tools {
namespace {

struct TokenizeOptions {
  std::string tokenizer;
  std::string file = "-";
  bool decode = false;
  bool special_tokens = true;
  bool keep_special = false;
};

std::vector<std::int32_t> ids_of(std::string_view line) {
  std::vector<std::int32_t> ids;
  while (true) {
    line.remove_prefix(std::min(line.find_first_not_of(" \t\r"), line.size()));
    if (line.empty()) return ids;
    const std::string_view word = line.substr(0, line.find_first_of(" \t\r"));
    std::int32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0) {
      throw IoError("[tokenize] ids: expected whole numbers with spaces between, got " +
                    std::string(word));
    }
    ids.push_back(id);
    line.remove_prefix(word.size());
  }
}

void write_ids(const std::vector<Encoding>& all) {
  for (const Encoding& encoding : all) {
    print_out("{}\n", fmt::join(encoding.ids, " "));
  }
}

int tokenize(const TokenizeOptions& options, const Globals& globals) {
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  const std::vector<std::string> lines = lines_of(read_text(options.file));
  if (options.decode) {
    const DecodeOptions how{.skip_special_tokens = !options.keep_special};
    for (const std::string& line : lines) write_out(tokenizer.decode(ids_of(line), how) + "\n");
    return kOk;
  }
  Context ctx({.num_threads = globals.threads});
  write_ids(tokenizer.encode_batch(ctx, lines, {.add_special_tokens = options.special_tokens}));
  return kOk;
}

}  // namespace

void add_tokenize(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("tokenize", "Turn text into a tokenizer's ids, and back");
  verb->footer(
      "Example:\n  grouphead tokenize --tokenizer model book.txt >ids.txt\n"
      "  grouphead tokenize --tokenizer model --decode ids.txt\n"
      "Reads a file or standard input. Each line is a text of its own, and becomes one line of "
      "ids\n"
      "with spaces between; --decode goes the other way.");
  const auto options = std::make_shared<TokenizeOptions>();
  verb->add_option("file", options->file, "Text, or ids; -: standard input");
  verb->add_option("--tokenizer", options->tokenizer,
                   "tokenizer.json, or a folder with one, with vocab.txt, or with vocab.json and "
                   "merges.txt")
      ->required();
  CLI::Option* decode = verb->add_flag("--decode", options->decode, "From ids to text");
  verb->add_flag("!--no-special", options->special_tokens,
                 "Ids without the special tokens around a text")
      ->excludes(decode);
  verb->add_flag("--keep-special", options->keep_special, "Text with its special tokens")
      ->needs(decode);
  verb->callback(
      [=, &globals, &action] { action = [=, &globals] { return tokenize(*options, globals); }; });
}

}  // namespace grouphead::tools
