// Attention on your own buffers: grouped-query attention with a mask, a bias, and gradients.

#include <grouphead/attention.h>

#include <cmath>
#include <cstdio>
#include <vector>

namespace gh = grouphead;
using gh::Index;

int main() {
  constexpr Index B = 2, T = 64, S = 96, Hq = 8, Hkv = 2, D = 32;
  std::vector<float> q(B * T * Hq * D, 0.1F), k(B * S * Hkv * D, 0.2F), v(B * S * Hkv * D);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i));
  std::vector<float> out(q.size());

  // The plain call. Each argument is a view: a pointer and a shape.
  gh::Context ctx;
  const gh::ConstView query{q.data(), {B, T, Hq, D}};
  const gh::ConstView key{k.data(), {B, S, Hkv, D}};
  const gh::ConstView value{v.data(), {B, S, Hkv, D}};
  const gh::View result{out.data(), {B, T, Hq, D}};
  gh::attention(ctx, query, key, value, {.causal = true, .causal_offset = S - T}, result);
  std::printf("out[0] = %.6f\n", static_cast<double>(out[0]));

  // Padding: of the second sequence 70 keys are real. A mask of [B, S] bytes, not 0 = visible.
  std::vector<std::uint8_t> real(B * S, 1);
  for (Index s = 70; s < S; ++s) real[static_cast<std::size_t>(S + s)] = 0;
  // A bias for each head and distance, shared by the batch: any axis of a bias or mask may be 1.
  std::vector<float> bias(Hq * T * S);
  for (Index h = 0, i = 0; h < Hq; ++h) {
    for (Index t = 0; t < T; ++t) {
      for (Index s = 0; s < S; ++s, ++i) {
        const auto distance = static_cast<float>(std::abs(t + S - T - s));
        bias[static_cast<std::size_t>(i)] = -distance / static_cast<float>(1 << (h + 1));
      }
    }
  }
  const gh::AttentionOptions options{.causal = true,
                                     .causal_offset = S - T,
                                     .window_left = 40,
                                     .key_mask = {real.data(), {B, S}},
                                     .bias = {bias.data(), {1, Hq, T, S}}};

  // For gradients the forward also writes what its softmax was.
  std::vector<float> statistics(2 * B * Hq * T), lse(B * Hq * T);
  const gh::View softmax{statistics.data(), {2, B, Hq, T}};
  gh::attention(ctx, query, key, value, options, result,
                {.lse = {lse.data(), {B, Hq, T}}, .statistics = softmax});

  std::vector<float> d_out(out.size(), 1), d_q(q.size()), d_k(k.size()), d_v(v.size());
  std::vector<float> d_bias(bias.size());
  gh::attention_backward(ctx, query, key, value, options, result, softmax,
                         {.d_out = {d_out.data(), {B, T, Hq, D}},
                          .d_q = {d_q.data(), {B, T, Hq, D}},
                          .d_k = {d_k.data(), {B, S, Hkv, D}},
                          .d_v = {d_v.data(), {B, S, Hkv, D}},
                          .d_bias = {d_bias.data(), {1, Hq, T, S}}});

  // The probabilities of a query sum to 1, so the gradients of v sum to those of out.
  double sum = 0;
  for (const float x : d_v) sum += static_cast<double>(x);
  std::printf("sum of d_v = %.1f of %zu\n", sum, out.size());
  return std::abs(sum - static_cast<double>(out.size())) < 0.5 ? 0 : 1;
}
