#include "grouphead/models/perplexity.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/check.h"
#include "ops/loss.h"

namespace grouphead {
namespace {

constexpr std::string_view kName = "perplexity";
constexpr Index kChunk = 128;  // positions whose logits are there at a time

/// The sum of -log p over text[begin, end), after all tokens from `first` on.
double window_loss(Context& ctx, Decoder& decoder, std::span<const std::int32_t> text, Index first,
                   Index begin, Index end) {
  const Index width = decoder.vocab_size();
  const auto tokens = [&](Index from, Index count) {
    return ConstView(text.data() + from, {count});
  };
  decoder.truncate(0);
  if (begin - 1 > first) {
    Tensor unused = ctx.tensor({width}, decoder.dtype());
    decoder.read(ctx, tokens(first, begin - 1 - first), unused);
  }
  double sum = 0;
  for (Index at = begin; at < end; at += kChunk) {
    const Index count = std::min(kChunk, end - at);
    Tensor logits = ctx.tensor({count, width}, decoder.dtype());
    decoder.read(ctx, tokens(at - 1, count), logits);
    sum += static_cast<double>(count) *
           ops::softmax_cross_entropy_forward(ctx, logits, tokens(at, count), {});
  }
  return sum;
}

}  // namespace

double Perplexity::value() const { return std::exp(loss); }

Perplexity perplexity(Context& ctx, Decoder& decoder, std::span<const std::int32_t> tokens,
                      const PerplexityOptions& options) {
  const auto size = static_cast<Index>(tokens.size());
  if (options.length < 2) {
    core::throw_config_error(kName, "length", "2 or more", std::to_string(options.length));
  }
  if (options.stride < 1 || options.stride > options.length) {
    core::throw_config_error(kName, "stride", "1 to length = " + std::to_string(options.length),
                             std::to_string(options.stride));
  }
  if (size < 2) {
    core::throw_shape_error(kName, "tokens", "2 tokens or more", std::to_string(size));
  }
  decoder.reserve(ctx, std::min(options.length, size));
  Perplexity found;
  double sum = 0;
  Index done = 0;
  for (Index first = 0; done < size; first += options.stride) {
    const Index begin = std::max(done, first + 1);
    done = std::min(first + options.length, size);
    sum += window_loss(ctx, decoder, tokens, first, begin, done);
    found.tokens += std::max<Index>(done - begin, 0);
    if (options.on_window) options.on_window(done);
  }
  found.loss = sum / static_cast<double>(found.tokens);
  return found;
}

}  // namespace grouphead
