#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "grouphead/models/decoder.h"
#include "grouphead/models/sampling.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Names and meanings as in transformers' GenerationConfig.
struct BeamSearchOptions {
  Index max_tokens = 200;  ///< that may follow the prompt
  Index num_beams = 4;     ///< texts that are continued beside each other
  /// A text's score is the sum of its tokens' log-probabilities over (their number ^ this).
  double length_penalty = 1;
  /// Whether to end once num_beams texts are complete; else when no running one can become better.
  bool early_stopping = false;
  std::vector<std::int32_t> stop_tokens{};    ///< a text is complete with one of these
  std::vector<LogitsProcessor> processors{};  ///< of the log-probabilities; run in this order
};

/// A text of a beam search: the tokens after the prompt.
struct Beam {
  std::vector<std::int32_t> tokens{};
  double score = 0;
};

/// The most likely texts that a beam search finds, best first: num_beams of them, or fewer where
/// the vocabulary has no more.
///
/// Memory  num_beams decoders
/// Errors  ConfigError for an empty prompt or options out of range; ShapeError for a token outside
///         [0, V); Error when a logit is not finite
/// Source  transformers 5, GenerationMixin._beam_search
std::vector<Beam> beam_search(Context& ctx, std::unique_ptr<Decoder> decoder,
                              std::span<const std::int32_t> prompt,
                              const BeamSearchOptions& options = {});

}  // namespace grouphead
#pragma GCC visibility pop
