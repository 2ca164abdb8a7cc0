// KerasHub's backbones: from a configuration to layers, from layers to a graph. One function reads
// each family's keys, connect() below is the same for all.

#include <cmath>
#include <functional>
#include <map>

#include "grouphead/layers/serialization.h"
#include "grouphead/models/symbol_operations.h"
#include "models/hub/decoder_blocks.h"
#include "models/hub/hub_layers.h"
#include "models/hub/hub_model.h"
#include "models/hub/parts.h"
#include "models/transformer.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"

namespace grouphead::models::hub {
namespace {

/// What a backbone is made of.
struct Plan {
  std::string name;
  bool trainable = true;
  DtypePolicy dtype{};
  Index vocabulary_size = 0;
  Index hidden_dim = 0;
  Index num_layers = 0;
  std::shared_ptr<Layer> token_embedding;
  std::shared_ptr<Layer> joint_embedding;     ///< of tokens and positions; or the next three
  std::shared_ptr<Layer> position_embedding;  ///< added to the tokens'
  std::shared_ptr<Layer> segment_embedding;
  std::shared_ptr<Layer> embedding_norm;
  std::optional<double> embedding_dropout{};
  double token_factor = 1;
  std::function<std::shared_ptr<Layer>(Index layer)> make_block;
  std::string_view padding_operand = "padding_mask";  ///< of a block
  std::shared_ptr<Layer> final_norm;
  std::shared_ptr<Layer> pooler;  ///< of the first position
};

constexpr Index kMostLayers = 4096;

Plan read_common(nn::ConfigReader& reader, std::string_view name) {
  Plan plan;
  plan.name = reader.name(name);
  plan.trainable = reader.trainable();
  plan.dtype = reader.dtype();
  plan.vocabulary_size = reader.integer("vocabulary_size", 0);
  plan.num_layers = reader.integer("num_layers", 0);
  plan.hidden_dim = reader.integer("hidden_dim", 0);
  require_size(plan.name, "vocabulary_size", plan.vocabulary_size);
  require_size(plan.name, "hidden_dim", plan.hidden_dim);
  if (plan.num_layers < 0 || plan.num_layers > kMostLayers) {
    core::throw_config_error(plan.name, "num_layers", "0 to " + std::to_string(kMostLayers),
                             std::to_string(plan.num_layers));
  }
  return plan;
}

std::shared_ptr<Layer> tokens(const Plan& plan, const Initializer& initializer, bool tie_weights,
                              std::optional<double> soft_cap = {}) {
  return reversible_embedding({.tokens = {.input_dim = plan.vocabulary_size,
                                          .output_dim = plan.hidden_dim,
                                          .embeddings_initializer = initializer,
                                          .name = "token_embedding",
                                          .dtype = plan.dtype},
                               .tie_weights = tie_weights,
                               .logit_soft_cap = soft_cap});
}

std::shared_ptr<Layer> positions(const Plan& plan, const Initializer& initializer, Index length) {
  ConfigValue config;
  config.set("name", "position_embedding");
  config.set("dtype", plan.dtype.name());
  config.set("sequence_length", length);
  config.set("initializer", initializer.config());
  return nn::make_position_embedding(config);
}

std::shared_ptr<Layer> layer_norm(const Plan& plan, const std::string& name, double epsilon) {
  return std::make_shared<LayerNormalization>(
      LayerNormalizationConfig{.epsilon = epsilon, .name = name, .dtype = plan.dtype});
}

// ------------------------------------------------- BERT's kin and GPT-2: learned positions

/// In what they differ.
struct LearnedRules {
  std::string_view joint_embedding{};  ///< its name; empty: tokens and positions stand apart
  bool has_segments = false;
  bool is_decoder = false;
  double epsilon = 1e-12;
  Activation activation = Activation::gelu;
  bool has_pooler = false;
};

FeedForwardConfig block_config(nn::ConfigReader& reader, const LearnedRules& rules,
                               const Plan& plan) {
  FeedForwardConfig block;
  block.intermediate_dim = reader.integer("intermediate_dim", 0);
  block.num_heads = reader.integer("num_heads", 0);
  block.dropout = reader.number("dropout", 0.1);
  block.activation.kind = rules.activation;
  block.layer_norm_epsilon = rules.epsilon;
  block.kernel_initializer = rules.is_decoder ? initializers::random_normal(0, 0.02)
                                              : initializers::truncated_normal(0, 0.02);
  block.normalize_first = rules.is_decoder;
  block.dtype = plan.dtype;
  return block;
}

Plan learned_plan(nn::ConfigReader& reader, const LearnedRules& rules, std::string_view name) {
  Plan plan = read_common(reader, name);
  const FeedForwardConfig block = block_config(reader, rules, plan);
  const Index length = reader.integer("max_sequence_length", rules.is_decoder ? 1024 : 512);
  const Initializer& initializer = block.kernel_initializer;
  if (!rules.joint_embedding.empty()) {
    plan.joint_embedding = token_and_position_embedding({.vocabulary_size = plan.vocabulary_size,
                                                         .sequence_length = length,
                                                         .embedding_dim = plan.hidden_dim,
                                                         .embeddings_initializer = initializer,
                                                         .name = std::string(rules.joint_embedding),
                                                         .dtype = plan.dtype},
                                                        &plan.token_embedding);
  } else {
    plan.token_embedding =
        tokens(plan, rules.is_decoder ? initializers::random_normal(0, 0.01) : initializer, true);
    plan.position_embedding = positions(plan, initializer, length);
  }
  if (rules.has_segments) {
    plan.segment_embedding =
        std::make_shared<Embedding>(EmbeddingConfig{.input_dim = reader.integer("num_segments", 2),
                                                    .output_dim = plan.hidden_dim,
                                                    .embeddings_initializer = initializer,
                                                    .name = "segment_embedding",
                                                    .dtype = plan.dtype});
  }
  plan.embedding_dropout = block.dropout;
  if (rules.is_decoder) {
    plan.padding_operand = "decoder_padding_mask";
    plan.final_norm = layer_norm(plan, "layer_norm", rules.epsilon);
  } else {
    plan.embedding_norm = layer_norm(plan, "embeddings_layer_norm", rules.epsilon);
  }
  plan.make_block = [block, is_decoder = rules.is_decoder](Index i) {
    FeedForwardConfig one = block;
    one.name = "transformer_layer_" + std::to_string(i);
    return is_decoder ? transformer_decoder(one) : transformer_encoder(one);
  };
  if (rules.has_pooler) {
    plan.pooler = std::make_shared<Dense>(DenseConfig{.units = plan.hidden_dim,
                                                      .activation = Activation::tanh,
                                                      .kernel_initializer = initializer,
                                                      .name = "pooled_dense",
                                                      .dtype = plan.dtype});
  }
  return plan;
}

Plan bert(nn::ConfigReader& reader) {
  return learned_plan(
      reader, {.has_segments = true, .activation = Activation::gelu_tanh, .has_pooler = true},
      "bert_backbone");
}
Plan distil_bert(nn::ConfigReader& reader) {
  return learned_plan(reader, {.joint_embedding = "token_and_position_embedding"},
                      "distil_bert_backbone");
}
Plan roberta(nn::ConfigReader& reader) {
  return learned_plan(reader, {.joint_embedding = "embeddings", .epsilon = 1e-5},
                      "roberta_backbone");
}
Plan gpt2(nn::ConfigReader& reader) {
  return learned_plan(reader,
                      {.is_decoder = true, .epsilon = 1e-5, .activation = Activation::gelu_tanh},
                      "gpt2_backbone");
}

// -------------------------------------------------------------- rotary decoders

std::optional<Index> optional_integer(nn::ConfigReader& reader, std::string_view key) {
  if (reader.value(key).is_null()) return {};
  return reader.integer(key, 0);
}
std::optional<double> optional_number(nn::ConfigReader& reader, std::string_view key) {
  if (reader.value(key).is_null()) return {};
  return reader.number(key, 0);
}

GatedBlockConfig gated_config(nn::ConfigReader& reader, const Plan& plan) {
  GatedBlockConfig block;
  block.num_query_heads = reader.integer("num_query_heads", 0);
  block.num_key_value_heads = reader.integer("num_key_value_heads", 0);
  block.intermediate_dim = reader.integer("intermediate_dim", 0);
  block.rotary.max_wavelength = reader.number("rope_max_wavelength", 10000);
  block.epsilon = reader.number("layer_norm_epsilon", 1e-6);
  block.dropout = reader.number("dropout", 0);
  block.kernel_initializer = initializers::random_normal(0, 0.02);
  block.dtype = plan.dtype;
  return block;
}

void set_gated_blocks(const GatedBlockConfig& block, bool tie_weights, Plan& plan) {
  plan.token_embedding = tokens(plan, initializers::random_normal(0, 0.01), tie_weights);
  plan.make_block = [block](Index i) {
    GatedBlockConfig one = block;
    one.name = "transformer_layer_" + std::to_string(i);
    return gated_block(one);
  };
  plan.final_norm = scale_norm({.class_name = block.norm_class,
                                .epsilon = block.epsilon,
                                .name = "sequence_output_layernorm",
                                .dtype = plan.dtype});
}

// All four keys or none.
std::optional<FrequencyAdjustment> adjustment_from(nn::ConfigReader& reader,
                                                   const std::string& name) {
  const auto factor = optional_number(reader, "rope_frequency_adjustment_factor");
  const auto low = optional_number(reader, "rope_low_freq_factor");
  const auto high = optional_number(reader, "rope_high_freq_factor");
  const auto context = optional_number(reader, "rope_pretraining_sequence_length");
  if (!factor && !low && !high && !context) return {};
  if (!factor || !low || !high || !context) {
    core::throw_config_error(name, "rope_frequency_adjustment_factor",
                             "all of it, rope_low_freq_factor, rope_high_freq_factor and "
                             "rope_pretraining_sequence_length, or none",
                             "some");
  }
  return FrequencyAdjustment{.factor = *factor, .low = *low, .high = *high, .context = *context};
}

// Llama's rotary layer does not read rope_position_scaling_factor in KerasHub 0.32.
Plan llama_named(nn::ConfigReader& reader, std::string_view name) {
  Plan plan = read_common(reader, name);
  GatedBlockConfig block = gated_config(reader, plan);
  block.class_name = "LlamaTransformerDecoder";
  block.norm_class = "LlamaLayerNorm";
  reader.number("rope_position_scaling_factor", 1);
  block.rotary.adjustment = adjustment_from(reader, plan.name);
  set_gated_blocks(block, reader.boolean("tie_word_embeddings", false), plan);
  return plan;
}
Plan llama(nn::ConfigReader& reader) { return llama_named(reader, "llama_backbone"); }
Plan llama3(nn::ConfigReader& reader) { return llama_named(reader, "llama3_backbone"); }

Plan mistral(nn::ConfigReader& reader) {
  Plan plan = read_common(reader, "mistral_backbone");
  GatedBlockConfig block = gated_config(reader, plan);
  block.class_name = "MistralTransformerDecoder";
  block.norm_class = "MistralLayerNormalization";
  block.rotary.scaling_factor = reader.number("rope_scaling_factor", 1);
  block.window = reader.has("sliding_window") ? optional_integer(reader, "sliding_window")
                                              : std::optional<Index>(512);
  block.head_dim = optional_integer(reader, "head_dim").value_or(0);
  set_gated_blocks(block, false, plan);
  return plan;
}

// Its blocks divide by the square root of head_dim whatever query_head_dim_normalize says, and keep
// an epsilon of their own, as in KerasHub 0.32.
Plan gemma(nn::ConfigReader& reader) {
  Plan plan = read_common(reader, "gemma_backbone");
  GemmaBlockConfig block;
  block.num_query_heads = reader.integer("num_query_heads", 0);
  block.num_key_value_heads = reader.integer("num_key_value_heads", 0);
  block.head_dim = reader.integer("head_dim", 0);
  block.intermediate_dim = reader.integer("intermediate_dim", 0);
  block.soft_cap = optional_number(reader, "attention_logit_soft_cap");
  block.norm_after_attention = reader.boolean("use_post_attention_norm", false);
  block.norm_after_feed_forward = reader.boolean("use_post_ffw_norm", false);
  block.dropout = reader.number("dropout", 0);
  block.dtype = plan.dtype;
  reader.boolean("query_head_dim_normalize", true);
  const Index window = reader.integer("sliding_window_size", 4096);
  const bool has_windows = reader.boolean("use_sliding_window_attention", false);
  plan.token_embedding =
      tokens(plan,
             initializers::variance_scaling(
                 {.distribution = initializers::ScalingDistribution::untruncated_normal}),
             true, optional_number(reader, "final_logit_soft_cap"));
  plan.token_factor = std::sqrt(static_cast<double>(plan.hidden_dim));
  plan.make_block = [block, window, has_windows](Index i) {
    GemmaBlockConfig one = block;
    if (has_windows && i % 2 == 0) one.window = window;
    one.name = "decoder_block_" + std::to_string(i);
    return gemma_block(one);
  };
  plan.final_norm = scale_norm({.class_name = "RMSNormalization",
                                .from_one = true,
                                .epsilon = reader.number("layer_norm_epsilon", 1e-6),
                                .name = "final_normalization",
                                .dtype = plan.dtype});
  return plan;
}

// ---------------------------------------------------------------------- the graph

Symbol token_input(const std::string& name) {
  return input({.shape = {-1}, .dtype = Dtype::i32, .name = name});
}

Symbol embedded(const Plan& plan, const Symbol& token_ids, const Symbol& segment_ids) {
  Symbol x = connect(plan.joint_embedding ? plan.joint_embedding : plan.token_embedding, token_ids);
  if (plan.token_factor != 1) x = x * plan.token_factor;
  if (plan.position_embedding) {
    const Symbol places = connect(plan.position_embedding, x);
    const auto add = layer<Add>({.name = "embeddings_add", .dtype = plan.dtype});
    x = plan.segment_embedding ? add({x, places, connect(plan.segment_embedding, segment_ids)})
                               : add({x, places});
  }
  if (plan.embedding_norm) x = connect(plan.embedding_norm, x);
  if (plan.embedding_dropout) {
    x = layer<Dropout>(
        {.rate = *plan.embedding_dropout, .name = "embeddings_dropout", .dtype = plan.dtype})(x);
  }
  return x;
}

// x[:, 0, :]
Symbol first_position(const Symbol& x) {
  const ConfigValue all = ConfigValue::Object{
      {"class_name", "__slice__"},
      {"config", ConfigValue::Object{{"start", nullptr}, {"stop", nullptr}, {"step", nullptr}}}};
  const ConfigValue key = ConfigValue::List{all, Index{0}, all};
  return connect(
      make_operation("keras.src.ops.numpy", "GetItem", ConfigValue::Object{{"name", "get_item"}}),
      {x, nullptr}, {{"args", ConfigValue(ConfigValue::List{nullptr, key})}});
}

ModelConfig connected(const Plan& plan, std::uint64_t seed) {
  ModelConfig config{.name = plan.name, .trainable = plan.trainable, .seed = seed};
  std::map<std::string, Symbol> inputs;  // Keras passes tensors in the order of their keys
  inputs["token_ids"] = token_input("token_ids");
  if (plan.segment_embedding) inputs["segment_ids"] = token_input("segment_ids");
  inputs["padding_mask"] = token_input("padding_mask");
  Symbol x = embedded(plan, inputs.at("token_ids"),
                      plan.segment_embedding ? inputs.at("segment_ids") : Symbol());
  for (Index i = 0; i < plan.num_layers; ++i) {
    x = connect(plan.make_block(i), x,
                {{std::string(plan.padding_operand), inputs.at("padding_mask")}});
  }
  if (plan.final_norm) x = connect(plan.final_norm, x);
  for (const auto& [key, symbol] : inputs) {
    config.input_keys.push_back(key);
    config.inputs.push_back(symbol);
  }
  if (plan.pooler) {
    config.output_keys = {"pooled_output", "sequence_output"};
    config.outputs = {connect(plan.pooler, first_position(x)), x};
  } else {
    config.outputs = {x};
  }
  return config;
}

struct Family {
  std::string_view class_name;
  std::string_view module;
  Plan (*read)(nn::ConfigReader& reader);
};
constexpr Family kFamilies[] = {
    {"BertBackbone", "keras_hub.src.models.bert.bert_backbone", bert},
    {"DistilBertBackbone", "keras_hub.src.models.distil_bert.distil_bert_backbone", distil_bert},
    {"GemmaBackbone", "keras_hub.src.models.gemma.gemma_backbone", gemma},
    {"GPT2Backbone", "keras_hub.src.models.gpt2.gpt2_backbone", gpt2},
    {"Llama3Backbone", "keras_hub.src.models.llama3.llama3_backbone", llama3},
    {"LlamaBackbone", "keras_hub.src.models.llama.llama_backbone", llama},
    {"MistralBackbone", "keras_hub.src.models.mistral.mistral_backbone", mistral},
    {"RobertaBackbone", "keras_hub.src.models.roberta.roberta_backbone", roberta},
};

const Family* family_of(std::string_view class_name) noexcept {
  for (const Family& family : kFamilies) {
    if (family.class_name == class_name) return &family;
  }
  return nullptr;
}

}  // namespace

ConfigValue HubModel::get_config() const {
  ConfigValue config;
  config.set("name", name());
  if (identity_.config.contains("trainable")) config.set("trainable", trainable());
  for (const auto& [key, value] : identity_.config.as_object("config")) {
    if (key != "name" && key != "trainable") config.set(key, value);
  }
  return config;
}

bool has_backbone(std::string_view class_name) noexcept { return family_of(class_name) != nullptr; }

Backbone make_backbone(std::string_view class_name, const ConfigValue& config, std::uint64_t seed) {
  const Family* family = family_of(class_name);
  if (family == nullptr) {
    core::throw_config_error("keras_hub", "backbone", "one that this library has", class_name);
  }
  nn::ConfigReader reader(class_name, config);
  const Plan plan = family->read(reader);
  reader.finish();
  Backbone made{.model = nullptr,
                .token_embedding = plan.token_embedding,
                .vocabulary_size = plan.vocabulary_size,
                .hidden_dim = plan.hidden_dim,
                .dtype = plan.dtype};
  made.model = std::make_shared<HubModel>(
      connected(plan, seed), HubModel::Identity{family->class_name, family->module, config});
  return made;
}

}  // namespace grouphead::models::hub
