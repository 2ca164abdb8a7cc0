# Settings of the whole session.

config_enable_flash_attention <- function() invisible(.Call(gr_flash_attention, TRUE))
config_disable_flash_attention <- function() invisible(.Call(gr_flash_attention, FALSE))
config_is_flash_attention_enabled <- function() .Call(gr_flash_attention, NULL)

config_threads <- function(threads = NULL) .Call(gr_threads, threads)

set_random_seed <- function(seed) {
  set.seed(seed)
  invisible(NULL)
}

# Classes from 0 as rows of 0 and 1.
to_categorical <- function(x, num_classes = NULL) {
  num_classes <- or(num_classes, max(x) + 1)
  out <- matrix(0, length(x), num_classes)
  out[cbind(seq_along(x), as.vector(x) + 1)] <- 1
  array(out, c(or(dim(x), length(x)), num_classes))
}
