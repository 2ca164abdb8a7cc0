// What each head of a model attends to, layer by layer.

#include <grouphead/grouphead.h>

#include <cstdio>
#include <string>
#include <vector>

namespace gh = grouphead;

int main() {
  gh::Context ctx;
  const gh::LanguageModel model({.vocab_size = 256,
                                 .transformer = {.hidden_size = 32,
                                                 .num_heads = 4,
                                                 .num_key_value_heads = 2,
                                                 .num_layers = 2,
                                                 .rope = gh::RopeConfig{}}});
  const std::string text = "attention";
  const auto length = static_cast<gh::Index>(text.size());
  gh::Tensor tokens({1, length}, gh::Dtype::i32);
  for (gh::Index i = 0; i < length; ++i) {
    tokens.data<std::int32_t>()[i] = static_cast<unsigned char>(text[static_cast<std::size_t>(i)]);
  }

  // One tensor [batch, query heads, positions, positions] for each layer; rows sum to 1.
  const std::vector<gh::Tensor> maps = model.attention_scores(ctx, tokens);
  for (std::size_t layer = 0; layer < maps.size(); ++layer) {
    const float* map = maps[layer].data<float>();  // of the first sequence and head
    std::printf("layer %zu, head 0\n", layer);
    for (gh::Index query = 0; query < length; ++query) {
      std::printf("  %c", text[static_cast<std::size_t>(query)]);
      for (gh::Index key = 0; key <= query; ++key) std::printf(" %.2f", map[query * length + key]);
      std::printf("\n");
    }
  }
  return 0;
}
