# Layers of words, with the values that Keras gives for the same vocabularies and texts.

test_that("texts become places in a vocabulary", {
  layer <- layer_text_vectorization(vocabulary = c("the", "cat"), output_sequence_length = 4)
  expect_equal(layer(c("The cat sat!", "cat")), rbind(c(2, 3, 1, 0), c(3, 0, 0, 0)))
  expect_equal(get_vocabulary(layer), c("", "[UNK]", "the", "cat"))
  expect_equal(get_vocabulary(layer, include_special_tokens = FALSE), c("the", "cat"))
  rows <- layer_text_vectorization(vocabulary = c("the", "cat"), output_mode = "multi_hot")
  expect_equal(rows(matrix(c("the cat", "a"))), rbind(c(0, 1, 1), c(1, 0, 0)))
})

test_that("adapt() takes the most frequent tokens, and of equal ones the last of the alphabet", {
  layer <- layer_text_vectorization(max_tokens = 5)
  expect_invisible(adapt(layer, c("b a", "c a", "The a", "d")))
  expect_equal(get_vocabulary(layer), c("", "[UNK]", "a", "the", "d"))
  words <- adapt(layer_string_lookup(), c("x", "y", "y", "z"))
  expect_equal(get_vocabulary(words), c("[UNK]", "y", "z", "x"))
  expect_equal(c(words(c("x", "q", "y"))), c(3, 0, 1))
  numbers <- adapt(layer_integer_lookup(), c(7L, 9L, 9L))
  expect_equal(get_vocabulary(numbers), c(-1, 9, 7))
  expect_equal(c(numbers(c(7L, 9L, 8L))), c(2, 1, 0))
})

test_that("adapt() weighs tokens by the documents that have them", {
  layer <- adapt(layer_text_vectorization(output_mode = "tf_idf"), c("a b", "a", "c"))
  expect_equal(get_vocabulary(layer), c("[UNK]", "a", "c", "b"))
  expect_equal(c(layer("a a c")), c(0, 2 * log(1 + 3 / 3), log(1 + 3 / 2), 0), tolerance = 1e-6)
})

test_that("matrices of texts keep their places", {
  words <- layer_string_lookup(vocabulary = letters[1:6])
  expect_equal(words(matrix(letters[1:6], 2)), matrix(1:6 + 0, 2))
  expect_equal(dim(words(array(letters[1:6], c(1, 3, 2)))), c(1, 3, 2))
  set_vocabulary(words, c("f", "a"))
  expect_equal(c(words(c("a", "b"))), c(2, 0))
})

test_that("a model of texts trains, and its file has the vocabulary", {
  texts <- rep(c("good film", "bad film", "good book", "bad book"), 8)
  labels <- rep(c(1, 0, 1, 0), 8)
  vectors <- adapt(layer_text_vectorization(output_sequence_length = 2), texts)
  input <- keras_input(shape = 1, dtype = "string")
  output <- input |> vectors() |>
    layer_embedding(input_dim = 6, output_dim = 4) |>
    layer_global_average_pooling_1d() |>
    layer_dense(1, activation = "sigmoid")
  model <- keras_model(input, output)
  model |> compile(optimizer_adam(0.1), "binary_crossentropy", metrics = "accuracy")
  history <- model |> fit(texts, labels, epochs = 10, verbose = 0)
  expect_gt(tail(history$metrics$accuracy, 1), 0.9)
  file <- tempfile(fileext = ".keras")
  save_model(model, file)
  expect_equal(predict(load_model(file), texts[1:4]), predict(model, texts[1:4]))
})

test_that("what does not fit is an error", {
  layer <- layer_text_vectorization()
  expect_error(layer("a"), "vocabulary")
  expect_error(layer_text_vectorization(vocabulary = "a")(c("a", NA)), "expected no NA")
  expect_error(get_vocabulary(layer_dense(, 1)), "expected a layer with a vocabulary")
  expect_error(set_vocabulary(layer, c("a", "a")), "twice")
  expect_error(adapt(layer_text_vectorization(vocabulary = "a"), "b"), "no vocabulary")
  expect_error(adapt(layer_dense(, 1), 1), "expected a layer that adapts")
  expect_error(layer_dense(, 1)(c("a", "b")))
})
