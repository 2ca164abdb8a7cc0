// keras.layers.ReversibleEmbedding, which KerasHub's models have for their tokens.

#include "grouphead/layers/embedding.h"
#include "models/hub/hub_layers.h"
#include "models/transformer.h"
#include "nn/attention/projection_config.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "nn/quantization_config.h"
#include "nn/quantization_plan.h"
#include "nn/quantized_layout.h"
#include "nn/quantized_product.h"
#include "nn/registry.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/linear.h"

namespace grouphead::models::hub {
namespace {

constexpr std::string_view kReverse = "reverse";

struct ReverseArguments final : CallArguments {
  bool reverse = false;
};

bool is_reverse(const CallArguments* arguments) noexcept {
  const auto* own = dynamic_cast<const ReverseArguments*>(arguments);
  return own != nullptr && own->reverse;
}

struct ReversibleSaved final : Saved {
  std::unique_ptr<Saved> lookup;  // of a call with tokens
  Tensor x;                       // of a reverse call
  Tensor tangents;                // tanh(logits / cap), where they are capped
};

class ReversibleEmbedding final : public Layer, public HasQuantization {
 public:
  explicit ReversibleEmbedding(const ReversibleEmbeddingConfig& config)
      : Layer(config.tokens.name, config.tokens.dtype, config.tokens.activity_regularizer),
        config_(config),
        lookup_(config.tokens) {
    require_size(name(), "input_dim", config.tokens.input_dim);
    require_size(name(), "output_dim", config.tokens.output_dim);
    if (config.logit_soft_cap && !(*config.logit_soft_cap > 0)) {
      core::throw_config_error(name(), "logit_soft_cap", "null or a positive number", "others");
    }
  }

  std::string_view class_name() const override { return "ReversibleEmbedding"; }
  const Quantization* quantization() const noexcept override { return lookup_.quantization(); }
  bool takes_quantization(QuantizationMode mode) const override {
    return lookup_.takes_quantization(mode);
  }
  void plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) override {
    lookup_.plan_quantization(how, plan);
    if (!reverse_) return;
    const auto layout = nn::reversed_layout(reverse_->shape());
    plan.set(*reverse_, nn::quantized(*reverse_, layout, how));
  }
  ConfigValue get_config() const override {
    ConfigValue config = lookup_.get_config();
    config.set("name", name());
    config.set("trainable", trainable());
    config.set("tie_weights", config_.tie_weights);
    config.set("reverse_dtype", config_.reverses_in_f32 ? ConfigValue("float32") : ConfigValue());
    config.set("logit_soft_cap",
               config_.logit_soft_cap ? ConfigValue(*config_.logit_soft_cap) : ConfigValue());
    return config;
  }

  std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const override {
    auto arguments = std::make_unique<ReverseArguments>();
    if (keywords.is_null()) return arguments;
    nn::ConfigReader reader(name(), keywords);
    arguments->reverse = reader.boolean(kReverse, false);
    reader.finish();
    return arguments;
  }
  ConfigValue arguments_config(const CallArguments* arguments) const override {
    ConfigValue config = ConfigValue::Object{};
    if (is_reverse(arguments)) config.set(kReverse, true);
    return config;
  }

  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override {
    nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
    if (!is_reverse(arguments)) return lookup_.output_shapes(inputs, nullptr);
    nn::require_last_axis(name(), inputs[0], config_.tokens.output_dim);
    return {nn::with_last_axis(inputs[0], config_.tokens.input_dim)};
  }

  bool can_decode(std::span<const Shape> /*inputs*/,
                  const CallArguments* /*arguments*/) const override {
    return true;
  }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    nn::require_count(name(), "number of inputs", in.size(), 1, 1);
    std::unique_ptr<ReversibleSaved> keep;
    if (saved != nullptr) keep = std::make_unique<ReversibleSaved>();
    std::vector<Value> out;
    if (is_reverse(mode.arguments)) {
      out.push_back({logits(ctx, in[0].tensor, keep.get()), {}});
    } else {
      out = lookup_.forward(ctx, in, mode, keep ? &keep->lookup : nullptr);
      out[0].tensor = Layer::leaving(ctx, out[0].tensor);
    }
    if (saved != nullptr) *saved = std::move(keep);
    return out;
  }

  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override {
    auto& kept = nn::saved_as<ReversibleSaved>(name(), saved);
    if (kept.lookup) return lookup_.backward(ctx, *kept.lookup, d_out, d_in, grads);
    nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
    nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
    if (!d_out[0].has_value()) return;
    Tensor uncapped;
    ConstView d_logits = d_out[0];
    if (kept.tangents.has_value()) {  // d tanh(x / c) c / dx = 1 - tanh^2
      uncapped = ctx.tensor(d_logits.shape(), dtype());
      scale_by_slope(ctx, kept.tangents, d_logits, uncapped);
      d_logits = std::as_const(uncapped).view();
    }
    const Parameter& weights = reverse_weights();
    ops::require_whole_weights(weights.packed());
    if (config_.tie_weights) {
      if (d_in[0].has_value()) {
        Tensor d_x = ctx.tensor(d_in[0].shape(), dtype());
        ops::linear_forward(ctx, d_logits, weights.numbers(), weights.packed(), {},
                            ops::Epilogue::none, d_x);
        ops::add(ctx, d_in[0], d_x, d_in[0]);
      }
      ops::linear_backward_weights(ctx, d_logits, kept.x, grads.of(weights), {});
    } else {
      if (d_in[0].has_value()) {
        ops::linear_backward_input(ctx, d_logits, weights.numbers(), weights.packed(),
                                   ops::Write::add, d_in[0]);
      }
      ops::linear_backward_weights(ctx, kept.x, d_logits, grads.of(weights), {});
    }
  }

  void append_parameters(const std::string& prefix, ParameterList& out) override {
    lookup_.append_parameters(prefix, out);
    if (reverse_) out.push_back({prefix + "reverse_embeddings", reverse_.get()});
  }

 protected:
  // Keras casts neither tokens nor what is projected back.
  Tensor received(Context& ctx, const Tensor& tensor) const override {
    return widened(ctx, tensor);
  }
  Tensor leaving(Context& ctx, Tensor tensor) const override {
    if (has_stored_logits_ && tensor.dtype() == policy().variable()) return tensor;
    return Layer::leaving(ctx, std::move(tensor));
  }

 public:
  void set_stored_logits() noexcept { has_stored_logits_ = true; }

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override {
    nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
    lookup_.set_trainable(trainable());
    lookup_.build(inputs, random);
    tokens_ = lookup_.parameters().front().parameter;
    if (config_.tie_weights) return;
    reverse_ = std::make_unique<Parameter>(
        "reverse_embeddings", Shape{config_.tokens.output_dim, config_.tokens.input_dim}, policy(),
        ParameterOptions{trainable()});
    nn::initialize(*reverse_, config_.tokens.embeddings_initializer, fans_of(reverse_->shape()),
                   random);
  }

  const Parameter& reverse_weights() const { return config_.tie_weights ? *tokens_ : *reverse_; }

  Tensor logits(Context& ctx, const Tensor& x, ReversibleSaved* keep) const {
    nn::require_built(name(), tokens_ != nullptr);
    nn::require_last_axis(name(), x, config_.tokens.output_dim, dtype());
    Tensor y = ctx.tensor(nn::with_last_axis(x.shape(), config_.tokens.input_dim), dtype());
    const Parameter& weights = reverse_weights();
    if (weights.quantized() != nullptr) {
      const Index rows = y.size() / config_.tokens.input_dim;
      nn::quantized_linear(
          ctx, nn::rounded_rows(ctx, weights, x.view().reshaped({rows, config_.tokens.output_dim})),
          weights, config_.tie_weights, {}, y.view().reshaped({rows, config_.tokens.input_dim}));
    } else if (config_.tie_weights) {
      ops::linear_backward_input(ctx, x, weights.numbers(), weights.packed(), ops::Write::overwrite,
                                 y);
    } else {
      ops::linear_forward(ctx, x, weights.numbers(), weights.packed(), {}, ops::Epilogue::none, y);
    }
    if (keep != nullptr) keep->x = x;
    if (!config_.logit_soft_cap) return y;
    ops::scale(ctx, y, 1 / *config_.logit_soft_cap, y);
    ops::activation_forward(ctx, Activation::tanh, y, y);
    if (keep != nullptr) keep->tangents = y;
    Tensor capped = ctx.tensor(y.shape(), dtype());
    ops::scale(ctx, y, *config_.logit_soft_cap, capped);
    return capped;
  }

  // out = d (1 - t^2)
  void scale_by_slope(Context& ctx, const Tensor& tangents, ConstView d, View out) const {
    ops::binary_forward(ctx, ops::Binary::multiply, tangents, tangents, out);
    ops::binary_forward(ctx, ops::Binary::multiply, out, d, out);
    ops::blend(ctx, 1, d, -1, out);
  }

  ReversibleEmbeddingConfig config_;
  Embedding lookup_;
  const Parameter* tokens_ = nullptr;  // of lookup_; null before build()
  std::unique_ptr<Parameter> reverse_;
  bool has_stored_logits_ = false;
};

}  // namespace

std::shared_ptr<Layer> reversible_embedding(const ReversibleEmbeddingConfig& config) {
  return std::make_shared<ReversibleEmbedding>(config);
}

void set_stored_logits(Layer& layer) {
  dynamic_cast<ReversibleEmbedding&>(layer).set_stored_logits();
}

}  // namespace grouphead::models::hub

namespace grouphead {

std::shared_ptr<Layer> nn::make_reversible_embedding(const ConfigValue& given) {
  nn::ConfigReader reader("ReversibleEmbedding", given);
  models::hub::ReversibleEmbeddingConfig config{.tokens = {.name = "reversible_embedding"}};
  EmbeddingConfig& tokens = config.tokens;
  nn::read_base(reader, tokens);
  tokens.input_dim = reader.integer("input_dim", 0);
  tokens.output_dim = reader.integer("output_dim", 0);
  tokens.embeddings_initializer =
      reader.choice("embeddings_initializer", tokens.embeddings_initializer);
  tokens.embeddings_regularizer =
      reader.choice("embeddings_regularizer", tokens.embeddings_regularizer);
  tokens.embeddings_constraint =
      reader.choice("embeddings_constraint", tokens.embeddings_constraint);
  tokens.mask_zero = reader.boolean("mask_zero", false);
  config.tie_weights = reader.boolean("tie_weights", true);
  const std::string reverse_dtype = reader.string("reverse_dtype", "");
  config.reverses_in_f32 = reverse_dtype == "float32";
  if (!reverse_dtype.empty() && !config.reverses_in_f32) {
    core::throw_config_error("reversible_embedding", "reverse_dtype", "null or float32",
                             reverse_dtype);
  }
  if (!reader.value("logit_soft_cap").is_null()) {
    config.logit_soft_cap = reader.number("logit_soft_cap", 0);
  }
  reader.value("input_length");  // Keras ignores it
  tokens.quantization = nn::read_quantization(reader, "reversible_embedding", true);
  reader.finish();
  return nn::with_trainable(std::make_shared<models::hub::ReversibleEmbedding>(config), given);
}

}  // namespace grouphead
