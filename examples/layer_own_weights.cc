// A GroupQueryAttention layer with weights that come from somewhere else, an array of your own or
// another framework's checkpoint.

#include <grouphead/grouphead.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace gh = grouphead;

namespace {

constexpr gh::Index kWidth = 32;
constexpr gh::Index kHeads = 4;
constexpr gh::Index kKeyValueHeads = 2;
constexpr gh::Index kHeadDim = 8;

/// Stands for a checkpoint: matrices [inputs, outputs], row-major. Most frameworks store the
/// transpose, [outputs, inputs].
std::map<std::string, std::vector<float>> checkpoint() {
  const auto matrix = [](gh::Index inputs, gh::Index outputs, std::uint64_t seed) {
    const gh::Tensor values = gh::random_normal({inputs, outputs}, seed);
    return std::vector<float>(values.data<float>(), values.data<float>() + values.size());
  };
  return {{"query/kernel", matrix(kWidth, kHeads * kHeadDim, 1)},
          {"key/kernel", matrix(kWidth, kKeyValueHeads * kHeadDim, 2)},
          {"value/kernel", matrix(kWidth, kKeyValueHeads * kHeadDim, 3)},
          {"attention_output/kernel", matrix(kHeads * kHeadDim, kWidth, 4)}};
}

}  // namespace

int main() {
  gh::Context ctx;
  const gh::Tensor x = gh::random_normal({2, 10, kWidth}, /*seed=*/5);

  gh::GroupQueryAttention attention({.head_dim = kHeadDim,
                                     .num_query_heads = kHeads,
                                     .num_key_value_heads = kKeyValueHeads,
                                     .use_bias = false});
  attention.build({x.shape()}, /*seed=*/0);

  // Parameters are listed by path. A kernel [M, heads, head_dim] has the elements of a matrix
  // [M, heads * head_dim] in the same order.
  const auto weights = checkpoint();
  for (const auto& [path, parameter] : attention.parameters()) {
    const std::vector<float>& values = weights.at(path);
    std::printf("%-24s %s\n", path.c_str(), parameter->shape().to_string().c_str());
    if (static_cast<gh::Index>(values.size()) != parameter->shape().size()) return 1;
    std::copy(values.begin(), values.end(), parameter->edit().data<float>());
  }

  const gh::Tensor y = attention(ctx, {.query = x, .use_causal_mask = true});
  std::printf("output %s\n", y.shape().to_string().c_str());

  // From here on the weights can be stored under their paths, and read again.
  gh::save_weights(attention, "attention.safetensors");
  gh::load_weights(attention, "attention.safetensors");
  return 0;
}
