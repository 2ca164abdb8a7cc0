// Trains a small language model on a text, saves it, loads it, and lets it continue a prompt. The
// folder is what `grouphead generate` reads too.

#include <grouphead/grouphead.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace gh = grouphead;

namespace {

constexpr gh::Index kBatch = 8;
constexpr gh::Index kLength = 64;

/// Bytes of a text as tokens: what the model reads, and one position later what it shall say.
gh::Data windows_of(const std::string& text) {
  const auto windows = (static_cast<gh::Index>(text.size()) - 1) / kLength;
  gh::Tensor tokens({windows, kLength}, gh::Dtype::i32);
  gh::Tensor next({windows, kLength}, gh::Dtype::i32);
  for (gh::Index i = 0; i < windows * kLength; ++i) {
    const auto at = static_cast<std::size_t>(i);
    tokens.data<std::int32_t>()[i] = static_cast<unsigned char>(text[at]);
    next.data<std::int32_t>()[i] = static_cast<unsigned char>(text[at + 1]);
  }
  return {.x = {tokens}, .y = {next}};
}

}  // namespace

int main() {
  std::string text;
  while (text.size() < 4000) text += "the cat sat on the mat, and the dog ran to the door; ";

  gh::Context ctx;
  gh::LanguageModel model({.vocab_size = 256,
                           .transformer = {.hidden_size = 32,
                                           .num_heads = 4,
                                           .num_key_value_heads = 2,
                                           .num_layers = 2,
                                           .rope = gh::RopeConfig{}}});
  gh::CompiledModel compiled(
      model, {.optimizer = std::make_shared<gh::AdamW>(gh::AdamWConfig{.learning_rate = 5e-3}),
              .loss = {gh::sparse_categorical_crossentropy({.from_logits = true})}});
  const gh::History history =
      compiled.fit(ctx, windows_of(text), {.batch_size = kBatch, .epochs = 12});
  std::printf("loss %.2f, then %.2f\n", history["loss"].front(), history["loss"].back());

  gh::save_model_folder(model, "cats_and_dogs");
  const auto loaded = gh::load_model_folder<gh::LanguageModel>("cats_and_dogs");

  const std::string prompt = "the cat ";
  const std::vector<std::int32_t> tokens(prompt.begin(), prompt.end());
  std::printf("%s", prompt.c_str());
  gh::generate(ctx, *loaded, tokens,
               {.max_tokens = 60, .sampling = {.temperature = 0.5, .seed = 1}},
               [](std::int32_t token) {
                 std::putchar(token);
                 return token != ';';  // false ends the text
               });
  std::printf("\n");
  return history["loss"].back() < 1 ? 0 : 1;
}
