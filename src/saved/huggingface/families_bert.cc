// Encoders: BERT and those that vary it.

#include "saved/huggingface/family.h"

namespace grouphead::saved {
namespace {

/// Post-norm blocks with biases and learned positions.
Described encoder_of(HubConfig& c, const PlainKeys& keys) {
  Described d{.config = plain_blocks_of(c, keys)};
  d.heads_key = {};
  TransformerModelConfig& m = d.config;
  m.causal = false;
  m.head = false;
  m.embedding_norm = true;
  m.final_norm = false;
  m.norm_placement = NormPlacement::after_sum;
  SelfAttentionConfig& a = m.attention;
  a.query_bias = a.key_bias = a.value_bias = a.output_bias = true;
  m.feed_forward.use_bias = true;
  m.max_positions = c.size({"max_position_embeddings"}, 512);
  return d;
}

Described bert(HubConfig& c) {
  Described d = encoder_of(c, {.words = {"vocab_size", 30522},
                               .width = {"intermediate_size", 3072},
                               .epsilon = {"layer_norm_eps", 1e-12},
                               .attention_dropout = {"attention_probs_dropout_prob", 0.1},
                               .residual_dropout = {"hidden_dropout_prob", 0.1},
                               .embedding_dropout = {"hidden_dropout_prob", 0.1}});
  d.config.token_types = c.size({"type_vocab_size"}, 2);
  c.require("is_decoder", false);
  c.require("add_cross_attention", false);
  c.require("position_embedding_type", "absolute");
  // Of heads that are not loaded.
  c.ignore({"tie_word_embeddings", "pooler_fc_size", "pooler_num_attention_heads",
            "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "directionality"});
  d.names = {.prefix = "bert.",
             .tokens = "embeddings.word_embeddings",
             .positions = "embeddings.position_embeddings",
             .token_types = "embeddings.token_type_embeddings",
             .embedding_norm = "embeddings.LayerNorm",
             .layers = "encoder.layer.",
             .query = "attention.self.query",
             .key = "attention.self.key",
             .value = "attention.self.value",
             .attention_output = "attention.output.dense",
             .attention_output_norm = "attention.output.LayerNorm",
             .up = "intermediate.dense",
             .down = "output.dense",
             .feed_forward_output_norm = "output.LayerNorm"};
  return d;
}

Described roberta(HubConfig& c) {
  Described d = bert(c);
  const Index padding = c.integer({"pad_token_id"}, 1);
  if (padding < 0 || padding >= d.config.max_positions) {
    c.refuse("pad_token_id", "a number below max_position_embeddings", std::to_string(padding));
  }
  d.config.padding_token = static_cast<std::int32_t>(padding);
  d.config.position_offset = padding + 1;
  d.names.prefix = "roberta.";
  return d;
}

Described distilbert(HubConfig& c) {
  Described d = encoder_of(c, {.words = {"vocab_size", 30522},
                               .hidden = {"dim", 768, "hidden_size"},
                               .layers = {"n_layers", 6, "num_hidden_layers"},
                               .heads = {"n_heads", 12, "num_attention_heads"},
                               .width = {"hidden_dim", 3072},
                               .activation = {"activation", "gelu"},
                               .epsilon = {{}, 1e-12},
                               .attention_dropout = {"attention_dropout", 0.1},
                               .residual_dropout = {"dropout", 0.1},
                               .embedding_dropout = {"dropout", 0.1}});
  // The table of positions is in the file however it was made; the rest belongs to heads.
  c.ignore({"sinusoidal_pos_embds", "qa_dropout", "seq_classif_dropout", "tie_word_embeddings",
            "tie_weights_"});
  d.names = {.prefix = "distilbert.",
             .tokens = "embeddings.word_embeddings",
             .positions = "embeddings.position_embeddings",
             .embedding_norm = "embeddings.LayerNorm",
             .layers = "transformer.layer.",
             .query = "attention.q_lin",
             .key = "attention.k_lin",
             .value = "attention.v_lin",
             .attention_output = "attention.out_lin",
             .attention_output_norm = "sa_layer_norm",
             .up = "ffn.lin1",
             .down = "ffn.lin2",
             .feed_forward_output_norm = "output_layer_norm"};
  return d;
}

constexpr Family kFamilies[] = {
    {"bert", bert},
    {"roberta", roberta},
    {"xlm-roberta", roberta},
    {"distilbert", distilbert},
};

}  // namespace

std::span<const Family> encoder_families() { return kFamilies; }

}  // namespace grouphead::saved
