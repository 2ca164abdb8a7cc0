# compile(), fit() and what is around them.

inputs <- waves(c(32, 4))
targets <- rowSums(inputs)
new_model <- function(optimizer = optimizer_sgd(0.01), ...) {
  model <- keras_model_sequential(input_shape = 4) |> layer_dense(1, kernel_initializer = "zeros")
  compile(model, optimizer, loss = "mse", ...)
  model
}

test_that("compile() takes names, objects, functions, and lists of them", {
  for (loss in list("mse", loss_huber, loss_huber(delta = 2), list("mae"))) {
    model <- new_model()
    metrics <- list("mae", metric_mean_squared_error())
    expect_invisible(compile(model, "adam", loss, metrics))
    expect_named(evaluate(model, inputs, targets), c("loss", "mae", "mean_squared_error"),
                 ignore.order = TRUE)
  }
  for (metrics in list("mae", metric_mean_absolute_error, c(metric_mean_absolute_error()))) {
    expect_length(evaluate(new_model(metrics = metrics), inputs, targets), 2)
  }
  expect_equal(new_model(optimizer_adam(0.25))$optimizer$learning_rate, 0.25)
  schedule <- learning_rate_schedule_exponential_decay(0.5, 10, 0.5)
  model <- new_model(optimizer_sgd(schedule))
  expect_equal(model$optimizer$learning_rate, 0.5)
})

test_that("a model that is compiled before it is built is trained", {
  model <- keras_model_sequential() |> layer_dense(1, kernel_initializer = "zeros")
  compile(model, optimizer_sgd(0.25), loss = "mse")
  expect_equal(model$optimizer$learning_rate, 0.25)
  model$optimizer$learning_rate <- 0.125
  expect_equal(model$optimizer$learning_rate, 0.125)
  losses <- fit(model, inputs, targets, epochs = 3, verbose = 0)$metrics$loss
  expect_true(all(diff(losses) < 0))
  expect_error(compile(keras_model_sequential(), optimizer = "banana"), "banana")
})

test_that("a model of two outputs takes targets, losses and weights by name", {
  input <- keras_input(4)
  model <- keras_model(input, list(layer_dense(input, 1, name = "a"),
                                   layer_dense(input, 2, name = "b")))
  compile(model, "sgd", loss = list(a = "mse", b = "mae"), loss_weights = list(a = 2, b = 0.5))
  y <- list(b = cbind(targets, targets), a = targets)
  logs <- evaluate(model, inputs, y)
  p <- predict(model, inputs)
  expected <- 2 * mean((p[[1]] - targets)^2) + 0.5 * mean(abs(p[[2]] - targets))
  expect_equal(logs$loss, expected, tolerance = 1e-6)
})

test_that("models of 64 bits keep the digits of R's numbers", {
  input <- keras_input(4, dtype = "float64")
  model <- keras_model(input, layer_dense(input, 1, dtype = "float64"))
  compile(model, "sgd", loss = "mse")
  p <- as.vector(predict(model, inputs))
  weights <- get_weights(model)
  expect_equal(p, as.vector(inputs %*% weights[[1]] + weights[[2]][1]), tolerance = 1e-14)
  expect_equal(evaluate(model, inputs, targets)$loss, mean((p - targets)^2), tolerance = 1e-13)
})

test_that("weights of samples and classes weigh", {
  model <- new_model()
  weight <- rep(c(0, 2), 16)
  p <- as.vector(predict(model, inputs))
  expect_equal(evaluate(model, inputs, targets, sample_weight = weight)$loss,
               mean(weight * (p - targets)^2), tolerance = 1e-6)

  first <- keras_model_sequential(input_shape = 4) |>
    layer_dense(2, activation = "softmax", kernel_initializer = "zeros")
  compile(first, optimizer_sgd(1), "sparse_categorical_crossentropy")
  second <- load_model_config(textConnection(save_model_config(first)))
  set_weights(second, get_weights(first))
  compile(second, optimizer_sgd(1), "sparse_categorical_crossentropy")
  classes <- rep(0:1, 16)
  fit(first, inputs, classes, class_weight = list("0" = 3, "1" = 0.5), verbose = 0)
  fit(second, inputs, classes, sample_weight = ifelse(classes == 0, 3, 0.5), shuffle = TRUE,
      batch_size = 32, verbose = 0)
  expect_equal(get_weights(first), get_weights(second), tolerance = 1e-6)
})

test_that("callbacks run, and functions get epochs from 0 and numbers by name", {
  seen <- list()
  note <- callback_lambda(on_epoch_end = function(epoch, logs) {
    seen[[length(seen) + 1L]] <<- c(epoch, logs$loss)
  })
  rate <- callback_learning_rate_scheduler(function(epoch, lr) if (epoch < 1) 0.5 * lr else lr)
  model <- new_model()
  history <- fit(model, inputs, targets, epochs = 3, callbacks = list(note, rate), verbose = 0)
  expect_identical(vapply(seen, `[`, 0, 1), c(0, 1, 2))
  expect_identical(vapply(seen, `[`, 0, 2), history$metrics$loss)
  expect_equal(model$optimizer$learning_rate, 0.005)

  stop_early <- callback_early_stopping(monitor = "loss", min_delta = 1e9, patience = 2)
  history <- fit(new_model(), inputs, targets, epochs = 20, callbacks = stop_early, verbose = 0)
  expect_length(history$metrics$loss, 3)

  folder <- tempfile()
  dir.create(folder)
  csv <- file.path(folder, "log.csv")
  fit(new_model(), inputs, targets, epochs = 2, verbose = 0, callbacks = list(
    callback_csv_logger(csv), callback_terminate_on_nan(), callback_reduce_lr_on_plateau("loss"),
    callback_model_checkpoint(file.path(folder, "{epoch:02d}.keras"), monitor = "loss"),
    callback_backup_and_restore(file.path(folder, "backup")),
    callback_tensorboard(file.path(folder, "board"))
  ))
  expect_identical(nrow(read.csv(csv)), 2L)
  expect_true(all(c("01.keras", "02.keras", "board") %in% list.files(folder)))
  averages <- new_model(optimizer_sgd(0.1, use_ema = TRUE))
  fit(averages, inputs, targets, verbose = 0, callbacks = callback_swap_ema_weights())
})

test_that("batches are trained and looked at alone", {
  model <- new_model()
  expect_equal(train_on_batch(model, inputs, targets)$loss, mean(targets^2), tolerance = 1e-6)
  expect_lt(test_on_batch(model, inputs, targets)$loss, mean(targets^2))
  expect_identical(predict_on_batch(model, inputs), predict(model, inputs))
  expect_equal(predict(model, inputs, batch_size = 5), predict(model, inputs), tolerance = 1e-6)
})

test_that("files keep models, what they are trained by, and weights", {
  model <- new_model(optimizer_adam(0.01))
  fit(model, inputs, targets, epochs = 2, verbose = 0)
  file <- tempfile(fileext = ".keras")
  expect_identical(save_model(model, file), file)
  expect_error(save_model(model, file), "expected no file")
  save_model(model, file, overwrite = TRUE)
  again <- load_model(file)
  same <- function(model) fit(model, inputs, targets, epochs = 2, shuffle = FALSE, verbose = 0)
  expect_identical(same(again)$metrics, same(model)$metrics)

  weights <- tempfile(fileext = ".weights.h5")
  save_model_weights(model, weights)
  other <- load_model_weights(new_model(), weights)
  expect_identical(get_weights(other), get_weights(model))
})

test_that("a sequential model with attention is saved, with a warning that Keras refuses it", {
  model <- keras_model_sequential(input_shape = c(3, 8)) |> layer_group_query_attention(4, 4, 2)
  file <- tempfile(fileext = ".keras")
  expect_warning(save_model(model, file), "Keras does not load this file")
  x <- waves(c(2, 3, 8))
  expect_identical(predict(load_model(file), x), predict(model, x))
})

test_that("what is frozen is not trained", {
  model <- new_model()
  before <- get_weights(model)
  freeze_weights(model)
  compile(model, "sgd", "mse")
  fit(model, inputs, targets, verbose = 0)
  expect_identical(get_weights(model), before)
  unfreeze_weights(model)
  compile(model, "sgd", "mse")
  fit(model, inputs, targets, verbose = 0)
  expect_false(identical(get_weights(model), before))
})

test_that("histories and attention are shown", {
  history <- fit(new_model(metrics = "mae"), inputs, targets, epochs = 3, validation_split = 0.25,
                 verbose = 0)
  expect_output(print(history), "Final epoch \\(3\\)")
  rows <- as.data.frame(history)
  expect_identical(dim(rows), c(12L, 4L))
  expect_identical(levels(rows$data), c("training", "validation"))
  grDevices::pdf(NULL)
  on.exit(grDevices::dev.off())
  expect_invisible(plot(history))
  expect_error(plot(history, metrics = "banana"), "at least one epoch")
  x <- waves(c(2, 3, 8))
  scores <- layer_group_query_attention(, 4, 4, 2)(x, x, return_attention_scores = TRUE)[[2]]
  expect_invisible(plot_attention_scores(scores, heads = 1:2, labels = c("a", "b", "c")))
  expect_error(plot_attention_scores(x), "samples, heads")
  expect_output(fit(new_model(), inputs, targets, verbose = 2), "Epoch 1/1 - 1/1 - loss: ")
  expect_output(print(summary(new_model())), "Total params")
  expect_output(print(new_model()), "dense \\(Dense\\)")
})

test_that("classes become rows", {
  expect_identical(to_categorical(c(0, 2)), rbind(c(1, 0, 0), c(0, 0, 1)))
  expect_identical(dim(to_categorical(matrix(0:3, 2), 5)), c(2L, 2L, 5L))
})
