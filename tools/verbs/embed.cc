#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "grouphead/files/sentence_encoder.h"
#include "io/npy.h"
#include "tools/other_file.h"
#include "tools/output.h"
#include "tools/progress.h"
#include "tools/text_input.h"
#include "tools/verbs.h"

namespace grouphead::tools {
namespace {

struct EmbedOptions {
  std::string model;
  std::string file = "-";
  std::string out;
  std::vector<std::string> texts;
  std::vector<std::string> pair;
};

std::span<const float> row(const Tensor& vectors, Index i) {
  const Index width = vectors.dim(1);
  return {vectors.data<float>() + i * width, static_cast<std::size_t>(width)};
}

double cosine(std::span<const float> a, std::span<const float> b) {
  double product = 0, squares_a = 0, squares_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    product += double{a[i]} * double{b[i]};
    squares_a += double{a[i]} * double{a[i]};
    squares_b += double{b[i]} * double{b[i]};
  }
  const double lengths = std::sqrt(squares_a) * std::sqrt(squares_b);
  return lengths > 0 ? product / lengths : 0;
}

int embed(const EmbedOptions& options, const Globals& globals) {
  constexpr std::size_t kBlock = 1024;  // texts that are sorted by length together
  if (!options.out.empty()) {
    require_other_file("embed", options.out, options.file);
    if (!options.out.ends_with(".npy")) {
      throw ConfigError("[embed] --out: expected a name that ends in .npy, got " + options.out);
    }
  }
  const SentenceEncoder encoder = load_sentence_encoder(options.model);
  const Tokenizer tokenizer = Tokenizer::load(options.model);
  Context ctx({.num_threads = globals.threads});
  if (!options.pair.empty()) {
    const Tensor two = encoder.encode(ctx, tokenizer, options.pair);
    print_out("{:.6f}\n", cosine(row(two, 0), row(two, 1)));
    return kOk;
  }
  const std::vector<std::string> texts =
      options.texts.empty() ? lines_of(read_text(options.file)) : options.texts;
  if (texts.empty()) throw ConfigError("[embed] texts: expected 1 line or more, got none");
  const auto count = static_cast<Index>(texts.size());
  Tensor all;
  const CountProgress progress(globals.quiet, count, "texts");
  for (std::size_t begin = 0; begin < texts.size(); begin += kBlock) {
    const std::size_t size = std::min(kBlock, texts.size() - begin);
    const Tensor vectors = encoder.encode(ctx, tokenizer, std::span(texts).subspan(begin, size));
    const auto first = static_cast<Index>(begin);
    if (options.out.empty()) {
      for (Index i = 0; i < vectors.dim(0); ++i) {
        write_out(fmt::format("[{}]\n", fmt::join(row(vectors, i), ", ")));
      }
    } else {
      if (!all.has_value()) all = Tensor({count, vectors.dim(1)});
      copy(vectors, all.view().slice(0, first, first + vectors.dim(0)));
    }
    progress.update(first + vectors.dim(0));
  }
  if (all.has_value()) io::write_npy(options.out, all);
  return kOk;
}

}  // namespace

void add_embed(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand("embed", "Turn sentences into vectors");
  verb->footer(
      "Example:\n  grouphead embed all-MiniLM-L6-v2 sentences.txt --out vectors.npy\n"
      "  grouphead embed all-MiniLM-L6-v2 --pair \"A cat sits.\" \"A dog sits.\"\n"
      "Each line of the file, or of standard input, is a text of its own. Its vector becomes a "
      "row\n"
      "of the .npy file, or a line of stdout: a JSON list. --pair prints the cosine of the angle\n"
      "between the vectors of two texts.");
  const auto options = std::make_shared<EmbedOptions>();
  verb->add_option("model", options->model, "Folder of sentence-transformers")->required();
  CLI::Option* file = verb->add_option("file", options->file, "Texts; -: standard input");
  CLI::Option* text =
      verb->add_option("--text", options->texts, "A text, in place of a file; may be repeated")
          ->expected(1)
          ->take_all()
          ->excludes(file);
  CLI::Option* out = verb->add_option("--out", options->out, "Where the vectors go, .npy");
  verb->add_option("--pair", options->pair, "Two texts to compare")
      ->expected(2)
      ->excludes(file)
      ->excludes(text)
      ->excludes(out);
  verb->callback(
      [=, &globals, &action] { action = [=, &globals] { return embed(*options, globals); }; });
}

}  // namespace grouphead::tools
