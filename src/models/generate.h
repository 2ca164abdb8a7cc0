#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "grouphead/models/models.h"

namespace grouphead {

/// How the next token is drawn. First the `top_k` most likely are kept, then the fewest of these
/// that hold `top_p` of the probability.
struct SamplingOptions {
  double temperature = 1;  ///< logits are divided by it; 0: the most likely token, always
  Index top_k = 0;         ///< 0: all
  double top_p = 1;        ///< in (0, 1]
  std::uint64_t seed = 0;
};

/// Draws tokens from logits, in double. The i-th draw is a function of (seed, i) and the logits.
class Sampler {
 public:
  /// Errors: ConfigError for options out of range.
  Sampler(const SamplingOptions& options, Index vocabulary);
  /// Errors: ShapeError for logits that are not f32 or f64 [V]; Error when one is not finite.
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

/// Continues a prompt with a KV cache: the prompt is read at once, then token by token.
///
/// Every token attends to all before it. There is no limit but the cache's size: rotary positions
/// go on beyond the length that was trained, where the model has to extrapolate.
class Generation {
 public:
  /// Reads `prompt` (not empty); `max_tokens` may follow. `model` and `ctx` outlive this. The cache
  /// holds `stored` numbers, see KvCacheConfig: absent: the model's own.
  /// Errors: ConfigError for an empty prompt or options out of range.
  Generation(Context& ctx, const LanguageModel& model, std::span<const std::int32_t> prompt,
             Index max_tokens, const SamplingOptions& options, std::optional<Dtype> stored = {});

  Index remaining() const noexcept { return remaining_; }
  /// The next token. No allocation of ours once warm. Errors: ShapeError after max_tokens.
  std::int32_t next();

 private:
  Context& ctx_;
  const LanguageModel& model_;
  Sampler sampler_;
  KvCache cache_;
  Tensor logits_;  // [1, V]
  Tensor token_;   // [1, 1]: drawn, not yet in the cache
  bool token_is_pending_ = false;
  Index remaining_;
};

}  // namespace grouphead
