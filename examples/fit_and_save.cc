// Trains a small classifier with attention, saves it in Keras's format, loads it, and goes on.

#include <grouphead/grouphead.h>

#include <cstdio>
#include <memory>
#include <vector>

namespace gh = grouphead;

namespace {

/// Sequences of 12 tokens, padded with 0. The class says whether token 7 occurs in them.
gh::Data samples(gh::Index count, std::uint64_t seed) {
  const gh::Tensor noise = gh::random_normal({count, 12}, seed);
  gh::Data data{.x = {gh::Tensor({count, 12}, gh::Dtype::i32)},
                .y = {gh::Tensor({count}, gh::Dtype::i32)}};
  auto* tokens = data.x[0].data<std::int32_t>();
  for (gh::Index i = 0; i < count; ++i) {
    const gh::Index length = 6 + i % 7;
    bool found = false;
    for (gh::Index t = 0; t < 12; ++t) {
      const auto token = static_cast<std::int32_t>(noise.data<float>()[i * 12 + t] * 1e4F);
      tokens[i * 12 + t] = t < length ? 1 + (token < 0 ? -token : token) % 19 : 0;
      found = found || tokens[i * 12 + t] == 7;
    }
    data.y[0].data<std::int32_t>()[i] = found ? 1 : 0;
  }
  return data;
}

}  // namespace

int main() {
  gh::Context ctx;
  const gh::Symbol tokens = gh::input({.shape = {12}, .dtype = gh::Dtype::i32, .name = "tokens"});
  const gh::Symbol h =
      gh::layer<gh::Embedding>({.input_dim = 20, .output_dim = 32, .mask_zero = true})(tokens);
  const gh::Symbol a = gh::layer<gh::GroupQueryAttention>(
      {.head_dim = 8, .num_query_heads = 4, .num_key_value_heads = 2})({h, h});
  const gh::Symbol sum = gh::layer<gh::Add>({})({h, a});
  const gh::Symbol pooled = gh::layer<gh::GlobalAveragePooling1D>({})(sum);
  const gh::Symbol logits = gh::layer<gh::Dense>({.units = 2})(pooled);
  gh::Model model({.inputs = {tokens}, .outputs = {logits}, .name = "classifier", .seed = 1});

  gh::CompiledModel training = gh::compile(
      model, {.optimizer = std::make_shared<gh::Adam>(gh::AdamConfig{.learning_rate = 1e-3}),
              .loss = {gh::sparse_categorical_crossentropy({.from_logits = true})},
              .metrics = {{"accuracy"}}});
  const auto stopping = std::make_shared<gh::EarlyStopping>(
      gh::EarlyStoppingConfig{.patience = 4, .restore_best_weights = true});
  const gh::Data data = samples(600, /*seed=*/2);
  const gh::History history =
      training.fit(ctx, data, {.epochs = 12, .callbacks = {stopping}, .validation_split = 0.2});
  for (std::size_t epoch = 0; epoch < history.epochs.size(); ++epoch) {
    std::printf("epoch %2zu: loss %.3f, validation accuracy %.3f\n", epoch + 1,
                history["loss"][epoch], history["val_accuracy"][epoch]);
  }

  // The file holds architecture, weights, losses, metrics and the optimizer's state. Keras loads it
  // with keras.saving.load_model("classifier.keras").
  gh::save_model(training, "classifier.keras");
  gh::TrainableModel loaded = gh::load_compiled_model("classifier.keras");
  loaded.compiled->fit(ctx, data, {.epochs = 1});
  const gh::Logs logs = loaded.compiled->evaluate(ctx, samples(200, /*seed=*/3));
  std::printf("after one more epoch: accuracy %.3f on new samples\n", *gh::find(logs, "accuracy"));
  return *gh::find(logs, "accuracy") > 0.8 ? 0 : 1;
}
