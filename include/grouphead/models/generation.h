#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "grouphead/models/decoder.h"
#include "grouphead/models/sampling.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct GenerationOptions {
  Index max_tokens = 200;  ///< that may follow the prompt
  SamplingOptions sampling{};
  std::vector<LogitsProcessor> processors{};  ///< run in this order
  std::vector<std::int32_t> stop_tokens{};    ///< the text ends with the first of these
  /// Of the cache that is made for a LanguageModel, see DecoderOptions.
  std::optional<Dtype> cache_dtype{};
  /// Speculative decoding: a smaller model of the same vocabulary, which has read nothing yet. It
  /// proposes `draft_tokens` at a time, and the model reads them all at once. Both draw with the
  /// same random numbers, so the tokens are those without a draft, sampled or not, up to the
  /// rounding that docs/numerics.md describes. Source: Leviathan et al. 2023, with shared draws.
  std::shared_ptr<Decoder> draft{};
  Index draft_tokens = 4;
  /// Called while the prompt is read, with how many of its tokens are read so far.
  std::function<void(Index read)> on_prompt{};
};

/// Continues a prompt token by token. It reads the prompt when it is made, in pieces, and keeps all
/// keys and values in a cache.
///
/// Every token attends to all before it. Rotary positions go on beyond the length that the model
/// was trained with, where it has to extrapolate.
///
///     Generation generation(ctx, model, prompt, {.max_tokens = 100});
///     while (generation.remaining() > 0) print(generation.next());
///
/// Memory   the cache, which grows with the tokens: room for twice as many whenever it is full
/// Threads  one caller at a time; `model` may serve others meanwhile, each with its own Context
class Generation {
 public:
  /// Reads `prompt`. `model` and `ctx` must outlive this.
  /// Errors: ConfigError for an empty prompt, options out of range, or a draft with another
  /// vocabulary or tokens read; ShapeError for a token outside [0, V).
  Generation(Context& ctx, const LanguageModel& model, std::span<const std::int32_t> prompt,
             const GenerationOptions& options = {});
  /// The same with a decoder. What it has read already, such as a prefix that many prompts share,
  /// stays before the prompt, where penalties do not look.
  Generation(Context& ctx, std::unique_ptr<Decoder> decoder, std::span<const std::int32_t> prompt,
             const GenerationOptions& options = {});

  /// How many more tokens may be asked for; none after a stop token.
  Index remaining() const noexcept { return remaining_; }
  /// The next token. Takes no memory once warm, but when the cache grows.
  /// Errors: ShapeError when none remains; Error when the logits are not finite.
  std::int32_t next();
  /// What the model has read: the prompt and the tokens, or less of these.
  const Decoder& decoder() const noexcept { return *decoder_; }
  /// Of the tokens that a draft proposed, how many were right.
  Index proposed() const noexcept { return proposed_; }
  Index accepted() const noexcept { return accepted_; }

 private:
  void read_prompt(Decoder& decoder, const std::function<void(Index)>& on_prompt);
  void read(Decoder& decoder, std::size_t end, View logits);
  std::int32_t draw(View logits);
  void propose();
  void speculate();

  Context& ctx_;
  std::unique_ptr<Decoder> decoder_;
  GenerationOptions options_;
  Sampler sampler_;
  Index base_;          // what decoder_ had read before the prompt
  std::size_t prompt_;  // length of the prompt
  Index limit_;         // positions of all
  Index remaining_;
  std::vector<std::int32_t> tokens_;  // prompt, text, and proposals behind it
  std::size_t drawn_;                 // so many of tokens_ are certain
  std::size_t given_;                 // so many are the prompt or were returned by next()
  Tensor logits_;                     // [V]; with a draft [draft_tokens + 1, V]
  Index proposed_ = 0;
  Index accepted_ = 0;
};

/// All of a Generation at once: the tokens after the prompt. `on_token` gets each as soon as it is
/// drawn; where it returns false the text ends with that token.
/// Errors: those of Generation; what `on_token` throws.
std::vector<std::int32_t> generate(Context& ctx, const LanguageModel& model,
                                   std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options = {},
                                   const std::function<bool(std::int32_t token)>& on_token = {});
std::vector<std::int32_t> generate(Context& ctx, std::unique_ptr<Decoder> decoder,
                                   std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options = {},
                                   const std::function<bool(std::int32_t token)>& on_token = {});

}  // namespace grouphead
#pragma GCC visibility pop
