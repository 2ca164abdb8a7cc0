# Layers and models in R: functions, as Keras's are called. Behind each is an object of the library.

# What a function layer_...() gives, by its first argument: a layer for none, the same model with
# the layer, a symbol for symbols, an array for arrays.
new_layer <- function(class_name) {
  frame <- parent.frame()
  fun <- sys.function(-1L)
  first <- names(formals(fun))[1L]
  target <- if (is_given(first, frame)) get(first, envir = frame)
  settings <- settings_of(frame, fun, except = first)
  more <- attr(settings, "dots")
  if (length(more)) {  # layers that merge take tensors one by one too: layer_add(x, y)
    if (first != "inputs")
      stop("[R] ", class_name, ": expected names for further arguments", call. = FALSE)
    target <- c(if (is.list(target)) target else list(target), more)
  }
  compose(target, class_name, settings)
}

compose <- function(target, class_name, settings) {
  input <- settings[names(settings) %in% c("input_shape", "batch_size")]
  settings <- settings[setdiff(names(settings), c("input_shape", "batch_size"))]
  layer <- as_layer(.Call(gr_make_layer, class_name, named(settings)))
  if (length(input)) {
    attr(layer, "input") <- list(shape = input$input_shape, batch_size = input$batch_size)
  }
  if (is.null(target)) return(layer)
  if (is_model(target)) return(add_layer(target, layer))
  if (is.list(target) && !is.data.frame(target)) do.call(layer, unname(target)) else layer(target)
}

# Adds to a sequential model, in place.
add_layer <- function(model, layer) {
  if (!inherits(model, "grouphead_sequential"))
    stop("[R] object: expected a sequential model, an input or arrays, got a functional model",
         call. = FALSE)
  input <- attr(layer, "input")
  if (!is.null(input) && !is.null(input$shape) && !length(model$layers))
    .Call(gr_add, model, keras_input(input$shape, batch_size = input$batch_size))
  .Call(gr_add, model, layer)
  invisible(model)
}

as_layer <- function(pointer) {
  self <- NULL
  layer <- function(...) call_layer(self, list(...))
  info <- .Call(gr_layer_info, pointer)
  kind <- c(
    if (info$is_sequential) "grouphead_sequential",
    if (info$is_model) "grouphead_model",
    "grouphead_layer"
  )
  self <- structure(layer, class = kind, pointer = pointer)
  self
}

is_layer <- function(x) inherits(x, "grouphead_layer")
is_model <- function(x) inherits(x, "grouphead_model")
is_symbol <- function(x) inherits(x, "grouphead_symbol")

# Operands by place or by name, and the call's other arguments by name.
call_layer <- function(layer, arguments) {
  has_name <- if (is.null(names(arguments))) logical(length(arguments)) else names(arguments) != ""
  operands <- unname(arguments[!has_name])
  if (length(operands) == 1L && is.list(operands[[1L]])) operands <- operands[[1L]]
  if (is_model(layer) && !is.null(names(operands))) operands <- by_name(layer, operands)
  keywords <- named(arguments[has_name])
  if (any(vapply(c(operands, keywords), is_symbol, NA)))
    .Call(gr_connect, layer, unname(operands), keywords)
  else .Call(gr_call, layer, unname(operands), keywords, new_seed())
}

# A model's operands in the order of its inputs.
by_name <- function(model, operands) {
  names <- .Call(gr_layer_info, model)$input_names
  if (!setequal(names, names(operands)))
    stop("[R] call: expected the inputs ", paste(names, collapse = ", "), ", got ",
         paste(names(operands), collapse = ", "), call. = FALSE)
  operands[names]
}

print.grouphead_layer <- function(x, ...) {
  info <- .Call(gr_layer_info, x)
  cat("<", info$class_name, " '", info$name, "', ", if (info$built) {
    paste(format(info$count_params, big.mark = ","), "parameters")
  } else "not built", ">\n", sep = "")
  invisible(x)
}

`$.grouphead_layer` <- function(x, name) {
  if (name %in% c("name", "trainable", "built", "input_names"))
    return(.Call(gr_layer_info, x)[[name]])
  if (name == "weights") return(get_weights(x))
  if (!is_model(x) || !name %in% c("layers", "inputs", "outputs", "output_names", "optimizer"))
    stop("[R] $: expected name, trainable, built, input_names, weights",
         if (is_model(x)) ", layers, inputs, outputs, output_names, optimizer", ", got ", name,
         call. = FALSE)
  if (name == "optimizer") return(structure(list(x), class = "grouphead_model_optimizer"))
  info <- .Call(gr_model_info, x)
  if (name == "layers") lapply(info$layers, as_layer) else info[[name]]
}

`$<-.grouphead_layer` <- function(x, name, value) {
  if (name == "trainable") .Call(gr_set_trainable, x, value)
  else if (name != "optimizer" || !inherits(value, "grouphead_model_optimizer"))
    stop("[R] $<-: expected trainable, or optimizer$learning_rate, got ", name, call. = FALSE)
  x
}

# The optimizer of a compiled model, for model$optimizer$learning_rate.
`$.grouphead_model_optimizer` <- function(x, name) {
  if (name != "learning_rate") stop("[R] $: expected learning_rate, got ", name, call. = FALSE)
  .Call(gr_learning_rate, unclass(x)[[1L]], NULL)
}
`$<-.grouphead_model_optimizer` <- function(x, name, value) {
  if (name != "learning_rate") stop("[R] $<-: expected learning_rate, got ", name, call. = FALSE)
  .Call(gr_learning_rate, unclass(x)[[1L]], value)
  x
}

get_config <- function(object) UseMethod("get_config")
get_config.grouphead_layer <- function(object) .Call(gr_layer_info, object)$config

get_weights <- function(object) .Call(gr_get_weights, object)

set_weights <- function(object, weights) {
  .Call(gr_set_weights, object, weights)
  invisible(object)
}

count_params <- function(object) .Call(gr_layer_info, object)$count_params

# ---- Inputs and what layers make of them ---------------------------------------------------------

keras_input <- function(
  shape = NULL, batch_size = NULL, dtype = NULL, ..., name = NULL, optional = FALSE
) {
  if (length(list(...))) stop("[R] keras_input: expected no further arguments", call. = FALSE)
  .Call(gr_input, shape, batch_size, dtype, name, optional)
}

# Sizes of axes, NA or NULL where unknown.
shape <- function(...) {
  sizes <- unlist(lapply(list(...), function(size) {
    if (is_symbol(size)) size <- size$shape
    if (is.null(size)) NA_integer_ else size
  }))
  structure(lapply(sizes, as.integer), class = "keras_shape")
}

format.keras_shape <- function(x, ...) {
  paste0("shape(", paste(vapply(unclass(x), format, ""), collapse = ", "), ")")
}
print.keras_shape <- function(x, ...) {
  cat(format(x), "\n", sep = "")
  invisible(x)
}

`$.grouphead_symbol` <- function(x, name) {
  info <- .Call(gr_symbol_info, x)
  if (!name %in% names(info))
    stop("[R] $: expected ", paste(names(info), collapse = ", "), ", got ", name, call. = FALSE)
  if (name == "shape") structure(as.list(info$shape), class = "keras_shape") else info[[name]]
}

print.grouphead_symbol <- function(x, ...) {
  cat("<symbol ", x$name, ": ", format(x$shape), " ", x$dtype, ">\n", sep = "")
  invisible(x)
}

Ops.grouphead_symbol <- function(e1, e2) {
  classes <- c("+" = "Add", "-" = "Subtract", "*" = "Multiply", "/" = "TrueDivide")
  if (!.Generic %in% names(classes) || missing(e2))
    stop("[R] ", .Generic, ": expected +, -, * or / of two symbols or numbers", call. = FALSE)
  .Call(gr_operation, classes[[.Generic]], list(e1 = e1, e2 = e2), named(list()))
}
