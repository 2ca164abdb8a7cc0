// Multi-head attention becomes grouped-query attention with a quarter of the KV cache; training
// towards the old outputs wins back what that costs.

#include <grouphead/grouphead.h>

#include <cstdio>
#include <memory>

namespace gh = grouphead;

int main() {
  gh::Context ctx;
  const gh::Symbol x = gh::input({.shape = {16, 64}, .name = "x"});
  const auto attention =
      gh::layer<gh::MultiHeadAttention>({.num_heads = 8, .key_dim = 8, .name = "attention"});
  const gh::Model before({.inputs = {x}, .outputs = {attention({x, x})}, .seed = 1});

  // Each new key/value head is the mean of the four heads that it replaces.
  const std::shared_ptr<gh::Model> after =
      gh::convert_heads(before, {.num_key_value_heads = 2, .pooling = gh::HeadPooling::mean});
  const gh::Tensor inputs = gh::random_normal({64, 16, 64}, /*seed=*/2);
  const gh::ConversionReport report = gh::compare_heads(ctx, before, *after, {inputs});
  std::printf("%s", report.to_string().c_str());

  // The old model teaches the new one.
  gh::CompiledModel training = gh::compile(
      *after, {.optimizer = std::make_shared<gh::Adam>(gh::AdamConfig{.learning_rate = 1e-2}),
               .loss = {"mse"}});
  training.fit(ctx, {.x = {inputs}, .y = {before(ctx, inputs)}}, {.batch_size = 16, .epochs = 25});

  const double trained = gh::compare_heads(ctx, before, *after, {inputs}).output_error;
  std::printf("error of the output: %.3f, after training %.3f\n", report.output_error, trained);
  return trained < report.output_error ? 0 : 1;
}
