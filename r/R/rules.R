# Initializers, regularizers and constraints, under keras3's names.

initializer_constant <- function(value = 0) new_object("initializer", "Constant")

initializer_glorot_normal <- function(seed = NULL)
  new_object("initializer", "GlorotNormal")

initializer_glorot_uniform <- function(seed = NULL)
  new_object("initializer", "GlorotUniform")

initializer_he_normal <- function(seed = NULL)
  new_object("initializer", "HeNormal")

initializer_he_uniform <- function(seed = NULL)
  new_object("initializer", "HeUniform")

initializer_identity <- function(gain = 1) new_object("initializer", "Identity")

initializer_lecun_normal <- function(seed = NULL)
  new_object("initializer", "LecunNormal")

initializer_lecun_uniform <- function(seed = NULL)
  new_object("initializer", "LecunUniform")

initializer_ones <- function() new_object("initializer", "Ones")

initializer_orthogonal <- function(gain = 1, seed = NULL) new_object("initializer", "Orthogonal")

initializer_random_normal <- function(mean = 0, stddev = 0.05, seed = NULL)
  new_object("initializer", "RandomNormal")

initializer_random_uniform <- function(minval = -0.05, maxval = 0.05, seed = NULL)
  new_object("initializer", "RandomUniform")

initializer_truncated_normal <- function(mean = 0, stddev = 0.05, seed = NULL)
  new_object("initializer", "TruncatedNormal")

initializer_variance_scaling <- function(
  scale = 1, mode = "fan_in", distribution = "truncated_normal", seed = NULL
) new_object("initializer", "VarianceScaling")

initializer_zeros <- function() new_object("initializer", "Zeros")

regularizer_l1 <- function(l1 = 0.01) new_object("regularizer", "L1")

regularizer_l2 <- function(l2 = 0.01) new_object("regularizer", "L2")

regularizer_l1_l2 <- function(l1 = 0, l2 = 0) new_object("regularizer", "L1L2")

regularizer_orthogonal <- function(factor = 0.01, mode = "rows")
  new_object("regularizer", "OrthogonalRegularizer")

constraint_maxnorm <- function(max_value = 2L, axis = 1L) new_object("constraint", "MaxNorm")

constraint_minmaxnorm <- function(min_value = 0, max_value = 1, rate = 1, axis = 1L)
  new_object("constraint", "MinMaxNorm")

constraint_nonneg <- function() new_object("constraint", "NonNeg")

constraint_unitnorm <- function(axis = 1L) new_object("constraint", "UnitNorm")
