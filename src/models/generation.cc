#include "grouphead/models/generation.h"

#include <algorithm>

#include "core/check.h"
#include "models/prompt_pieces.h"

namespace grouphead {
namespace {

constexpr std::string_view kGenerate = "generate";
// Tokens that a new cache has room for behind its prompt.
constexpr Index kFirstTokens = 256;

// `positions` and as many tokens as may follow, as far as they can be counted.
Index limit_of(Index positions, Index max_tokens) {
  return positions + std::min(max_tokens, std::numeric_limits<Index>::max() - positions);
}

DecoderOptions options_of(std::span<const std::int32_t> prompt, const GenerationOptions& options) {
  const auto length = static_cast<Index>(prompt.size());
  const Index limit = limit_of(length, std::max<Index>(options.max_tokens, 1));
  return {.capacity = std::min(limit, length + kFirstTokens), .cache_dtype = options.cache_dtype};
}

void check(const Decoder& decoder, std::span<const std::int32_t> prompt,
           const GenerationOptions& options) {
  const auto require = [](bool holds, std::string_view option, std::string_view expected,
                          Index got) {
    if (!holds) core::throw_config_error(kGenerate, option, expected, std::to_string(got));
  };
  require(!prompt.empty(), "prompt", "1 token or more", 0);
  require(options.max_tokens >= 0, "max_tokens", "0 or more", options.max_tokens);
  if (!options.draft) return;
  require(options.draft_tokens > 0, "draft_tokens", "1 or more", options.draft_tokens);
  require(options.draft->vocab_size() == decoder.vocab_size(), "vocabulary of the draft",
          std::to_string(decoder.vocab_size()), options.draft->vocab_size());
  require(options.draft->length() == decoder.length(), "tokens that the draft has read",
          std::to_string(decoder.length()), options.draft->length());
}

bool contains(const std::vector<std::int32_t>& tokens, std::int32_t token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

}  // namespace

Generation::Generation(Context& ctx, const LanguageModel& model,
                       std::span<const std::int32_t> prompt, const GenerationOptions& options)
    : Generation(ctx, make_decoder(ctx, model, options_of(prompt, options)), prompt, options) {}

Generation::Generation(Context& ctx, std::unique_ptr<Decoder> decoder,
                       std::span<const std::int32_t> prompt, const GenerationOptions& options)
    : ctx_(ctx),
      decoder_(std::move(decoder)),
      options_(options),
      sampler_(options.sampling, decoder_->vocab_size(), options.processors),
      base_(decoder_->length()),
      prompt_(prompt.size()),
      limit_(limit_of(base_ + static_cast<Index>(prompt.size()), options.max_tokens)),
      remaining_(options.max_tokens),
      tokens_(prompt.begin(), prompt.end()),
      drawn_(prompt.size()),
      given_(prompt.size()),
      logits_({options.draft ? options.draft_tokens + 1 : 1, decoder_->vocab_size()},
              decoder_->dtype()) {
  check(*decoder_, prompt, options);
  if (options_.draft) read_prompt(*options_.draft, {});
  read_prompt(*decoder_, options_.on_prompt);
}

void Generation::read_prompt(Decoder& decoder, const std::function<void(Index)>& on_prompt) {
  for (std::size_t end = 0; end < prompt_;) {
    end = std::min(end + static_cast<std::size_t>(kPromptPiece), prompt_);
    read(decoder, end, logits_.view().slice(0, 0, 1).reshaped({decoder.vocab_size()}));
    if (on_prompt) on_prompt(static_cast<Index>(end));
  }
}

/// Reads those of tokens_ up to `end` that `decoder` has not read.
void Generation::read(Decoder& decoder, std::size_t end, View logits) {
  const auto first = static_cast<std::size_t>(decoder.length() - base_);
  const Index wanted = base_ + static_cast<Index>(end);
  if (const Index capacity = decoder.capacity(); wanted > capacity) {
    decoder.reserve(ctx_, std::max(wanted, std::min(2 * capacity, limit_)));
    tokens_.reserve(static_cast<std::size_t>(decoder.capacity() - base_));
  }
  decoder.read(ctx_, ConstView(tokens_.data() + first, {static_cast<Index>(end - first)}), logits);
}

/// The token after the certain ones.
std::int32_t Generation::draw(View logits) {
  return sampler_.draw(drawn_ - prompt_, logits, std::span(tokens_).first(drawn_),
                       static_cast<Index>(prompt_));
}

/// Appends what the draft would say.
void Generation::propose() {
  const View logits = logits_.view().slice(0, 0, 1).reshaped({decoder_->vocab_size()});
  const Index count = std::min(options_.draft_tokens, remaining_ - 1);
  for (Index i = 0; i < count; ++i) {
    read(*options_.draft, tokens_.size(), logits);
    tokens_.push_back(
        sampler_.draw(tokens_.size() - prompt_, logits, tokens_, static_cast<Index>(prompt_)));
    ++proposed_;
    if (contains(options_.stop_tokens, tokens_.back())) return;
  }
}

/// Reads what is certain and what the draft proposes at once, and draws until a proposal is wrong.
void Generation::speculate() {
  propose();
  const auto rows = static_cast<Index>(tokens_.size() - drawn_ + 1);
  const View logits = logits_.view().slice(0, 0, rows);
  read(*decoder_, tokens_.size(), logits);
  for (Index i = 0; i < rows; ++i) {
    const std::int32_t token = draw(logits.slice(0, i, i + 1).reshaped({logits.dim(1)}));
    const bool was_proposed = drawn_ < tokens_.size() && tokens_[drawn_] == token;
    tokens_.resize(std::max(tokens_.size(), drawn_ + 1));
    tokens_[drawn_++] = token;
    if (!was_proposed) break;
    ++accepted_;
    if (contains(options_.stop_tokens, token)) break;
  }
  tokens_.resize(drawn_);
  const Index certain = base_ + static_cast<Index>(drawn_) - 1;
  decoder_->truncate(certain);
  options_.draft->truncate(std::min(options_.draft->length(), certain));
}

std::int32_t Generation::next() {
  if (remaining_ <= 0) core::throw_shape_error(kGenerate, "tokens", "max_tokens calls", "more");
  if (given_ == drawn_) {
    const bool is_read = decoder_->length() - base_ == static_cast<Index>(drawn_);
    if (!is_read && options_.draft) {
      speculate();
    } else {
      const View logits = logits_.view().slice(0, 0, 1).reshaped({decoder_->vocab_size()});
      if (!is_read) read(*decoder_, drawn_, logits);
      tokens_.push_back(draw(logits));
      ++drawn_;
    }
  }
  const std::int32_t token = tokens_[given_++];
  remaining_ = contains(options_.stop_tokens, token) ? 0 : remaining_ - 1;
  return token;
}

std::vector<std::int32_t> generate(Context& ctx, std::unique_ptr<Decoder> decoder,
                                   std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<bool(std::int32_t token)>& on_token) {
  Generation generation(ctx, std::move(decoder), prompt, options);
  std::vector<std::int32_t> tokens;
  while (generation.remaining() > 0) {
    tokens.push_back(generation.next());
    if (on_token && !on_token(tokens.back())) break;
  }
  return tokens;
}

std::vector<std::int32_t> generate(Context& ctx, const LanguageModel& model,
                                   std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<bool(std::int32_t token)>& on_token) {
  return generate(ctx, make_decoder(ctx, model, options_of(prompt, options)), prompt, options,
                  on_token);
}

}  // namespace grouphead
