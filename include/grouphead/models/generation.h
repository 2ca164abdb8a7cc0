#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "grouphead/core/kv_cache.h"
#include "grouphead/models/models.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// How the next token is drawn. First the `top_k` most likely tokens stay, then the fewest of
/// these that hold `top_p` of the probability.
struct SamplingOptions {
  double temperature = 1;  ///< logits are divided by it; 0: always the most likely token
  Index top_k = 0;         ///< 0: all
  double top_p = 1;        ///< in (0, 1]
  std::uint64_t seed = 0;
};

/// Draws tokens from logits, in double. The i-th draw is a function of (seed, i) and the logits.
///
/// Threads  one caller at a time
class Sampler {
 public:
  /// For `vocabulary` tokens. Errors: ConfigError for options out of range.
  Sampler(const SamplingOptions& options, Index vocabulary);
  /// The next token, from logits [V] in f32 or f64.
  /// Errors: ShapeError for another shape or type; Error when a logit is not finite.
  std::int32_t operator()(ConstView logits);

 private:
  struct Candidate {
    std::int32_t token;
    double weight;
  };
  SamplingOptions options_;
  RandomStream stream_;
  std::vector<Candidate> candidates_;  // [V], reused
};

struct GenerationOptions {
  Index max_tokens = 200;  ///< that may follow the prompt
  SamplingOptions sampling{};
  /// Type of the cached keys and values: absent: the model's own; bf16 and u8 take a half and a
  /// quarter of the memory, see KvCacheConfig.
  std::optional<Dtype> cache_dtype{};
  /// Called while the prompt is read, with how many of its tokens are read so far.
  std::function<void(Index read)> on_prompt{};
};

/// Continues a prompt token by token. It reads the prompt when it is made, in pieces, and keeps all
/// keys and values in a KvCache.
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
  /// Errors: ConfigError for an empty prompt or options out of range; ShapeError for a token
  /// outside [0, V).
  Generation(Context& ctx, const LanguageModel& model, std::span<const std::int32_t> prompt,
             const GenerationOptions& options = {});

  /// How many more tokens may be asked for.
  Index remaining() const noexcept { return remaining_; }
  /// The next token. Takes no memory once warm, but when the cache grows.
  /// Errors: ShapeError after `max_tokens` calls; Error when the logits are not finite.
  std::int32_t next();
  /// What has been read so far: prompt and tokens, without the last one.
  const KvCache& cache() const noexcept { return cache_; }

 private:
  void read(ConstView tokens);

  Context& ctx_;
  const LanguageModel& model_;
  Sampler sampler_;
  Index limit_;  // positions of prompt and tokens
  KvCache cache_;
  Tensor logits_;  // [1, V]
  Tensor token_;   // [1, 1]: drawn, not yet in the cache
  bool token_is_pending_ = false;
  Index remaining_;
};

/// All of a Generation at once: the tokens after the prompt. `on_token` gets each as soon as it is
/// drawn; where it returns false the text ends with that token.
/// Errors: those of Generation; what `on_token` throws.
std::vector<std::int32_t> generate(Context& ctx, const LanguageModel& model,
                                   std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options = {},
                                   const std::function<bool(std::int32_t token)>& on_token = {});

}  // namespace grouphead
#pragma GCC visibility pop
