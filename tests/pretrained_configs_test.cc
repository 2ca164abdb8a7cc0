// config.json files as they are published, with smaller sizes: every key is known.

#include <gmock/gmock.h>

#include "grouphead/files/pretrained.h"
#include "io/json.h"
#include "model_support.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

const TransformerModelConfig& described(const std::string& text) {
  static PretrainedModel made;
  made = make_pretrained(io::parse_json(text, "config"));
  return made.model->config();
}

TEST(PublishedConfigurations, OfLlamasAreRead) {
  // SmolLM2, Llama 3.2
  const TransformerModelConfig& smol = described(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 12,
    "initializer_range": 0.04, "intermediate_size": 16, "is_llama_config": true,
    "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama",
    "num_attention_heads": 3, "num_hidden_layers": 2, "num_key_value_heads": 1, "pad_token_id": 2,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null,
    "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 30})");
  EXPECT_TRUE(smol.tied_head);
  EXPECT_EQ(smol.ropes.at(0).base, 100000);
  const TransformerModelConfig& llama = described(R"({
    "architectures": ["LlamaForCausalLM"], "eos_token_id": [128001, 128008], "head_dim": 4,
    "hidden_act": "silu", "hidden_size": 12, "intermediate_size": 16,
    "max_position_embeddings": 131072, "model_type": "llama", "num_attention_heads": 3,
    "num_hidden_layers": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
      "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "rope_theta": 500000.0, "tie_word_embeddings": true, "vocab_size": 30})");
  ASSERT_TRUE(llama.ropes.at(0).llama3.has_value());
  EXPECT_EQ(llama.ropes[0].llama3->factor, 32);
  EXPECT_EQ(llama.ropes[0].llama3->original_max_position, 8192);
}

TEST(PublishedConfigurations, OfQwenAndPhiAreRead) {
  const TransformerModelConfig& qwen = described(R"({
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "hidden_act": "silu",
    "hidden_size": 12, "intermediate_size": 16, "max_position_embeddings": 32768,
    "max_window_layers": 1, "model_type": "qwen2", "num_attention_heads": 3,
    "num_hidden_layers": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
    "use_mrope": false, "use_sliding_window": false, "vocab_size": 30})");
  EXPECT_FALSE(qwen.layers.at(1).window.has_value());  // it is not used
  const TransformerModelConfig& phi = described(R"({
    "_name_or_path": "Phi-3", "architectures": ["Phi3ForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "embd_pdrop": 0.0,
    "hidden_act": "silu", "hidden_size": 12, "intermediate_size": 16,
    "max_position_embeddings": 131072, "model_type": "phi3", "num_attention_heads": 3,
    "num_hidden_layers": 1, "num_key_value_heads": 3, "original_max_position_embeddings": 4096,
    "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 262144,
    "rope_scaling": {"long_factor": [1.5, 2.0], "short_factor": [1.0, 1.0], "type": "su"},
    "tie_word_embeddings": false, "vocab_size": 30})");
  ASSERT_TRUE(phi.ropes.at(0).longrope.has_value());
  EXPECT_EQ(phi.ropes[0].longrope->original_max_position, 4096);
  EXPECT_NEAR(phi.ropes[0].longrope->magnitude, std::sqrt(1 + std::log(32) / std::log(4096)),
              1e-12);
}

TEST(PublishedConfigurations, OfGemmaAreRead) {
  const TransformerModelConfig& gemma = described(R"({
    "architectures": ["Gemma3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "attn_logit_softcapping": null, "bos_token_id": 2, "cache_implementation": "hybrid",
    "eos_token_id": [1, 106], "final_logit_softcapping": null, "head_dim": 6,
    "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 12, "initializer_range": 0.02,
    "intermediate_size": 16, "max_position_embeddings": 32768, "model_type": "gemma3_text",
    "num_attention_heads": 2, "num_hidden_layers": 3, "num_key_value_heads": 1,
    "query_pre_attn_scalar": 16, "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000,
    "rope_scaling": null, "rope_theta": 1000000, "sliding_window": 512,
    "sliding_window_pattern": 2, "torch_dtype": "bfloat16", "use_cache": true,
    "vocab_size": 30})");
  ASSERT_EQ(gemma.layers.size(), 3U);
  EXPECT_EQ(gemma.layers[0].window, 512);
  EXPECT_EQ(gemma.layers[0].rope, 1);
  EXPECT_FALSE(gemma.layers[1].window.has_value());
  EXPECT_EQ(gemma.ropes.at(0).base, 1000000);
  EXPECT_EQ(gemma.ropes.at(1).base, 10000);
  EXPECT_EQ(gemma.attention.scale, 0.25);
}

TEST(PublishedConfigurations, OfOlderDecodersAreRead) {
  const TransformerModelConfig& pythia = described(R"({
    "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0,
    "hidden_act": "gelu", "hidden_size": 16, "initializer_range": 0.02, "intermediate_size": 32,
    "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "model_type": "gpt_neox",
    "num_attention_heads": 2, "num_hidden_layers": 2, "rotary_emb_base": 5000, "rotary_pct": 0.25,
    "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.24.0",
    "use_cache": true, "use_parallel_residual": true, "vocab_size": 30})");
  EXPECT_EQ(pythia.ropes.at(0).rotary_dims, 2);
  EXPECT_EQ(pythia.ropes[0].base, 5000);
  const TransformerModelConfig& bloom = described(R"({
    "apply_residual_connection_post_layernorm": false, "attention_dropout": 0.0,
    "attention_softmax_in_fp32": true, "bias_dropout_fusion": true, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_dropout": 0.0, "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05, "masked_softmax_fusion": true, "model_type": "bloom",
    "n_embed": 12, "n_inner": null, "n_layer": 2, "num_attention_heads": 3, "offset_alibi": 100,
    "pad_token_id": 3, "pretraining_tp": 1, "seq_length": 2048, "skip_bias_add": true,
    "skip_bias_add_qkv": false, "slow_but_exact": false, "unk_token_id": 0, "use_cache": true,
    "vocab_size": 30})");
  EXPECT_EQ(bloom.hidden_size, 12);
  EXPECT_EQ(bloom.attention.num_heads, 3);
}

TEST(PublishedConfigurations, OfEncodersAreRead) {
  const TransformerModelConfig& bert = described(R"({
    "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1,
    "gradient_checkpointing": false, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "hidden_size": 12, "initializer_range": 0.02, "intermediate_size": 16,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 20, "model_type": "bert",
    "num_attention_heads": 3, "num_hidden_layers": 2, "pad_token_id": 0,
    "position_embedding_type": "absolute", "transformers_version": "4.6.0.dev0",
    "type_vocab_size": 2, "use_cache": true, "vocab_size": 30})");
  EXPECT_FALSE(bert.causal);
  EXPECT_FALSE(bert.head);
  const std::string refused = error_of<IoError>(
      [] { described(R"({"model_type": "bert", "position_embedding_type": "relative_key"})"); });
  EXPECT_THAT(refused, HasSubstr("position_embedding_type: expected \"absolute\""));
}

}  // namespace
}  // namespace grouphead
