#include "grouphead/models/generation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/number_text.h"

namespace grouphead {
namespace {

// Positions per call while a prompt is read: bounds the activations' memory.
constexpr Index kPrefill = 512;
// Tokens that a new cache has room for behind its prompt.
constexpr Index kFirstTokens = 256;

SamplingOptions checked(const SamplingOptions& options) {
  const auto require = [](bool holds, std::string_view option, std::string_view expected,
                          double got) {
    if (!holds) detail::throw_config_error("generate", option, expected, detail::number_text(got));
  };
  require(std::isfinite(options.temperature) && options.temperature >= 0, "temperature",
          "0 or more", options.temperature);
  require(options.top_k >= 0, "top-k", "0 or more", static_cast<double>(options.top_k));
  require(options.top_p > 0 && options.top_p <= 1, "top-p", "a number in (0, 1]", options.top_p);
  return options;
}

// Positions of the prompt and all tokens.
Index checked_limit(std::span<const std::int32_t> prompt, Index max_tokens) {
  if (prompt.empty()) detail::throw_config_error("generate", "prompt", "1 token or more", "none");
  if (max_tokens < 0) {
    detail::throw_config_error("generate", "max_tokens", "0 or more", std::to_string(max_tokens));
  }
  const auto length = static_cast<Index>(prompt.size());
  return length + std::min(max_tokens, std::numeric_limits<Index>::max() - length);
}

double uniform(RandomKey key) {  // in [0, 1), 53 bits
  const PhiloxBlock block = philox4x32(key, 0);
  const std::uint64_t word = (std::uint64_t{block.words[1]} << 32) | block.words[0];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options, Index vocabulary)
    : options_(checked(options)),
      stream_(options.seed),
      candidates_(static_cast<std::size_t>(vocabulary)) {}

std::int32_t Sampler::operator()(ConstView logits) {
  const auto vocabulary = static_cast<Index>(candidates_.size());
  detail::require_dense("generate", "logits", logits, {vocabulary}, logits.dtype());
  for (Index i = 0; i < vocabulary; ++i) {
    const double logit = logits.dtype() == Dtype::f64
                             ? logits.data<double>()[i]
                             : static_cast<double>(logits.data<float>()[i]);
    if (!std::isfinite(logit)) {
      throw Error("[generate] logits: expected finite numbers, got " + detail::number_text(logit));
    }
    candidates_[static_cast<std::size_t>(i)] = {static_cast<std::int32_t>(i), logit};
  }
  // Most likely first; equal ones by number, so that the order is one and the same everywhere.
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
  });
  const RandomKey key = stream_.next();
  if (options_.temperature == 0) return candidates_[0].token;

  const double largest = candidates_[0].weight;
  double total = 0;
  for (Candidate& candidate : candidates_) {
    candidate.weight = std::exp((candidate.weight - largest) / options_.temperature);
  }
  auto kept = candidates_.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options_.top_k));
  for (std::size_t i = 0; i < kept; ++i) total += candidates_[i].weight;
  if (options_.top_p < 1) {
    const double wanted = options_.top_p * total;
    total = 0;
    std::size_t i = 0;
    while (i < kept && total < wanted) total += candidates_[i++].weight;
    kept = i;
  }
  const double target = uniform(key) * total;
  double reached = 0;
  for (std::size_t i = 0; i + 1 < kept; ++i) {
    reached += candidates_[i].weight;
    if (target < reached) return candidates_[i].token;
  }
  return candidates_[kept - 1].token;
}

Generation::Generation(Context& ctx, const LanguageModel& model,
                       std::span<const std::int32_t> prompt, const GenerationOptions& options)
    : ctx_(ctx),
      model_(model),
      sampler_(options.sampling, model.config().vocab_size),
      limit_(checked_limit(prompt, options.max_tokens)),
      cache_(model.make_cache(ctx, 1,
                              std::min(limit_, static_cast<Index>(prompt.size()) + kFirstTokens),
                              options.cache_dtype)),
      logits_({1, model.config().vocab_size}, model.dtype()),
      token_({1, 1}, Dtype::i32),
      remaining_(options.max_tokens) {
  const auto length = static_cast<Index>(prompt.size());
  for (Index first = 0; first < length; first += kPrefill) {
    const Index count = std::min(kPrefill, length - first);
    read(ConstView(prompt.data() + first, {1, count}));
    if (options.on_prompt) options.on_prompt(first + count);
  }
}

void Generation::read(ConstView tokens) {
  const Index wanted = cache_.length() + tokens.dim(1);
  if (wanted > cache_.capacity()) {
    cache_.reserve(ctx_, std::max(wanted, std::min(2 * cache_.capacity(), limit_)));
  }
  model_.step(ctx_, tokens, cache_, logits_);
}

std::int32_t Generation::next() {
  if (remaining_ <= 0) detail::throw_shape_error("generate", "tokens", "max_tokens calls", "more");
  if (token_is_pending_) read(ConstView(token_.view()));
  token_is_pending_ = false;
  const std::int32_t token = sampler_(logits_.view().reshaped({model_.config().vocab_size}));
  token_.data<std::int32_t>()[0] = token;
  token_is_pending_ = true;
  --remaining_;
  return token;
}

std::vector<std::int32_t> generate(Context& ctx, const LanguageModel& model,
                                   std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<bool(std::int32_t token)>& on_token) {
  Generation generation(ctx, model, prompt, options);
  std::vector<std::int32_t> tokens;
  while (generation.remaining() > 0) {
    tokens.push_back(generation.next());
    if (on_token && !on_token(tokens.back())) break;
  }
  return tokens;
}

}  // namespace grouphead
