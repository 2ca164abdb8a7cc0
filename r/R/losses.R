# Losses, under keras3's names: objects for compile(); with y_true and y_pred the loss of each
# sample.

loss_binary_crossentropy <- function(
  y_true, y_pred, from_logits = FALSE, label_smoothing = 0, axis = -1L, ...,
  reduction = "sum_over_batch_size", name = "binary_crossentropy", dtype = NULL
) new_object("loss", "BinaryCrossentropy")

loss_binary_focal_crossentropy <- function(
  y_true, y_pred, apply_class_balancing = FALSE, alpha = 0.25, gamma = 2, from_logits = FALSE,
  label_smoothing = 0, axis = -1L, ..., reduction = "sum_over_batch_size",
  name = "binary_focal_crossentropy", dtype = NULL
) new_object("loss", "BinaryFocalCrossentropy")

loss_categorical_crossentropy <- function(
  y_true, y_pred, from_logits = FALSE, label_smoothing = 0, axis = -1L, ...,
  reduction = "sum_over_batch_size", name = "categorical_crossentropy", dtype = NULL
) new_object("loss", "CategoricalCrossentropy")

loss_categorical_focal_crossentropy <- function(
  y_true, y_pred, alpha = 0.25, gamma = 2, from_logits = FALSE, label_smoothing = 0, axis = -1L,
  ..., reduction = "sum_over_batch_size", name = "categorical_focal_crossentropy", dtype = NULL
) new_object("loss", "CategoricalFocalCrossentropy")

loss_categorical_generalized_cross_entropy <- function(
  y_true, y_pred, q = 0.5, ..., reduction = "sum_over_batch_size",
  name = "categorical_generalized_cross_entropy", dtype = NULL
) new_object("loss", "CategoricalGeneralizedCrossEntropy")

loss_categorical_hinge <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "categorical_hinge", dtype = NULL
) new_object("loss", "CategoricalHinge")

loss_circle <- function(
  y_true, y_pred, gamma = 80, margin = 0.4, remove_diagonal = TRUE, ...,
  reduction = "sum_over_batch_size", name = "circle", dtype = NULL
) new_object("loss", "Circle")

loss_cosine_similarity <- function(
  y_true, y_pred, axis = -1L, ..., reduction = "sum_over_batch_size", name = "cosine_similarity",
  dtype = NULL
) new_object("loss", "CosineSimilarity")

loss_ctc <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "ctc", dtype = NULL
) new_object("loss", "CTC")

loss_dice <- function(
  y_true, y_pred, axis = NULL, ..., reduction = "sum_over_batch_size", name = "dice", dtype = NULL
) new_object("loss", "Dice")

loss_hinge <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "hinge", dtype = NULL
) new_object("loss", "Hinge")

loss_huber <- function(
  y_true, y_pred, delta = 1, ..., reduction = "sum_over_batch_size", name = "huber_loss",
  dtype = NULL
) new_object("loss", "Huber")

loss_kl_divergence <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "kl_divergence", dtype = NULL
) new_object("loss", "KLDivergence")

loss_log_cosh <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "log_cosh", dtype = NULL
) new_object("loss", "LogCosh")

loss_mean_absolute_error <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "mean_absolute_error",
  dtype = NULL
) new_object("loss", "MeanAbsoluteError")

loss_mean_absolute_percentage_error <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "mean_absolute_percentage_error",
  dtype = NULL
) new_object("loss", "MeanAbsolutePercentageError")

loss_mean_squared_error <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "mean_squared_error",
  dtype = NULL
) new_object("loss", "MeanSquaredError")

loss_mean_squared_logarithmic_error <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "mean_squared_logarithmic_error",
  dtype = NULL
) new_object("loss", "MeanSquaredLogarithmicError")

loss_poisson <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "poisson", dtype = NULL
) new_object("loss", "Poisson")

loss_sparse_categorical_crossentropy <- function(
  y_true, y_pred, from_logits = FALSE, ignore_class = NULL, axis = -1L, ...,
  reduction = "sum_over_batch_size", name = "sparse_categorical_crossentropy", dtype = NULL
) new_object("loss", "SparseCategoricalCrossentropy")

loss_squared_hinge <- function(
  y_true, y_pred, ..., reduction = "sum_over_batch_size", name = "squared_hinge", dtype = NULL
) new_object("loss", "SquaredHinge")

loss_tversky <- function(
  y_true, y_pred, alpha = 0.5, beta = 0.5, axis = NULL, ..., reduction = "sum_over_batch_size",
  name = "tversky", dtype = NULL
) new_object("loss", "Tversky")
