# Layers of words: where their vocabularies come from.

get_vocabulary <- function(object, include_special_tokens = TRUE) {
  tokens <- as.vector(.Call(gr_vocabulary, object))
  if (include_special_tokens) tokens else utils::tail(tokens, -num_special(object))
}

set_vocabulary <- function(object, vocabulary, idf_weights = NULL, ...) {
  .Call(gr_set_vocabulary, object, vocabulary, idf_weights)
  invisible(object)
}

adapt <- function(object, data, ..., batch_size = NULL, steps = NULL) {
  .Call(gr_adapt, object, data)
  invisible(object)
}

# How many tokens stand before those of the data: the mask, and unknown ones.
num_special <- function(object) {
  config <- get_config(object)
  is_integers <- identical(config$output_mode, "int")
  if (is.null(config$num_oov_indices)) return(if (is_integers) 2L else 1L)
  config$num_oov_indices + (is_integers && !is.null(config$mask_token))
}
