# Layers and training against Keras: see generate_golden.py.

query <- waves(c(2, 3, 4))
value <- waves(c(2, 5, 4), 7)
key <- waves(c(2, 5, 4), 50)
mask <- tensor((0:29) %% 4 != 0, c(2, 3, 5))

test_that("grouped-query attention gives Keras's values", {
  layer <- with_waves(layer_group_query_attention(, 3, 4, 2), query, query)
  expect_equal(layer(query, query), golden$gqa_self, tolerance = 1e-6)
  expect_equal(layer(query, query, use_causal_mask = TRUE), golden$gqa_causal, tolerance = 1e-6)

  layer <- with_waves(layer_group_query_attention(NULL, 3, 4, 2, use_bias = FALSE),
                      query, value, key)
  out <- layer(query = query, value = value, key = key, attention_mask = mask,
               return_attention_scores = TRUE)
  expect_equal(out[[1]], golden$gqa_cross, tolerance = 1e-6)
  expect_equal(out[[2]], golden$gqa_cross_scores, tolerance = 1e-6)
})

test_that("masks are logicals, integers or numbers of 0 and 1, and repeat over axes of size 1", {
  layer <- with_waves(layer_group_query_attention(, 3, 4, 2, use_bias = FALSE), query, value, key)
  for (given in list(mask, mask + 0L, mask + 0)) {
    expect_equal(layer(query, value, key, attention_mask = given), golden$gqa_cross,
                 tolerance = 1e-6)
  }
  one <- array(mask[1, , ], c(1, 3, 5))
  both <- aperm(array(mask[1, , ], c(3, 5, 2)), c(3, 1, 2))
  expect_identical(layer(query, value, key, attention_mask = one),
                   layer(query, value, key, attention_mask = both))
})

test_that("multi-head attention gives Keras's values", {
  layer <- layer_multi_head_attention(num_heads = 2, key_dim = 3, value_dim = 2, output_shape = 5)
  out <- with_waves(layer, query, value)(query, value, attention_mask = mask,
                                         return_attention_scores = TRUE)
  expect_equal(out[[1]], golden$mha, tolerance = 1e-6)
  expect_equal(out[[2]], golden$mha_scores, tolerance = 1e-6)

  grid <- waves(c(2, 2, 3, 4))
  layer <- layer_multi_head_attention(num_heads = 2, key_dim = 3, attention_axes = 2)
  expect_equal(with_waves(layer, grid, grid)(grid, grid), golden$mha_axes, tolerance = 1e-6)
})

test_that("attention without heads gives Keras's values", {
  layer <- layer_attention(use_scale = TRUE, score_mode = "concat")
  layer(list(query, value))
  set_weights(layer, list(0.7, 0.3))
  expect_equal(layer(list(query, value, key), use_causal_mask = TRUE), golden$attention,
               tolerance = 1e-6)

  layer <- with_waves(layer_additive_attention(), query, value)
  keep <- tensor((0:9) %% 3 != 0, c(2, 5))
  expect_equal(layer(list(query, value), mask = list(NULL, keep)), golden$additive,
               tolerance = 1e-6)
})

# The model of generate_golden.py.
ids <- tensor(((0:59) * 7) %% 11, c(10, 6))
classes <- (0:9) %% 3
new_model <- function() {
  input <- keras_input(6, dtype = "int32", name = "ids")
  x <- input |> layer_embedding(11, 8, name = "embedding")
  attention <- layer_group_query_attention(, 4, 4, 2, name = "attention")
  y <- attention(x, x, use_causal_mask = TRUE)
  out <- layer_add(x, y, name = "add") |>
    layer_layer_normalization(name = "norm") |>
    layer_global_average_pooling_1d(name = "pool") |>
    layer_dense(3, activation = "softmax", name = "classes")
  keras_model(input, out)
}

test_that("fit() goes as in Keras", {
  model <- new_model()
  set_waves(model)
  model |> compile(
    optimizer = optimizer_adam_w(0.01, weight_decay = 0.1),
    loss = loss_sparse_categorical_crossentropy(), metrics = "accuracy"
  )
  history <- model |> fit(ids, classes, batch_size = 4, epochs = 3, shuffle = FALSE,
                          validation_split = 0.2, verbose = 0)
  expect_named(history$metrics, c("accuracy", "loss", "val_accuracy", "val_loss"),
               ignore.order = TRUE)
  for (name in names(history$metrics)) {
    expect_equal(as.vector(history$metrics[[name]]), as.vector(golden[[paste0("fit_", name)]]),
                 tolerance = 1e-5, info = name)
  }
  expect_equal(predict(model, ids), golden$fit_predictions, tolerance = 1e-5)
})

test_that("a model that Keras trained and saved predicts and trains on", {
  model <- load_model("model.keras")
  expect_equal(predict(model, ids), golden$fit_predictions, tolerance = 1e-6)
  before <- evaluate(model, ids, classes)
  expect_named(before, c("loss", "accuracy"), ignore.order = TRUE)
  history <- fit(model, ids, classes, epochs = 20, verbose = 0)
  expect_lt(history$metrics$loss[20], before$loss)
  expect_equal(load_model("model.keras", compile = FALSE)(ids), golden$fit_predictions,
               tolerance = 1e-6)
})

test_that("rules give Keras's values", {
  x <- waves(c(4, 3))
  expect_equal(constraint_maxnorm(0.5, axis = 1)(x), golden$constraint_maxnorm, tolerance = 1e-6)
  expect_equal(regularizer_l1_l2(0.1, 0.2)(x), as.vector(golden$regularizer_l1_l2),
               tolerance = 1e-6)
  expect_equal(initializer_glorot_uniform(seed = 3)(c(4, 3)), golden$initializer, tolerance = 1e-6)
  y <- abs(x) / rowSums(abs(x))
  expect_equal(loss_categorical_crossentropy(diag(3)[c(1, 3, 2, 1), ], y), golden$loss_each,
               tolerance = 1e-6)
  expect_equal(metric_sparse_top_k_categorical_accuracy(c(0, 2, 1, 0), y, k = 1),
               golden$metric_each)
})
