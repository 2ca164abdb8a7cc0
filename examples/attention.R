# Grouped-query attention on arrays: eight query heads share two heads of keys and values.
library(grouphead)
set.seed(1)

layer <- layer_group_query_attention(
  head_dim = 16, num_query_heads = 8, num_key_value_heads = 2
)
x <- array(rnorm(2 * 10 * 32), c(2, 10, 32))  # samples, positions, features
out <- layer(query = x, value = x, use_causal_mask = TRUE, return_attention_scores = TRUE)
cat("output", dim(out[[1]]), "scores", dim(out[[2]]), "\n")

# A query sees itself and what comes before it, with probabilities that sum to 1.
scores <- out[[2]][1, 1, , ]
stopifnot(scores[upper.tri(scores)] == 0, abs(rowSums(scores) - 1) < 1e-5)

# The last four keys of the second sample are padding.
keep <- matrix(TRUE, 2, 10)
keep[2, 7:10] <- FALSE
y <- layer(x, x, value_mask = keep)
other <- x
other[2, 7:10, ] <- 0
stopifnot(identical(y[2, 1:6, ], layer(other, other, value_mask = keep)[2, 1:6, ]))
