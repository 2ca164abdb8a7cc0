# The arguments of the R functions against the configurations of the library's classes: every
# argument is a setting of the class, and has the library's default.

package <- asNamespace("grouphead")
functions <- function(pattern) {
  names <- grep(pattern, getNamespaceExports("grouphead"), value = TRUE)
  sort(names)
}

# The class that a function makes: the last argument of the call that is its body.
class_of <- function(fun) {
  call <- body(get(fun, envir = package))
  call[[length(call)]]
}

# What the classes cannot do without.
needed <- list(
  activation = "relu", rate = 0.5, pool_size = 2, filters = 4, kernel_size = 3, units = 4,
  axes = 2, equation = "abc,cd->abd", output_shape = 3, input_dim = 5, output_dim = 4, stddev = 1,
  head_dim = 4, num_query_heads = 4, num_key_value_heads = 2, num_heads = 2, key_dim = 4,
  dims = c(2, 1), n = 3, scale = 2, target_shape = 6, num_tokens = 4, num_bins = 4, recall = 0.5,
  precision = 0.5, specificity = 0.5, sensitivity = 0.5, num_classes = 3, target_class_ids = 1,
  initial_learning_rate = 0.1, decay_steps = 10, first_decay_steps = 10, decay_rate = 0.5,
  boundaries = c(1, 2), values = c(1, 2, 3), filepath = "x.keras", filename = "x.csv",
  backup_dir = "x"
)
# Defaults of keras3 that the library refuses, or takes more than one of.
given <- list(
  layer_bidirectional = list(layer = layer_lstm(units = 2)),
  layer_time_distributed = list(layer = layer_lstm(units = 2)),
  layer_category_encoding = needed["num_tokens"],
  layer_normalization = list(mean = 0, variance = 1),
  optimizer_loss_scale_optimizer = list(inner_optimizer = optimizer_sgd()),
  metric_f1_score = list(average = "macro"),
  metric_fbeta_score = list(average = "macro")
)

required_of <- function(fun) {
  arguments <- formals(get(fun, envir = package))
  has_default <- vapply(arguments, function(value) !identical(value, quote(expr = )), NA)
  setdiff(names(arguments)[!has_default], c("...", "object", "inputs", "y_true", "y_pred"))
}

make <- function(fun) {
  values <- if (fun %in% names(given)) given[[fun]] else needed[required_of(fun)]
  do.call(get(fun, envir = package), values)
}

# A default of R as the library's configuration has it: names of rules in both of Keras's ways.
plain <- function(value) {
  if (is.list(value) && !is.null(value$class_name)) value <- value$class_name
  if (is.character(value)) return(tolower(gsub("_", "", value)))
  unlist(value)
}
is_same <- function(ours, theirs) {
  ours <- plain(ours)
  theirs <- plain(theirs)
  if (is.null(theirs)) return(FALSE)
  # Some are kept in 32 bits; 1 stands for c(1, 1).
  if (is.numeric(ours)) all(abs(ours - theirs) <= 1e-7 * abs(ours)) else identical(ours, theirs)
}

# Arguments whose default is not the one in the configuration `config`, as "function(argument)".
# NULL is never sent, so it is the library's default.
other_defaults <- function(fun, config) {
  arguments <- formals(get(fun, envir = package))
  arguments <- arguments[setdiff(names(arguments), c("...", "object", "inputs", "y_true", "y_pred",
                                                     required_of(fun)))]
  found <- character()
  for (name in names(arguments)) {
    default <- eval(arguments[[name]])
    if (is.null(default)) next
    if (name %in% c("axis", "axes") && default > 0) default <- default - 1
    if (!is_same(default, config[[name]])) found <- c(found, paste0(fun, "(", name, ")"))
  }
  found
}

# Settings that Keras's configurations do not have either, or have under another name.
not_in_configurations <- c(
  "layer_category_encoding(sparse)", "layer_embedding(embeddings_initializer)",
  "layer_gru(use_cudnn)", "layer_lstm(use_cudnn)",
  "optimizer_loss_scale_optimizer(initial_scale)",
  "optimizer_loss_scale_optimizer(dynamic_growth_steps)", "loss_cosine_similarity(axis)",
  "loss_huber(delta)", "loss_sparse_categorical_crossentropy(axis)",
  "metric_cosine_similarity(axis)", "metric_sparse_top_k_categorical_accuracy(from_sorted_ids)"
)

test_that("layers have the arguments and defaults of the library", {
  found <- unlist(lapply(functions("^layer_"), function(fun) {
    other_defaults(fun, get_config(make(fun)))
  }))
  expect_identical(setdiff(found, not_in_configurations), character())
})

test_that("every layer of the library has a function, but for cells of one's own", {
  classes <- vapply(functions("^layer_"), class_of, "")
  expect_setequal(
    setdiff(.Call(package$gr_class_names), classes),
    c("ReversibleEmbedding", "RNN")
  )
  expect_false(anyDuplicated(classes) > 0)
})

test_that("rules have the arguments and defaults of the library", {
  kinds <- c(initializer = "^initializer_", regularizer = "^regularizer_",
             constraint = "^constraint_", schedule = "^learning_rate_schedule_",
             optimizer = "^optimizer_", loss = "^loss_", metric = "^metric_")
  found <- unlist(lapply(names(kinds), function(kind) {
    lapply(functions(kinds[[kind]]), function(fun) {
      made <- make(fun)
      expect_s3_class(made, paste0("grouphead_", kind))
      other_defaults(fun, .Call(package$gr_check_rule, kind, attr(made, "config")))
    })
  }))
  expect_identical(setdiff(found, not_in_configurations), character())
})

test_that("the attention layers have the arguments, order and defaults of keras3's pages", {
  shared <- alist(
    kernel_initializer = "glorot_uniform", bias_initializer = "zeros", kernel_regularizer = NULL,
    bias_regularizer = NULL, activity_regularizer = NULL, kernel_constraint = NULL,
    bias_constraint = NULL, seed = NULL, ... = 
  )
  expect_identical(
    as.list(formals(layer_group_query_attention)),
    c(alist(object = , head_dim = , num_query_heads = , num_key_value_heads = , dropout = 0,
            use_bias = TRUE, flash_attention = NULL), shared)
  )
  expect_identical(
    as.list(formals(layer_multi_head_attention)),
    c(alist(inputs = , num_heads = , key_dim = , value_dim = NULL, dropout = 0, use_bias = TRUE,
            output_shape = NULL, attention_axes = NULL, flash_attention = NULL), shared)
  )
  expect_identical(
    as.list(formals(layer_attention)),
    alist(object = , use_scale = FALSE, score_mode = "dot", dropout = 0, seed = NULL, ... = )
  )
  expect_identical(
    as.list(formals(layer_additive_attention)),
    alist(object = , use_scale = TRUE, dropout = 0, ... = )
  )
})
