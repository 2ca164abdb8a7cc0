# Trains a model with attention, saves it as Keras does, loads it, and trains on.
library(grouphead)
set_random_seed(1)

# Of eight numbers one is marked: which one is it?
samples <- 400
marked <- sample(8, samples, replace = TRUE)
x <- array(0, c(samples, 8, 2))
x[, , 1] <- runif(samples * 8)
x[, , 2][cbind(seq_len(samples), marked)] <- 1
y <- x[, , 1][cbind(seq_len(samples), marked)]

input <- keras_input(shape = c(8, 2))
hidden <- input |> layer_dense(16, activation = "relu")
attention <- layer_group_query_attention(
  head_dim = 8, num_query_heads = 2, num_key_value_heads = 1
)
output <- attention(hidden, hidden) |>
  layer_global_average_pooling_1d() |>
  layer_dense(1)
model <- keras_model(input, output)

model |> compile(optimizer = optimizer_adam(0.01), loss = "mse", metrics = "mae")
history <- model |> fit(x, y, epochs = 15, validation_split = 0.25, verbose = 2, callbacks = list(
  callback_early_stopping(patience = 5, restore_best_weights = TRUE)
))

file <- file.path(tempdir(), "marked.keras")
save_model(model, file)
again <- load_model(file)
stopifnot(identical(predict(again, x), predict(model, x)))

# The optimizer's state is in the file: training goes on where it stopped.
more <- again |> fit(x, y, epochs = 5, verbose = 0)
stopifnot(more$metrics$loss[5] < history$metrics$loss[1])
