#pragma once

// What layers of layers here are made of.

#include <optional>

#include "graph/composite.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/dropout.h"
#include "grouphead/layers/merging.h"
#include "grouphead/layers/normalization.h"
#include "nn/config_reader.h"

namespace grouphead::models::hub {

/// An activation as KerasHub's configurations hold it: a name, a function's envelope, and
/// `gelu_approximate`, a function of KerasHub.
struct HubActivation {
  Activation kind = Activation::relu;
  ConfigValue config = "relu";  ///< as it was given
};
HubActivation activation_from(nn::ConfigReader& reader, std::string_view key,
                              const HubActivation& fallback);

/// a + b, in the policy's type.
Symbol sum(const Symbol& a, const Symbol& b, const std::string& name, const DtypePolicy& policy);

/// [B, T] of `padding_mask`, else of the mask that x came with, else nothing.
Symbol key_mask(const Symbol& x, const Operand& padding_mask, const std::string& name);

/// The feed-forward part and the normalizations of KerasHub's encoder and decoder.
struct FeedForwardConfig {
  Index intermediate_dim = 0;
  Index num_heads = 0;
  double dropout = 0;
  HubActivation activation{};
  double layer_norm_epsilon = 1e-5;
  Initializer kernel_initializer = initializers::glorot_uniform();
  Initializer bias_initializer = initializers::zeros();
  bool normalize_first = false;
  std::string name{};
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

std::shared_ptr<Layer> transformer_encoder(const FeedForwardConfig& config);
std::shared_ptr<Layer> transformer_decoder(const FeedForwardConfig& config);

struct TokenAndPositionConfig {
  Index vocabulary_size = 0;
  Index sequence_length = 0;
  Index embedding_dim = 0;
  bool tie_weights = true;
  Initializer embeddings_initializer = initializers::random_uniform();
  bool mask_zero = false;
  std::string name = "token_and_position_embedding";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};
/// `tokens` gets the layer of the tokens, where it is not null.
std::shared_ptr<Layer> token_and_position_embedding(const TokenAndPositionConfig& config,
                                                    std::shared_ptr<Layer>* tokens);

struct MaskedLmHeadConfig {
  Index vocabulary_size = 0;
  std::shared_ptr<Layer> token_embedding{};  ///< null: a kernel of its own
  Index embedding_dim = 0;                   ///< of token_embedding
  HubActivation intermediate_activation{};
  HubActivation activation{Activation::linear, nullptr};
  double layer_norm_epsilon = 1e-5;
  Initializer kernel_initializer = initializers::glorot_uniform();
  Initializer bias_initializer = initializers::zeros();
  bool has_stored_logits = false;  ///< results have the type of its own weights
  std::string name = "masked_lm_head";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};
std::shared_ptr<Layer> masked_lm_head(const MaskedLmHeadConfig& config);

}  // namespace grouphead::models::hub
