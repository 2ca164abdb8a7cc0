#include "tools/verbs/causal_model.h"

#include <limits>

#include "grouphead/files/pretrained.h"
#include "grouphead/files/saved_model.h"
#include "saved/model_folder.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;

template <class M>
CausalModel with_decoder(std::shared_ptr<M> model) {
  return {.layer = model, .decoder = [model](Context& ctx, const DecoderOptions& options) {
            return make_decoder(ctx, *model, options);
          }};
}

}  // namespace

std::vector<std::int32_t> CausalModel::tokens_of(const std::string& text) const {
  if (!tokenizer) {
    std::vector<std::int32_t> bytes;
    for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
    return bytes;
  }
  constexpr Index kWhole = std::numeric_limits<std::int32_t>::max();
  return tokenizer->encode(text, {.max_length = kWhole, .pads = false}).ids;
}

CausalModel read_causal_model(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return with_decoder(load_model(path));
  if (!saved::is_pretrained_folder(path)) {
    const saved::LoadedLanguageModel loaded = saved::load_language_model(path);
    CausalModel model = with_decoder(loaded.model);
    if (loaded.training) model.length = loaded.training->sequence_length;
    return model;
  }
  const PretrainedModel loaded = load_pretrained(path);
  CausalModel model = with_decoder(loaded.model);
  const TransformerModelConfig& config = loaded.model->config();
  const ConfigValue& stated = loaded.config["max_position_embeddings"];
  if (config.max_positions > 0) {
    model.length = config.max_positions - config.position_offset;
  } else if (stated.is_integer()) {
    model.length = stated.as_integer("max_position_embeddings");
  }
  return model;
}

CausalModel load_causal_model(const std::string& verb, const fs::path& path,
                              const std::string& tokenizer) {
  std::error_code ignored;
  const bool is_file = fs::is_regular_file(path, ignored);
  const bool has_tokens = is_file || saved::is_pretrained_folder(path);
  if (is_file && tokenizer.empty()) {
    throw ConfigError("[" + verb + "] --tokenizer: expected one for " + path.string() +
                      ", got none");
  }
  if (!has_tokens && !tokenizer.empty()) {
    throw ConfigError("[" + verb + "] --tokenizer: expected none for a model of bytes, got " +
                      tokenizer);
  }
  CausalModel model = read_causal_model(path);
  if (has_tokens) model.tokenizer = Tokenizer::load(tokenizer.empty() ? path : fs::path(tokenizer));
  return model;
}

}  // namespace grouphead::tools
