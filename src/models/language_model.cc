#include "models/transformer.h"
#include "nn/layer_checks.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "language_model";

struct LanguageModelSaved final : Saved {
  std::unique_ptr<Saved> embedding, stack, head;
};

LanguageModelConfig checked(const LanguageModelConfig& config) {
  nn::require_float(kLayer, config.transformer.dtype);
  detail::require_positive(kLayer, "vocab_size", config.vocab_size);
  check_transformer_config(kLayer, config.transformer);
  return config;
}

}  // namespace

LanguageModel::LanguageModel(const LanguageModelConfig& config)
    : Layer("language_model", config.transformer.dtype),
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
}

LanguageModel::~LanguageModel() = default;

void LanguageModel::build(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) {
  nn::require_unbuilt(kLayer, true);
}

std::vector<Value> LanguageModel::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                          std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  nn::require_no_mask(kLayer, "tokens", in[0]);
  detail::require_dense(kLayer, "tokens", in[0].tensor, {-1, -1}, Dtype::i32);
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
  d = stack_->run_backward(ctx, *kept.stack, std::move(d), grads);
  const ConstView d_embedded = d;
  embedding_->backward(ctx, *kept.embedding, std::span(&d_embedded, 1), d_in, grads);
}

void LanguageModel::append_parameters(const std::string& prefix, ParameterList& out) const {
  embedding_->append_parameters(prefix + "embedding/", out);
  stack_->append_parameters(prefix, out);
  head_->append_parameters(prefix + "head/", out);
}

KvCache LanguageModel::make_cache(Context& ctx, Index batch, Index capacity,
                                  std::optional<Dtype> stored) const {
  return {ctx, cache_config(config_.transformer, batch, capacity, stored)};
}

std::vector<Tensor> LanguageModel::attention_scores(Context& ctx, const Tensor& tokens) const {
  detail::require_dense(kLayer, "tokens", tokens, {-1, -1}, Dtype::i32);
  std::vector<Tensor> scores;
  stack_->run(ctx, (*embedding_)(ctx, tokens), {.scores = &scores});
  return scores;
}

std::vector<Tensor> LanguageModel::attended(Context& ctx, const Tensor& tokens) const {
  detail::require_dense(kLayer, "tokens", tokens, {-1, -1}, Dtype::i32);
  std::vector<Tensor> inputs;
  stack_->run(ctx, (*embedding_)(ctx, tokens), {.attended = &inputs});
  return inputs;
}

const GroupQueryAttention& LanguageModel::attention(Index block) const {
  return stack_->attention(static_cast<std::size_t>(block));
}

void LanguageModel::step(Context& ctx, ConstView tokens, KvCache& cache, View logits) const {
  detail::require_dense(kLayer, "tokens", tokens, {cache.config().batch, -1}, Dtype::i32);
  detail::require_dense(kLayer, "logits", logits, {tokens.dim(0), config_.vocab_size}, dtype());
  const Tensor h = (*embedding_)(ctx, tokens);
  head_->apply(ctx, stack_->run(ctx, h, {.positions = Positions::last, .cache = &cache}), logits);
}

}  // namespace grouphead
