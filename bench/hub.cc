// Saved models in turns with other libraries; bench/rivals/hub and bench/rivals/keras run it:
//
//   bench_hub MODEL THREADS INPUTS
//
// MODEL is a Hugging Face folder or a .keras file. INPUTS of a language model are tensors: prompt
// [1, T] to read; prompt_1, prompt_8 [B, T] to continue, with the tokens next_1, next_8 [B, N];
// tokens and labels [B, T] to train on. Those of a sentence encoder are a text file; those of a
// .keras file are batches, each named as the way that predicts it. Prints "ready", then does what
// each line of standard input says, a tenth of a second or once, and prints {"ms": N}: WAY, or WAY
// FILE, which also writes the result's tensor "y".

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>

#include "grouphead/grouphead.h"

namespace {

namespace gh = grouphead;
using Way = std::function<gh::Tensor()>;

/// The most likely token of each row of logits [B, V].
gh::Tensor likeliest(const gh::Tensor& logits) {
  gh::Tensor tokens({logits.dim(0), 1}, gh::Dtype::i32);
  for (gh::Index b = 0; b < logits.dim(0); ++b) {
    const float* row = logits.data<float>() + b * logits.dim(1);
    tokens.data<std::int32_t>()[b] =
        static_cast<std::int32_t>(std::max_element(row, row + logits.dim(1)) - row);
  }
  return tokens;
}

class LanguageModelWays {
 public:
  LanguageModelWays(gh::Context& ctx, const std::string& folder, const std::string& inputs)
      : ctx_(ctx),
        model_(gh::load_pretrained(folder).model),
        trained_(gh::load_pretrained(folder).model),
        compiled_(*trained_,
                  {.optimizer = std::make_shared<gh::AdamW>(
                       gh::AdamWConfig{.learning_rate = 1e-5, .weight_decay = 0.1}),
                   .loss = {gh::sparse_categorical_crossentropy({.from_logits = true})}}) {
    for (const auto& [name, tensor] : gh::read_tensors(inputs)) {
      inputs_[name] = gh::cast_exactly(tensor, gh::Dtype::i32);
    }
  }

  std::map<std::string, Way> ways() {
    return {{"prefill", [this] { return prefill(); }},
            {"generate-1", [this] { return generate("1", gh::Dtype::f32); }},
            {"generate-8", [this] { return generate("8", gh::Dtype::f32); }},
            {"generate-1-bf16", [this] { return generate("1", gh::Dtype::bf16); }},
            {"generate-8-bf16", [this] { return generate("8", gh::Dtype::bf16); }},
            {"train", [this] { return train(); }}};
  }

 private:
  void pack(gh::Dtype form) {
    if (form == form_) return;
    gh::pack_weights(model_->parameters(), form);
    form_ = form;
  }

  // The logits behind a prompt, and a cache that holds it.
  gh::Tensor read(const gh::Tensor& prompt, gh::KvCache& cache) {
    gh::Tensor logits({prompt.dim(0), model_->config().vocab_size});
    model_->step(ctx_, prompt, cache, logits);
    return logits;
  }

  gh::Tensor prefill() {
    pack(gh::Dtype::f32);
    gh::KvCache cache = model_->make_cache(ctx_, 1, inputs_.at("prompt").dim(1));
    return read(inputs_.at("prompt"), cache);
  }

  // The last logits. All libraries choose the likeliest tokens, and go on with the same given ones.
  gh::Tensor generate(const std::string& batch, gh::Dtype form) {
    pack(form);
    const gh::Tensor& prompt = inputs_.at("prompt_" + batch);
    const gh::Tensor& next = inputs_.at("next_" + batch);
    gh::KvCache cache = model_->make_cache(ctx_, prompt.dim(0), prompt.dim(1) + next.dim(1));
    gh::Tensor logits = read(prompt, cache);
    gh::Tensor token({prompt.dim(0), 1}, gh::Dtype::i32);
    for (gh::Index i = 0; i < next.dim(1); ++i) {
      likeliest(logits);
      gh::copy(next.view().slice(1, i, i + 1), token);
      model_->step(ctx_, token, cache, logits);
    }
    return logits;
  }

  gh::Tensor train() {
    const double loss =
        compiled_.train_on_batch(ctx_, {.x = {inputs_.at("tokens")}, .y = {inputs_.at("labels")}});
    return gh::Tensor::from({1}, {static_cast<float>(loss)});
  }

  gh::Context& ctx_;
  std::shared_ptr<gh::TransformerModel> model_, trained_;
  gh::CompiledModel compiled_;
  std::map<std::string, gh::Tensor> inputs_;
  gh::Dtype form_ = gh::Dtype::f32;
};

class SentenceWays {
 public:
  SentenceWays(gh::Context& ctx, const std::string& folder, const std::string& inputs)
      : ctx_(ctx),
        encoder_(gh::load_sentence_encoder(folder)),
        tokenizer_(gh::Tokenizer::load(folder)) {
    std::ifstream file(inputs, std::ios::binary);
    for (std::string line; std::getline(file, line);) texts_.push_back(line);
  }

  std::map<std::string, Way> ways() {
    return {{"embed", [this] { return encoder_.encode(ctx_, tokenizer_, texts_); }}};
  }

 private:
  gh::Context& ctx_;
  gh::SentenceEncoder encoder_;
  gh::Tokenizer tokenizer_;
  std::vector<std::string> texts_;
};

class KerasWays {
 public:
  KerasWays(gh::Context& ctx, const std::string& file, const std::string& inputs)
      : ctx_(ctx), model_(gh::load_model(file)), inputs_(gh::read_tensors(inputs)) {}

  std::map<std::string, Way> ways() {
    std::map<std::string, Way> ways;
    for (const auto& [name, batch] : inputs_) {
      ways[name] = [this, &batch = batch] { return (*model_)(ctx_, batch); };
    }
    return ways;
  }

 private:
  gh::Context& ctx_;
  std::shared_ptr<const gh::Model> model_;
  std::map<std::string, gh::Tensor> inputs_;
};

/// Milliseconds of a call: the mean of those that fill a tenth of a second.
double measure(const Way& way, gh::Tensor& y) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  std::chrono::duration<double, std::milli> taken{};
  int calls = 0;
  for (; calls == 0 || taken.count() < 100; ++calls) {
    y = way();
    taken = Clock::now() - start;
  }
  return taken.count() / calls;
}

void serve(const std::map<std::string, Way>& ways) {
  std::printf("ready\n");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string way, file;
    words >> way >> file;
    gh::Tensor y;
    const double taken = measure(ways.at(way), y);
    if (!file.empty()) gh::write_tensors(file, {{"y", y}});
    std::printf("{\"ms\": %.6f}\n", taken);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: bench_hub MODEL THREADS INPUTS\n", stderr);
    return 2;
  }
  try {
    gh::Context ctx({.num_threads = std::atoi(argv[2])});
    const std::string file = argv[1], inputs = argv[3];
    if (file.ends_with(".keras")) {
      KerasWays model(ctx, file, inputs);
      serve(model.ways());
    } else if (inputs.ends_with(".safetensors")) {
      LanguageModelWays model(ctx, file, inputs);
      serve(model.ways());
    } else {
      SentenceWays model(ctx, file, inputs);
      serve(model.ways());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
