# Models, and their files.

keras_model <- function(inputs = NULL, outputs = NULL, ..., name = NULL) {
  if (length(list(...))) stop("[R] keras_model: expected no further arguments", call. = FALSE)
  as_layer(.Call(gr_model, inputs, outputs, name, new_seed()))
}

keras_model_sequential <- function(
  input_shape = NULL, name = NULL, ..., input_dtype = NULL, input_batch_size = NULL,
  input_name = NULL, trainable = TRUE, layers = list()
) {
  if (length(list(...)))
    stop("[R] keras_model_sequential: expected no further arguments", call. = FALSE)
  model <- as_layer(.Call(gr_sequential, name, trainable, new_seed()))
  if (!is.null(input_shape))
    .Call(gr_add, model, keras_input(input_shape, input_batch_size, input_dtype, name = input_name))
  for (layer in if (is.list(layers)) layers else list(layers)) add_layer(model, layer)
  model
}

summary.grouphead_model <- function(object, ...) {
  structure(list(text = .Call(gr_model_info, object)$summary), class = "summary.grouphead_model")
}
print.summary.grouphead_model <- function(x, ...) {
  cat(x$text)
  invisible(x)
}
print.grouphead_model <- function(x, ...) {
  if (.Call(gr_layer_info, x)$built) print(summary(x)) else print.grouphead_layer(x)
  invisible(x)
}

get_layer <- function(object, name = NULL, index = NULL) {
  layers <- object$layers
  names <- vapply(layers, function(layer) layer$name, "")
  if (is.null(index)) index <- match(name, names)
  if (length(index) != 1L || is.na(index) || index < 1L || index > length(layers))
    stop("[R] get_layer: expected one of ", paste(names, collapse = ", "), " or its place, got ",
         paste(c(name, index), collapse = ", "), call. = FALSE)
  layers[[index]]
}

build <- function(object, input_shape) {
  shapes <- if (is.list(input_shape) && !inherits(input_shape, "keras_shape")) input_shape
            else list(unclass(input_shape))
  .Call(gr_build, object, shapes, new_seed())
  invisible(object)
}

freeze_weights <- function(object) {
  object$trainable <- FALSE
  invisible(object)
}
unfreeze_weights <- function(object) {
  object$trainable <- TRUE
  invisible(object)
}

load_model <- function(model, custom_objects = NULL, compile = TRUE, safe = TRUE) {
  if (!is.null(custom_objects))
    stop("[R] custom_objects: expected NULL, got some: classes are registered in C++",
         call. = FALSE)
  loaded <- .Call(gr_load_model, path.expand(model), compile)
  if (nzchar(loaded$problem)) warning(loaded$problem, call. = FALSE)
  as_layer(loaded$pointer)
}

save_model <- function(model, filepath, overwrite = FALSE, ...) {
  own <- .Call(gr_save_model, model, writable_path(filepath, overwrite))
  if (length(own))
    warning("Keras does not load this file: ", paste(own, collapse = "; "), call. = FALSE)
  invisible(filepath)
}

load_model_weights <- function(model, filepath, ...) {
  .Call(gr_load_weights, model, path.expand(filepath))
  invisible(model)
}

save_model_weights <- function(model, filepath, overwrite = FALSE) {
  .Call(gr_save_weights, model, writable_path(filepath, overwrite))
  invisible(filepath)
}

writable_path <- function(filepath, overwrite) {
  path <- path.expand(filepath)
  if (!isTRUE(overwrite) && file.exists(path))
    stop("[R] ", path, ": expected no file, got one: see overwrite", call. = FALSE)
  path
}

# A model's architecture as JSON text, without weights, and a new model of it.
save_model_config <- function(model, filepath = NULL, overwrite = FALSE) {
  text <- .Call(gr_to_json, model)
  if (is.null(filepath)) return(text)
  writeLines(text, writable_path(filepath, overwrite))
  invisible(filepath)
}
load_model_config <- function(filepath, custom_objects = NULL) {
  as_layer(.Call(gr_from_json, paste(readLines(filepath, warn = FALSE), collapse = "\n"),
                 new_seed()))
}
