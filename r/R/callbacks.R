# Callbacks of fit(), under keras3's names. Epochs that functions are given count from 0.

callback_early_stopping <- function(
  monitor = "val_loss", min_delta = 0L, patience = 0L, verbose = 0L, mode = "auto",
  baseline = NULL, restore_best_weights = FALSE, start_from_epoch = 0L
) new_object("callback", "EarlyStopping")

callback_model_checkpoint <- function(
  filepath, monitor = "val_loss", verbose = 0L, save_best_only = FALSE, save_weights_only = FALSE,
  mode = "auto", save_freq = "epoch", initial_value_threshold = NULL
) new_object("callback", "ModelCheckpoint")

callback_reduce_lr_on_plateau <- function(
  monitor = "val_loss", factor = 0.1, patience = 10L, verbose = 0L, mode = "auto",
  min_delta = 0.0001, cooldown = 0L, min_lr = 0
) new_object("callback", "ReduceLROnPlateau")

callback_learning_rate_scheduler <- function(schedule, verbose = 0L)
  new_object("callback", "LearningRateScheduler")

callback_terminate_on_nan <- function() new_object("callback", "TerminateOnNaN")

callback_csv_logger <- function(filename, separator = ",", append = FALSE)
  new_object("callback", "CSVLogger")

callback_lambda <- function(
  on_epoch_begin = NULL, on_epoch_end = NULL, on_train_begin = NULL, on_train_end = NULL,
  on_train_batch_begin = NULL, on_train_batch_end = NULL
) new_object("callback", "LambdaCallback")

callback_swap_ema_weights <- function(swap_on_epoch = FALSE)
  new_object("callback", "SwapEMAWeights")

callback_tensorboard <- function(log_dir = "logs", update_freq = "epoch")
  new_object("callback", "TensorBoard")

callback_backup_and_restore <- function(
  backup_dir, save_freq = "epoch", delete_checkpoint = TRUE
) new_object("callback", "BackupAndRestore")
