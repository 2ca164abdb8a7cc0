// GPT-2 and other decoders with LayerNorm and feed-forwards without a gate.

#include <cmath>

#include "grouphead/attention.h"
#include "saved/huggingface/family.h"

namespace grouphead::saved {
namespace {

bool always(Index /*layer*/) { return true; }
bool never(Index /*layer*/) { return false; }

void set_biases(TransformerModelConfig& m, bool attention, bool feed_forward) {
  SelfAttentionConfig& a = m.attention;
  a.query_bias = a.key_bias = a.value_bias = a.output_bias = attention;
  m.feed_forward.use_bias = feed_forward;
}

Described decoder_of(HubConfig& c, bool tied_by_default, const PlainKeys& keys) {
  Described d{.config = plain_blocks_of(c, keys)};
  d.config.tied_head = c.boolean("tie_word_embeddings", tied_by_default);
  return d;
}

constexpr std::string_view kHidden = "hidden_size";
constexpr std::string_view kLayers = "num_hidden_layers";
constexpr std::string_view kHeads = "num_attention_heads";

Described gpt2(HubConfig& c) {
  Described d = decoder_of(c, true,
                           {.hidden = {"n_embd", 768, kHidden},
                            .layers = {"n_layer", 12, kLayers},
                            .heads = {"n_head", 12, kHeads},
                            .width = {"n_inner"},
                            .activation = {"activation_function", "gelu_new"},
                            .epsilon = {"layer_norm_epsilon", 1e-5},
                            .attention_dropout = {"attn_pdrop", 0.1},
                            .residual_dropout = {"resid_pdrop", 0.1},
                            .embedding_dropout = {"embd_pdrop", 0.1}});
  d.heads_key = {};
  TransformerModelConfig& m = d.config;
  m.max_positions = c.size({"n_positions", "max_position_embeddings"}, 1024);
  set_biases(m, true, true);
  if (!c.boolean("scale_attn_weights", true)) m.attention.scale = 1;
  m.attention.scale_by_depth = c.boolean("scale_attn_by_inverse_layer_idx", false);
  c.require("add_cross_attention", false);
  c.ignore({"n_ctx", "reorder_and_upcast_attn", "summary_activation", "summary_first_dropout",
            "summary_proj_to_labels", "summary_type", "summary_use_proj"});
  d.names = {.prefix = "transformer.",
             .tokens = "wte",
             .positions = "wpe",
             .final_norm = "ln_f",
             .layers = "h.",
             .attention_norm = "ln_1",
             .query_key_value = "attn.c_attn",
             .attention_output = "attn.c_proj",
             .feed_forward_norm = "ln_2",
             .up = "mlp.c_fc",
             .down = "mlp.c_proj",
             .layout = QkvLayout::parts,
             .kernels_by_input = true};
  return d;
}

Described gpt_neox(HubConfig& c) {
  Described d = decoder_of(c, false,
                           {.width = {"intermediate_size", 24576},
                            .residual_dropout = {"hidden_dropout"},
                            .embedding_dropout = {"hidden_dropout"}});
  d.heads_key = {};
  TransformerModelConfig& m = d.config;
  set_biases(m, c.boolean("attention_bias", true), true);
  m.parallel = c.boolean("use_parallel_residual", true);
  m.ropes = {rope_of(c, c.number({"rotary_emb_base"}, 10000), c.number({"rotary_pct"}, 0.25))};
  c.ignore({"is_decoder"});
  d.names = {.prefix = "gpt_neox.",
             .tokens = "embed_in",
             .final_norm = "final_layer_norm",
             .head = "embed_out",
             .query_key_value = "attention.query_key_value",
             .attention_output = "attention.dense",
             .up = "mlp.dense_h_to_4h",
             .down = "mlp.dense_4h_to_h",
             .layout = QkvLayout::heads};
  d.names_in_memory = d.names;
  d.names_in_memory->head = "lm_head";
  return d;
}

Described opt(HubConfig& c) {
  Described d = decoder_of(c, true,
                           {.width = {"ffn_dim", 3072},
                            .activation = {"activation_function", "relu"},
                            .epsilon = {{}, 1e-5},
                            .residual_dropout = {"dropout", 0.1}});
  d.heads_key = {};
  TransformerModelConfig& m = d.config;
  m.position_offset = 2;
  m.max_positions = c.size({"max_position_embeddings"}, 2048) + m.position_offset;
  m.embedding_size = c.size({"word_embed_proj_dim"}, m.hidden_size);
  const bool biased = c.boolean("enable_bias", true);
  set_biases(m, biased, biased);
  const bool is_before = c.boolean("do_layer_norm_before", true);
  m.norm_placement = is_before ? NormPlacement::before : NormPlacement::after_sum;
  m.final_norm = is_before && !c.boolean("_remove_final_layer_norm", false);
  c.require("layer_norm_elementwise_affine", true);
  c.require("layerdrop", 0.0);
  c.require("activation_dropout", 0.0);
  d.names = {.tokens = "decoder.embed_tokens",
             .positions = "decoder.embed_positions",
             .embedding_projection = "decoder.project_in",
             .head_input = "decoder.project_out",
             .final_norm = "decoder.final_layer_norm",
             .layers = "decoder.layers.",
             .attention_norm = "self_attn_layer_norm",
             .attention_output = "self_attn.out_proj",
             .feed_forward_norm = "final_layer_norm",
             .up = "fc1",
             .down = "fc2"};
  if (!is_before) {
    d.names.attention_output_norm = d.names.attention_norm;
    d.names.feed_forward_output_norm = d.names.feed_forward_norm;
  }
  return d;
}

Described bloom(HubConfig& c) {
  Described d = decoder_of(c, true,
                           {.hidden = {kHidden, 768, "n_embed"},
                            .layers = {"n_layer", 12, kLayers},
                            .heads = {"n_head", 12, kHeads},
                            .width = {},
                            .activation = {{}, "gelu_pytorch_tanh"},
                            .epsilon = {"layer_norm_epsilon", 1e-5},
                            .residual_dropout = {"hidden_dropout"}});
  d.heads_key = {};
  TransformerModelConfig& m = d.config;
  m.embedding_norm = true;
  m.attention.alibi_slopes = alibi_slopes(m.attention.num_heads);
  set_biases(m, true, true);
  m.residual_from_norm = c.boolean("apply_residual_connection_post_layernorm", false);
  // Of the training, and of sums cut for several processors.
  c.ignore({"attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion",
            "offset_alibi", "pretraining_tp", "seq_length", "skip_bias_add", "skip_bias_add_qkv",
            "slow_but_exact"});
  d.names = {.prefix = "transformer.",
             .tokens = "word_embeddings",
             .embedding_norm = "word_embeddings_layernorm",
             .final_norm = "ln_f",
             .layers = "h.",
             .query_key_value = "self_attention.query_key_value",
             .attention_output = "self_attention.dense",
             .up = "mlp.dense_h_to_4h",
             .down = "mlp.dense_4h_to_h",
             .layout = QkvLayout::heads};
  return d;
}

/// Head counts, and how the fused weight is laid out.
void read_falcon_heads(HubConfig& c, Described& d) {
  SelfAttentionConfig& a = d.config.attention;
  const Index stated = c.count({"num_kv_heads", "n_head_kv"}, a.num_heads);
  const bool shares_one = c.boolean("multi_query", true);
  d.names.layout = QkvLayout::heads;
  d.heads_key = {};
  if (c.boolean("new_decoder_architecture", false)) {
    d.heads_key = "num_kv_heads";
    a.num_key_value_heads = stated;
  } else if (shares_one) {
    a.num_key_value_heads = 1;
  } else if (stated != a.num_heads) {
    c.refuse("num_kv_heads", std::to_string(a.num_heads), std::to_string(stated));
  }
}

/// Blocks: one after the other, or parallel with one or two norms.
void read_falcon_blocks(HubConfig& c, Described& d) {
  TransformerModelConfig& m = d.config;
  const bool is_new = c.boolean("new_decoder_architecture", false);
  m.parallel = c.boolean("parallel_attn", true);
  if (is_new && !m.parallel) c.refuse("parallel_attn", "true with new_decoder_architecture");
  const Index norms = c.integer({"num_ln_in_parallel_attn"}, is_new ? 2 : 1);
  m.shared_norm = m.parallel && norms == 1;
  if (norms != 1 && !(is_new && norms == 2)) {
    c.refuse("num_ln_in_parallel_attn", is_new ? "1 or 2" : "1");
  }
  if (m.parallel && norms == 2) {
    d.names.attention_norm = "ln_attn";
    d.names.feed_forward_norm = "ln_mlp";
  }
}

Described falcon(HubConfig& c) {
  Described d = decoder_of(c, true,
                           {.hidden = {kHidden, 768, "n_embed"},
                            .layers = {kLayers, 12, "n_layer"},
                            .heads = {kHeads, 12, "n_head"},
                            .width = {"ffn_hidden_size"},
                            .activation = {"activation", "gelu"},
                            .epsilon = {"layer_norm_epsilon", 1e-5},
                            .attention_dropout = {},
                            .residual_dropout = {"hidden_dropout"}});
  TransformerModelConfig& m = d.config;
  d.names = {.prefix = "transformer.",
             .tokens = "word_embeddings",
             .final_norm = "ln_f",
             .layers = "h.",
             .query_key_value = "self_attention.query_key_value",
             .attention_output = "self_attention.dense",
             .up = "mlp.dense_h_to_4h",
             .down = "mlp.dense_4h_to_h"};
  read_falcon_heads(c, d);
  read_falcon_blocks(c, d);
  const bool biased = c.boolean("bias", false);
  set_biases(m, biased, biased);
  const RopeConfig rope = rope_of(c, 10000);
  if (c.boolean("alibi", false)) {
    // The slopes are scaled as the products q k are.
    m.attention.alibi_slopes = alibi_slopes(m.attention.num_heads);
    for (double& slope : m.attention.alibi_slopes) {
      slope /= std::sqrt(static_cast<double>(m.attention.head_dim));
    }
  } else {
    m.ropes = {rope};
  }
  c.require("attention_dropout", 0.0);
  c.require("apply_residual_connection_post_layernorm", false);
  return d;
}

Described starcoder2(HubConfig& c) {
  Described d = decoder_of(c, true,
                           {.width = {"intermediate_size", 12288},
                            .activation = {"hidden_act", "gelu_pytorch_tanh"},
                            .epsilon = {"norm_epsilon", 1e-5},
                            .residual_dropout = {"residual_dropout"},
                            .embedding_dropout = {"embedding_dropout"}});
  TransformerModelConfig& m = d.config;
  m.attention.num_key_value_heads = c.count({"num_key_value_heads"}, 2);
  m.attention.head_dim = c.count({"head_dim"}, m.attention.head_dim);
  const bool biased = c.boolean("use_bias", true);
  set_biases(m, biased, biased);
  m.ropes = {rope_of(c, 10000)};
  const std::optional<Index> window = window_of(c);
  m.layers = layers_of(c, m.num_layers, window, window ? never : always, 0);
  c.require("norm_type", "layer_norm");
  c.require("mlp_type", "default");
  c.require("scale_attn_weights", true);
  c.ignore({"attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"});
  d.names.up = "mlp.c_fc";
  d.names.down = "mlp.c_proj";
  return d;
}

Described phi(HubConfig& c) {
  Described d = decoder_of(c, false,
                           {.width = {"intermediate_size", 8192},
                            .activation = {"hidden_act", "gelu_new"},
                            .residual_dropout = {"resid_pdrop"},
                            .embedding_dropout = {"embd_pdrop"}});
  TransformerModelConfig& m = d.config;
  m.attention.num_key_value_heads = c.count({"num_key_value_heads"}, m.attention.num_heads);
  set_biases(m, true, true);
  m.parallel = m.shared_norm = m.head_bias = true;
  if (c.boolean("qk_layernorm", false)) {
    m.attention.query_key_norm = QueryKeyNorm::shared_gains;
    m.attention.query_key_norm_config = m.norm;
  }
  m.ropes = {rope_of(c, 10000, 0.5)};
  d.names.final_norm = "final_layernorm";
  d.names.query_norm = "self_attn.q_layernorm";
  d.names.key_norm = "self_attn.k_layernorm";
  d.names.attention_output = "self_attn.dense";
  d.names.up = "mlp.fc1";
  d.names.down = "mlp.fc2";
  return d;
}

constexpr Family kFamilies[] = {
    {"gpt2", gpt2},     {"gpt_neox", gpt_neox},     {"opt", opt}, {"bloom", bloom},
    {"falcon", falcon}, {"starcoder2", starcoder2}, {"phi", phi},
};

}  // namespace

std::span<const Family> gpt_families() { return kFamilies; }

}  // namespace grouphead::saved
