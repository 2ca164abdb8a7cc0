#include <algorithm>
#include <array>

#include "models/packed_rows.h"
#include "models/transformer_model/block.h"
#include "models/transformer_model/config.h"
#include "models/transformer_model/embeddings.h"
#include "nn/error_path.h"
#include "nn/layer_checks.h"
#include "nn/operations/promotion.h"
#include "nn/shapes.h"
#include "nn/whole_gradients.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "transformer";
constexpr std::array<std::string_view, 2> kInputs = {"tokens", "token_types"};

struct ModelSaved final : Saved {
  std::unique_ptr<Saved> embeddings, final_norm;
  std::vector<std::unique_ptr<Saved>> blocks;
  Tensor hidden;        // what the head is given
  Tensor narrow;        // the same, projected to the embedding's width
  Tensor cap_argument;  // logits scaled and divided by the softcap
};

TransformerModelConfig checked(const TransformerModelConfig& config) {
  models::check_transformer_model(config);
  return config;
}

std::unique_ptr<nn::Projection> head_projection(Index inputs, Index outputs, bool use_bias,
                                                const DtypePolicy& policy, RandomStream& random) {
  nn::ProjectionOptions options;
  options.use_bias = use_bias;
  return std::make_unique<nn::Projection>(Shape{inputs, outputs}, 1, options, policy, random);
}

}  // namespace

struct TransformerModel::Parts {
  const TransformerModelConfig& config;
  models::Embeddings embeddings;
  std::vector<std::unique_ptr<models::DescribedBlock>> blocks{};
  std::vector<std::string> names{};              // of the blocks, in messages
  std::unique_ptr<nn::RowNorm> final_norm{};     // null without one
  std::unique_ptr<nn::Projection> head_input{};  // null where the head reads M elements
  std::unique_ptr<nn::Projection> head{};        // null where tied or absent

  Parts(const TransformerModelConfig& given, RandomStream& random)
      : config(given), embeddings(given, random) {
    for (Index i = 0; i < config.num_layers; ++i) {
      blocks.push_back(std::make_unique<models::DescribedBlock>(config, i, random));
      names.push_back("layers/" + std::to_string(i));
    }
    share_tables();
    if (config.final_norm) {
      final_norm =
          std::make_unique<nn::RowNorm>(models::norm_settings(config.norm, config.hidden_size),
                                        DtypePolicy(config.dtype.variable()), true);
    }
    if (!config.head) return;
    Index width = config.hidden_size;
    if (config.embedding_size > 0 && config.embedding_size != width) {
      head_input = head_projection(width, config.embedding_size, false, config.dtype, random);
      width = config.embedding_size;
    }
    if (!config.tied_head) {
      head = head_projection(width, config.vocab_size, config.head_bias, config.dtype, random);
    }
  }

  // Layers of one rotation rule read one table.
  void share_tables() {
    std::vector<const models::DescribedBlock*> first(config.ropes.size(), nullptr);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (config.ropes.empty()) return;
      const Index rope = config.layers.empty() ? 0 : config.layers[i].rope;
      if (rope < 0) continue;
      const models::DescribedBlock*& owner = first[static_cast<std::size_t>(rope)];
      if (owner == nullptr) owner = blocks[i].get();
      blocks[i]->share_rope_tables(*owner);
    }
  }

  void require_cache(const KvCache& cache) const;
  Tensor run(Context& ctx, const TransformerInputs& inputs, const models::TransformerCall& call,
             ModelSaved* keep) const;
  Tensor normalised(Context& ctx, Tensor x, std::unique_ptr<Saved>* saved) const;
  Tensor logits(Context& ctx, const Tensor& hidden, ModelSaved* keep) const;
  Tensor logits_backward(Context& ctx, ModelSaved& kept, ConstView d_y, Grads& grads) const;
};

void TransformerModel::Parts::require_cache(const KvCache& cache) const {
  if (!config.head) core::throw_config_error(kLayer, "step", "a model with a head", "one without");
  if (cache.config().num_layers == config.num_layers) return;
  core::throw_shape_error(kLayer, "cache", std::to_string(config.num_layers) + " layers",
                          std::to_string(cache.config().num_layers));
}

// [B, T, M], before the last norm.
Tensor TransformerModel::Parts::run(Context& ctx, const TransformerInputs& inputs,
                                    const models::TransformerCall& call, ModelSaved* keep) const {
  Tensor x = embeddings.forward(ctx, inputs, call.cache, call.rows, call.mode,
                                keep != nullptr ? &keep->embeddings : nullptr);
  if (keep != nullptr) keep->blocks.resize(blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    x = nn::in_layer(names[i], [&] {
      return blocks[i]->forward(ctx, x, call, keep != nullptr ? &keep->blocks[i] : nullptr);
    });
  }
  return x;
}

// By the last norm, where there is one.
Tensor TransformerModel::Parts::normalised(Context& ctx, Tensor x,
                                           std::unique_ptr<Saved>* saved) const {
  if (!final_norm) return x;
  Tensor y = final_norm->forward(ctx, x, saved);
  ops::round_to(ctx, config.dtype.compute(), y);
  return y;
}

// In f32 under a 16-bit policy too, as the loss needs them.
Tensor TransformerModel::Parts::logits(Context& ctx, const Tensor& hidden, ModelSaved* keep) const {
  Tensor narrow = hidden;
  if (head_input) {
    narrow = ctx.tensor(nn::with_last_axis(hidden.shape(), config.embedding_size), hidden.dtype());
    head_input->forward(ctx, hidden, ops::Epilogue::none, narrow);
    ops::round_to(ctx, config.dtype.compute(), narrow);
  }
  Tensor y;
  if (config.tied_head) {
    y = embeddings.logits(ctx, narrow);
  } else {
    y = ctx.tensor(nn::with_last_axis(narrow.shape(), config.vocab_size), narrow.dtype());
    head->forward(ctx, narrow, ops::Epilogue::none, y);
  }
  const double cap = config.logit_softcap.value_or(1);
  if (config.logit_scale != cap) ops::scale(ctx, y, config.logit_scale / cap, y);
  if (keep != nullptr) {
    keep->hidden = hidden;
    keep->narrow = narrow;
  }
  if (!config.logit_softcap) return y;
  Tensor capped = keep != nullptr ? ctx.tensor(y.shape(), y.dtype()) : y;
  ops::activation_forward(ctx, Activation::tanh, y, capped);
  ops::scale(ctx, capped, cap, capped);
  if (keep != nullptr) keep->cap_argument = std::move(y);
  return capped;
}

// The gradient of what logits() was given.
Tensor TransformerModel::Parts::logits_backward(Context& ctx, ModelSaved& kept, ConstView d_y,
                                                Grads& grads) const {
  Tensor d_logits = nn::copied(ctx, d_y);
  if (config.logit_softcap) {
    ops::activation_backward(ctx, Activation::tanh, kept.cap_argument, d_logits, d_logits);
  }
  if (config.logit_scale != 1) ops::scale(ctx, d_logits, config.logit_scale, d_logits);
  Tensor d_narrow;
  if (config.tied_head) {
    d_narrow = embeddings.logits_backward(ctx, kept.narrow, d_logits, grads);
  } else {
    d_narrow = ctx.tensor(kept.narrow.shape(), d_logits.dtype());
    head->backward(ctx, kept.narrow, d_logits, ops::Write::overwrite, d_narrow, grads);
  }
  if (!head_input) return d_narrow;
  Tensor d_hidden = ctx.tensor(kept.hidden.shape(), d_logits.dtype());
  head_input->backward(ctx, kept.hidden, d_narrow, ops::Write::overwrite, d_hidden, grads);
  return d_hidden;
}

TransformerModel::TransformerModel(const TransformerModelConfig& config)
    : Layer(config.name, config.dtype), config_(checked(config)) {
  RandomStream random(config.seed);
  parts_ = std::make_unique<Parts>(config_, random);
  set_built();
}

TransformerModel::~TransformerModel() = default;

void TransformerModel::create_parameters(std::span<const Shape> /*inputs*/,
                                         RandomStream& /*random*/) {
  nn::require_unbuilt(kLayer, true);
}

void TransformerModel::append_parameters(const std::string& prefix, ParameterList& out) {
  parts_->embeddings.append_parameters(prefix + "embeddings/", out);
  for (std::size_t i = 0; i < parts_->blocks.size(); ++i) {
    parts_->blocks[i]->append_parameters(prefix + "layers/" + std::to_string(i) + "/", out);
  }
  if (parts_->final_norm) parts_->final_norm->append_parameters(prefix + "final_norm/", out);
  if (parts_->head_input) parts_->head_input->append_parameters(prefix + "head_input/", out);
  if (parts_->head) parts_->head->append_parameters(prefix + "head/", out);
}

ConfigValue TransformerModel::get_config() const {
  ConfigValue config = Layer::get_config();
  models::write_transformer_model(config_, config);
  return config;
}

std::span<const std::string_view> TransformerModel::input_names() const { return kInputs; }

std::vector<Shape> TransformerModel::output_shapes(std::span<const Shape> inputs,
                                                   const CallArguments* /*arguments*/) const {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 2);
  core::require_shape(kLayer, "tokens", inputs[0], {-1, -1});
  return {
      nn::with_appended_axis(inputs[0], config_.head ? config_.vocab_size : config_.hidden_size)};
}

namespace {

void check_inputs(const TransformerInputs& inputs) {
  core::require_dense(kLayer, "tokens", inputs.tokens, {-1, -1}, Dtype::i32);
  const Index batch = inputs.tokens.dim(0);
  const Index length = inputs.tokens.dim(1);
  if (length < 1) {
    core::throw_shape_error(kLayer, "tokens", "1 position or more",
                            inputs.tokens.shape().to_string());
  }
  if (inputs.mask.has_value()) {
    core::require_dense(kLayer, "mask", inputs.mask, {batch, length}, Dtype::boolean);
  }
  if (inputs.token_types.has_value()) {
    core::require_dense(kLayer, "token_types", inputs.token_types, {batch, length}, Dtype::i32);
  }
}

}  // namespace

std::vector<Value> TransformerModel::forward(Context& ctx, std::span<const Value> in,
                                             const Mode& mode,
                                             std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 2);
  TransformerInputs inputs;
  inputs.tokens = nn::as_type(ctx, in[0].tensor, Dtype::i32);
  if (in[0].mask) inputs.mask = *in[0].mask;
  if (in.size() > 1 && in[1].tensor.has_value()) {
    inputs.token_types = nn::as_type(ctx, in[1].tensor, Dtype::i32);
  }
  check_inputs(inputs);
  std::unique_ptr<ModelSaved> keep;
  if (saved != nullptr) keep = std::make_unique<ModelSaved>();
  Tensor x = parts_->run(ctx, inputs, {.mode = mode, .key_mask = inputs.mask}, keep.get());
  x = parts_->normalised(ctx, std::move(x), keep ? &keep->final_norm : nullptr);
  if (config_.head) x = parts_->logits(ctx, x, keep.get());
  if (keep) *saved = std::move(keep);
  return {Value{std::move(x), in[0].mask}};
}

void TransformerModel::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                std::span<View> /*d_in*/, Grads& grads) const {
  auto& kept = nn::saved_as<ModelSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  Tensor d = config_.head ? parts_->logits_backward(ctx, kept, d_out[0], grads)
                          : nn::copied(ctx, d_out[0]);
  if (parts_->final_norm) {
    parts_->final_norm->backward(ctx, *kept.final_norm, d, ops::Write::overwrite, d, grads);
  }
  for (std::size_t i = parts_->blocks.size(); i-- > 0;) {
    d = parts_->blocks[i]->backward(ctx, *kept.blocks[i], d, grads);
    kept.blocks[i].reset();
    nn::tell_whole_gradients(
        [&](ParameterList& list) { parts_->blocks[i]->append_parameters({}, list); });
  }
  parts_->embeddings.backward(ctx, *kept.embeddings, std::move(d), grads);
}

Tensor TransformerModel::operator()(Context& ctx, const TransformerInputs& inputs) const {
  Value tokens{inputs.tokens, {}};
  if (inputs.mask.has_value()) tokens.mask = inputs.mask;
  const Value values[] = {tokens, Value{inputs.token_types, {}}};
  return forward(ctx, values, {}, nullptr).front().tensor;
}

std::vector<Tensor> TransformerModel::attention_scores(Context& ctx,
                                                       const TransformerInputs& inputs) const {
  std::vector<Tensor> all;
  visit_attention_scores(ctx, inputs, [&](Tensor scores) { all.push_back(std::move(scores)); });
  return all;
}

void TransformerModel::visit_attention_scores(
    Context& ctx, const TransformerInputs& inputs,
    const std::function<void(Tensor scores)>& visit) const {
  check_inputs(inputs);
  parts_->run(ctx, inputs, {.key_mask = inputs.mask, .scores = &visit}, nullptr);
}

std::vector<Tensor> TransformerModel::attended(Context& ctx,
                                               const TransformerInputs& inputs) const {
  check_inputs(inputs);
  std::vector<Tensor> attended;
  parts_->run(ctx, inputs, {.key_mask = inputs.mask, .attended = &attended}, nullptr);
  return attended;
}

Tensor TransformerModel::attend(Context& ctx, Index layer, const Tensor& x,
                                const Tensor& mask) const {
  if (layer < 0 || layer >= config_.num_layers) {
    core::throw_shape_error(kLayer, "layer", "0 .. " + std::to_string(config_.num_layers - 1),
                            std::to_string(layer));
  }
  return parts_->blocks[static_cast<std::size_t>(layer)]->attend(ctx, x, {.key_mask = mask},
                                                                 nullptr);
}

KvCache TransformerModel::make_cache(Context& ctx, Index batch, Index capacity,
                                     std::optional<Dtype> stored) const {
  if (!config_.causal) core::throw_config_error(kLayer, "cache", "a causal model", "another");
  return {ctx,
          {.num_layers = config_.num_layers,
           .batch = batch,
           .num_key_value_heads = config_.attention.num_key_value_heads,
           .head_dim = config_.attention.head_dim,
           .capacity = capacity,
           .dtype = stored.value_or(dtype())}};
}

void TransformerModel::step(Context& ctx, ConstView tokens, KvCache& cache, View logits) const {
  core::require_dense(kLayer, "tokens", tokens, {cache.config().batch, -1}, Dtype::i32);
  const Index batch = tokens.dim(0);
  const Index length = tokens.dim(1);
  const bool is_last = logits.shape().rank() == 2;
  if (is_last) {
    core::require_dense(kLayer, "logits", logits, {batch, config_.vocab_size}, dtype());
  } else {
    core::require_dense(kLayer, "logits", logits, {batch, length, config_.vocab_size}, dtype());
  }
  parts_->require_cache(cache);
  TransformerInputs inputs;
  inputs.tokens = Tensor::wrap(tokens);
  check_inputs(inputs);
  Tensor x = parts_->run(ctx, inputs, {.cache = &cache}, nullptr);
  if (is_last && length > 1) {
    Tensor last = ctx.tensor({batch, 1, config_.hidden_size}, dtype());
    copy(x.view().slice(1, length - 1, length), last);
    x = std::move(last);
  }
  x = parts_->normalised(ctx, std::move(x), nullptr);
  copy(parts_->logits(ctx, x, nullptr).reshaped(logits.shape()), logits);
  cache.advance(length);
}

void TransformerModel::step(Context& ctx, ConstView tokens, std::span<const SequenceRows> rows,
                            KvCache& cache, View logits) const {
  models::require_packed(kLayer, tokens, rows, config_.vocab_size, dtype(), logits);
  parts_->require_cache(cache);
  TransformerInputs inputs;
  inputs.tokens = Tensor::wrap(tokens.reshaped({1, tokens.size()}));
  Tensor x = parts_->run(ctx, inputs, {.cache = &cache, .rows = rows}, nullptr);
  x = models::last_rows(ctx, x, rows);
  x = parts_->normalised(ctx, std::move(x), nullptr);
  copy(parts_->logits(ctx, x, nullptr).reshaped(logits.shape()), logits);
  cache.advance(rows);
}

}  // namespace grouphead
