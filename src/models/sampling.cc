#include "grouphead/models/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/number_text.h"
#include "grouphead/core/random.h"

namespace grouphead {
namespace {

constexpr std::string_view kGenerate = "generate";

SamplingOptions checked(const SamplingOptions& options) {
  const auto require = [](bool holds, std::string_view option, std::string_view expected,
                          double got) {
    if (!holds) core::throw_config_error(kGenerate, option, expected, core::number_text(got));
  };
  require(std::isfinite(options.temperature) && options.temperature >= 0, "temperature",
          "0 or more", options.temperature);
  require(options.top_k >= 0, "top-k", "0 or more", static_cast<double>(options.top_k));
  require(options.top_p > 0 && options.top_p <= 1, "top-p", "a number in (0, 1]", options.top_p);
  require(options.min_p >= 0 && options.min_p < 1, "min-p", "a number in [0, 1)", options.min_p);
  require(std::isfinite(options.repetition_penalty) && options.repetition_penalty > 0,
          "repetition-penalty", "above 0", options.repetition_penalty);
  require(std::isfinite(options.frequency_penalty), "frequency-penalty", "a finite number",
          options.frequency_penalty);
  require(std::isfinite(options.presence_penalty), "presence-penalty", "a finite number",
          options.presence_penalty);
  return options;
}

double uniform(RandomKey key) {  // in [0, 1), 53 bits
  const PhiloxBlock block = philox4x32(key, 0);
  const std::uint64_t word = (std::uint64_t{block.words[1]} << 32) | block.words[0];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options, Index vocabulary,
                 std::vector<LogitsProcessor> processors)
    : options_(checked(options)),
      processors_(std::move(processors)),
      logits_(static_cast<std::size_t>(vocabulary)),
      counts_(static_cast<std::size_t>(vocabulary)) {
  candidates_.reserve(logits_.size());
}

void Sampler::read(ConstView logits) {
  const auto vocabulary = static_cast<Index>(logits_.size());
  core::require_dense(kGenerate, "logits", logits, {vocabulary}, logits.dtype());
  for (Index i = 0; i < vocabulary; ++i) {
    const double logit = logits.dtype() == Dtype::f64
                             ? logits.data<double>()[i]
                             : static_cast<double>(logits.data<float>()[i]);
    if (!std::isfinite(logit)) {
      throw Error("[generate] logits: expected finite numbers, got " + core::number_text(logit));
    }
    logits_[static_cast<std::size_t>(i)] = logit;
  }
}

void Sampler::penalise(std::span<const std::int32_t> tokens, Index prompt) {
  const bool repeats = options_.repetition_penalty != 1;
  const bool counts = options_.frequency_penalty != 0 || options_.presence_penalty != 0;
  if (!repeats && !counts) return;
  for (const std::int32_t token : tokens) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits_.size()) {
      core::throw_shape_error(kGenerate, "tokens",
                              "tokens in [0, " + std::to_string(logits_.size()) + ")",
                              std::to_string(token));
    }
  }
  // A token's count lasts until it is used, so that each token is penalised once.
  const auto each = [&](std::span<const std::int32_t> among, const auto& change) {
    for (const std::int32_t token : among) ++counts_[static_cast<std::size_t>(token)];
    for (const std::int32_t token : among) {
      Index& count = counts_[static_cast<std::size_t>(token)];
      if (count > 0) change(logits_[static_cast<std::size_t>(token)], static_cast<double>(count));
      count = 0;
    }
  };
  if (repeats) {
    each(tokens, [&](double& logit, double /*count*/) {
      logit *= logit > 0 ? 1 / options_.repetition_penalty : options_.repetition_penalty;
    });
  }
  if (counts) {
    each(tokens.subspan(static_cast<std::size_t>(prompt)), [&](double& logit, double count) {
      logit -= options_.frequency_penalty * count + options_.presence_penalty;
    });
  }
}

/// What processors left.
void Sampler::collect() {
  candidates_.clear();
  sorted_ = 0;
  for (std::size_t i = 0; i < logits_.size(); ++i) {
    if (std::isnan(logits_[i]) || logits_[i] == std::numeric_limits<double>::infinity()) {
      throw Error("[generate] logits after processors: expected numbers or -inf, got " +
                  core::number_text(logits_[i]));
    }
    if (std::isfinite(logits_[i])) {
      candidates_.push_back({static_cast<std::int32_t>(i), logits_[i]});
    }
  }
  if (candidates_.empty()) {
    throw Error("[generate] logits after processors: expected a token that is left, got none");
  }
}

/// Puts the first `count` candidates in their place: most likely first; equal ones by number, so
/// that the order is one and the same everywhere.
void Sampler::sort_up_to(std::size_t count) {
  if (count <= sorted_) return;
  constexpr std::size_t kAtOnce = 64;
  const auto comes_first = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
  };
  const std::size_t wanted = std::min(candidates_.size(), std::max({count, 2 * sorted_, kAtOnce}));
  const auto begin = candidates_.begin() + static_cast<std::ptrdiff_t>(sorted_);
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(wanted);
  if (end != candidates_.end()) std::nth_element(begin, end, candidates_.end(), comes_first);
  std::sort(begin, end, comes_first);
  sorted_ = wanted;
}

std::int32_t Sampler::draw(std::uint64_t index, ConstView logits,
                           std::span<const std::int32_t> tokens, Index prompt) {
  read(logits);
  penalise(tokens, prompt);
  for (const LogitsProcessor& processor : processors_) processor(tokens, logits_);
  collect();
  if (options_.temperature == 0) {
    const auto best = std::max_element(
        candidates_.begin(), candidates_.end(),
        [](const Candidate& a, const Candidate& b) { return a.weight < b.weight; });
    return best->token;
  }
  return pick(uniform({options_.seed, index}));
}

std::int32_t Sampler::pick(double uniform) {
  sort_up_to(1);
  const double largest = candidates_[0].weight;
  auto kept = candidates_.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options_.top_k));
  if (kept < candidates_.size()) sort_up_to(kept);
  double total = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    total += std::exp((candidates_[i].weight - largest) / options_.temperature);
  }
  const auto weight = [&](std::size_t i) {
    sort_up_to(i + 1);
    return std::exp((candidates_[i].weight - largest) / options_.temperature);
  };
  if (options_.top_p < 1 || options_.min_p > 0) {
    const double wanted = options_.top_p * total;
    total = 0;
    std::size_t i = 0;
    for (; i < kept && (options_.top_p == 1 || total < wanted); ++i) {
      const double next = weight(i);
      if (i > 0 && next < options_.min_p) break;
      total += next;
    }
    kept = i;
  }
  const double target = uniform * total;
  double reached = 0;
  for (std::size_t i = 0; i + 1 < kept; ++i) {
    reached += weight(i);
    if (target < reached) return candidates_[i].token;
  }
  sort_up_to(kept);
  return candidates_[kept - 1].token;
}

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    if (stop.empty()) {
      core::throw_config_error(kGenerate, "stop strings", "1 character or more", "\"\"");
    }
  }
}

std::string StopStrings::add(std::string_view piece) {
  if (found_) return {};
  held_ += piece;
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  found_ = first != std::string::npos;
  std::size_t free = found_ ? first : held_.size();
  for (std::size_t start = 0; !found_ && start < free; ++start) {
    const std::string_view end = std::string_view(held_).substr(start);
    const bool may_stop = std::any_of(stops_.begin(), stops_.end(), [&](const std::string& stop) {
      return std::string_view(stop).starts_with(end);
    });
    if (may_stop) free = start;
  }
  std::string text = held_.substr(0, free);
  held_.erase(0, found_ ? held_.size() : free);
  return text;
}

std::string StopStrings::rest() { return std::exchange(held_, {}); }

}  // namespace grouphead
