# Writes man/ from the functions of R/, pages.R and arguments.txt: Rscript tools/rd.R [FOLDER]
# (in the package's folder).

folder <- c(commandArgs(TRUE), "man")[1L]
code <- new.env()
for (file in list.files("R", full.names = TRUE)) sys.source(file, code)
sys.source("tools/pages.R", environment())
# An argument's text goes on in lines that begin with spaces.
lines <- strsplit(gsub("\n +", " ", paste(readLines("tools/arguments.txt"), collapse = "\n")), "\n")
lines <- lines[[1L]]
texts <- setNames(sub("^[^:]*: ", "", lines), sub(":.*", "", lines))
exported <- sub("^export\\((.*)\\)$", "\\1", grep("^export", readLines("NAMESPACE"), value = TRUE))

# `code` becomes \code{code}.
marked <- function(text) gsub("`([^`]*)`", "\\\\code{\\1}", gsub("%", "\\\\%", text))
folded <- function(text) strwrap(gsub("\\s+", " ", text), 98)

usage_of <- function(name) {
  arguments <- formals(get(name, code))
  parts <- vapply(names(arguments), function(argument) {
    if (identical(arguments[[argument]], quote(expr = ))) return(argument)
    default <- paste(deparse(arguments[[argument]]), collapse = "")
    paste0(argument, "~=~", gsub(" ", "~", default))
  }, "")
  pattern <- "^(.*)\\.(grouphead_model|keras_training_history)$"
  method <- regmatches(name, regexec(pattern, name))[[1L]]
  head <- if (length(method)) paste0("\\method{", method[2L], "}{", method[3L], "}") else name
  all <- paste(parts, collapse = ", ")
  usage <- if (nchar(head) + nchar(all) <= 88L) paste0(head, "(", all, ")")
           else c(paste0(head, "("), strwrap(all, 90L, indent = 2L, exdent = 2L), ")")
  gsub("~", " ", usage)  # lines break between arguments alone
}

call_arguments <- c(
  query = "array or symbol [batch, queries, features].",
  value = "[batch, keys, features].",
  key = "[batch, keys, features]; default: `value`.",
  attention_mask = "logical, or 0 and 1: [batch, queries, keys], TRUE where a query may see a key;
    axes of size 1 repeat, and an axis of heads may stand after the batch.",
  return_attention_scores = "FALSE; TRUE for a list of output and scores.",
  training = "whether dropout acts; default: what the model around it does, else FALSE.",
  use_causal_mask = "FALSE; TRUE: a query sees no later key."
)

text_of <- function(name) {
  if (!name %in% names(texts)) stop("arguments.txt has no ", name)
  marked(texts[[name]])
}

write_page <- function(page) {
  functions <- c(setdiff(grep(page$functions, exported, value = TRUE), done), page$methods)
  done <<- c(done, functions)
  arguments <- unique(unlist(lapply(functions, function(name) names(formals(get(name, code))))))
  described <- vapply(arguments, function(name) {
    text <- if (name %in% names(page$extra)) page$extra[[name]] else text_of(name)
    paste0("\\item{", if (name == "...") "\\dots" else name, "}{", text, "}")
  }, "")
  section <- function(name, text) c(paste0("\\", name, "{"), text, "}")
  out <- c(
    "% Written by tools/rd.R.", paste0("\\name{", page$name, "}"),
    paste0("\\alias{", unique(c(page$name, functions)), "}"),
    paste0("\\title{", page$title, "}"),
    section("description", folded(page$description)),
    section("usage", unlist(lapply(functions, usage_of))),
    if (length(arguments)) section("arguments", unlist(lapply(described, folded))),
    section("value", folded(page$value)),
    if (!is.null(page$details)) c(
      "\\section{Call}{", "The layer is a function of these arguments:", "\\describe{",
      unlist(lapply(names(call_arguments), function(name) {
        folded(paste0("\\item{\\code{", name, "}}{", marked(call_arguments[[name]]), "}"))
      })), "}", "}"
    ),
    if (!is.null(page$examples)) section("examples", gsub("%", "\\\\%", page$examples))
  )
  writeLines(out, file.path(folder, paste0(page$name, ".Rd")))
}

done <- character()
unlink(list.files(folder, "[.]Rd$", full.names = TRUE))
for (page in pages) write_page(page)
missing <- setdiff(exported, done)
if (length(missing)) stop("no page has ", paste(missing, collapse = ", "))
