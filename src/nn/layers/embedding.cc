#include "grouphead/layers/embedding.h"

#include <utility>

#include "nn/attention/projection_config.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "nn/low_rank.h"
#include "nn/operations/promotion.h"
#include "nn/quantization_config.h"
#include "nn/quantization_plan.h"
#include "nn/quantized_layout.h"
#include "nn/quantized_product.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/embedding.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "embedding";

struct EmbeddingSaved final : Saved {
  Tensor tokens;
};

// Which tokens are not padding.
Tensor mask_of(Context& ctx, const Tensor& tokens) {
  Tensor mask = ctx.tensor(tokens.shape(), Dtype::boolean);
  ops::cast(ctx, tokens, mask);
  return mask;
}

}  // namespace

Embedding::Embedding(const EmbeddingConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {
  core::require_positive(kLayer, "input_dim", config.input_dim);
  core::require_positive(kLayer, "output_dim", config.output_dim);
}

Embedding::~Embedding() = default;

ConfigValue Embedding::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("input_dim", config_.input_dim);
  config.set("output_dim", config_.output_dim);
  config.set("embeddings_initializer", config_.embeddings_initializer.config());
  config.set("embeddings_regularizer", config_.embeddings_regularizer.config());
  config.set("activity_regularizer", activity_regularizer().config());
  config.set("embeddings_constraint", config_.embeddings_constraint.config());
  config.set("mask_zero", config_.mask_zero);
  nn::write_quantization(*this, embeddings_.get(), config_.quantization, config);
  if (low_rank() != nullptr) low_rank()->write_config(config);
  return config;
}

std::vector<Shape> Embedding::output_shapes(std::span<const Shape> inputs,
                                            const CallArguments* /*arguments*/) const {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  return {nn::with_appended_axis(inputs[0], config_.output_dim)};
}

void Embedding::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, embeddings_ != nullptr);
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  embeddings_ = std::make_unique<Parameter>(
      "embeddings", Shape{config_.input_dim, config_.output_dim}, policy(),
      ParameterOptions{trainable(), config_.embeddings_regularizer, config_.embeddings_constraint});
  const Initializer& start = config_.embeddings_initializer;
  if (start) nn::initialize(*embeddings_, start, fans_of(embeddings_->shape()), random);
  if (config_.lora) nn::enable_lora(lora_, embeddings_.get(), *config_.lora, *this, random);
}

Tensor Embedding::typed_call(Context& ctx, const LayerInput& x,
                             std::unique_ptr<Saved>* saved) const {
  if (saved != nullptr) return Layer::typed_call(ctx, x, saved);
  nn::require_built(kLayer, embeddings_ != nullptr);
  core::require_dtype(kLayer, "tokens", x.view(), Dtype::i32);
  if (x.view().is_contiguous()) return looked_up(ctx, x.view());
  return looked_up(ctx, x.tensor(ctx));
}

Tensor Embedding::looked_up(Context& ctx, ConstView tokens) const {
  Tensor y = ctx.tensor(nn::with_appended_axis(tokens.shape(), config_.output_dim), dtype());
  const Index rows = tokens.size();
  if (embeddings_->quantized() != nullptr && !lora_) {
    nn::quantized_lookup(ctx, tokens.reshaped({rows}), *embeddings_,
                         y.view().reshaped({rows, config_.output_dim}));
    return y;
  }
  const std::unique_ptr<Parameter> changed = lora_ ? lora_->changed() : nullptr;
  ops::embedding_forward(ctx, tokens.reshaped({rows}),
                         (changed ? *changed : *embeddings_).numbers(),
                         y.view().reshaped({rows, config_.output_dim}));
  return y;
}

std::vector<Value> Embedding::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                      std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  const Tensor tokens = nn::as_type(ctx, in[0].tensor, Dtype::i32);
  nn::require_built(kLayer, embeddings_ != nullptr);
  Tensor y = looked_up(ctx, tokens);
  if (saved != nullptr) {
    auto keep = std::make_unique<EmbeddingSaved>();
    keep->tokens = tokens;
    *saved = std::move(keep);
  }
  if (!config_.mask_zero) return {Value{std::move(y), {}}};
  return {Value{std::move(y), mask_of(ctx, in[0].tensor)}};
}

void Embedding::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                         std::span<View> /*d_in*/, Grads& grads) const {
  auto& kept = nn::saved_as<EmbeddingSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  Tensor sums = lora_ ? lora_->gradient_sums(ctx, grads) : Tensor();
  const View d_embeddings = lora_ ? sums.view() : grads.of(*embeddings_);
  if (!d_out[0].has_value() || !d_embeddings.has_value()) return;
  const Index rows = kept.tokens.size();
  ops::embedding_backward(ctx, std::as_const(kept.tokens).view().reshaped({rows}),
                          d_out[0].reshaped({rows, config_.output_dim}), d_embeddings);
  if (lora_) lora_->add_gradient(ctx, d_embeddings, grads);
}

void Embedding::append_parameters(const std::string& prefix, ParameterList& out) {
  if (embeddings_) out.push_back({prefix + "embeddings", embeddings_.get()});
  if (lora_) lora_->append_parameters(prefix, out);
}

void Embedding::enable_lora(const LoraOptions& config, std::uint64_t seed) {
  RandomStream random(seed);
  nn::enable_lora(lora_, embeddings_.get(), config, *this, random);
}

void Embedding::merge_lora() { nn::merge_lora(lora_); }

nn::LowRank* Embedding::low_rank() const noexcept { return lora_.get(); }

const Quantization* Embedding::quantization() const noexcept {
  return config_.quantization ? &*config_.quantization : nullptr;
}

bool Embedding::takes_quantization(QuantizationMode mode) const {
  return mode != QuantizationMode::float8;
}

void Embedding::plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) {
  const auto layout = nn::table_layout(embeddings_->shape());
  plan.set(*embeddings_, nn::quantized(*embeddings_, layout, how));
  plan.assign(config_.quantization, std::optional(how));
}

namespace nn {

std::shared_ptr<Layer> make_embedding(const ConfigValue& given) {
  ConfigReader reader("Embedding", given);
  EmbeddingConfig config;
  read_base(reader, config);
  config.input_dim = reader.integer("input_dim", config.input_dim);
  config.output_dim = reader.integer("output_dim", config.output_dim);
  config.embeddings_initializer =
      reader.choice("embeddings_initializer", config.embeddings_initializer);
  config.embeddings_regularizer =
      reader.choice("embeddings_regularizer", config.embeddings_regularizer);
  config.embeddings_constraint =
      reader.choice("embeddings_constraint", config.embeddings_constraint);
  config.mask_zero = reader.boolean("mask_zero", config.mask_zero);
  reader.value("input_length");  // Keras ignores it
  config.lora = read_lora(reader);
  config.quantization = read_quantization(reader, kLayer);
  reader.finish();
  return with_trainable(std::make_shared<Embedding>(config), given);
}

}  // namespace nn
}  // namespace grouphead
