// Cross-attention of a decoder to padded sources: what padding contains changes nothing.

#include <grouphead/grouphead.h>

#include <cmath>
#include <cstdio>
#include <vector>

namespace gh = grouphead;

int main() {
  gh::Context ctx;

  // Token 0 is padding. The mask that the Embedding makes travels with its output, and the
  // attention layer uses it.
  const gh::Symbol source = gh::input({.shape = {-1}, .dtype = gh::Dtype::i32, .name = "source"});
  const gh::Symbol target = gh::input({.shape = {-1, 32}, .name = "target"});
  const gh::Symbol memory =
      gh::layer<gh::Embedding>({.input_dim = 100, .output_dim = 32, .mask_zero = true})(source);
  const auto attention = gh::layer<gh::GroupQueryAttention>(
      {.head_dim = 8, .num_query_heads = 4, .num_key_value_heads = 2, .name = "cross"});
  const gh::Symbol attended = attention({target, memory});
  const gh::Model model({.inputs = {target, source}, .outputs = {attended}, .seed = 7});

  // Two sources of 5 and 3 tokens in one batch, and the second one alone, without padding.
  const std::vector<std::int32_t> both = {12, 7, 55, 3, 9, 41, 8, 2, 0, 0};
  const std::vector<std::int32_t> alone = {41, 8, 2};
  const gh::Tensor queries = gh::random_normal({2, 4, 32}, /*seed=*/1);
  const gh::Tensor last_queries =
      gh::Tensor::from({1, 4, 32}, std::span(queries.data<float>() + 4 * 32, 4 * 32));
  const gh::Tensor padded =
      model(ctx, {{"target", queries},
                  {"source", gh::Tensor::from({2, 5}, std::span<const std::int32_t>(both))}})[0];
  const gh::Tensor unpadded =
      model(ctx, {{"target", last_queries},
                  {"source", gh::Tensor::from({1, 3}, std::span<const std::int32_t>(alone))}})[0];

  float difference = 0;
  for (gh::Index i = 0; i < unpadded.size(); ++i) {
    difference = std::max(difference, std::abs(padded.data<float>()[unpadded.size() + i] -
                                               unpadded.data<float>()[i]));
  }
  std::printf("with padding and without: largest difference %g\n", difference);

  // The layer itself takes masks as operands: true is a real position.
  gh::Tensor is_real({1, 3}, gh::Dtype::boolean);
  for (const gh::Index i : {0, 1, 2}) is_real.data<bool>()[i] = i < 2;
  const gh::AttentionOutput out =
      attention->with_scores(ctx, {.query = last_queries,
                                   .value = gh::random_normal({1, 3, 32}, /*seed=*/2),
                                   .value_mask = is_real});
  const float* scores = out.scores.data<float>();  // [1, 4, 4, 3]
  std::printf("first query, first head: %.2f %.2f %.2f\n", scores[0], scores[1], scores[2]);
  return difference < 1e-5F && scores[2] == 0 ? 0 : 1;
}
