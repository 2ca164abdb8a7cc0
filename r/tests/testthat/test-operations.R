# Operations on arrays against R's own, and on symbols against the same on arrays.

x <- array(sin(1:24), c(2, 3, 4))
y <- array(cos(1:24), c(2, 3, 4))

expect_near <- function(actual, expected) {
  expect_equal(dim(actual), dim(expected))
  expect_lt(max(abs(actual - expected)), 1e-5)
}

test_that("operations of two operands", {
  expect_near(op_add(x, y), x + y)
  expect_near(op_subtract(1, x), 1 - x)
  expect_near(op_multiply(x, 2), 2 * x)
  expect_near(op_divide(x, y), x / y)
  expect_near(op_power(abs(x), 2), x^2)
  expect_near(op_maximum(x, y), pmax(x, y))
  expect_near(op_minimum(x, y), pmin(x, y))
  expect_identical(op_greater(x, y), x > y)
  expect_identical(op_less_equal(x, y), x <= y)
  expect_identical(op_logical_and(x > 0, y > 0), x > 0 & y > 0)
  expect_identical(op_not_equal(matrix(1:4, 2), 2L), matrix(1:4, 2) != 2L)
  expect_near(op_matmul(x[1, , ], t(y[1, , ])), x[1, , ] %*% t(y[1, , ]))
  expect_near(op_einsum("bij,bkj->bik", x, y)[2, , ], x[2, , ] %*% t(y[2, , ]))
  expect_near(op_where(x > 0, x, 0), ifelse(x > 0, x, 0))
})

test_that("operations of one", {
  for (case in list(
    list(op_abs, abs), list(op_exp, exp), list(op_tanh, tanh), list(op_square, function(x) x^2),
    list(op_negative, function(x) -x), list(op_sigmoid, stats::plogis), list(op_sin, sin),
    list(op_relu, function(x) pmax(x, 0)), list(op_silu, function(x) x * stats::plogis(x)),
    list(op_softplus, function(x) log1p(exp(x))), list(op_cos, cos),
    list(op_zeros_like, function(x) 0 * x), list(op_stop_gradient, identity)
  )) expect_near(case[[1]](x), case[[2]](x))
  expect_near(op_log(abs(x)), log(abs(x)))
  expect_near(op_rsqrt(abs(x)), 1 / sqrt(abs(x)))
  expect_near(op_gelu(x, approximate = FALSE), x * stats::pnorm(x))
  expect_near(op_leaky_relu(x), ifelse(x > 0, x, 0.2 * x))
  expect_near(op_clip(x, -0.5, 0.5), pmin(pmax(x, -0.5), 0.5))
})

test_that("axes count from 1", {
  expect_near(op_sum(x, axis = 2), array(apply(x, c(1, 3), sum), c(2, 4)))
  expect_near(op_mean(x, axis = c(1, 3), keepdims = TRUE), array(apply(x, 2, mean), c(1, 3, 1)))
  expect_equal(op_max(x), max(x), tolerance = 1e-6)
  expect_near(op_var(x, axis = -1), array(apply(x, 1:2, function(v) mean((v - mean(v))^2)), 2:3))
  weights <- exp(x) / array(apply(exp(x), c(1, 3), sum)[c(1, 2), rep(1:4, each = 3)], c(2, 3, 4))
  expect_near(op_softmax(x, axis = 2), weights)
  expect_near(op_transpose(x, c(1, 3, 2)), aperm(x, c(1, 3, 2)))
  expect_near(op_swapaxes(x, 2, 3), aperm(x, c(1, 3, 2)))
  expect_equal(dim(op_expand_dims(x, 2)), c(2, 1, 3, 4))
  expect_equal(dim(op_squeeze(op_expand_dims(x, 2), 2)), c(2, 3, 4))
  expect_near(op_reshape(x, c(2, 12)), aperm(array(aperm(x, 3:1), c(12, 2)), 2:1))
  expect_equal(dim(op_concatenate(list(x, y), axis = 3)), c(2, 3, 8))
  expect_near(op_concatenate(list(x, y), axis = 3)[, , 5:8], y)
  expect_near(op_stack(list(x, y), axis = 1)[2, , , ], y)
  expect_near(op_flip(x, axis = 2), x[, 3:1, ])
  expect_near(op_cumsum(x, axis = 2)[, 3, ], apply(x, c(1, 3), sum))
  expect_equal(dim(op_repeat(x, 2, axis = 2)), c(2, 6, 4))
})

test_that("types", {
  expect_type(op_cast(x, "int32"), "integer")
  expect_equal(op_add(2, 3), array(5, 1))
})

test_that("symbols make a model of them, that trains", {
  input <- keras_input(shape = c(3, 4))
  output <- op_mean(op_tanh(layer_dense(input, 5)), axis = 2)
  expect_equal(unclass(output$shape), list(NA_integer_, 5L))
  model <- keras_model(input, layer_dense(op_concatenate(list(output, op_max(input, axis = 2)), axis = 2), 1))
  model |> compile("adam", "mse")
  expect_equal(dim(predict(model, x)), c(2L, 1L))
  history <- model |> fit(x, c(0, 1), epochs = 3, verbose = 0)
  expect_lt(history$metrics$loss[3], history$metrics$loss[1])
})

test_that("what does not fit is an error", {
  expect_error(op_matmul(x, matrix(0, 3, 3)))
  expect_error(op_sum(x, axis = 0), "expected axes from 1")
  expect_error(op_reshape(x, 7))
  expect_error(op_cast(x, "float99"))
})
