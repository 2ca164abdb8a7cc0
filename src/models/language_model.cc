#include "models/packed_rows.h"
#include "models/transformer.h"
#include "models/transformer_config.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "nn/whole_gradients.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "language_model";

struct LanguageModelSaved final : Saved {
  std::unique_ptr<Saved> embedding, stack, head;
};

LanguageModelConfig checked(const LanguageModelConfig& config) {
  nn::require_float(kLayer, config.transformer.dtype);
  require_size(kLayer, "vocab_size", config.vocab_size);
  check_transformer_config(kLayer, config.transformer);
  return config;
}

}  // namespace

LanguageModel::LanguageModel(const LanguageModelConfig& config)
    : Layer(config.name, config.transformer.dtype),
      config_(checked(config)),
      embedding_(
          std::make_unique<Embedding>(EmbeddingConfig{.input_dim = config.vocab_size,
                                                      .output_dim = config.transformer.hidden_size,
                                                      .dtype = config.transformer.dtype})),
      stack_(std::make_unique<TransformerStack>(config.transformer)),
      head_(std::make_unique<Dense>(DenseConfig{
          .units = config.vocab_size, .name = "head", .dtype = config.transformer.dtype})) {
  RandomStream random(config.seed);
  const Shape tokens{1, 1};
  const Shape x{1, 1, config.transformer.hidden_size};
  embedding_->build(std::span(&tokens, 1), random);
  stack_->build(std::span(&x, 1), random);
  head_->build(std::span(&x, 1), random);
  set_built();
}

LanguageModel::~LanguageModel() = default;

void LanguageModel::create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) {
  nn::require_unbuilt(kLayer, true);
}

std::vector<Value> LanguageModel::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                          std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  nn::require_no_mask(kLayer, "tokens", in[0]);
  core::require_dense(kLayer, "tokens", in[0].tensor, {-1, -1}, Dtype::i32);
  std::unique_ptr<LanguageModelSaved> keep;
  if (saved != nullptr) keep = std::make_unique<LanguageModelSaved>();
  Tensor h = embedding_->forward(ctx, in, mode, keep ? &keep->embedding : nullptr).front().tensor;
  h = stack_->run(ctx, h, {.mode = mode, .saved = keep ? &keep->stack : nullptr});
  Tensor logits = (*head_)(ctx, h, keep ? &keep->head : nullptr);
  if (keep) *saved = std::move(keep);
  return {Value{std::move(logits), {}}};
}

void LanguageModel::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                             std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<LanguageModelSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  Tensor d =
      ctx.tensor({d_out[0].dim(0), d_out[0].dim(1), config_.transformer.hidden_size}, dtype());
  head_->backward_to(ctx, *kept.head, d_out[0], d, grads);
  kept.head.reset();
  nn::tell_whole_gradients([&](ParameterList& list) { head_->append_parameters({}, list); });
  d = stack_->run_backward(ctx, *kept.stack, std::move(d), grads);
  const ConstView d_embedded = d;
  embedding_->backward(ctx, *kept.embedding, std::span(&d_embedded, 1), d_in, grads);
}

void LanguageModel::append_parameters(const std::string& prefix, ParameterList& out) {
  embedding_->append_parameters(prefix + "embedding/", out);
  stack_->append_parameters(prefix, out);
  head_->append_parameters(prefix + "head/", out);
}

ConfigValue LanguageModel::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("vocab_size", config_.vocab_size);
  write_transformer_config(config_.transformer, config);
  config.set("seed", nn::seed_config(config_.seed));
  return config;
}

std::vector<Shape> LanguageModel::output_shapes(std::span<const Shape> inputs,
                                                const CallArguments* /*arguments*/) const {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  core::require_shape(kLayer, "tokens", inputs[0], {-1, -1});
  return {nn::with_appended_axis(inputs[0], config_.vocab_size)};
}

Tensor LanguageModel::operator()(Context& ctx, ConstView tokens) const {
  core::require_dense(kLayer, "tokens", tokens, {-1, -1}, Dtype::i32);
  return (*head_)(ctx, stack_->run(ctx, (*embedding_)(ctx, tokens), {}));
}

KvCache LanguageModel::make_cache(Context& ctx, Index batch, Index capacity,
                                  std::optional<Dtype> stored) const {
  return {ctx, cache_config(config_.transformer, batch, capacity, stored)};
}

std::vector<Tensor> LanguageModel::attention_scores(Context& ctx, const Tensor& tokens) const {
  core::require_dense(kLayer, "tokens", tokens, {-1, -1}, Dtype::i32);
  std::vector<Tensor> scores;
  stack_->run(ctx, (*embedding_)(ctx, tokens), {.scores = &scores});
  return scores;
}

std::vector<Tensor> LanguageModel::attended(Context& ctx, const Tensor& tokens) const {
  core::require_dense(kLayer, "tokens", tokens, {-1, -1}, Dtype::i32);
  std::vector<Tensor> inputs;
  stack_->run(ctx, (*embedding_)(ctx, tokens), {.attended = &inputs});
  return inputs;
}

const GroupQueryAttention& LanguageModel::attention(Index block) const {
  return stack_->attention(static_cast<std::size_t>(block));
}

void LanguageModel::step(Context& ctx, ConstView tokens, KvCache& cache, View logits) const {
  const Index vocab = config_.vocab_size;
  core::require_dense(kLayer, "tokens", tokens, {cache.config().batch, -1}, Dtype::i32);
  const bool is_last = logits.shape().rank() == 2;
  if (is_last) {
    core::require_dense(kLayer, "logits", logits, {tokens.dim(0), vocab}, dtype());
  } else {
    core::require_dense(kLayer, "logits", logits, {tokens.dim(0), tokens.dim(1), vocab}, dtype());
  }
  const Positions positions = is_last ? Positions::last : Positions::all;
  const Tensor h =
      stack_->run(ctx, (*embedding_)(ctx, tokens), {.positions = positions, .cache = &cache});
  head_->apply(ctx, h, logits);
}

void LanguageModel::step(Context& ctx, ConstView tokens, std::span<const SequenceRows> rows,
                         KvCache& cache, View logits) const {
  models::require_packed(kLayer, tokens, rows, config_.vocab_size, dtype(), logits);
  const Tensor x = (*embedding_)(ctx, tokens.reshaped({1, tokens.size()}));
  const Tensor h = stack_->run(ctx, x, {.cache = &cache, .rows = rows});
  head_->apply(ctx, models::last_rows(ctx, h, rows),
               logits.reshaped({1, logits.dim(0), logits.dim(1)}));
}

std::shared_ptr<Layer> nn::make_language_model(const ConfigValue& given) {
  ConfigReader reader("LanguageModel", given);
  LanguageModelConfig config;
  config.name = reader.name(config.name);
  reader.trainable();
  config.vocab_size = reader.integer("vocab_size", config.vocab_size);
  read_transformer_config(reader, config.transformer);
  config.transformer.dtype = dtype_from(kLayer, reader);
  config.seed = seed_from(reader);
  reader.finish();
  return with_trainable(std::make_shared<LanguageModel>(config), given);
}

}  // namespace grouphead
