# The attention layers, as on keras3's reference pages.

layer_group_query_attention <- function(
  object, head_dim, num_query_heads, num_key_value_heads, dropout = 0, use_bias = TRUE,
  flash_attention = NULL, kernel_initializer = "glorot_uniform", bias_initializer = "zeros",
  kernel_regularizer = NULL, bias_regularizer = NULL, activity_regularizer = NULL,
  kernel_constraint = NULL, bias_constraint = NULL, seed = NULL, ...
) new_layer("GroupQueryAttention")

layer_multi_head_attention <- function(
  inputs, num_heads, key_dim, value_dim = NULL, dropout = 0, use_bias = TRUE,
  output_shape = NULL, attention_axes = NULL, flash_attention = NULL,
  kernel_initializer = "glorot_uniform", bias_initializer = "zeros", kernel_regularizer = NULL,
  bias_regularizer = NULL, activity_regularizer = NULL, kernel_constraint = NULL,
  bias_constraint = NULL, seed = NULL, ...
) new_layer("MultiHeadAttention")

layer_attention <- function(
  object, use_scale = FALSE, score_mode = "dot", dropout = 0, seed = NULL, ...
) new_layer("Attention")

layer_additive_attention <- function(object, use_scale = TRUE, dropout = 0, ...)
  new_layer("AdditiveAttention")
