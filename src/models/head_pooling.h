#pragma once

#include "grouphead/models/conversion.h"

namespace grouphead {

/// Gives the parameters of a converted layer or model the numbers of the one before. The lists have
/// the same paths; where shapes differ, it is by the heads of keys and values (the last axis but
/// one; in vectors runs of head_dim elements), which are pooled, or keep what they have where
/// pooling is random.
void pool_parameters(const ConstParameterList& from, HeadPooling pooling, const ParameterList& to,
                     Index head_dim = 0);

/// Why the layer cannot be converted; empty where it can.
std::string conversion_problem(const Layer& attention, Index num_key_value_heads);

/// MultiHeadAttention or GroupQueryAttention.
bool has_heads(const Layer& layer);

/// The configuration of the layer with that many key/value heads.
GroupQueryAttentionConfig converted_config(const Layer& attention, Index num_key_value_heads);

}  // namespace grouphead
