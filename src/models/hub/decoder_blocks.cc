#include "models/hub/decoder_blocks.h"

#include "grouphead/layers/activation.h"
#include "grouphead/layers/einsum_dense.h"
#include "models/hub/hub_layers.h"
#include "models/hub/parts.h"
#include "models/transformer.h"
#include "nn/layer_checks.h"

namespace grouphead::models::hub {
namespace {

/// What the two kinds of blocks have in common.
class DecoderBlock : public graph::Composite {
 public:
  DecoderBlock(const std::string& name, const DtypePolicy& dtype, std::string_view class_name)
      : Composite(name, dtype), class_name_(class_name) {}
  std::string_view class_name() const override { return class_name_; }
  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"x", "padding_mask"};
    return kNames;
  }
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* /*arguments*/) const override {
    core::require_shape(name(), "x", inputs[0], {-1, -1, -1});
    return {inputs[0]};
  }

 protected:
  void require_heads(Index query, Index key_value) const {
    require_size(name(), "num_query_heads", query);
    require_size(name(), "num_key_value_heads", key_value);
    if (query % key_value != 0) {
      core::throw_config_error(name(), "num_key_value_heads",
                               "a divisor of num_query_heads = " + std::to_string(query),
                               std::to_string(key_value));
    }
  }
  Index width_of(std::span<const Shape> inputs) const {
    core::require_shape(name(), "x", inputs[0], {-1, -1, -1});
    return nn::built_width(name(), inputs.first(1));
  }

  SubLayer einsum(const std::string& attribute, const std::string& part, const char* equation,
                  std::vector<Index> output_shape, const Initializer& initializer) const {
    EinsumDenseConfig config{.equation = equation,
                             .output_shape = std::move(output_shape),
                             .kernel_initializer = initializer,
                             .name = part,
                             .dtype = policy()};
    return {attribute, std::make_shared<EinsumDense>(config)};
  }
  SubLayer dropped(const std::string& attribute, const std::string& part, double rate) const {
    return {attribute, std::make_shared<Dropout>(
                           DropoutConfig{.rate = rate, .name = part, .dtype = policy()})};
  }
  Symbol through(const std::string& name, const Symbol& x) const { return connect(part(name), x); }
  Symbol times(const Symbol& a, const Symbol& b) const {
    return layer<Multiply>({.name = "gated", .dtype = policy()})({a, b});
  }
  Symbol activated(const Symbol& x, Activation activation) const {
    return layer<ActivationLayer>(
        {.activation = activation, .name = "activated", .dtype = policy()})(x);
  }
  /// Attention between the projections below `place`.
  Symbol attended(const std::string& place, const Symbol& x, const Operand& padding) const {
    return connect(part(place + "/heads"),
                   {through(place + "/query", x), through(place + "/key", x),
                    through(place + "/value", x), padding});
  }

 private:
  std::string_view class_name_;
};

class GatedBlock final : public DecoderBlock {
 public:
  explicit GatedBlock(const GatedBlockConfig& config)
      : DecoderBlock(config.name, config.dtype, config.class_name), config_(config) {
    require_heads(config.num_query_heads, config.num_key_value_heads);
    require_size(name(), "intermediate_dim", config.intermediate_dim);
  }

 private:
  SubLayer norm(const std::string& part) const {
    return {"_" + part, scale_norm({.class_name = config_.norm_class,
                                    .epsilon = config_.epsilon,
                                    .name = part,
                                    .dtype = policy()})};
  }
  SubLayer dense(const std::string& part, Index units) const {
    return {"_" + part,
            std::make_shared<Dense>(DenseConfig{.units = units,
                                                .use_bias = false,
                                                .kernel_initializer = config_.kernel_initializer,
                                                .name = part,
                                                .dtype = policy()})};
  }
  SubLayer projection(const std::string& part, const char* equation,
                      std::vector<Index> output_shape) const {
    const std::string last = part == "attention_output" ? "output" : part;
    return einsum("_self_attention_layer/_" + last + "_dense", "self_attention/" + part, equation,
                  std::move(output_shape), config_.kernel_initializer);
  }

  std::vector<SubLayer> make_parts(std::span<const Shape> inputs) override {
    const Index width = width_of(inputs);
    const Index head_dim =
        config_.head_dim > 0 ? config_.head_dim : width / config_.num_query_heads;
    frequencies(name(), config_.rotary, head_dim);  // checks
    return {
        projection("query", "bqm,muh->bquh", {-1, config_.num_query_heads, head_dim}),
        projection("key", "bkm,mvh->bkvh", {-1, config_.num_key_value_heads, head_dim}),
        projection("value", "bkm,mvh->bkvh", {-1, config_.num_key_value_heads, head_dim}),
        {"_self_attention_layer/_softmax", head_attention({.rotary = config_.rotary,
                                                           .window = config_.window,
                                                           .name = "self_attention/heads",
                                                           .dtype = policy()})},
        dropped("_self_attention_layer/_dropout_layer", "self_attention/dropout", config_.dropout),
        projection("attention_output", "bquh,uhm->bqm", {-1, width}),
        norm("self_attention_layernorm"),
        dropped("_self_attention_dropout", "self_attention_dropout", config_.dropout),
        dense("feedforward_intermediate_dense", config_.intermediate_dim),
        dense("feedforward_gate_dense", config_.intermediate_dim),
        dense("feedforward_output_dense", width),
        norm("feedforward_layernorm")};
  }
  std::vector<Symbol> connect_parts(const Call& call) const override {
    const Symbol& x = call.operands[0];
    Symbol h = through("self_attention_layernorm", x);
    h = through("self_attention/dropout", attended("self_attention", h, call[1]));
    h = through("self_attention_dropout", through("self_attention/attention_output", h));
    const Symbol y = sum(h, x, "attention_sum", policy());
    h = through("feedforward_layernorm", y);
    const Symbol gate = activated(through("feedforward_gate_dense", h), Activation::silu);
    h = times(through("feedforward_intermediate_dense", h), gate);
    return {sum(through("feedforward_output_dense", h), y, "feedforward_sum", policy())};
  }

  GatedBlockConfig config_;
};

class GemmaBlock final : public DecoderBlock {
 public:
  explicit GemmaBlock(const GemmaBlockConfig& config)
      : DecoderBlock(config.name, config.dtype, "GemmaDecoderBlock"), config_(config) {
    require_heads(config.num_query_heads, config.num_key_value_heads);
    require_size(name(), "head_dim", config.head_dim);
    require_size(name(), "intermediate_dim", config.intermediate_dim / 2);
  }

 private:
  SubLayer norm(const std::string& part) const {
    return {
        part,
        scale_norm(
            {.class_name = "RMSNormalization", .from_one = true, .name = part, .dtype = policy()})};
  }
  SubLayer projection(const std::string& part, const char* equation,
                      std::vector<Index> output_shape) const {
    const std::string last = part == "attention_output" ? "output" : part;
    return einsum("attention/" + last + "_dense", "attention/" + part, equation,
                  std::move(output_shape), initializers::glorot_uniform());
  }
  SubLayer feed_forward(const char* attribute, const std::string& part, const char* equation,
                        Index width) const {
    return einsum(attribute, part, equation, {-1, width}, initializers::glorot_uniform());
  }

  std::vector<SubLayer> make_parts(std::span<const Shape> inputs) override {
    const Index width = width_of(inputs);
    frequencies(name(), {}, config_.head_dim);  // checks
    const Index queries = config_.num_query_heads;
    const Index keys = config_.num_key_value_heads;
    std::vector<SubLayer> parts{norm("pre_attention_norm")};
    if (config_.norm_after_attention) parts.push_back(norm("post_attention_norm"));
    parts.push_back(projection("query", "btd,ndh->btnh", {-1, queries, config_.head_dim}));
    parts.push_back(projection("key", "bsd,kdh->bskh", {-1, keys, config_.head_dim}));
    parts.push_back(projection("value", "bsd,kdh->bskh", {-1, keys, config_.head_dim}));
    parts.push_back({"attention/softmax", head_attention({.rotary = RotaryRule{},
                                                          .window = config_.window,
                                                          .soft_cap = config_.soft_cap,
                                                          .dropout = config_.dropout,
                                                          .masked_rows = MaskedRows::zeros,
                                                          .name = "attention/heads",
                                                          .dtype = policy()})});
    parts.push_back(projection("attention_output", "btnh,nhd->btd", {-1, width}));
    parts.push_back(dropped("attention_dropout", "attention_dropout", config_.dropout));
    parts.push_back(norm("pre_ffw_norm"));
    if (config_.norm_after_feed_forward) parts.push_back(norm("post_ffw_norm"));
    const Index inner = config_.intermediate_dim / 2;
    parts.push_back(feed_forward("gating_ffw", "ffw_gating", "btd,df->btf", inner));
    parts.push_back(feed_forward("gating_ffw_2", "ffw_gating_2", "btd,df->btf", inner));
    parts.push_back(feed_forward("ffw_linear", "ffw_linear", "btf,fd->btd", width));
    return parts;
  }
  std::vector<Symbol> connect_parts(const Call& call) const override {
    const Symbol& x = call.operands[0];
    Symbol h = attended("attention", through("pre_attention_norm", x), call[1]);
    h = through("attention/attention_output", h);
    if (config_.norm_after_attention) h = through("post_attention_norm", h);
    const Symbol y = sum(x, through("attention_dropout", h), "attention_sum", policy());
    h = through("pre_ffw_norm", y);
    const Symbol gate = activated(through("ffw_gating", h), Activation::gelu_tanh);
    h = through("ffw_linear", times(gate, through("ffw_gating_2", h)));
    if (config_.norm_after_feed_forward) h = through("post_ffw_norm", h);
    return {sum(h, y, "feedforward_sum", policy())};
  }

  GemmaBlockConfig config_;
};

}  // namespace

std::shared_ptr<Layer> gated_block(const GatedBlockConfig& config) {
  return std::make_shared<GatedBlock>(config);
}

std::shared_ptr<Layer> gemma_block(const GemmaBlockConfig& config) {
  return std::make_shared<GemmaBlock>(config);
}

}  // namespace grouphead::models::hub
