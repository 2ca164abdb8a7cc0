#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "grouphead/models/decoder.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct PerplexityOptions {
  Index length = 1024;  ///< L, tokens of a window
  Index stride = 512;   ///< S <= L, how far the windows are apart
  /// Told after each window how many tokens are done; what it throws ends the work.
  std::function<void(Index tokens)> on_window{};
};

/// How well a causal model foretells a text.
struct Perplexity {
  Index tokens = 0;      ///< that were foretold: all but the first
  double loss = 0;       ///< the mean of -log p of each, in nats
  double value() const;  ///< exp(loss)
};

/// Reads the text in windows of L tokens that begin S apart, each with nothing before it. A window
/// foretells the tokens that none before it did, so every token but the text's first counts once,
/// and has L - S tokens or more before it where the text has them. Where S = L the first token of
/// each window is not foretold. `decoder` is emptied, and has read a window afterwards.
///
/// Errors  ConfigError for L < 2 and for S outside [1, L]; ShapeError for fewer than two tokens,
///         and as Decoder::read()
/// Source  perplexity of fixed-length models, as transformers' documentation describes it
Perplexity perplexity(Context& ctx, Decoder& decoder, std::span<const std::int32_t> tokens,
                      const PerplexityOptions& options = {});

}  // namespace grouphead
#pragma GCC visibility pop
