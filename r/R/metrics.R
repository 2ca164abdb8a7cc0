# Metrics, under keras3's names.

metric_accuracy <- function(..., name = "accuracy", dtype = NULL) new_object("metric", "Accuracy")

metric_auc <- function(
  num_thresholds = 200L, curve = "ROC", summation_method = "interpolation", thresholds = NULL,
  multi_label = FALSE, num_labels = NULL, label_weights = NULL, from_logits = FALSE, ...,
  name = NULL, dtype = NULL
) new_object("metric", "AUC")

metric_binary_accuracy <- function(
  y_true, y_pred, threshold = 0.5, ..., name = "binary_accuracy", dtype = NULL
) new_object("metric", "BinaryAccuracy")

metric_binary_crossentropy <- function(
  y_true, y_pred, from_logits = FALSE, label_smoothing = 0L, ..., name = "binary_crossentropy",
  dtype = NULL
) new_object("metric", "BinaryCrossentropy")

metric_binary_iou <- function(
  target_class_ids = c(0L, 1L), threshold = 0.5, ..., name = NULL, dtype = NULL
) new_object("metric", "BinaryIoU")

metric_categorical_accuracy <- function(
  y_true, y_pred, ..., name = "categorical_accuracy", dtype = NULL
) new_object("metric", "CategoricalAccuracy")

metric_categorical_crossentropy <- function(
  y_true, y_pred, from_logits = FALSE, label_smoothing = 0L, axis = -1L, ...,
  name = "categorical_crossentropy", dtype = NULL
) new_object("metric", "CategoricalCrossentropy")

metric_categorical_hinge <- function(y_true, y_pred, ..., name = "categorical_hinge", dtype = NULL)
  new_object("metric", "CategoricalHinge")

metric_cosine_similarity <- function(axis = -1L, ..., name = "cosine_similarity", dtype = NULL)
  new_object("metric", "CosineSimilarity")

metric_f1_score <- function(average = NULL, threshold = NULL, ..., name = "f1_score", dtype = NULL)
  new_object("metric", "F1Score")

metric_fbeta_score <- function(
  average = NULL, beta = 1, threshold = NULL, ..., name = "fbeta_score", dtype = NULL
) new_object("metric", "FBetaScore")

metric_false_negatives <- function(thresholds = NULL, ..., name = NULL, dtype = NULL)
  new_object("metric", "FalseNegatives")

metric_false_positives <- function(thresholds = NULL, ..., name = NULL, dtype = NULL)
  new_object("metric", "FalsePositives")

metric_hinge <- function(y_true, y_pred, ..., name = "hinge", dtype = NULL)
  new_object("metric", "Hinge")

metric_iou <- function(
  num_classes, target_class_ids, ignore_class = NULL, sparse_y_true = TRUE, sparse_y_pred = TRUE,
  axis = -1L, ..., name = NULL, dtype = NULL
) new_object("metric", "IoU")

metric_kl_divergence <- function(y_true, y_pred, ..., name = "kl_divergence", dtype = NULL)
  new_object("metric", "KLDivergence")

metric_log_cosh_error <- function(..., name = "logcosh", dtype = NULL)
  new_object("metric", "LogCoshError")

metric_mean <- function(..., name = "mean", dtype = NULL) new_object("metric", "Mean")

metric_mean_absolute_error <- function(
  y_true, y_pred, ..., name = "mean_absolute_error", dtype = NULL
) new_object("metric", "MeanAbsoluteError")

metric_mean_absolute_percentage_error <- function(
  y_true, y_pred, ..., name = "mean_absolute_percentage_error", dtype = NULL
) new_object("metric", "MeanAbsolutePercentageError")

metric_mean_iou <- function(
  num_classes, ignore_class = NULL, sparse_y_true = TRUE, sparse_y_pred = TRUE, axis = -1L, ...,
  name = NULL, dtype = NULL
) new_object("metric", "MeanIoU")

metric_mean_squared_error <- function(
  y_true, y_pred, ..., name = "mean_squared_error", dtype = NULL
) new_object("metric", "MeanSquaredError")

metric_mean_squared_logarithmic_error <- function(
  y_true, y_pred, ..., name = "mean_squared_logarithmic_error", dtype = NULL
) new_object("metric", "MeanSquaredLogarithmicError")

metric_one_hot_iou <- function(
  num_classes, target_class_ids, ignore_class = NULL, sparse_y_pred = FALSE, axis = -1L, ...,
  name = NULL, dtype = NULL
) new_object("metric", "OneHotIoU")

metric_one_hot_mean_iou <- function(
  num_classes, ignore_class = NULL, sparse_y_pred = FALSE, axis = -1L, ..., name = NULL,
  dtype = NULL
) new_object("metric", "OneHotMeanIoU")

metric_poisson <- function(y_true, y_pred, ..., name = "poisson", dtype = NULL)
  new_object("metric", "Poisson")

metric_precision <- function(
  thresholds = NULL, top_k = NULL, class_id = NULL, ..., name = NULL, dtype = NULL
) new_object("metric", "Precision")

metric_precision_at_recall <- function(
  recall, num_thresholds = 200L, class_id = NULL, ..., name = NULL, dtype = NULL
) new_object("metric", "PrecisionAtRecall")

metric_r2_score <- function(
  class_aggregation = "uniform_average", num_regressors = 0L, ..., name = "r2_score", dtype = NULL
) new_object("metric", "R2Score")

metric_recall <- function(
  thresholds = NULL, top_k = NULL, class_id = NULL, ..., name = NULL, dtype = NULL
) new_object("metric", "Recall")

metric_recall_at_precision <- function(
  precision, num_thresholds = 200L, class_id = NULL, ..., name = NULL, dtype = NULL
) new_object("metric", "RecallAtPrecision")

metric_root_mean_squared_error <- function(..., name = "root_mean_squared_error", dtype = NULL)
  new_object("metric", "RootMeanSquaredError")

metric_sensitivity_at_specificity <- function(
  specificity, num_thresholds = 200L, class_id = NULL, ..., name = NULL, dtype = NULL
) new_object("metric", "SensitivityAtSpecificity")

metric_sparse_categorical_accuracy <- function(
  y_true, y_pred, ..., name = "sparse_categorical_accuracy", dtype = NULL
) new_object("metric", "SparseCategoricalAccuracy")

metric_sparse_categorical_crossentropy <- function(
  y_true, y_pred, from_logits = FALSE, ignore_class = NULL, axis = -1L, ...,
  name = "sparse_categorical_crossentropy", dtype = NULL
) new_object("metric", "SparseCategoricalCrossentropy")

metric_sparse_top_k_categorical_accuracy <- function(
  y_true, y_pred, k = 5L, from_sorted_ids = FALSE, ...,
  name = "sparse_top_k_categorical_accuracy", dtype = NULL
) new_object("metric", "SparseTopKCategoricalAccuracy")

metric_specificity_at_sensitivity <- function(
  sensitivity, num_thresholds = 200L, class_id = NULL, ..., name = NULL, dtype = NULL
) new_object("metric", "SpecificityAtSensitivity")

metric_squared_hinge <- function(y_true, y_pred, ..., name = "squared_hinge", dtype = NULL)
  new_object("metric", "SquaredHinge")

metric_sum <- function(..., name = "sum", dtype = NULL) new_object("metric", "Sum")

metric_top_k_categorical_accuracy <- function(
  y_true, y_pred, k = 5L, ..., name = "top_k_categorical_accuracy", dtype = NULL
) new_object("metric", "TopKCategoricalAccuracy")

metric_true_negatives <- function(thresholds = NULL, ..., name = NULL, dtype = NULL)
  new_object("metric", "TrueNegatives")

metric_true_positives <- function(thresholds = NULL, ..., name = NULL, dtype = NULL)
  new_object("metric", "TruePositives")
