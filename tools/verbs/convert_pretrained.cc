#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "grouphead/core/random.h"
#include "grouphead/files/pretrained.h"
#include "grouphead/text/tokenizer.h"
#include "saved/huggingface/companions.h"
#include "saved/huggingface/folder.h"
#include "saved/output_folder.h"
#include "tools/signals.h"
#include "tools/text_input.h"
#include "tools/verbs/convert.h"

namespace grouphead::tools {
namespace {

constexpr Index kMostSequences = 8;
constexpr Index kRandomLength = 256;

/// Sequences [B, T] of as many of the tokens as there are.
Tensor sequences_of(const std::vector<std::int32_t>& ids, Index longest) {
  const auto size = static_cast<Index>(ids.size());
  if (size == 0) throw IoError("[convert] --inputs: expected a text, got nothing");
  const Index length = std::min(longest, size);
  const Index batch = std::min(kMostSequences, size / length);
  return Tensor::from<std::int32_t>({batch, length},
                                    std::span(ids).first(static_cast<std::size_t>(batch * length)));
}

Tensor random_tokens(const TransformerModelConfig& config, Index length, std::uint64_t seed) {
  Tensor tokens({2, length}, Dtype::i32);
  for (Index i = 0; i < tokens.size(); ++i) {
    const auto word = static_cast<Index>(threefry2x32({seed, 0}, static_cast<std::uint64_t>(i)));
    auto token = static_cast<std::int32_t>(word % config.vocab_size);
    if (config.padding_token == token) token = token == 0 ? 1 : token - 1;
    tokens.data<std::int32_t>()[i] = token;
  }
  return tokens;
}

Tensor tokens_to_try(const TransformerModelConfig& config, const ConvertOptions& options,
                     const Globals& globals) {
  const Index positions =
      config.max_positions > 0 ? config.max_positions - config.position_offset : kLongestSequence;
  if (options.inputs.empty()) {
    return random_tokens(config, std::min(positions, kRandomLength), globals.seed);
  }
  constexpr std::size_t kMostBytes = 1 << 18;
  const std::string text = read_text(options.inputs).substr(0, kMostBytes);
  const Tokenizer tokenizer = Tokenizer::load(options.source);
  return sequences_of(tokenizer.encode(text, {.add_special_tokens = false}).ids,
                      std::min(positions, kLongestSequence));
}

}  // namespace

void convert_pretrained(const ConvertOptions& options, const Globals& globals) {
  saved::OutputFolder folder(options.target, "convert");
  if (!options.overwrite) folder.require_empty();
  const PretrainedModel before = load_pretrained(options.source);
  const PretrainedModel after = convert_heads(before, conversion_of(options, globals));
  const std::map<std::string, std::string> companions = saved::read_companions(options.source);
  if (!before.unused.empty()) {
    notice(fmt::format("left out, as not part of the model: {}", fmt::join(before.unused, ", ")));
  }
  {
    const WritesFiles writes;
    saved::write_pretrained(after, folder.path());
    saved::write_companions(companions, folder.path());
    folder.keep();
  }
  report_of(
      [&] {
        Context ctx({.num_threads = globals.threads});
        return compare_heads(ctx, *before.model, *after.model,
                             tokens_to_try(before.model->config(), options, globals));
      },
      options, globals);
}

}  // namespace grouphead::tools
