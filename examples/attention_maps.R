# Shows where a layer inside a model looks: the picture is attention.pdf.
library(grouphead)
set.seed(1)

input <- keras_input(shape = 12, dtype = "int32")
embedded <- input |> layer_embedding(input_dim = 20, output_dim = 16)
attention <- layer_multi_head_attention(num_heads = 4, key_dim = 4)
scores <- attention(embedded, embedded, return_attention_scores = TRUE)[[2]]
maps <- keras_model(input, scores)

tokens <- matrix(sample(0:19, 12), 1)
grDevices::pdf(file.path(tempdir(), "attention.pdf"))
plot_attention_scores(predict(maps, tokens), labels = tokens)
invisible(grDevices::dev.off())
