#pragma once

// The factories of the layers, each beside its layer: `make_NAME(config)` reads Keras's
// configuration with a ConfigReader. registry.cc lists them.

#include <memory>

#include "grouphead/layers/layer.h"

namespace grouphead::nn {

using LayerFactory = std::shared_ptr<Layer> (*)(const ConfigValue& config);

std::shared_ptr<Layer> make_activation(const ConfigValue& config);
std::shared_ptr<Layer> make_add(const ConfigValue& config);
std::shared_ptr<Layer> make_additive_attention(const ConfigValue& config);
std::shared_ptr<Layer> make_alpha_dropout(const ConfigValue& config);
std::shared_ptr<Layer> make_attention(const ConfigValue& config);
std::shared_ptr<Layer> make_average(const ConfigValue& config);
std::shared_ptr<Layer> make_average_pooling_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_average_pooling_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_batch_normalization(const ConfigValue& config);
std::shared_ptr<Layer> make_bidirectional(const ConfigValue& config);
std::shared_ptr<Layer> make_category_encoding(const ConfigValue& config);
std::shared_ptr<Layer> make_concatenate(const ConfigValue& config);
std::shared_ptr<Layer> make_conv_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_conv_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_cropping_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_cropping_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_dense(const ConfigValue& config);
std::shared_ptr<Layer> make_depthwise_conv_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_depthwise_conv_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_dot(const ConfigValue& config);
std::shared_ptr<Layer> make_dropout(const ConfigValue& config);
std::shared_ptr<Layer> make_einsum_dense(const ConfigValue& config);
std::shared_ptr<Layer> make_elu(const ConfigValue& config);
std::shared_ptr<Layer> make_embedding(const ConfigValue& config);
std::shared_ptr<Layer> make_flatten(const ConfigValue& config);
std::shared_ptr<Layer> make_gaussian_dropout(const ConfigValue& config);
std::shared_ptr<Layer> make_gaussian_noise(const ConfigValue& config);
std::shared_ptr<Layer> make_global_average_pooling_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_global_average_pooling_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_global_max_pooling_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_global_max_pooling_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_group_normalization(const ConfigValue& config);
std::shared_ptr<Layer> make_group_query_attention(const ConfigValue& config);
std::shared_ptr<Layer> make_gru(const ConfigValue& config);
std::shared_ptr<Layer> make_identity(const ConfigValue& config);
std::shared_ptr<Layer> make_hashing(const ConfigValue& config);
std::shared_ptr<Layer> make_integer_lookup(const ConfigValue& config);
std::shared_ptr<Layer> make_layer_normalization(const ConfigValue& config);
std::shared_ptr<Layer> make_leaky_relu(const ConfigValue& config);
std::shared_ptr<Layer> make_lstm(const ConfigValue& config);
std::shared_ptr<Layer> make_masking(const ConfigValue& config);
std::shared_ptr<Layer> make_max_pooling_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_max_pooling_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_maximum(const ConfigValue& config);
std::shared_ptr<Layer> make_minimum(const ConfigValue& config);
std::shared_ptr<Layer> make_multi_head_attention(const ConfigValue& config);
std::shared_ptr<Layer> make_multiply(const ConfigValue& config);
std::shared_ptr<Layer> make_normalization(const ConfigValue& config);
std::shared_ptr<Layer> make_permute(const ConfigValue& config);
std::shared_ptr<Layer> make_prelu(const ConfigValue& config);
std::shared_ptr<Layer> make_relu(const ConfigValue& config);
std::shared_ptr<Layer> make_repeat_vector(const ConfigValue& config);
std::shared_ptr<Layer> make_rescaling(const ConfigValue& config);
std::shared_ptr<Layer> make_reshape(const ConfigValue& config);
std::shared_ptr<Layer> make_rms_normalization(const ConfigValue& config);
std::shared_ptr<Layer> make_rnn(const ConfigValue& config);
std::shared_ptr<Layer> make_separable_conv_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_separable_conv_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_simple_rnn(const ConfigValue& config);
std::shared_ptr<Layer> make_softmax(const ConfigValue& config);
std::shared_ptr<Layer> make_spatial_dropout_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_spatial_dropout_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_string_lookup(const ConfigValue& config);
std::shared_ptr<Layer> make_subtract(const ConfigValue& config);
std::shared_ptr<Layer> make_text_vectorization(const ConfigValue& config);
std::shared_ptr<Layer> make_time_distributed(const ConfigValue& config);
std::shared_ptr<Layer> make_unit_normalization(const ConfigValue& config);
std::shared_ptr<Layer> make_up_sampling_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_up_sampling_2d(const ConfigValue& config);
std::shared_ptr<Layer> make_zero_padding_1d(const ConfigValue& config);
std::shared_ptr<Layer> make_zero_padding_2d(const ConfigValue& config);

// Beside their models, in models/.
std::shared_ptr<Layer> make_edifice_gqa(const ConfigValue& config);
std::shared_ptr<Layer> make_language_model(const ConfigValue& config);
std::shared_ptr<Layer> make_transformer_model(const ConfigValue& config);

// Beside theirs, in graph/: for models inside of other layers.
std::shared_ptr<Layer> make_functional(const ConfigValue& config);
std::shared_ptr<Layer> make_sequential(const ConfigValue& config);

// KerasHub's, in models/hub/.
std::shared_ptr<Layer> make_cached_attention(const ConfigValue& config);
std::shared_ptr<Layer> make_masked_lm_head(const ConfigValue& config);
std::shared_ptr<Layer> make_position_embedding(const ConfigValue& config);
std::shared_ptr<Layer> make_reversible_embedding(const ConfigValue& config);
std::shared_ptr<Layer> make_rotary_embedding(const ConfigValue& config);
std::shared_ptr<Layer> make_sine_position_encoding(const ConfigValue& config);
std::shared_ptr<Layer> make_token_and_position_embedding(const ConfigValue& config);
std::shared_ptr<Layer> make_transformer_decoder(const ConfigValue& config);
std::shared_ptr<Layer> make_transformer_encoder(const ConfigValue& config);

}  // namespace grouphead::nn
