#include "models/transformer.h"

#include "core/number_text.h"
#include "models/transformer_block.h"
#include "nn/error_path.h"
#include "nn/layer_checks.h"
#include "nn/whole_gradients.h"
#include "ops/arithmetic.h"

namespace grouphead {
namespace {

using core::throw_config_error;

constexpr std::string_view kLayer = "transformer";

struct StackSaved final : Saved {
  std::vector<BlockSaved> blocks;
  std::vector<std::optional<RandomDraw>> between;  // dropout after each block
  std::unique_ptr<Saved> final_norm;
};

void require_rate(std::string_view model, std::string_view option, double rate) {
  if (!(rate >= 0 && rate < 1)) {
    throw_config_error(model, option, "0 <= rate < 1", core::number_text(rate));
  }
}

}  // namespace

void require_size(std::string_view model, std::string_view option, Index size) {
  core::require_positive(model, option, size);
  constexpr Index kLargest = Index{1} << 30;
  if (size > kLargest) throw_config_error(model, option, "at most 2^30", std::to_string(size));
}

void check_transformer_config(std::string_view model, const TransformerConfig& config) {
  require_size(model, "hidden_size", config.hidden_size);
  require_size(model, "num_heads", config.num_heads);
  require_size(model, "num_key_value_heads", config.num_key_value_heads);
  require_size(model, "num_layers", config.num_layers);
  if (config.hidden_size % config.num_heads != 0) {
    throw_config_error(model, "num_heads",
                       "a divisor of hidden_size = " + std::to_string(config.hidden_size),
                       std::to_string(config.num_heads));
  }
  if (config.num_heads % config.num_key_value_heads != 0) {
    throw_config_error(model, "num_key_value_heads",
                       "a divisor of num_heads = " + std::to_string(config.num_heads),
                       std::to_string(config.num_key_value_heads));
  }
  const Index head_dim = config.hidden_size / config.num_heads;
  if (config.rope && head_dim % 2 != 0) {
    throw_config_error(model, "hidden_size / num_heads", "an even number with a rotary rule",
                       std::to_string(head_dim));
  }
  if (config.feed_forward != 0) require_size(model, "feed_forward", config.feed_forward);
  require_rate(model, "dropout", config.dropout);
  require_rate(model, "inter_block_dropout", config.inter_block_dropout);
}

KvCacheConfig cache_config(const TransformerConfig& config, Index batch, Index capacity,
                           std::optional<Dtype> stored) {
  return {.num_layers = config.num_layers,
          .batch = batch,
          .num_key_value_heads = config.num_key_value_heads,
          .head_dim = config.hidden_size / config.num_heads,
          .capacity = capacity,
          .dtype = stored.value_or(config.dtype)};
}

TransformerStack::TransformerStack(const TransformerConfig& config)
    : Layer("transformer", config.dtype),
      config_(config),
      between_blocks_({.rate = config.inter_block_dropout, .dtype = config.dtype}) {
  check_transformer_config(kLayer, config);
  for (Index i = 1; i <= config.num_layers; ++i) {
    blocks_.push_back(
        std::make_unique<TransformerBlock>(config_, "gqa_block_" + std::to_string(i)));
    blocks_.back()->share_rope_tables(*blocks_.front());
  }
  if (config.final_norm) {
    final_norm_ = std::make_unique<LayerNormalization>(
        LayerNormalizationConfig{.epsilon = config.norm_epsilon,
                                 .random_gains = config.random_norm_gains,
                                 .name = "final_norm",
                                 .dtype = config.dtype});
  }
}

TransformerStack::~TransformerStack() = default;

void TransformerStack::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  core::require_shape(kLayer, "input", inputs[0], {-1, -1, config_.hidden_size});
  for (const auto& block : blocks_) block->build(random);
  if (final_norm_) final_norm_->build(inputs, random);
}

const GroupQueryAttention& TransformerStack::attention(std::size_t block) const {
  return blocks_.at(block)->attention();
}

Tensor TransformerStack::run(Context& ctx, const Tensor& x, const StackCall& call) const {
  core::require_dense(kLayer, "input", x, {-1, -1, config_.hidden_size}, dtype());
  if (x.dim(1) < 1) {
    core::throw_shape_error(kLayer, "input", "1 position or more", x.shape().to_string());
  }
  if (call.cache != nullptr && call.cache->config().num_layers != config_.num_layers) {
    core::throw_shape_error(kLayer, "cache", std::to_string(config_.num_layers) + " layers",
                            std::to_string(call.cache->config().num_layers));
  }
  std::unique_ptr<StackSaved> keep;
  if (call.saved != nullptr) {
    keep = std::make_unique<StackSaved>();
    keep->blocks.resize(blocks_.size());
    keep->between.resize(blocks_.size());
  }
  StackCall inner = call;
  Tensor h = x;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const bool is_last = i + 1 == blocks_.size();
    inner.positions = is_last ? call.positions : Positions::all;
    h = nn::in_layer(blocks_[i]->name(), [&] {
      return blocks_[i]->run(ctx, h, inner, static_cast<Index>(i),
                             keep ? &keep->blocks[i] : nullptr);
    });
    const std::optional<RandomDraw> drawn =
        is_last ? std::nullopt : between_blocks_.draw(call.mode);
    if (drawn) between_blocks_.apply(ctx, *drawn, h, h);
    if (keep) keep->between[i] = drawn;
  }
  if (final_norm_) h = (*final_norm_)(ctx, h, keep ? &keep->final_norm : nullptr);
  if (call.cache != nullptr) {
    call.rows.empty() ? call.cache->advance(x.dim(1)) : call.cache->advance(call.rows);
  }
  if (keep) *call.saved = std::move(keep);
  return h;
}

Tensor TransformerStack::run_backward(Context& ctx, Saved& saved, Tensor d, Grads& grads) const {
  auto& kept = nn::saved_as<StackSaved>(kLayer, saved);
  if (final_norm_) {
    const ConstView d_y = d;
    Tensor d_h = ctx.zeros(d.shape(), dtype());
    View d_x = d_h;
    final_norm_->backward(ctx, *kept.final_norm, std::span(&d_y, 1), std::span(&d_x, 1), grads);
    kept.final_norm.reset();
    d = std::move(d_h);
    nn::tell_whole_gradients(
        [&](ParameterList& list) { final_norm_->append_parameters({}, list); });
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    if (kept.between[i]) between_blocks_.apply(ctx, *kept.between[i], d, d);
    blocks_[i]->backward(ctx, kept.blocks[i], d, grads);
    nn::tell_whole_gradients([&](ParameterList& list) { blocks_[i]->append_parameters({}, list); });
  }
  return d;
}

std::vector<Value> TransformerStack::forward(Context& ctx, std::span<const Value> in,
                                             const Mode& mode,
                                             std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  nn::require_no_mask(kLayer, "input", in[0]);
  return {Value{run(ctx, in[0].tensor, {.mode = mode, .saved = saved}), {}}};
}

void TransformerStack::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                std::span<View> d_in, Grads& grads) const {
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  const Tensor d_x = run_backward(ctx, saved, nn::copied(ctx, d_out[0]), grads);
  if (d_in[0].has_value()) ops::add(ctx, d_in[0], d_x, d_in[0]);
}

void TransformerStack::append_parameters(const std::string& prefix, ParameterList& out) {
  for (const auto& block : blocks_) block->append_parameters(prefix, out);
  if (final_norm_) final_norm_->append_parameters(prefix + "final_norm/", out);
}

}  // namespace grouphead
