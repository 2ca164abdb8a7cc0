# A tensor by its elements in Keras's order, the last axis first.
tensor <- function(values, dim) aperm(array(values, rev(dim)))

# The waves of generate_golden.py.
waves <- function(dim, start = 0) tensor(sin(start + seq_len(prod(dim))), dim)

set_waves <- function(layer) {
  weights <- get_weights(layer)
  set_weights(layer, Map(function(w, i) 0.5 * waves(dim(w), i), weights, seq_along(weights) - 1))
}

# A layer with the weights of the golden ones.
with_waves <- function(layer, ...) {
  layer(...)
  set_waves(layer)
  layer
}

source("golden.R", local = TRUE)
