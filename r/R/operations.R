# Keras's operations under keras3's names, on symbols and on arrays: each with Keras's class and the
# arguments that are operands; the others are its settings.

# What an operation makes of its operands. Arrays go through a model of this operation alone.
new_operation <- function(class_name, operands) {
  frame <- parent.frame()
  fun <- sys.function(-1L)
  settings <- settings_of(frame, fun, except = operands)
  values <- unlist(lapply(operands, function(name) {
    value <- get(name, envir = frame)
    if (is.list(value)) unname(value) else list(value)
  }), recursive = FALSE)
  values <- Filter(Negate(is.null), c(values, attr(settings, "dots")))
  operate(class_name, values, settings[names(settings) != "dots"])
}

operate <- function(class_name, values, settings) {
  names(values) <- paste0("operand_", seq_along(values))
  options <- named(as.list(settings))
  if (any(vapply(values, is_symbol, NA))) return(.Call(gr_operation, class_name, values, options))
  is_array <- vapply(values, function(value) length(value) != 1L || !is.null(dim(value)), NA)
  if (!any(is_array)) {
    values[[1L]] <- array(values[[1L]], 1L)
    is_array[1L] <- TRUE
  }
  terms <- values
  terms[is_array] <- lapply(values[is_array], input_like)
  output <- .Call(gr_operation, class_name, terms, options)
  do.call(keras_model(unname(terms[is_array]), output), unname(values[is_array]))
}

# An input for arrays of this one's sizes and type.
input_like <- function(x) {
  sizes <- if (is.null(dim(x))) length(x) else dim(x)
  type <- if (is.logical(x)) "bool" else if (is.integer(x)) "int32" else "float32"
  keras_input(sizes[-1L], batch_size = sizes[1L], dtype = type)
}

op_add <- function(x1, x2) new_operation("Add", c("x1", "x2"))
op_subtract <- function(x1, x2) new_operation("Subtract", c("x1", "x2"))
op_multiply <- function(x1, x2) new_operation("Multiply", c("x1", "x2"))
op_divide <- function(x1, x2) new_operation("Divide", c("x1", "x2"))
op_power <- function(x1, x2) new_operation("Power", c("x1", "x2"))
op_maximum <- function(x1, x2) new_operation("Maximum", c("x1", "x2"))
op_minimum <- function(x1, x2) new_operation("Minimum", c("x1", "x2"))
op_matmul <- function(x1, x2) new_operation("Matmul", c("x1", "x2"))
op_equal <- function(x1, x2) new_operation("Equal", c("x1", "x2"))
op_not_equal <- function(x1, x2) new_operation("NotEqual", c("x1", "x2"))
op_greater <- function(x1, x2) new_operation("Greater", c("x1", "x2"))
op_greater_equal <- function(x1, x2) new_operation("GreaterEqual", c("x1", "x2"))
op_less <- function(x1, x2) new_operation("Less", c("x1", "x2"))
op_less_equal <- function(x1, x2) new_operation("LessEqual", c("x1", "x2"))
op_logical_and <- function(x1, x2) new_operation("LogicalAnd", c("x1", "x2"))
op_logical_or <- function(x1, x2) new_operation("LogicalOr", c("x1", "x2"))

op_abs <- function(x) new_operation("Abs", "x")
op_cos <- function(x) new_operation("Cos", "x")
op_erf <- function(x) new_operation("Erf", "x")
op_exp <- function(x) new_operation("Exp", "x")
op_log <- function(x) new_operation("Log", "x")
op_logical_not <- function(x) new_operation("LogicalNot", "x")
op_negative <- function(x) new_operation("Negative", "x")
op_ones_like <- function(x) new_operation("OnesLike", "x")
op_relu <- function(x) new_operation("Relu", "x")
op_rsqrt <- function(x) new_operation("Rsqrt", "x")
op_sigmoid <- function(x) new_operation("Sigmoid", "x")
op_silu <- function(x) new_operation("Silu", "x")
op_sin <- function(x) new_operation("Sin", "x")
op_softplus <- function(x) new_operation("Softplus", "x")
op_sqrt <- function(x) new_operation("Sqrt", "x")
op_square <- function(x) new_operation("Square", "x")
op_stop_gradient <- function(variable) new_operation("StopGradient", "variable")
op_tanh <- function(x) new_operation("Tanh", "x")
op_zeros_like <- function(x) new_operation("ZerosLike", "x")

op_all <- function(x, axis = NULL, keepdims = FALSE) new_operation("All", "x")
op_any <- function(x, axis = NULL, keepdims = FALSE) new_operation("Any", "x")
op_logsumexp <- function(x, axis = NULL, keepdims = FALSE) new_operation("Logsumexp", "x")
op_max <- function(x, axis = NULL, keepdims = FALSE) new_operation("Max", "x")
op_mean <- function(x, axis = NULL, keepdims = FALSE) new_operation("Mean", "x")
op_min <- function(x, axis = NULL, keepdims = FALSE) new_operation("Min", "x")
op_prod <- function(x, axis = NULL, keepdims = FALSE) new_operation("Prod", "x")
op_std <- function(x, axis = NULL, keepdims = FALSE) new_operation("Std", "x")
op_sum <- function(x, axis = NULL, keepdims = FALSE) new_operation("Sum", "x")
op_var <- function(x, axis = NULL, keepdims = FALSE) new_operation("Var", "x")
op_cumsum <- function(x, axis = NULL) new_operation("Cumsum", "x")

op_gelu <- function(x, approximate = TRUE) new_operation("Gelu", "x")
op_leaky_relu <- function(x, negative_slope = 0.2) new_operation("LeakyRelu", "x")
op_log_softmax <- function(x, axis = -1L) new_operation("LogSoftmax", "x")
op_softmax <- function(x, axis = -1L) new_operation("Softmax", "x")
op_normalize <- function(x, axis = -1L, order = 2L, epsilon = NULL) new_operation("Normalize", "x")
op_clip <- function(x, x_min, x_max) new_operation("Clip", "x")
op_cast <- function(x, dtype) new_operation("Cast", "x")

op_concatenate <- function(xs, axis = 1L) new_operation("Concatenate", "xs")
op_stack <- function(x, axis = 1L) new_operation("Stack", "x")
op_expand_dims <- function(x, axis) new_operation("ExpandDims", "x")
op_squeeze <- function(x, axis = NULL) new_operation("Squeeze", "x")
op_reshape <- function(x, newshape) new_operation("Reshape", "x")
op_transpose <- function(x, axes = NULL) new_operation("Transpose", "x")
op_swapaxes <- function(x, axis1, axis2) {
  axis1 <- from_one(axis1)
  axis2 <- from_one(axis2)
  new_operation("Swapaxes", "x")
}
op_repeat <- function(x, repeats, axis = NULL) new_operation("Repeat", "x")
op_flip <- function(x, axis = NULL) new_operation("Flip", "x")
op_where <- function(condition, x1, x2) new_operation("Where", c("condition", "x1", "x2"))
op_einsum <- function(subscripts, ...) new_operation("Einsum", character())
