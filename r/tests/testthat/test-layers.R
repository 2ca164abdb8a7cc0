# The three forms of the layer functions, calls, and models of layers.

test_that("a layer function adds to a sequential model in place, invisibly", {
  model <- keras_model_sequential(input_shape = c(5, 8))
  expect_invisible(layer_group_query_attention(model, 4, 4, 2))
  expect_identical(layer_multi_head_attention(model, num_heads = 2, key_dim = 4), model)
  model |> layer_global_average_pooling_1d() |> layer_dense(units = 3)
  expect_identical(vapply(model$layers, function(layer) layer$name, ""),
                   c("grouped_query_attention", "multi_head_attention",
                     "global_average_pooling1d", "dense"))
  expect_identical(dim(predict(model, waves(c(2, 5, 8)))), c(2L, 3L))
})

test_that("a layer function gives a symbol for an input, and for a list of query, value and key", {
  target <- keras_input(shape = c(4, 8))
  source <- keras_input(shape = c(NA, 8), name = "source")
  expect_identical(unclass(source$shape), list(NA_integer_, NA_integer_, 8L))
  out <- layer_group_query_attention(target, 4, 4, 2)
  expect_identical(format(out$shape), "shape(NA, 4, 8)")
  out <- layer_multi_head_attention(list(target, source), 2, 4)
  expect_identical(format(out$shape), "shape(NA, 4, 8)")
  model <- keras_model(list(target, source), out)
  x <- list(waves(c(2, 4, 8)), waves(c(2, 6, 8), 5))
  attention <- get_layer(model, "multi_head_attention")
  expect_identical(predict(model, x), attention(x[[1]], x[[2]]))
  expect_identical(predict(model, list(source = x[[2]], input_layer = x[[1]])), predict(model, x))
})

test_that("a layer function gives a layer for nothing and NULL, an array for an array", {
  expect_s3_class(layer_group_query_attention(, 4, 4, 2), "grouphead_layer")
  expect_s3_class(layer_group_query_attention(NULL, 4, 4, 2), "grouphead_layer")
  expect_s3_class(layer_multi_head_attention(num_heads = 2, key_dim = 4), "grouphead_layer")
  x <- waves(c(2, 3, 8))
  expect_identical(dim(layer_group_query_attention(x, 4, 4, 2)), c(2L, 3L, 8L))
  expect_identical(dim(layer_multi_head_attention(list(x, x), 2, 4)), c(2L, 3L, 8L))
})

test_that("the examples of keras3's pages run", {
  layer <- layer_multi_head_attention(num_heads = 2, key_dim = 2)
  target <- keras_input(shape = c(8, 16))
  source <- keras_input(shape = c(4, 16))
  out <- layer(target, source, return_attention_scores = TRUE)
  expect_identical(format(out[[1]]$shape), "shape(NA, 8, 16)")
  expect_identical(format(out[[2]]$shape), "shape(NA, 2, 8, 4)")

  layer <- layer_multi_head_attention(num_heads = 2, key_dim = 3, attention_axes = c(2, 3))
  input <- keras_input(shape = c(5, 3, 4, 16))
  expect_identical(format(layer(input, input)$shape), "shape(NA, 5, 3, 4, 16)")
})

test_that("what seeds R makes weights, dropout and shuffles the same", {
  run <- function() {
    set_random_seed(5)
    layer <- layer_group_query_attention(, 4, 4, 2, dropout = 0.5)
    x <- waves(c(2, 6, 8))
    list(layer(x, x), layer(x, x, training = TRUE))
  }
  first <- run()
  expect_identical(run(), first)
  expect_false(isTRUE(all.equal(first[[1]], first[[2]])))
})

test_that("weights are read and set in Keras's order and shapes", {
  layer <- layer_group_query_attention(, head_dim = 3, num_query_heads = 4, num_key_value_heads = 2)
  x <- waves(c(1, 2, 5))
  layer(x, x)
  weights <- get_weights(layer)
  expect_identical(lapply(weights, dim), list(
    c(5L, 4L, 3L), c(4L, 3L), c(5L, 2L, 3L), c(2L, 3L), c(5L, 2L, 3L), c(2L, 3L),
    c(4L, 3L, 5L), 5L
  ))
  expect_identical(count_params(layer), sum(lengths(weights)) + 0)
  copy <- layer_group_query_attention(, 3, 4, 2)
  copy(x, x)
  expect_identical(set_weights(copy, weights)(x, x), layer(x, x))
})

test_that("masks of padding travel through a model", {
  ids <- matrix(c(1, 2, 3, 0, 0, 4, 5, 6, 7, 8), 2, byrow = TRUE)
  input <- keras_input(5, dtype = "int32")
  out <- layer_embedding(input, 10, 4, mask_zero = TRUE) |> layer_group_query_attention(2, 2, 1)
  model <- keras_model(input, out)
  other <- ids
  other[1, 4:5] <- 0
  embedded <- get_weights(model)[[1]]
  y <- predict(model, ids)
  attention <- get_layer(model, "grouped_query_attention")
  x <- array(embedded[as.vector(ids) + 1, ], c(2, 5, 4))
  expect_equal(y, attention(x, x, value_mask = ids != 0, query_mask = ids != 0), tolerance = 1e-6)
})

test_that("flash attention is switched for the session, without other results", {
  x <- waves(c(2, 6, 8))
  layer <- layer_group_query_attention(, 4, 4, 2)
  before <- layer(x, x)
  config_disable_flash_attention()
  expect_false(config_is_flash_attention_enabled())
  expect_identical(layer(x, x), before)
  config_enable_flash_attention()
  expect_true(config_is_flash_attention_enabled())
  strict <- layer_group_query_attention(, 4, 4, 2, flash_attention = TRUE)
  expect_error(strict(x, x, return_attention_scores = TRUE), "flash_attention")
})

test_that("rules are objects that layers take, and functions", {
  layer <- layer_dense(
    units = 2, kernel_initializer = initializer_constant(0.5),
    kernel_regularizer = regularizer_l2(0.1), kernel_constraint = constraint_maxnorm(2)
  )
  expect_equal(layer(matrix(1:3 + 0, 1)), matrix(3, 1, 2))
  config <- get_config(layer)
  expect_identical(config$kernel_initializer$class_name, "Constant")
  expect_identical(config$kernel_constraint$config$axis, 0L)
  expect_type(c(metric_auc(), metric_recall()), "list")
  expect_output(print(optimizer_adam(0.01)), "<optimizer Adam> learning_rate=0.01")
})

test_that("arithmetic of symbols makes operations", {
  input <- keras_input(3)
  model <- keras_model(input, (input * 2 + 1) / input - input)
  x <- matrix(c(1, 2, 4, 5, 8, 10), 2)
  expect_equal(predict(model, x), (x * 2 + 1) / x - x, tolerance = 1e-6)
})
