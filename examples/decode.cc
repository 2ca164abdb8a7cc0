// Decoding with a cache of keys and values, by functions on your own buffers: a prompt in one call,
// then token by token; the last 32 positions are visible.

#include <grouphead/attention.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

namespace gh = grouphead;
using gh::Index;

namespace {

constexpr Index kHeads = 8, kKeyHeads = 2, kDim = 64;

// Stands for the projections of a model's layer: `count` positions from `first` on.
std::vector<float> projected(Index first, Index count, Index heads, float phase) {
  std::vector<float> x(static_cast<std::size_t>(count * heads * kDim));
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = std::sin(phase * static_cast<float>(first * heads * kDim + static_cast<Index>(i)));
  }
  return x;
}

}  // namespace

int main() {
  constexpr Index kPrompt = 50, kTokens = 30;
  gh::Context ctx;
  // dtype: f32; bf16 halves the memory, u8 takes about a quarter.
  gh::KvCache cache(ctx, {.num_layers = 1,
                          .batch = 1,
                          .num_key_value_heads = kKeyHeads,
                          .head_dim = kDim,
                          .capacity = kPrompt + kTokens,
                          .dtype = gh::Dtype::bf16});
  const gh::AttentionOptions options{.causal = true, .window_left = 31};

  std::vector<float> out;
  const auto step = [&](Index count) {
    const Index first = cache.length();
    const std::vector<float> q = projected(first, count, kHeads, 0.7F);
    const std::vector<float> k = projected(first, count, kKeyHeads, 0.3F);
    const std::vector<float> v = projected(first, count, kKeyHeads, 0.1F);
    out.resize(q.size());
    constexpr Index kLayer = 0;  // a model calls decode() once for each of its layers,
    gh::decode(ctx, {q.data(), {1, count, kHeads, kDim}}, {k.data(), {1, count, kKeyHeads, kDim}},
               {v.data(), {1, count, kKeyHeads, kDim}}, cache, kLayer, options,
               {out.data(), {1, count, kHeads, kDim}});
    cache.advance(count);  // and then counts the new positions
  };
  step(kPrompt);
  for (Index token = 0; token < kTokens; ++token) step(1);

  std::printf("%lld positions in %lld bytes, out[0] = %.4f\n",
              static_cast<long long>(cache.length()), static_cast<long long>(cache.bytes()),
              static_cast<double>(out[0]));
  const bool is_finite =
      std::all_of(out.begin(), out.end(), [](float x) { return std::isfinite(x); });
  return is_finite && cache.length() == kPrompt + kTokens ? 0 : 1;
}
