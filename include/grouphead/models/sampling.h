#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// How the next token is drawn. Penalties change the logits first; then the `top_k` most likely
/// tokens stay, then the fewest of these that hold `top_p` of the probability, then those that
/// have `min_p` of the most likely one's probability or more. Names and meanings as in
/// transformers and vLLM.
struct SamplingOptions {
  double temperature = 1;  ///< logits are divided by it; 0: always the most likely token
  Index top_k = 0;         ///< 0: all
  double top_p = 1;        ///< in (0, 1]
  double min_p = 0;        ///< in [0, 1)
  /// Of each token in the prompt or the text, a positive logit is divided by it, a negative one
  /// multiplied. Above 0; 1: none. Source: Keskar et al. 2019, equation 2.
  double repetition_penalty = 1;
  double frequency_penalty = 0;  ///< taken off for each time a token is in the text so far
  double presence_penalty = 0;   ///< taken off once for each token that is
  std::uint64_t seed = 0;
};

/// Changes the logits [V] of the token after `tokens`, which are the prompt and the text so far.
/// -infinity excludes a token. It runs after the penalties.
using LogitsProcessor =
    std::function<void(std::span<const std::int32_t> tokens, std::span<double> logits)>;

/// Draws tokens from logits, in double. The i-th draw is a function of (seed, i), the logits and
/// the tokens before.
///
/// Threads  one caller at a time
class Sampler {
 public:
  /// For `vocabulary` tokens. Errors: ConfigError for options out of range.
  Sampler(const SamplingOptions& options, Index vocabulary,
          std::vector<LogitsProcessor> processors = {});
  /// The next token, from logits [V] in f32 or f64. `tokens` is all before it, the first `prompt`
  /// of them not drawn: what penalties and processors look at.
  /// Errors: ShapeError for another shape or type, or a token outside [0, V); Error when a logit
  /// is not finite, or processors exclude every token.
  std::int32_t operator()(ConstView logits, std::span<const std::int32_t> tokens = {},
                          Index prompt = 0) {
    return draw(next_draw_++, logits, tokens, prompt);
  }
  /// The same for draw number `index`, which leaves the count of draws as it is.
  std::int32_t draw(std::uint64_t index, ConstView logits, std::span<const std::int32_t> tokens,
                    Index prompt);

 private:
  struct Candidate {
    std::int32_t token;
    double weight;
  };
  void read(ConstView logits);
  void penalise(std::span<const std::int32_t> tokens, Index prompt);
  void collect();
  void sort_up_to(std::size_t count);
  std::int32_t pick(double uniform);

  SamplingOptions options_;
  std::vector<LogitsProcessor> processors_;
  std::uint64_t next_draw_ = 0;
  std::vector<double> logits_;         // [V]
  std::vector<Index> counts_;          // [V], zero between draws
  std::vector<Candidate> candidates_;  // those that are not excluded
  std::size_t sorted_ = 0;             // so many of them are in their place
};

/// Looks for strings that end a text, while the text comes in pieces.
///
///     gh::StopStrings stops({"\n\n", "User:"});
///     print(stops.add(piece));  // for each piece, until stops.found()
///     print(stops.rest());      // when the text ends by itself
class StopStrings {
 public:
  /// Errors: ConfigError for an empty string.
  explicit StopStrings(std::vector<std::string> stops);
  /// Appends a piece. What comes back is the text that is new and before any stop string; an end
  /// that may be the beginning of one is held back.
  std::string add(std::string_view piece);
  /// Whether a stop string is complete; later pieces are ignored.
  bool found() const noexcept { return found_; }
  /// What is held back.
  std::string rest();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace grouphead
#pragma GCC visibility pop
