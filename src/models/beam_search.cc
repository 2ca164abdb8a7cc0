#include "grouphead/models/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/check.h"
#include "core/number_text.h"

namespace grouphead {
namespace {

constexpr std::string_view kBeamSearch = "beam_search";

void check(std::span<const std::int32_t> prompt, const BeamSearchOptions& options) {
  const auto require = [](bool holds, std::string_view option, std::string_view expected,
                          const std::string& got) {
    if (!holds) core::throw_config_error(kBeamSearch, option, expected, got);
  };
  require(!prompt.empty(), "prompt", "1 token or more", "none");
  require(options.max_tokens >= 1, "max_tokens", "1 or more", std::to_string(options.max_tokens));
  require(options.num_beams >= 1, "num_beams", "1 or more", std::to_string(options.num_beams));
  require(std::isfinite(options.length_penalty), "length_penalty", "a finite number",
          core::number_text(options.length_penalty));
}

/// A text that goes on.
struct Running {
  std::unique_ptr<Decoder> decoder{};
  std::vector<std::int32_t> tokens{};  // prompt and text
  double sum = 0;                      // of log-probabilities
  std::vector<double> next{};          // log-probabilities of the token after it
};

/// One more token behind a running text.
struct Candidate {
  std::size_t parent;
  std::int32_t token;
  double sum;
};

class Search {
 public:
  Search(Context& ctx, std::unique_ptr<Decoder> decoder, std::span<const std::int32_t> prompt,
         const BeamSearchOptions& options)
      : ctx_(ctx),
        options_(options),
        num_beams_(static_cast<std::size_t>(options.num_beams)),
        prompt_(prompt.size()),
        logits_({decoder->vocab_size()}, decoder->dtype()) {
    Running first{.decoder = std::move(decoder), .tokens = {prompt.begin(), prompt.end()}};
    read(first, prompt);
    running_.push_back(std::move(first));
  }

  std::vector<Beam> run() {
    for (Index length = 1; length <= options_.max_tokens; ++length) {
      const std::vector<Candidate> candidates = best_candidates();
      const bool is_last = length == options_.max_tokens;
      for (std::size_t i = 0; i < std::min(num_beams_, candidates.size()); ++i) {
        if (is_last || is_stop(candidates[i].token)) complete(candidates[i], length);
      }
      if (is_last || !advance(candidates) || is_done(length)) break;
    }
    return std::move(complete_);
  }

 private:
  bool is_stop(std::int32_t token) const {
    return std::find(options_.stop_tokens.begin(), options_.stop_tokens.end(), token) !=
           options_.stop_tokens.end();
  }

  double score(double sum, Index length) const {
    return sum / std::pow(static_cast<double>(length), options_.length_penalty);
  }

  void read(Running& text, std::span<const std::int32_t> tokens) {
    Decoder& decoder = *text.decoder;
    const Index wanted = decoder.length() + static_cast<Index>(tokens.size());
    if (wanted > decoder.capacity()) {
      decoder.reserve(ctx_, std::max(wanted, 2 * decoder.capacity()));
    }
    decoder.read(ctx_, ConstView(tokens.data(), {static_cast<Index>(tokens.size())}), logits_);
    set_log_probabilities(text);
    for (const LogitsProcessor& processor : options_.processors) {
      processor(text.tokens, text.next);
    }
  }

  void set_log_probabilities(Running& text) const {
    text.next.resize(static_cast<std::size_t>(logits_.size()));
    double largest = -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < text.next.size(); ++i) {
      const double logit = logits_.dtype() == Dtype::f64
                               ? logits_.data<double>()[i]
                               : static_cast<double>(logits_.data<float>()[i]);
      if (!std::isfinite(logit)) {
        throw Error("[beam_search] logits: expected finite numbers, got " +
                    core::number_text(logit));
      }
      text.next[i] = logit;
      largest = std::max(largest, logit);
    }
    double sum = 0;
    for (const double logit : text.next) sum += std::exp(logit - largest);
    for (double& logit : text.next) logit -= largest + std::log(sum);
  }

  /// Enough that num_beams of them go on however many end.
  std::vector<Candidate> best_candidates() const {
    std::vector<Candidate> all;
    for (std::size_t parent = 0; parent < running_.size(); ++parent) {
      const Running& text = running_[parent];
      for (std::size_t token = 0; token < text.next.size(); ++token) {
        const double sum = text.sum + text.next[token];
        if (std::isfinite(sum)) all.push_back({parent, static_cast<std::int32_t>(token), sum});
      }
    }
    const auto comes_first = [](const Candidate& a, const Candidate& b) {
      if (a.sum != b.sum) return a.sum > b.sum;
      return a.parent != b.parent ? a.parent < b.parent : a.token < b.token;
    };
    const std::size_t wanted =
        num_beams_ * std::max<std::size_t>(2, 1 + options_.stop_tokens.size());
    const std::size_t kept = std::min(wanted, all.size());
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(kept), all.end(),
                      comes_first);
    all.resize(kept);
    return all;
  }

  /// Keeps the best num_beams of the complete texts; the earlier one of equals.
  void complete(const Candidate& candidate, Index length) {
    const Running& parent = running_[candidate.parent];
    Beam beam{.tokens = {parent.tokens.begin() + static_cast<std::ptrdiff_t>(prompt_),
                         parent.tokens.end()},
              .score = score(candidate.sum, length)};
    beam.tokens.push_back(candidate.token);
    const auto place =
        std::upper_bound(complete_.begin(), complete_.end(), beam,
                         [](const Beam& a, const Beam& b) { return a.score > b.score; });
    complete_.insert(place, std::move(beam));
    if (complete_.size() > num_beams_) complete_.pop_back();
  }

  /// Goes on with the best candidates that do not end. Whether there are any.
  bool advance(const std::vector<Candidate>& candidates) {
    std::vector<Running> next;
    std::vector<std::size_t> parents;
    for (const Candidate& candidate : candidates) {
      if (next.size() == num_beams_) break;
      if (is_stop(candidate.token)) continue;
      Running text{.tokens = running_[candidate.parent].tokens, .sum = candidate.sum};
      text.tokens.push_back(candidate.token);
      next.push_back(std::move(text));
      parents.push_back(candidate.parent);
    }
    // The last one that goes on from a text takes its decoder.
    for (std::size_t i = 0; i < next.size(); ++i) {
      const bool is_last_child = std::find(parents.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                           parents.end(), parents[i]) == parents.end();
      std::unique_ptr<Decoder>& decoder = running_[parents[i]].decoder;
      next[i].decoder = is_last_child ? std::move(decoder) : decoder->fork(ctx_);
    }
    running_ = std::move(next);
    for (Running& text : running_) read(text, std::span(text.tokens).last(1));
    return !running_.empty();
  }

  /// Whether no running text can become better than those that are complete.
  bool is_done(Index length) const {
    if (complete_.size() < num_beams_) return false;
    if (options_.early_stopping) return true;
    return score(running_[0].sum, length) <= complete_.back().score;
  }

  Context& ctx_;
  const BeamSearchOptions& options_;
  std::size_t num_beams_;
  std::size_t prompt_;  // length of the prompt
  Tensor logits_;       // [V]
  std::vector<Running> running_;
  std::vector<Beam> complete_;  // best first
};

}  // namespace

std::vector<Beam> beam_search(Context& ctx, std::unique_ptr<Decoder> decoder,
                              std::span<const std::int32_t> prompt,
                              const BeamSearchOptions& options) {
  check(prompt, options);
  return Search(ctx, std::move(decoder), prompt, options).run();
}

}  // namespace grouphead
