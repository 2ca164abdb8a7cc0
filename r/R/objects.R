# How the functions of this package become what the library makes: their arguments are a
# configuration of Keras.

# Arguments that are lists in Keras where a vector of length one would be a number.
list_settings <- c(
  "attention_axes", "boundaries", "dims", "idf_weights", "newshape", "noise_shape", "output_shape",
  "shared_axes", "target_class_ids", "target_shape", "values", "vocabulary"
)

# The values of the arguments of a function that was called: those it declares, but `except`, and
# those of its `...` with names; the others of `...` are the attribute "dots". NULL is left out
# where it is the default: the library's default is the same.
settings_of <- function(frame, fun, except) {
  defaults <- formals(fun)
  settings <- list()
  for (name in setdiff(names(defaults), c("...", except))) {
    value <- get(name, envir = frame, inherits = FALSE)
    if (is.null(value) && is.null(defaults[[name]])) next
    settings[name] <- list(as_setting(name, value))
  }
  dots <- if ("..." %in% names(defaults)) eval(quote(list(...)), frame) else list()
  has_name <- if (is.null(names(dots))) logical(length(dots)) else names(dots) != ""
  settings <- c(settings, Filter(Negate(is.null), dots[has_name]))
  structure(settings, dots = unname(dots[!has_name]))
}

is_given <- function(name, frame) !eval(call("missing", as.name(name)), frame)

as_setting <- function(name, value) {
  if (name %in% c("axis", "axes")) value <- from_one(value)
  if (name %in% list_settings && !is.null(value)) as.list(value) else value
}

# Axes of R's arrays count from 1, Keras's from 0; negative ones count from the last in both.
from_one <- function(axis) {
  if (is.null(axis)) return(NULL)
  axis <- unlist(axis)
  if (!is.numeric(axis) || anyNA(axis) || any(axis == 0))
    stop("[R] axis: expected axes from 1, or negative ones from the last, got ",
         paste(format(axis), collapse = ", "), call. = FALSE)
  axis - (axis > 0)
}

# ---- Initializers, optimizers, losses and their kind ---------------------------------------------

modules <- c(
  initializer = "keras.initializers", regularizer = "keras.regularizers",
  constraint = "keras.constraints", schedule = "keras.optimizers.schedules",
  optimizer = "keras.optimizers", loss = "keras.losses", metric = "keras.metrics",
  callback = "keras.callbacks"
)

# An object of Keras's class, from the arguments of the function that calls this. It is a function
# itself, as Keras's objects are, and c() makes lists of it.
new_object <- function(kind, class_name) {
  frame <- parent.frame()
  operands <- c("y_true", "y_pred")
  fun <- sys.function(-1L)
  settings <- settings_of(frame, fun, except = operands)
  config <- list(module = modules[[kind]], class_name = class_name, config = named(settings))
  if (kind != "callback") .Call(gr_check_rule, kind, config)
  object <- switch(
    kind,
    initializer = function(shape, ...) .Call(gr_initialize, config, shape, new_seed()),
    regularizer = function(x) .Call(gr_penalty, config, x),
    constraint = function(w) .Call(gr_constrain, config, w),
    loss = function(y_true, y_pred, sample_weight = NULL)
      .Call(gr_loss, config, y_true, y_pred, sample_weight, FALSE),
    metric = function(y_true, y_pred, sample_weight = NULL)
      .Call(gr_metric, config, y_true, y_pred, sample_weight),
    function(...) stop("[R] ", class_name, ": expected no call, got one", call. = FALSE)
  )
  object <- structure(object, class = c(paste0("grouphead_", kind), "grouphead_object"),
                      config = config)
  if (!"y_true" %in% names(formals(fun)) || !is_given("y_true", frame)) return(object)
  values <- mget(operands, envir = frame)
  if (kind == "loss") .Call(gr_loss, config, values$y_true, values$y_pred, NULL, TRUE)
  else each_row(object, values$y_true, values$y_pred)
}

# A list that is an object of Keras's configuration even where it is empty.
named <- function(list) {
  attributes(list) <- list(names = as.character(names(list)))
  list
}

# A metric of each sample and position: of all but the last axis of y_pred.
each_row <- function(metric, y_true, y_pred) {
  dim <- if (is.null(dim(y_pred))) length(y_pred) else dim(y_pred)
  width <- dim[length(dim)]
  rows <- matrix(y_pred, ncol = width)
  targets <- matrix(y_true, nrow = nrow(rows))
  values <- vapply(seq_len(nrow(rows)), function(i) {
    metric(targets[i, , drop = FALSE], rows[i, , drop = FALSE])
  }, 0)
  array(values, if (length(dim) > 1L) dim[-length(dim)] else 1L)
}

print.grouphead_object <- function(x, ...) {
  config <- attr(x, "config")
  settings <- vapply(config$config, function(value) {
    paste(format(unlist(if (is.function(value)) attr(value, "config")$class_name else value)),
          collapse = " ")
  }, "")
  cat("<", sub("^grouphead_", "", class(x)[1L]), " ", config$class_name, ">",
      if (length(settings)) paste0(" ", names(settings), "=", settings), "\n", sep = "")
  invisible(x)
}

get_config.grouphead_object <- function(object) attr(object, "config")$config

# A number of R's random stream, so that set.seed() makes weights, dropout and shuffles the same.
new_seed <- function() floor(stats::runif(1L) * 2^31)
