# compile(), fit(), evaluate() and predict() of Keras's models.

compile <- function(object, ...) UseMethod("compile")
fit <- function(object, ...) UseMethod("fit")
evaluate <- function(object, ...) UseMethod("evaluate")

compile.grouphead_model <- function(
  object, optimizer = "rmsprop", loss = NULL, metrics = NULL, ..., loss_weights = NULL,
  weighted_metrics = NULL, run_eagerly = FALSE, steps_per_execution = 1L, jit_compile = "auto",
  auto_scale_loss = TRUE
) {
  if (length(list(...))) stop("[R] compile: expected no further arguments", call. = FALSE)
  config <- list(
    optimizer = optimizer, loss = made(loss), loss_weights = loss_weights,
    metrics = as_metrics(metrics), weighted_metrics = as_metrics(weighted_metrics)
  )
  .Call(gr_compile, object, config, auto_scale_loss)
  invisible(object)
}

# loss_huber for loss_huber(), in lists too.
made <- function(x) {
  if (is.list(x)) return(lapply(x, made))
  if (is.function(x) && !inherits(x, "grouphead_object")) x() else x
}
# Metrics of one output, or of each of them in lists.
as_metrics <- function(metrics) {
  if (is.list(metrics)) return(lapply(metrics, as_metrics))
  if (is.function(metrics)) list(made(metrics)) else if (!is.null(metrics)) as.list(metrics)
}

fit.grouphead_model <- function(
  object, x = NULL, y = NULL, ..., batch_size = NULL, epochs = 1L, callbacks = NULL,
  validation_split = 0, validation_data = NULL, shuffle = TRUE, class_weight = NULL,
  sample_weight = NULL, initial_epoch = 1L, steps_per_epoch = NULL, validation_steps = NULL,
  validation_batch_size = NULL, validation_freq = 1L,
  verbose = getOption("keras.verbose", default = "auto")
) {
  if (length(list(...))) stop("[R] fit: expected no further arguments", call. = FALSE)
  seed <- new_seed()
  settings <- list(
    batch_size = batch_size, epochs = epochs, validation_split = validation_split,
    shuffle = shuffle, class_weight = class_weight, initial_epoch = initial_epoch - 1L,
    steps_per_epoch = steps_per_epoch, validation_steps = validation_steps,
    validation_batch_size = validation_batch_size, validation_freq = validation_freq, seed = seed
  )
  data <- list(x = x, y = y, sample_weight = sample_weight, seed = seed)
  validation <- if (!is.null(validation_data)) {
    if (!is.list(validation_data) || !length(validation_data) %in% 2:3)
      stop("[R] validation_data: expected a list of inputs, targets and perhaps weights",
           call. = FALSE)
    list(x = validation_data[[1L]], y = validation_data[[2L]],
         sample_weight = if (length(validation_data) > 2L) validation_data[[3L]], seed = seed)
  }
  result <- .Call(gr_fit, object, data, validation, settings, as_callbacks(callbacks),
                  progress(verbose))
  if (result$interrupted) interrupt()
  params <- list(epochs = epochs, verbose = verbose)
  invisible(structure(list(params = params, metrics = result$metrics, epochs = result$epochs),
                      class = "keras_training_history"))
}

# What R does at Ctrl-C, once the step that ran is done and the model is whole.
interrupt <- function() {
  signalCondition(structure(list(message = "interrupted", call = NULL),
                            class = c("interrupt", "condition")))
  invokeRestart("abort")
}

as_callbacks <- function(callbacks) {
  if (is.function(callbacks)) list(callbacks) else as.list(callbacks)
}

# Shows where fit() stands: 0 nothing, 1 a line that is written anew, 2 a line for each epoch.
progress <- function(verbose) {
  if (identical(verbose, "auto")) verbose <- if (interactive()) 1L else 2L
  if (!as.integer(verbose)) return(NULL)
  function(epoch, epochs, step, steps, epoch_is_over, logs) {
    if (!epoch_is_over && verbose != 1L) return()
    numbers <- paste0(names(logs), ": ", vapply(logs, format, "", digits = 4L), collapse = " - ")
    cat(if (verbose == 1L) "\r", "Epoch ", epoch + 1, "/", epochs, " - ", step,
        if (steps > 0) paste0("/", steps), " - ", numbers, if (epoch_is_over) "\n", sep = "")
    utils::flush.console()
  }
}

evaluate.grouphead_model <- function(
  object, x = NULL, y = NULL, ..., batch_size = NULL, verbose = "auto", sample_weight = NULL,
  steps = NULL, callbacks = NULL
) {
  if (length(list(...))) stop("[R] evaluate: expected no further arguments", call. = FALSE)
  data <- list(x = x, y = y, sample_weight = sample_weight, seed = new_seed())
  or_interrupt(.Call(gr_evaluate, object, data, or(batch_size, 32L), or(steps, 0L),
                     as_callbacks(callbacks)))
}

predict.grouphead_model <- function(object, x, ..., batch_size = NULL, verbose = "auto") {
  if (length(list(...))) stop("[R] predict: expected no further arguments", call. = FALSE)
  or_interrupt(.Call(gr_predict, object, x, or(batch_size, 32L), new_seed()))
}

or <- function(x, otherwise) if (is.null(x)) otherwise else x

or_interrupt <- function(result) if (is.null(result)) interrupt() else result

train_on_batch <- function(object, x, y = NULL, sample_weight = NULL) {
  .Call(gr_batch, object, list(x = x, y = y, sample_weight = sample_weight, seed = new_seed()),
        TRUE)
}

test_on_batch <- function(object, x, y = NULL, sample_weight = NULL) {
  .Call(gr_batch, object, list(x = x, y = y, sample_weight = sample_weight, seed = new_seed()),
        FALSE)
}

predict_on_batch <- function(object, x) predict(object, x, batch_size = .Machine$integer.max)
