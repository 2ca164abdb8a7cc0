// Encoders: BERT and those that vary it.

#include "saved/huggingface/family.h"

namespace grouphead::saved {
namespace {

/// Post-norm blocks with biases and learned positions.
void set_encoder(TransformerModelConfig& m) {
  m.causal = false;
  m.head = false;
  m.embedding_norm = true;
  m.final_norm = false;
  m.norm.kind = NormKind::layer;
  m.norm.use_bias = true;
  m.norm_placement = NormPlacement::after_sum;
  SelfAttentionConfig& a = m.attention;
  a.query_bias = a.key_bias = a.value_bias = a.output_bias = true;
  m.feed_forward.gated = false;
  m.feed_forward.use_bias = true;
}

void set_heads(HubConfig& c, TransformerModelConfig& m, Index heads) {
  if (m.hidden_size % heads != 0) {
    c.refuse("num_attention_heads", "a divisor of " + std::to_string(m.hidden_size),
             std::to_string(heads));
  }
  m.attention.num_heads = m.attention.num_key_value_heads = heads;
  m.attention.head_dim = m.hidden_size / heads;
}

Described bert(HubConfig& c) {
  Described d;
  d.heads_key = {};
  TransformerModelConfig& m = d.config;
  set_encoder(m);
  m.vocab_size = c.size({"vocab_size"}, 30522);
  m.hidden_size = c.size({"hidden_size"}, 768);
  m.num_layers = c.count({"num_hidden_layers"}, 12);
  set_heads(c, m, c.count({"num_attention_heads"}, 12));
  m.feed_forward.width = c.size({"intermediate_size"}, 3072);
  m.feed_forward.activation = activation_of(c, {"hidden_act"}, "gelu");
  m.max_positions = c.size({"max_position_embeddings"}, 512);
  m.token_types = c.size({"type_vocab_size"}, 2);
  m.norm.epsilon = c.number({"layer_norm_eps"}, 1e-12);
  m.embedding_dropout = m.residual_dropout = c.number({"hidden_dropout_prob"}, 0.1);
  m.attention.dropout = c.number({"attention_probs_dropout_prob"}, 0.1);
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
  Described d;
  d.heads_key = {};
  TransformerModelConfig& m = d.config;
  set_encoder(m);
  m.vocab_size = c.size({"vocab_size"}, 30522);
  m.hidden_size = c.size({"dim", "hidden_size"}, 768);
  m.num_layers = c.count({"n_layers", "num_hidden_layers"}, 6);
  set_heads(c, m, c.count({"n_heads", "num_attention_heads"}, 12));
  m.feed_forward.width = c.size({"hidden_dim"}, 3072);
  m.feed_forward.activation = activation_of(c, {"activation"}, "gelu");
  m.max_positions = c.size({"max_position_embeddings"}, 512);
  m.norm.epsilon = 1e-12;
  m.embedding_dropout = m.residual_dropout = c.number({"dropout"}, 0.1);
  m.attention.dropout = c.number({"attention_dropout"}, 0.1);
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
