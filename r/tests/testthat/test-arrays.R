# An array of R with dim c(B, T, F) is the tensor [B, T, F].

identity_layer <- layer_identity()

test_that("arrays keep their shapes, values and types", {
  for (dim in list(5, c(2, 3), c(2, 3, 4), c(2, 1, 3, 4), c(1, 2, 3, 2, 2))) {
    x <- array(as.numeric(seq_len(prod(dim))), dim)
    expect_identical(identity_layer(x), x)
  }
  whole <- matrix(1:6, 2)
  expect_identical(identity_layer(whole), whole)
  expect_identical(identity_layer(whole > 2L), whole > 2L)
  expect_identical(as.vector(identity_layer(c(1, 2, 3))), c(1, 2, 3))
  expect_identical(identity_layer(array(0, c(0, 3))), array(0, c(0, 3)))
})

test_that("axes mean what they mean in Keras", {
  x <- array(1:24 + 0, c(2, 3, 4))
  # Of sample b, position t, feature f: the mean over positions, the last axis of flatten().
  expect_equal(layer_global_average_pooling_1d(x), apply(x, c(1, 3), mean))
  expect_identical(layer_flatten(x), t(apply(x, 1, function(sample) as.vector(t(sample)))))
  expect_identical(layer_reshape(matrix(1:6 + 0, 1), c(2, 3))[1, , ],
                   matrix(1:6 + 0, 2, byrow = TRUE))
  expect_identical(layer_permute(x, c(2, 1)), aperm(x, c(1, 3, 2)))
  joined <- array(0, c(2, 6, 4))
  joined[, 1:3, ] <- x
  joined[, 4:6, ] <- x
  expect_identical(layer_concatenate(x, x, axis = 2), joined)
  kernel <- matrix(1:8 + 0, 4)
  layer <- layer_dense(units = 2, use_bias = FALSE)
  layer(x)
  expected <- array(matrix(x, 6) %*% kernel, c(2, 3, 2))
  expect_equal(set_weights(layer, list(kernel))(x), expected)
})

test_that("doubles are rounded to 32 bits, or kept by layers of 64", {
  x <- matrix(c(pi, exp(1)), 1)
  expect_false(identical(identity_layer(x), x))
  expect_identical(layer_identity(dtype = "float64")(x), x)
  layer <- layer_group_query_attention(, 4, 2, 1, dtype = "float64")
  x <- waves(c(1, 3, 4))
  scores <- layer(x, x, return_attention_scores = TRUE)[[2]]
  expect_lt(max(abs(apply(scores, 1:3, sum) - 1)), 1e-14)
})

test_that("NaN and infinite numbers pass, NA in logicals and integers does not", {
  expect_identical(identity_layer(c(NaN, Inf, -Inf)), array(c(NaN, Inf, -Inf)))
  expect_error(identity_layer(c(1L, NA)), "expected no NA")
  expect_error(identity_layer(c(TRUE, NA)), "expected no NA")
})

test_that("numbers that R holds as doubles are whole numbers where they have to be", {
  layer <- layer_multi_head_attention(num_heads = 4, key_dim = 8L)
  expect_identical(get_config(layer)$num_heads, 4L)
  expect_error(layer_multi_head_attention(num_heads = 4.5, key_dim = 8), "num_heads")
  expect_error(layer_multi_head_attention(num_heads = NA, key_dim = 8), "NA|TRUE or FALSE")
  expect_error(layer_multi_head_attention(num_heads = NULL, key_dim = 8), "num_heads")
})
