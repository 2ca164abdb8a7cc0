// config.json of Hugging Face folders: what is described becomes a model, as far as it is small,
// and the model reads three tokens.

#include "fuzz.h"
#include "grouphead/models/transformer.h"
#include "io/json.h"
#include "nn/loading_scope.h"
#include "saved/huggingface/folder.h"

namespace {

namespace gh = grouphead;

constexpr gh::Index kMostElements = 1 << 16;
constexpr gh::Index kMostLayers = 16;  // a folder's tensors limit them
constexpr gh::Index kWidestHeads = 1 << 14;

void read(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const gh::ConfigValue json = gh::io::parse_json(text, "text");
  const gh::saved::FamilyModel found = gh::saved::describe(json, "text");
  const gh::TransformerModelConfig& config = found.described.config;
  const gh::SelfAttentionConfig& attention = config.attention;
  if (config.num_layers > kMostLayers || attention.num_heads * attention.head_dim > kWidestHeads) {
    return;
  }
  const gh::nn::LoadingScope scope(kMostElements);
  const gh::TransformerModel model(config);
  static gh::Context ctx({.num_threads = 1});
  const std::int32_t tokens[] = {0, 1, 0};
  model(ctx, {.tokens = gh::Tensor::from<std::int32_t>({1, 3}, tokens)});
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(read(data, size))
