# What fit() returns, and pictures of it and of attention.

print.keras_training_history <- function(x, ...) {
  last <- vapply(x$metrics, function(series) series[length(series)], 0)
  cat("Final epoch (", x$epochs[length(x$epochs)], "):\n", sep = "")
  cat(paste0(format(names(last), justify = "right"), ": ", format(last, digits = 4L), "\n"),
      sep = "")
  invisible(x)
}

as.data.frame.keras_training_history <- function(x, ...) {
  rows <- lapply(names(x$metrics), function(name) {
    is_validation <- startsWith(name, "val_")
    values <- x$metrics[[name]]
    data.frame(
      epoch = utils::tail(x$epochs, length(values)), value = values,
      metric = sub("^val_", "", name),
      data = factor(if (is_validation) "validation" else "training", c("training", "validation"))
    )
  })
  do.call(rbind, rows)
}

plot.keras_training_history <- function(x, metrics = NULL, ...) {
  rows <- as.data.frame(x)
  if (!is.null(metrics)) rows <- rows[rows$metric %in% metrics, ]
  if (is.null(rows) || !nrow(rows))
    stop("[R] plot: expected numbers of at least one epoch, got none", call. = FALSE)
  metrics <- unique(rows$metric)
  before <- graphics::par(mfrow = c(length(metrics), 1L), mar = c(4, 4, 1, 1))
  on.exit(graphics::par(before))
  for (metric in metrics) {
    shown <- rows[rows$metric == metric, ]
    graphics::plot(shown$epoch, shown$value, type = "n", xlab = "epoch", ylab = metric, ...)
    present <- intersect(levels(shown$data), shown$data)
    for (i in seq_along(present)) {
      line <- shown[shown$data == present[i], ]
      graphics::lines(line$epoch, line$value, type = "b", pch = 20L, lty = i)
    }
    graphics::legend("topright", present, lty = seq_along(present), bty = "n")
  }
  invisible(x)
}

plot_attention_scores <- function(scores, sample = 1L, heads = NULL, labels = NULL, ...) {
  if (!is.numeric(scores) || length(dim(scores)) != 4L)
    stop("[R] scores: expected an array [samples, heads, queries, keys], got dim ",
         paste(dim(scores), collapse = ", "), call. = FALSE)
  if (is.null(heads)) heads <- seq_len(dim(scores)[2L])
  columns <- ceiling(sqrt(length(heads)))
  before <- graphics::par(mfrow = c(ceiling(length(heads) / columns), columns),
                          mar = c(4, 4, 2, 1))
  on.exit(graphics::par(before))
  queries <- seq_len(dim(scores)[3L])
  keys <- seq_len(dim(scores)[4L])
  for (head in heads) {
    map <- array(scores[sample, head, , ], dim(scores)[3:4])
    # The first query is the top row.
    graphics::image(keys, queries, t(map[rev(queries), , drop = FALSE]), zlim = c(0, 1),
                    col = rev(grDevices::gray.colors(64L, 0, 1)), axes = FALSE, xlab = "key",
                    ylab = "query", main = paste("head", head), ...)
    graphics::axis(1L, keys, or(labels, keys)[keys])
    graphics::axis(2L, queries, rev(or(labels, queries)[queries]))
    graphics::box()
  }
  invisible(scores)
}
