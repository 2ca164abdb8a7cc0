# The pages of man/: functions that a page has, and its texts. Arguments are in arguments.txt.

pages <- list(
  list(
    name = "layer_group_query_attention", title = "Grouped-query attention",
    functions = "^layer_group_query_attention$",
    description = "Attention whose query heads share heads of keys and values (Ainslie et al.
      2023, arXiv:2305.13245). One shared head is multi-query attention, as many as query heads
      multi-head attention. Keys and values are not repeated in memory.",
    value = "By the first argument: the model, invisibly; a symbol; an array; or a layer. The
      layer's output is [batch, queries, features], where features are the query's. With
      \\code{return_attention_scores = TRUE} it is a list of the output and the scores
      [batch, query heads, queries, keys].",
    details = "call",
    examples = 'layer <- layer_group_query_attention(
  head_dim = 4, num_query_heads = 4, num_key_value_heads = 2
)
x <- array(rnorm(2 * 5 * 8), c(2, 5, 8))
y <- layer(query = x, value = x, use_causal_mask = TRUE)
dim(y)

# In a sequential model
model <- keras_model_sequential(input_shape = c(5, 8)) |>
  layer_group_query_attention(4, 4, 2) |>
  layer_dense(units = 3)

# In a functional one
input <- keras_input(shape = c(5, 8))
output <- input |> layer_group_query_attention(4, 4, 2)
output$shape'
  ),
  list(
    name = "layer_multi_head_attention", title = "Multi-head attention",
    functions = "^layer_multi_head_attention$",
    description = "Attention with several heads (Vaswani et al. 2017, arXiv:1706.03762). The same
      query, key and value make it self-attention.",
    value = "By the first argument: the model, invisibly; a symbol; an array; or a layer. The
      layer's output is [batch, queries, features], where features are the query's, or
      \\code{output_shape}. With \\code{return_attention_scores = TRUE} it is a list of the output
      and the scores [batch, heads, queries, keys].",
    details = "call",
    examples = '# Query and value of unequal lengths, and the scores
layer <- layer_multi_head_attention(num_heads = 2, key_dim = 2)
target <- keras_input(shape = c(8, 16))
source <- keras_input(shape = c(4, 16))
out <- layer(target, source, return_attention_scores = TRUE)
out[[1]]$shape
out[[2]]$shape

# Self-attention over the second and third axis after the batch
layer <- layer_multi_head_attention(num_heads = 2, key_dim = 3, attention_axes = c(2, 3))
input <- keras_input(shape = c(5, 3, 4, 16))
layer(input, input)$shape'
  ),
  list(
    name = "layer_attention", title = "Attention without heads",
    functions = "^layer_(additive_)?attention$",
    description = "Attention by dot products (Luong et al. 2015), and by sums (Bahdanau et al.
      2015), without projections.",
    value = "By the first argument: the model, invisibly; a symbol; an array; or a layer, which is
      called on a list of query, value and perhaps key. Its output is
      [batch, queries, features of the value]; with \\code{return_attention_scores = TRUE} it is a
      list with the scores [batch, queries, keys]. \\code{mask} is a list of the query's and the
      value's.",
    examples = 'query <- array(rnorm(12), c(1, 3, 4))
value <- array(rnorm(20), c(1, 5, 4))
layer_attention(list(query, value))
layer_additive_attention()(list(query, value), return_attention_scores = TRUE)[[2]]'
  ),
  list(
    name = "layers", title = "Layers around attention", functions = "^layer_",
    description = "Keras's layers under keras3's names, with its arguments and defaults. The
      library makes each from Keras's class and the arguments.",
    value = "By the first argument: the model, invisibly; a symbol; an array; or a layer, a
      function that is called on arrays and symbols.",
    examples = 'layer_layer_normalization(matrix(1:6 + 0, 2))
layer <- layer_dense(units = 2, activation = "relu")
layer(matrix(1:6 + 0, 2))
layer'
  ),
  list(
    name = "vocabularies", title = "Vocabularies of layers",
    functions = "^(adapt|get_vocabulary|set_vocabulary)$",
    extra = c(object = "a layer of \\code{layer_text_vectorization()},
                \\code{layer_string_lookup()} or \\code{layer_integer_lookup()}; of \\code{adapt()}
                also of \\code{layer_normalization()}, which takes mean and variance.",
              data = "texts, tokens or integers; numbers to normalize.", "..." = "nothing here.",
              batch_size = "without meaning.", steps = "without meaning."),
    description = "The tokens that a layer knows. \\code{adapt()} takes those of its data, the most
      frequent first, at most \\code{max_tokens}. A character vector is a batch of texts; an input of
      a model for it is \\code{keras_input(shape = 1, dtype = \"string\")}.",
    value = "\\code{get_vocabulary()} gives the tokens in their places, from 0; the others the layer,
      invisibly.",
    examples = 'layer <- layer_text_vectorization(output_sequence_length = 4)
adapt(layer, c("the cat sat", "The dog!"))
get_vocabulary(layer)
layer(c("the bird sat", "dog"))'
  ),
  list(
    name = "operations", title = "Operations", functions = "^op_",
    extra = c(x = "an array or a symbol; of \\code{op_stack()} a list of them.",
              "..." = "arrays or symbols, in the order of the letters.", dtype = "such as
                \\code{\"float32\"}."),
    description = "Keras's operations under keras3's names, on symbols, for layers of a model, and on
      arrays. Axes count from 1; the batch is the first.",
    value = "A symbol where an operand is one, else an array.",
    examples = 'input <- keras_input(shape = c(5, 8))
pooled <- op_mean(input, axis = 2)
model <- keras_model(input, op_softmax(layer_dense(pooled, 3)))
dim(model(array(1, c(2, 5, 8))))
op_matmul(matrix(1:4 + 0, 2), diag(2))'
  ),
  list(
    name = "initializers", title = "Initializers", functions = "^initializer_",
    description = "How the numbers of a layer start. Layers also take their names, such as
      \\code{\"he_normal\"}.",
    value = "An object for layers, and a function of a shape.",
    examples = 'initializer_orthogonal(seed = 1)(c(2, 3))'
  ),
  list(
    name = "regularizers", title = "Regularizers", functions = "^regularizer_",
    description = "Penalties that join the loss.",
    value = "An object for layers, and a function of an array.",
    examples = 'regularizer_l2(0.1)(c(1, 2))'
  ),
  list(
    name = "constraints", title = "Constraints", functions = "^constraint_",
    description = "What parameters are brought back to after each step.",
    value = "An object for layers, and a function of an array.",
    examples = 'constraint_nonneg()(c(-1, 2))'
  ),
  list(
    name = "optimizers", title = "Optimizers", functions = "^optimizer_",
    description = "How gradients change parameters. \\code{compile()} also takes their names.",
    value = "An object for \\code{compile()}.",
    examples = 'optimizer_adam(learning_rate = 0.01)'
  ),
  list(
    name = "learning_rate_schedules", title = "Learning rate schedules",
    functions = "^learning_rate_schedule_",
    description = "Learning rates that follow from the number of steps.",
    value = "An object for optimizers.",
    examples = 'optimizer_sgd(learning_rate_schedule_cosine_decay(0.1, decay_steps = 1000))'
  ),
  list(
    name = "losses", title = "Losses", functions = "^loss_",
    description = "What training makes small. \\code{compile()} also takes their names.",
    value = "Without targets an object for \\code{compile()}, and a function of \\code{y_true},
      \\code{y_pred} and \\code{sample_weight} that gives the reduced loss. With targets the loss
      of each sample.",
    examples = 'loss_mean_squared_error(matrix(0, 2, 2), matrix(1:4, 2))
loss_mean_squared_error()(matrix(0, 2, 2), matrix(1:4, 2))'
  ),
  list(
    name = "metrics", title = "Metrics", functions = "^metric_",
    description = "Numbers that \\code{fit()} and \\code{evaluate()} show. \\code{compile()} also
      takes their names.",
    value = "Without targets an object for \\code{compile()}, and a function of \\code{y_true},
      \\code{y_pred} and \\code{sample_weight} that gives the number. With targets the number of
      each sample.",
    examples = 'metric_auc()(c(0, 0, 1, 1), c(0.1, 0.6, 0.3, 0.9))'
  ),
  list(
    name = "callbacks", title = "Callbacks", functions = "^callback_",
    description = "What \\code{fit()} calls while it runs. Functions get epochs and batches from 0,
      and numbers in a list with names.",
    value = "An object for \\code{fit()}.",
    examples = 'callback_early_stopping(monitor = "loss", patience = 3)'
  ),
  list(
    name = "keras_model", title = "Models of layers",
    functions = "^(keras_|shape$|get_layer$|build$)",
    extra = c("..." = "of \\code{shape()}: sizes, NA or NULL where unknown; else nothing.",
              inputs = "inputs of \\code{keras_input()}, or a list of them, perhaps with names.",
              object = "a model."),
    description = "\\code{keras_input()} is an input that is not there yet; layers make further
      symbols of it; \\code{keras_model()} is what leads from one to the other.
      \\code{keras_model_sequential()} is a chain of layers.",
    value = "A model: a function of arrays or symbols. A symbol has \\code{$shape}, \\code{$dtype}
      and \\code{$name}; a model \\code{$layers}, \\code{$inputs}, \\code{$outputs} and what layers
      have: \\code{$name}, \\code{$weights}, \\code{$trainable}, which can be set.",
    examples = 'input <- keras_input(shape = c(NA, 4))
output <- input |> layer_multi_head_attention(num_heads = 2, key_dim = 2) |> layer_dense(1)
model <- keras_model(input, output)
summary(model)
model(array(1, c(1, 3, 4)))
get_layer(model, "dense")'
  ),
  list(
    name = "training", title = "Training and prediction",
    functions = "^(compile|fit|evaluate|train_on_batch|test_on_batch|predict_on_batch)$",
    methods = c("compile.grouphead_model", "fit.grouphead_model", "evaluate.grouphead_model",
                "predict.grouphead_model"),
    extra = c("..." = "for other classes; nothing here.", object = "a model."),
    description = "Keras's way to train: \\code{compile()} says by what, \\code{fit()} trains,
      \\code{evaluate()} gives the loss and the metrics, \\code{predict()} the outputs. Ctrl-C ends
      \\code{fit()} between two steps: the model is whole and can be trained on. An array of
      \\code{dim} \\code{c(B, T, F)} has B samples.",
    value = "\\code{compile()} gives the model, \\code{fit()} a history with \\code{$metrics}, both
      invisibly; \\code{evaluate()} and the functions of one batch a list of numbers;
      \\code{predict()} an array, or a list of them.",
    examples = 'x <- matrix(rnorm(100 * 4), 100)
y <- x[, 1] - x[, 2]
model <- keras_model_sequential(input_shape = 4) |>
  layer_dense(8, activation = "relu") |>
  layer_dense(1)
model |> compile(optimizer = optimizer_adam(0.01), loss = "mse", metrics = "mae")
history <- model |> fit(x, y, epochs = 5, validation_split = 0.2, verbose = 0)
history
model |> evaluate(x, y)
dim(predict(model, x))'
  ),
  list(
    name = "history", title = "What fit() tells", functions = "^$",
    methods = c("plot.keras_training_history", "as.data.frame.keras_training_history"),
    extra = c("..." = "for \\code{\\link[graphics]{plot}}.", x = "a history of \\code{fit()}.",
              metrics = "names of what to show; NULL: all."),
    description = "A picture of a training, and its numbers as rows.",
    value = "\\code{as.data.frame()} gives columns \\code{epoch}, \\code{value}, \\code{metric} and
      \\code{data}; \\code{plot()} the history, invisibly."
  ),
  list(
    name = "plot_attention_scores", title = "Pictures of attention",
    functions = "^plot_attention_scores$",
    extra = c("..." = "for \\code{\\link[graphics]{image}}."),
    description = "Draws the probabilities of each head: a row for each query, a column for each
      key, black for 1.",
    value = "The scores, invisibly.",
    examples = 'layer <- layer_group_query_attention(, 4, 2, 1)
x <- array(rnorm(24), c(1, 6, 4))
out <- layer(x, x, use_causal_mask = TRUE, return_attention_scores = TRUE)
plot_attention_scores(out[[2]])'
  ),
  list(
    name = "save_model", title = "Files",
    functions = "^(save|load)_model",
    extra = c("..." = "accepted.", filepath = "the file."),
    description = "Files of Keras: \\code{save_model()} writes a \\code{.keras} file,
      \\code{load_model()} also reads legacy \\code{.h5} files. Weights go by the name of their
      file: \\code{.weights.h5} as Keras, any other safetensors. A configuration is JSON text. A
      model that Keras refuses, such as a sequential one with attention, is written with a
      warning. R's \\code{saveRDS()} cannot keep models.",
    value = "\\code{load_...()} gives a model, \\code{save_...()} the file, invisibly, and
      \\code{save_model_config()} without a file the text.",
    examples = 'model <- keras_model_sequential(input_shape = 4) |> layer_dense(2)
file <- tempfile(fileext = ".keras")
save_model(model, file)
load_model(file)'
  ),
  list(
    name = "weights", title = "Weights and configurations",
    functions = "^((get|set|freeze|unfreeze)_weights|count_params|get_config)$",
    extra = c(object = "a layer, a model, or (\\code{get_config()}) a rule."),
    description = "Weights stand in Keras's order, with Keras's shapes. Compile a model again after
      it was frozen or unfrozen.",
    value = "\\code{get_weights()} gives a list of arrays, \\code{count_params()} their number of
      elements, \\code{get_config()} Keras's configuration; the others the object, invisibly.",
    examples = 'layer <- layer_dense(units = 1)
layer(matrix(1:2 + 0, 1))
set_weights(layer, list(matrix(c(0.5, 1), 2), 3))(matrix(1:2 + 0, 1))
get_config(layer)$units'
  ),
  list(
    name = "config_enable_flash_attention", title = "Settings of the session",
    functions = "^(config_|set_random_seed)",
    extra = c(seed = "a whole number."),
    description = "\\code{config_disable_flash_attention()} is Keras's switch: all kernels are
      exact, and no result depends on it. \\code{config_threads()} sets the number of threads; no
      result depends on it either. \\code{set_random_seed()} is \\code{\\link{set.seed}}: initial
      weights, dropout and shuffles follow from R's random numbers.",
    value = "\\code{config_is_flash_attention_enabled()}: TRUE or FALSE; \\code{config_threads()}:
      the number of threads.",
    examples = 'config_disable_flash_attention()
config_is_flash_attention_enabled()
config_enable_flash_attention()'
  ),
  list(
    name = "to_categorical", title = "Classes as rows of 0 and 1", functions = "^to_categorical$",
    extra = c(x = "classes, from 0.", num_classes = "number of classes; NULL: the greatest + 1."),
    description = "For losses that take a probability of each class.",
    value = "An array with one more axis than \\code{x}.",
    examples = 'to_categorical(c(0, 2))'
  )
)
