# Layers of words: where their vocabularies come from.

get_vocabulary <- function(object, include_special_tokens = TRUE) {
  tokens <- as.vector(.Call(gr_vocabulary, object))
  if (include_special_tokens) tokens else utils::tail(tokens, -num_special(object))
}

set_vocabulary <- function(object, vocabulary, idf_weights = NULL, ...) {
  .Call(gr_set_vocabulary, object, vocabulary, idf_weights)
  invisible(object)
}

# The tokens of the data, the most frequent first, as Keras orders them: of equal ones the last of
# the alphabet.
adapt <- function(object, data, ..., batch_size = NULL, steps = NULL) {
  config <- get_config(object)
  is_text <- .Call(gr_layer_info, object)$class_name == "TextVectorization"
  if (identical(config$output_mode, "tf_idf"))
    stop("[R] adapt: expected another output_mode, got tf_idf: give set_vocabulary() its weights",
         call. = FALSE)
  tokens <- if (is_text) .Call(gr_split_texts, object, as.character(data)) else as.vector(data)
  tokens <- tokens[!tokens %in% c(config$mask_token, config$oov_token, if (is_text) c("", "[UNK]"))]
  kinds <- unique(tokens)
  counts <- tabulate(match(tokens, kinds), length(kinds))
  kinds <- rev(kinds[order(counts, kinds, method = "radix")])
  if (!is.null(config$max_tokens))
    kinds <- utils::head(kinds, max(0, config$max_tokens - num_special(object)))
  set_vocabulary(object, kinds)
}

# How many tokens stand before those of the data: the mask, and unknown ones.
num_special <- function(object) {
  config <- get_config(object)
  is_integers <- identical(config$output_mode, "int")
  if (is.null(config$num_oov_indices)) return(if (is_integers) 2L else 1L)
  config$num_oov_indices + (is_integers && !is.null(config$mask_token))
}
