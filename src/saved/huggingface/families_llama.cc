// Llama and the families that vary it: RMSNorm, rotary positions, gated feed-forwards.

#include <cmath>

#include "saved/huggingface/family.h"

namespace grouphead::saved {
namespace {

bool always(Index /*layer*/) { return true; }
bool never(Index /*layer*/) { return false; }
bool is_odd(Index layer) { return layer % 2 == 1; }

/// Sizes, norms, tied head: what all of them read.
TransformerModelConfig sizes_of(HubConfig& c, bool tied_by_default) {
  TransformerModelConfig m;
  m.vocab_size = c.size({"vocab_size"}, 32000);
  m.hidden_size = c.size({"hidden_size"}, 4096);
  m.num_layers = c.count({"num_hidden_layers"}, 32);
  m.attention.num_heads = c.count({"num_attention_heads"}, 32);
  m.attention.num_key_value_heads = c.count({"num_key_value_heads"}, m.attention.num_heads);
  m.attention.head_dim = c.count({"head_dim"}, m.hidden_size / m.attention.num_heads);
  m.attention.dropout = c.number({"attention_dropout"}, 0);
  m.feed_forward.width = c.size({"intermediate_size"}, 11008);
  m.feed_forward.activation = activation_of(c, {"hidden_act"}, "silu");
  m.norm.epsilon = c.number({"rms_norm_eps"}, 1e-6);
  m.tied_head = c.boolean("tie_word_embeddings", tied_by_default);
  return m;
}

void set_biases(SelfAttentionConfig& attention, bool inputs, bool output) {
  attention.query_bias = attention.key_bias = attention.value_bias = inputs;
  attention.output_bias = output;
}

void read_biases(HubConfig& c, TransformerModelConfig& m) {
  const bool attention = c.boolean("attention_bias", false);
  set_biases(m.attention, attention, attention);
  m.feed_forward.use_bias = c.boolean("mlp_bias", false);
}

/// All layers alike, with the window that is given.
void set_window(HubConfig& c, TransformerModelConfig& m) {
  const std::optional<Index> window = window_of(c);
  m.layers = layers_of(c, m.num_layers, window, window ? never : always, 0);
}

Described llama(HubConfig& c) {
  Described d{.config = sizes_of(c, false)};
  read_biases(c, d.config);
  d.config.ropes = {rope_of(c, 10000)};
  c.ignore({"pretraining_tp"});  // how products are cut, not what they are
  c.require("rope_interleaved", false);
  return d;
}

Described mistral(HubConfig& c) {
  Described d{.config = sizes_of(c, false)};
  d.config.ropes = {rope_of(c, 10000)};
  set_window(c, d.config);
  return d;
}

Described mixtral(HubConfig& c) {
  Described d{.config = sizes_of(c, false)};
  TransformerModelConfig& m = d.config;
  m.norm.epsilon = c.number({"rms_norm_eps"}, 1e-5);
  m.ropes = {rope_of(c, 1e6)};
  set_window(c, m);
  m.feed_forward.num_experts = c.count({"num_local_experts", "num_experts"}, 8);
  m.feed_forward.experts_per_token = c.count({"num_experts_per_tok"}, 2);
  c.require("output_router_logits", false);
  c.require("router_jitter_noise", 0.0);
  c.ignore({"router_aux_loss_coef"});
  d.names.router = "block_sparse_moe.gate";
  d.names.experts = "block_sparse_moe.experts.";
  d.names.gate = "w1";
  d.names.up = "w3";
  d.names.down = "w2";
  d.names_in_memory.emplace();
  d.names_in_memory->router = "mlp.gate";
  d.names_in_memory->all_experts = "mlp.experts.";
  d.names_in_memory->experts_by_output = true;
  return d;
}

/// Gains from one, scaled embeddings, GeGLU.
void set_gemma(HubConfig& c, TransformerModelConfig& m, std::string_view activation_key) {
  m.norm.gains_from_one = true;
  m.attention.head_dim = c.count({"head_dim"}, 256);
  m.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(m.hidden_size)));
  m.feed_forward.activation = activation_of(c, {activation_key}, "gelu_pytorch_tanh");
  const bool attention = c.boolean("attention_bias", false);
  set_biases(m.attention, attention, attention);
  c.require("use_bidirectional_attention", false);
}

Described gemma(HubConfig& c) {
  Described d{.config = sizes_of(c, true)};
  set_gemma(c, d.config, "hidden_act");
  // Older files say "gelu" and mean the approximation.
  if (d.config.feed_forward.activation == Activation::gelu) {
    d.config.feed_forward.activation = Activation::gelu_tanh;
  }
  if (c.has("hidden_activation")) c.require("hidden_activation", "gelu_pytorch_tanh");
  d.config.ropes = {rope_of(c, 10000)};
  return d;
}

/// What Gemma 2 and 3 have beyond Gemma.
void set_gemma_2(HubConfig& c, Described& d) {
  TransformerModelConfig& m = d.config;
  set_gemma(c, m, "hidden_activation");
  c.require("hidden_act", "gelu_pytorch_tanh");
  const double scalar = c.number({"query_pre_attn_scalar"}, 256);
  if (!(scalar > 0)) c.refuse("query_pre_attn_scalar", "a positive number");
  m.attention.scale = 1 / std::sqrt(scalar);
  m.norm_placement = NormPlacement::both;
  d.names.attention_output_norm = "post_attention_layernorm";
  d.names.feed_forward_norm = "pre_feedforward_layernorm";
  d.names.feed_forward_output_norm = "post_feedforward_layernorm";
  c.ignore({"cache_implementation"});
}

/// A softcap whose key is absent has the default, one of null is none.
std::optional<double> softcap_of(HubConfig& c, std::string_view key, bool is_stated,
                                 double fallback) {
  if (is_stated) return c.optional_number(key);
  return c.number({key}, fallback);
}

Described gemma2(HubConfig& c) {
  Described d{.config = sizes_of(c, true)};
  set_gemma_2(c, d);
  d.config.attention.softcap =
      softcap_of(c, "attn_logit_softcapping", c.contains("attn_logit_softcapping"), 50);
  d.config.logit_softcap =
      softcap_of(c, "final_logit_softcapping", c.contains("final_logit_softcapping"), 30);
  d.config.ropes = {rope_of(c, 10000)};
  d.config.layers = layers_of(c, d.config.num_layers, c.size({"sliding_window"}, 4096), is_odd, 0);
  return d;
}

// Rules of two kinds of layers: one object with both, or older keys.
std::vector<RopeConfig> gemma3_ropes(HubConfig& c) {
  const ConfigValue nothing{ConfigValue::Object{}};
  const ConfigValue* full = &nothing;
  const ConfigValue* sliding = &nothing;
  const ConfigValue& both = c.value("rope_parameters");
  if (!both.is_null()) {
    HubConfig kinds(c.where() + ": rope_parameters", both);
    if (kinds.has("full_attention")) full = &kinds.value("full_attention");
    if (kinds.has("sliding_attention")) sliding = &kinds.value("sliding_attention");
    kinds.finish();
  } else if (c.has("rope_scaling")) {
    full = &c.value("rope_scaling");
  }
  return {rope_from(c, *full, c.number({"rope_theta"}, 1e6), 1),
          rope_from(c, *sliding, c.number({"rope_local_base_freq"}, 10000), 1)};
}

Described gemma3(HubConfig& c) {
  Described d{.config = sizes_of(c, true)};
  set_gemma_2(c, d);
  TransformerModelConfig& m = d.config;
  m.attention.query_key_norm = QueryKeyNorm::shared_gains;
  m.attention.query_key_norm_config = m.norm;
  m.attention.softcap = c.optional_number("attn_logit_softcapping");
  m.logit_softcap = c.optional_number("final_logit_softcapping");
  m.ropes = gemma3_ropes(c);
  const Index window = c.size({"sliding_window"}, 4096);
  const Index every = c.count({"sliding_window_pattern", "_sliding_window_pattern"}, 6);
  m.layers = layers_of(c, m.num_layers, window, never, 1);
  if (c.has("layer_types")) return d;
  for (Index i = every - 1; i < m.num_layers; i += every) {
    m.layers[static_cast<std::size_t>(i)] = {.rope = 0};
  }
  return d;
}

/// Windows from a layer on, where they are used.
void set_qwen_layers(HubConfig& c, TransformerModelConfig& m) {
  c.require("use_mrope", false);
  const bool uses_window = c.boolean("use_sliding_window", false);
  const std::optional<Index> given = window_of(c);
  const Index first = c.integer({"max_window_layers"}, 28);
  const std::optional<Index> window =
      uses_window ? std::optional(given.value_or(4096)) : std::nullopt;
  m.layers = layers_of(c, m.num_layers, window, always, 0);
  if (c.has("layer_types") || !window) return;
  for (Index i = std::max<Index>(first, 0); i < m.num_layers; ++i) {
    m.layers[static_cast<std::size_t>(i)].window = window;
  }
}

Described qwen2(HubConfig& c) {
  Described d{.config = sizes_of(c, false)};
  set_biases(d.config.attention, true, false);
  d.config.ropes = {rope_of(c, 10000)};
  set_qwen_layers(c, d.config);
  return d;
}

Described qwen3(HubConfig& c) {
  Described d{.config = sizes_of(c, false)};
  TransformerModelConfig& m = d.config;
  m.attention.head_dim = c.count({"head_dim"}, 128);
  const bool biased = c.boolean("attention_bias", false);
  set_biases(m.attention, biased, biased);
  m.attention.query_key_norm = QueryKeyNorm::shared_gains;
  m.attention.query_key_norm_config = m.norm;
  m.ropes = {rope_of(c, 10000)};
  set_qwen_layers(c, m);
  return d;
}

Described phi3(HubConfig& c) {
  Described d{.config = sizes_of(c, false)};
  TransformerModelConfig& m = d.config;
  m.norm.epsilon = c.number({"rms_norm_eps"}, 1e-5);
  m.residual_dropout = c.number({"resid_pdrop"}, 0);
  c.ignore({"embd_pdrop"});  // as transformers does
  c.require("attention_bias", false);
  m.ropes = {rope_of(c, 10000)};
  set_window(c, m);
  d.names.query_key_value = "self_attn.qkv_proj";
  d.names.layout = QkvLayout::parts;
  d.names.gate_up = "mlp.gate_up_proj";
  return d;
}

Described olmo2(HubConfig& c) {
  Described d{.config = sizes_of(c, false)};
  TransformerModelConfig& m = d.config;
  m.norm.epsilon = c.number({"rms_norm_eps"}, 1e-5);
  const bool biased = c.boolean("attention_bias", false);
  set_biases(m.attention, biased, biased);
  m.norm_placement = NormPlacement::after;
  m.attention.query_key_norm = QueryKeyNorm::all_heads;
  m.attention.query_key_norm_config = m.norm;
  m.ropes = {rope_of(c, 10000)};
  d.names.attention_output_norm = "post_attention_layernorm";
  d.names.feed_forward_output_norm = "post_feedforward_layernorm";
  return d;
}

Described cohere(HubConfig& c) {
  Described d{.config = sizes_of(c, true)};
  TransformerModelConfig& m = d.config;
  m.norm = {.kind = NormKind::layer, .epsilon = c.number({"layer_norm_eps"}, 1e-5)};
  const bool biased = c.boolean("attention_bias", false);
  set_biases(m.attention, biased, biased);
  m.parallel = m.shared_norm = true;
  m.logit_scale = c.number({"logit_scale"}, 0.0625);
  if (c.boolean("use_qk_norm", false)) {
    m.attention.query_key_norm = QueryKeyNorm::own_gains;
    m.attention.query_key_norm_config = m.norm;
  }
  m.ropes = {rope_of(c, 500000)};
  m.ropes[0].layout = RopeLayout::interleaved;
  return d;
}

Described granite(HubConfig& c) {
  Described d = llama(c);
  TransformerModelConfig& m = d.config;
  m.embedding_scale = c.number({"embedding_multiplier"}, 1);
  m.attention.scale = c.number({"attention_multiplier"}, 1);
  m.residual_scale = c.number({"residual_multiplier"}, 1);
  const double divisor = c.number({"logits_scaling"}, 1);
  if (divisor == 0) c.refuse("logits_scaling", "a number that is not 0");
  m.logit_scale = 1 / divisor;
  return d;
}

Described smollm3(HubConfig& c) {
  Described d{.config = sizes_of(c, true)};
  TransformerModelConfig& m = d.config;
  m.attention.num_key_value_heads = c.count({"num_key_value_heads"}, 4);
  read_biases(c, m);
  m.ropes = {rope_of(c, 2e6)};
  const std::optional<Index> given = window_of(c);
  const bool uses_window = c.boolean("use_sliding_window", false);
  const std::optional<Index> window = uses_window ? given : std::nullopt;
  m.layers = layers_of(c, m.num_layers, window, always, 0);
  c.ignore({"max_window_layers", "pretraining_tp"});
  const Index every = c.count({"no_rope_layer_interval"}, 4);
  const ConfigValue& stated = c.value("no_rope_layers");
  if (!stated.is_null() && !stated.is_list()) c.refuse("no_rope_layers", "a list");
  for (std::size_t i = 0; i < m.layers.size(); ++i) {
    bool rotates = (static_cast<Index>(i) + 1) % every != 0;
    if (stated.is_list()) {
      const ConfigValue::List& list = stated.as_list("no_rope_layers");
      if (list.size() < m.layers.size()) c.refuse("no_rope_layers", "one for each layer");
      if (!list[i].is_integer()) c.refuse("no_rope_layers", "numbers 0 and 1");
      rotates = list[i].as_integer("no_rope_layers") != 0;
    }
    if (rotates) continue;
    m.layers[i].rope = -1;
    if (!c.has("layer_types") && window) m.layers[i].window = window;
  }
  return d;
}

Described gpt_oss(HubConfig& c) {
  Described d{.config = sizes_of(c, false)};
  TransformerModelConfig& m = d.config;
  m.attention.head_dim = c.count({"head_dim"}, 64);
  m.norm.epsilon = c.number({"rms_norm_eps"}, 1e-5);
  const bool biased = c.boolean("attention_bias", true);
  set_biases(m.attention, biased, biased);
  m.attention.sinks = true;
  c.require("hidden_act", "silu");
  FeedForwardConfig& f = m.feed_forward;
  f.use_bias = f.router_bias = true;
  f.num_experts = c.count({"num_local_experts", "num_experts"}, 128);
  f.experts_per_token = c.count({"num_experts_per_tok", "experts_per_token"}, 4);
  f.clamp_limit = c.number({"swiglu_limit"}, 7);
  f.clamp_alpha = c.number({"swiglu_alpha"}, 1.702);
  c.require("output_router_logits", false);
  c.ignore({"router_aux_loss_coef", "initial_context_length"});
  m.ropes = {rope_of(c, 150000)};
  m.layers = layers_of(c, m.num_layers, c.size({"sliding_window"}, 128), is_odd, 0);
  d.names.router = "mlp.router";
  d.names.all_experts = "mlp.experts.";
  return d;
}

constexpr Family kFamilies[] = {
    {"llama", llama},     {"mistral", mistral},    {"mixtral", mixtral}, {"gemma", gemma},
    {"gemma2", gemma2},   {"gemma3_text", gemma3}, {"qwen2", qwen2},     {"qwen3", qwen3},
    {"phi3", phi3},       {"olmo2", olmo2},        {"cohere", cohere},   {"granite", granite},
    {"smollm3", smollm3}, {"gpt_oss", gpt_oss},
};

}  // namespace

std::span<const Family> llama_families() { return kFamilies; }

}  // namespace grouphead::saved
