# The layers: keras3's names, arguments and defaults, each with Keras's class. The library makes
# them from the arguments' values, so this is the only place where a layer is described in R.

layer_activation <- function(object, activation, ...) new_layer("Activation")

layer_add <- function(inputs, ...) new_layer("Add")

layer_alpha_dropout <- function(object, rate, noise_shape = NULL, seed = NULL, ...)
  new_layer("AlphaDropout")

layer_average <- function(inputs, ...) new_layer("Average")

layer_average_pooling_1d <- function(
  object, pool_size, strides = NULL, padding = "valid", data_format = NULL, ...
) new_layer("AveragePooling1D")

layer_average_pooling_2d <- function(
  object, pool_size, strides = NULL, padding = "valid", data_format = NULL, ...
) new_layer("AveragePooling2D")

layer_batch_normalization <- function(
  object, axis = -1L, momentum = 0.99, epsilon = 0.001, center = TRUE, scale = TRUE,
  beta_initializer = "zeros", gamma_initializer = "ones", moving_mean_initializer = "zeros",
  moving_variance_initializer = "ones", beta_regularizer = NULL, gamma_regularizer = NULL,
  beta_constraint = NULL, gamma_constraint = NULL, synchronized = FALSE, ...
) new_layer("BatchNormalization")

layer_bidirectional <- function(object, layer, merge_mode = "concat", backward_layer = NULL, ...)
  new_layer("Bidirectional")

layer_category_encoding <- function(
  object, num_tokens = NULL, output_mode = "multi_hot", sparse = FALSE, ...
) new_layer("CategoryEncoding")

layer_concatenate <- function(inputs, ..., axis = -1L) new_layer("Concatenate")

layer_conv_1d <- function(
  object, filters, kernel_size, strides = 1L, padding = "valid", data_format = NULL,
  dilation_rate = 1L, groups = 1L, activation = NULL, use_bias = TRUE,
  kernel_initializer = "glorot_uniform", bias_initializer = "zeros", kernel_regularizer = NULL,
  bias_regularizer = NULL, activity_regularizer = NULL, kernel_constraint = NULL,
  bias_constraint = NULL, ...
) new_layer("Conv1D")

layer_conv_2d <- function(
  object, filters, kernel_size, strides = c(1L, 1L), padding = "valid", data_format = NULL,
  dilation_rate = c(1L, 1L), groups = 1L, activation = NULL, use_bias = TRUE,
  kernel_initializer = "glorot_uniform", bias_initializer = "zeros", kernel_regularizer = NULL,
  bias_regularizer = NULL, activity_regularizer = NULL, kernel_constraint = NULL,
  bias_constraint = NULL, ...
) new_layer("Conv2D")

layer_cropping_1d <- function(object, cropping = c(1L, 1L), ...) new_layer("Cropping1D")

layer_cropping_2d <- function(
  object, cropping = list(c(0L, 0L), c(0L, 0L)), data_format = NULL, ...
) new_layer("Cropping2D")

layer_dense <- function(
  object, units, activation = NULL, use_bias = TRUE, kernel_initializer = "glorot_uniform",
  bias_initializer = "zeros", kernel_regularizer = NULL, bias_regularizer = NULL,
  activity_regularizer = NULL, kernel_constraint = NULL, bias_constraint = NULL, lora_rank = NULL,
  lora_alpha = NULL, ...
) new_layer("Dense")

layer_depthwise_conv_1d <- function(
  object, kernel_size, strides = 1L, padding = "valid", depth_multiplier = 1L, data_format = NULL,
  dilation_rate = 1L, activation = NULL, use_bias = TRUE,
  depthwise_initializer = "glorot_uniform", bias_initializer = "zeros",
  depthwise_regularizer = NULL, bias_regularizer = NULL, activity_regularizer = NULL,
  depthwise_constraint = NULL, bias_constraint = NULL, ...
) new_layer("DepthwiseConv1D")

layer_depthwise_conv_2d <- function(
  object, kernel_size, strides = c(1L, 1L), padding = "valid", depth_multiplier = 1L,
  data_format = NULL, dilation_rate = c(1L, 1L), activation = NULL, use_bias = TRUE,
  depthwise_initializer = "glorot_uniform", bias_initializer = "zeros",
  depthwise_regularizer = NULL, bias_regularizer = NULL, activity_regularizer = NULL,
  depthwise_constraint = NULL, bias_constraint = NULL, ...
) new_layer("DepthwiseConv2D")

layer_dot <- function(inputs, ..., axes, normalize = FALSE) new_layer("Dot")

layer_dropout <- function(object, rate, noise_shape = NULL, seed = NULL, ...) new_layer("Dropout")

layer_einsum_dense <- function(
  object, equation, output_shape, activation = NULL, bias_axes = NULL,
  kernel_initializer = "glorot_uniform", bias_initializer = "zeros", kernel_regularizer = NULL,
  bias_regularizer = NULL, kernel_constraint = NULL, bias_constraint = NULL, lora_rank = NULL,
  lora_alpha = NULL, ...
) new_layer("EinsumDense")

layer_activation_elu <- function(object, alpha = 1, ...) new_layer("ELU")

layer_embedding <- function(
  object, input_dim, output_dim, embeddings_initializer = "uniform",
  embeddings_regularizer = NULL, embeddings_constraint = NULL, mask_zero = FALSE,
  lora_rank = NULL, lora_alpha = NULL, ...
) new_layer("Embedding")

layer_flatten <- function(object, data_format = NULL, ...) new_layer("Flatten")

layer_gaussian_dropout <- function(object, rate, seed = NULL, ...) new_layer("GaussianDropout")

layer_gaussian_noise <- function(object, stddev, seed = NULL, ...) new_layer("GaussianNoise")

layer_global_average_pooling_1d <- function(object, data_format = NULL, keepdims = FALSE, ...)
  new_layer("GlobalAveragePooling1D")

layer_global_average_pooling_2d <- function(object, data_format = NULL, keepdims = FALSE, ...)
  new_layer("GlobalAveragePooling2D")

layer_global_max_pooling_1d <- function(object, data_format = NULL, keepdims = FALSE, ...)
  new_layer("GlobalMaxPooling1D")

layer_global_max_pooling_2d <- function(object, data_format = NULL, keepdims = FALSE, ...)
  new_layer("GlobalMaxPooling2D")

layer_group_normalization <- function(
  object, groups = 32L, axis = -1L, epsilon = 0.001, center = TRUE, scale = TRUE,
  beta_initializer = "zeros", gamma_initializer = "ones", beta_regularizer = NULL,
  gamma_regularizer = NULL, beta_constraint = NULL, gamma_constraint = NULL, ...
) new_layer("GroupNormalization")

layer_gru <- function(
  object, units, activation = "tanh", recurrent_activation = "sigmoid", use_bias = TRUE,
  kernel_initializer = "glorot_uniform", recurrent_initializer = "orthogonal",
  bias_initializer = "zeros", kernel_regularizer = NULL, recurrent_regularizer = NULL,
  bias_regularizer = NULL, activity_regularizer = NULL, kernel_constraint = NULL,
  recurrent_constraint = NULL, bias_constraint = NULL, dropout = 0, recurrent_dropout = 0,
  seed = NULL, return_sequences = FALSE, return_state = FALSE, go_backwards = FALSE,
  stateful = FALSE, unroll = FALSE, reset_after = TRUE, use_cudnn = "auto", ...
) new_layer("GRU")

layer_hashing <- function(
  object, num_bins, mask_value = NULL, salt = NULL, output_mode = "int", sparse = FALSE, ...
) new_layer("Hashing")

layer_identity <- function(object, ...) new_layer("Identity")

layer_integer_lookup <- function(
  object, max_tokens = NULL, num_oov_indices = 1L, mask_token = NULL, oov_token = -1L,
  vocabulary = NULL, vocabulary_dtype = "int64", idf_weights = NULL, invert = FALSE,
  output_mode = "int", sparse = FALSE, pad_to_max_tokens = FALSE, ...
) new_layer("IntegerLookup")

layer_layer_normalization <- function(
  object, axis = -1L, epsilon = 0.001, center = TRUE, scale = TRUE, beta_initializer = "zeros",
  gamma_initializer = "ones", beta_regularizer = NULL, gamma_regularizer = NULL,
  beta_constraint = NULL, gamma_constraint = NULL, ...
) new_layer("LayerNormalization")

layer_activation_leaky_relu <- function(object, negative_slope = 0.3, ...) new_layer("LeakyReLU")

layer_lstm <- function(
  object, units, activation = "tanh", recurrent_activation = "sigmoid", use_bias = TRUE,
  kernel_initializer = "glorot_uniform", recurrent_initializer = "orthogonal",
  bias_initializer = "zeros", unit_forget_bias = TRUE, kernel_regularizer = NULL,
  recurrent_regularizer = NULL, bias_regularizer = NULL, activity_regularizer = NULL,
  kernel_constraint = NULL, recurrent_constraint = NULL, bias_constraint = NULL, dropout = 0,
  recurrent_dropout = 0, seed = NULL, return_sequences = FALSE, return_state = FALSE,
  go_backwards = FALSE, stateful = FALSE, unroll = FALSE, use_cudnn = "auto", ...
) new_layer("LSTM")

layer_masking <- function(object, mask_value = 0, ...) new_layer("Masking")

layer_maximum <- function(inputs, ...) new_layer("Maximum")

layer_max_pooling_1d <- function(
  object, pool_size = 2L, strides = NULL, padding = "valid", data_format = NULL, ...
) new_layer("MaxPooling1D")

layer_max_pooling_2d <- function(
  object, pool_size = c(2L, 2L), strides = NULL, padding = "valid", data_format = NULL, ...
) new_layer("MaxPooling2D")

layer_minimum <- function(inputs, ...) new_layer("Minimum")

layer_multiply <- function(inputs, ...) new_layer("Multiply")

layer_normalization <- function(
  object, axis = -1L, mean = NULL, variance = NULL, invert = FALSE, ...
) new_layer("Normalization")

layer_permute <- function(object, dims, ...) new_layer("Permute")

layer_activation_parametric_relu <- function(
  object, alpha_initializer = "zeros", alpha_regularizer = NULL, alpha_constraint = NULL,
  shared_axes = NULL, ...
) new_layer("PReLU")

layer_activation_relu <- function(object, max_value = NULL, negative_slope = 0, threshold = 0, ...)
  new_layer("ReLU")

layer_repeat_vector <- function(object, n, ...) new_layer("RepeatVector")

layer_rescaling <- function(object, scale, offset = 0, ...) new_layer("Rescaling")

layer_reshape <- function(object, target_shape, ...) new_layer("Reshape")

layer_rms_normalization <- function(object, axis = -1L, epsilon = 1e-06, ...)
  new_layer("RMSNormalization")

layer_separable_conv_1d <- function(
  object, filters, kernel_size, strides = 1L, padding = "valid", data_format = NULL,
  dilation_rate = 1L, depth_multiplier = 1L, activation = NULL, use_bias = TRUE,
  depthwise_initializer = "glorot_uniform", pointwise_initializer = "glorot_uniform",
  bias_initializer = "zeros", depthwise_regularizer = NULL, pointwise_regularizer = NULL,
  bias_regularizer = NULL, activity_regularizer = NULL, depthwise_constraint = NULL,
  pointwise_constraint = NULL, bias_constraint = NULL, ...
) new_layer("SeparableConv1D")

layer_separable_conv_2d <- function(
  object, filters, kernel_size, strides = c(1L, 1L), padding = "valid", data_format = NULL,
  dilation_rate = c(1L, 1L), depth_multiplier = 1L, activation = NULL, use_bias = TRUE,
  depthwise_initializer = "glorot_uniform", pointwise_initializer = "glorot_uniform",
  bias_initializer = "zeros", depthwise_regularizer = NULL, pointwise_regularizer = NULL,
  bias_regularizer = NULL, activity_regularizer = NULL, depthwise_constraint = NULL,
  pointwise_constraint = NULL, bias_constraint = NULL, ...
) new_layer("SeparableConv2D")

layer_simple_rnn <- function(
  object, units, activation = "tanh", use_bias = TRUE, kernel_initializer = "glorot_uniform",
  recurrent_initializer = "orthogonal", bias_initializer = "zeros", kernel_regularizer = NULL,
  recurrent_regularizer = NULL, bias_regularizer = NULL, activity_regularizer = NULL,
  kernel_constraint = NULL, recurrent_constraint = NULL, bias_constraint = NULL, dropout = 0,
  recurrent_dropout = 0, return_sequences = FALSE, return_state = FALSE, go_backwards = FALSE,
  stateful = FALSE, unroll = FALSE, seed = NULL, ...
) new_layer("SimpleRNN")

layer_activation_softmax <- function(object, axis = -1L, ...) new_layer("Softmax")

layer_spatial_dropout_1d <- function(object, rate, seed = NULL, ...) new_layer("SpatialDropout1D")

layer_spatial_dropout_2d <- function(object, rate, data_format = NULL, seed = NULL, ...)
  new_layer("SpatialDropout2D")

layer_subtract <- function(inputs, ...) new_layer("Subtract")

layer_string_lookup <- function(
  object, max_tokens = NULL, num_oov_indices = 1L, mask_token = NULL, oov_token = "[UNK]",
  vocabulary = NULL, idf_weights = NULL, invert = FALSE, output_mode = "int",
  pad_to_max_tokens = FALSE, sparse = FALSE, encoding = "utf-8", ...
) new_layer("StringLookup")

layer_text_vectorization <- function(
  object, max_tokens = NULL, standardize = "lower_and_strip_punctuation", split = "whitespace",
  ngrams = NULL, output_mode = "int", output_sequence_length = NULL, pad_to_max_tokens = FALSE,
  vocabulary = NULL, idf_weights = NULL, sparse = FALSE, ragged = FALSE, encoding = "utf-8", ...
) new_layer("TextVectorization")

layer_time_distributed <- function(object, layer, ...) new_layer("TimeDistributed")

layer_unit_normalization <- function(object, axis = -1L, ...) new_layer("UnitNormalization")

layer_upsampling_1d <- function(object, size = 2L, ...) new_layer("UpSampling1D")

layer_upsampling_2d <- function(
  object, size = c(2L, 2L), data_format = NULL, interpolation = "nearest", ...
) new_layer("UpSampling2D")

layer_zero_padding_1d <- function(object, padding = 1L, data_format = NULL, ...)
  new_layer("ZeroPadding1D")

layer_zero_padding_2d <- function(object, padding = c(1L, 1L), data_format = NULL, ...)
  new_layer("ZeroPadding2D")
