// keras_hub.layers.TransformerEncoder and TransformerDecoder.

#include "models/hub/hub_layers.h"
#include "models/hub/parts.h"
#include "models/transformer.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"

namespace grouphead::models::hub {
namespace {

void require_rate(const std::string& layer, double rate) {
  if (!(rate >= 0 && rate <= 1)) {
    core::throw_config_error(layer, "dropout", "0 to 1", std::to_string(rate));
  }
}

/// Attention, normalizations and feed-forward: what the two have in common.
class TransformerLayer : public graph::Composite {
 public:
  explicit TransformerLayer(const FeedForwardConfig& config)
      : Composite(config.name, config.dtype, config.activity_regularizer), config_(config) {
    require_size(name(), "intermediate_dim", config.intermediate_dim);
    require_size(name(), "num_heads", config.num_heads);
    require_rate(name(), config.dropout);
  }

  ConfigValue get_config() const override {
    ConfigValue config = Layer::get_config();
    config.set("intermediate_dim", config_.intermediate_dim);
    config.set("num_heads", config_.num_heads);
    config.set("dropout", config_.dropout);
    config.set("activation", config_.activation.config);
    config.set("layer_norm_epsilon", config_.layer_norm_epsilon);
    config.set("kernel_initializer", config_.kernel_initializer.config());
    config.set("bias_initializer", config_.bias_initializer.config());
    config.set("normalize_first", config_.normalize_first);
    return config;
  }

 protected:
  const FeedForwardConfig& config() const noexcept { return config_; }

  /// [B, T, M] with a head size of 1 or more.
  Index checked_width(const Shape& x) const {
    if (x.rank() != 3) core::throw_shape_error(name(), "inputs", "[B, T, M]", x.to_string());
    if (x.back() >= 0 && x.back() < config_.num_heads) {
      core::throw_shape_error(name(), "inputs",
                              "num_heads features or more, " + std::to_string(config_.num_heads),
                              x.to_string());
    }
    return x.back();
  }

  MultiHeadAttentionConfig attention(const std::string& name, Index width) const {
    return {.num_heads = config_.num_heads,
            .key_dim = width / config_.num_heads,
            .dropout = config_.dropout,
            .kernel_initializer = config_.kernel_initializer,
            .bias_initializer = config_.bias_initializer,
            .name = name,
            .dtype = policy()};
  }
  SubLayer norm(const std::string& part) const {
    return {"_" + part,
            std::make_shared<LayerNormalization>(LayerNormalizationConfig{
                .epsilon = config_.layer_norm_epsilon, .name = part, .dtype = policy()})};
  }
  SubLayer dropout(const std::string& part) const {
    return {"_" + part, std::make_shared<Dropout>(DropoutConfig{
                            .rate = config_.dropout, .name = part, .dtype = policy()})};
  }
  SubLayer dense(const std::string& part, Index units, Activation activation) const {
    return {"_" + part,
            std::make_shared<Dense>(DenseConfig{.units = units,
                                                .activation = activation,
                                                .kernel_initializer = config_.kernel_initializer,
                                                .bias_initializer = config_.bias_initializer,
                                                .name = part,
                                                .dtype = policy()})};
  }

  /// x of the norm `part`, if it stands on this side of the block's inner layers.
  Symbol normed(const Symbol& x, std::string_view norm_name, bool is_before) const {
    return is_before == config_.normalize_first ? connect(part(norm_name), x) : x;
  }
  /// norm(x + dropout(y)), with the norm where the configuration has it.
  Symbol joined(const Symbol& x, const Symbol& y, const std::string& place) const {
    const Symbol dropped = connect(part(place + "_dropout"), y);
    return normed(sum(dropped, x, place + "_sum", policy()), place + "_layer_norm", false);
  }
  Symbol feed_forward(const Symbol& x) const {
    Symbol h = normed(x, "feedforward_layer_norm", true);
    h = connect(part("feedforward_intermediate_dense"), h);
    h = connect(part("feedforward_output_dense"), h);
    return joined(x, h, "feedforward");
  }

 private:
  FeedForwardConfig config_;
};

class TransformerEncoder final : public TransformerLayer {
 public:
  using TransformerLayer::TransformerLayer;
  std::string_view class_name() const override { return "TransformerEncoder"; }
  std::string_view module() const override {
    return "keras_hub.src.layers.modeling.transformer_encoder";
  }
  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"inputs", "padding_mask", "attention_mask"};
    return kNames;
  }
  bool takes_first_mask() const override { return !config().normalize_first; }

  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override {
    checked_width(inputs[0]);
    std::vector<Shape> shapes{inputs[0]};
    if (arguments_config(arguments)["return_attention_scores"] == ConfigValue(true)) {
      const Index length = inputs[0][1];
      shapes.push_back(Shape::partial({inputs[0][0], config().num_heads, length, length}));
    }
    return shapes;
  }

 private:
  std::span<const std::string_view> keyword_names() const override {
    static constexpr std::string_view kKeywords[] = {"return_attention_scores"};
    return kKeywords;
  }
  std::vector<SubLayer> make_parts(std::span<const Shape> inputs) override {
    const Index width = checked_width(inputs[0]);
    nn::require_last_axis(name(), inputs[0], width);
    return {{"_self_attention_layer",
             std::make_shared<MultiHeadAttention>(attention("self_attention_layer", width))},
            norm("self_attention_layer_norm"),
            dropout("self_attention_dropout"),
            norm("feedforward_layer_norm"),
            dense("feedforward_intermediate_dense", config().intermediate_dim,
                  config().activation.kind),
            dense("feedforward_output_dense", width, Activation::linear),
            dropout("feedforward_dropout")};
  }
  std::vector<Symbol> connect_parts(const Call& call) const override {
    const Symbol& x = call.operands[0];
    const Symbol h = normed(x, "self_attention_layer_norm", true);
    const bool wants_scores = call.flag("return_attention_scores", false);
    const Outputs attended = connect(part("self_attention_layer"), {h, h},
                                     {{"key_mask", call[1]},
                                      {"attention_mask", call[2]},
                                      {"return_attention_scores", ConfigValue(wants_scores)}});
    std::vector<Symbol> outputs{feed_forward(joined(x, attended[0], "self_attention"))};
    if (wants_scores) outputs.push_back(attended[1]);
    return outputs;
  }
};

class TransformerDecoder final : public TransformerLayer {
 public:
  using TransformerLayer::TransformerLayer;
  std::string_view class_name() const override { return "TransformerDecoder"; }
  std::string_view module() const override {
    return "keras_hub.src.layers.modeling.transformer_decoder";
  }
  ConfigValue get_config() const override {
    ConfigValue config = TransformerLayer::get_config();
    config.set("decoder_sequence_shape", decoder_shape_);
    config.set("encoder_sequence_shape", encoder_shape_);
    return config;
  }
  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"decoder_sequence",     "encoder_sequence",
                                                  "decoder_padding_mask", "decoder_attention_mask",
                                                  "encoder_padding_mask", "encoder_attention_mask"};
    return kNames;
  }
  std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const override {
    for (const char* key : {"self_attention_cache", "self_attention_cache_update_index",
                            "cross_attention_cache", "cross_attention_cache_update_index"}) {
      if (!keywords.is_null() && !keywords[key].is_null()) {
        core::throw_config_error(name(), key, "null: caches are of generation", "a value");
      }
    }
    return Composite::arguments_from_config(keywords);
  }
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* /*arguments*/) const override {
    checked_width(inputs[0]);
    const bool has_encoder = inputs.size() > kEncoder && inputs[kEncoder].rank() > 0;
    if (is_built() && has_encoder != has_cross_attention_) {
      core::throw_config_error(
          name(), "encoder_sequence",
          has_cross_attention_ ? "one, as when the layer was built" : "none, as when it was built",
          has_encoder ? "one" : "none");
    }
    return {inputs[0]};
  }

 private:
  enum Operands : std::size_t {
    kDecoder,
    kEncoder,
    kDecoderPadding,
    kDecoderMask,
    kEncoderPadding,
    kEncoderMask
  };

  std::span<const std::string_view> keyword_names() const override {
    static constexpr std::string_view kKeywords[] = {"use_causal_mask"};
    return kKeywords;
  }
  std::vector<SubLayer> make_parts(std::span<const Shape> inputs) override {
    const Index width = checked_width(inputs[kDecoder]);
    nn::require_last_axis(name(), inputs[kDecoder], width);
    decoder_shape_ = ConfigValue(inputs[kDecoder]);
    has_cross_attention_ = inputs.size() > kEncoder && inputs[kEncoder].rank() > 0;
    std::vector<SubLayer> parts{
        {"_self_attention_layer", cached_attention(attention("self_attention", width))},
        norm("self_attention_layer_norm"),
        dropout("self_attention_dropout")};
    if (has_cross_attention_) {
      encoder_shape_ = ConfigValue(inputs[kEncoder]);
      parts.push_back(
          {"_cross_attention_layer", cached_attention(attention("cross_attention", width))});
      parts.push_back(norm("cross_attention_layer_norm"));
      parts.push_back(dropout("cross_attention_dropout"));
    }
    parts.push_back(dense("feedforward_intermediate_dense", config().intermediate_dim,
                          config().activation.kind));
    parts.push_back(dense("feedforward_output_dense", width, Activation::linear));
    parts.push_back(norm("feedforward_layer_norm"));
    parts.push_back(dropout("feedforward_dropout"));
    return parts;
  }

  Symbol attend(const std::string& place, const Symbol& x, const Symbol& value,
                const Operand& padding, const Operand& mask, bool is_causal) const {
    const Symbol query = normed(x, place + "_layer_norm", true);
    const Symbol keys = value.has_value() ? value : query;
    const Symbol real = key_mask(value.has_value() ? value : x, padding, place + "_padding");
    const Symbol attended = connect(part(place), {query, keys, nullptr, mask, real},
                                    {{"use_causal_mask", ConfigValue(is_causal)}});
    return joined(x, attended, place);
  }

  std::vector<Symbol> connect_parts(const Call& call) const override {
    Symbol x = attend("self_attention", call.operands[kDecoder], {}, call[kDecoderPadding],
                      call[kDecoderMask], call.flag("use_causal_mask", true));
    if (has_cross_attention_) {
      x = attend("cross_attention", x, call.operands.at(kEncoder), call[kEncoderPadding],
                 call[kEncoderMask], false);
    }
    return {feed_forward(x)};
  }

  bool has_cross_attention_ = false;
  ConfigValue decoder_shape_;  // null before build()
  ConfigValue encoder_shape_;
};

FeedForwardConfig read_config(nn::ConfigReader& reader, std::string_view name) {
  FeedForwardConfig config;
  config.name = name;
  nn::read_base(reader, config);
  config.intermediate_dim = reader.integer("intermediate_dim", 0);
  config.num_heads = reader.integer("num_heads", 0);
  config.dropout = reader.number("dropout", 0);
  config.activation = activation_from(reader, "activation", config.activation);
  config.layer_norm_epsilon = reader.number("layer_norm_epsilon", config.layer_norm_epsilon);
  config.kernel_initializer = reader.choice("kernel_initializer", config.kernel_initializer);
  config.bias_initializer = reader.choice("bias_initializer", config.bias_initializer);
  config.normalize_first = reader.boolean("normalize_first", false);
  return config;
}

}  // namespace

std::shared_ptr<Layer> transformer_encoder(const FeedForwardConfig& config) {
  return std::make_shared<TransformerEncoder>(config);
}
std::shared_ptr<Layer> transformer_decoder(const FeedForwardConfig& config) {
  return std::make_shared<TransformerDecoder>(config);
}

}  // namespace grouphead::models::hub

namespace grouphead {

std::shared_ptr<Layer> nn::make_transformer_encoder(const ConfigValue& given) {
  nn::ConfigReader reader("TransformerEncoder", given);
  const models::hub::FeedForwardConfig config =
      models::hub::read_config(reader, "transformer_encoder");
  reader.finish();
  return nn::with_trainable(std::make_shared<models::hub::TransformerEncoder>(config), given);
}

// The shapes in the configuration are what the layer's calls say again.
std::shared_ptr<Layer> nn::make_transformer_decoder(const ConfigValue& given) {
  nn::ConfigReader reader("TransformerDecoder", given);
  const models::hub::FeedForwardConfig config =
      models::hub::read_config(reader, "transformer_decoder");
  reader.value("decoder_sequence_shape");
  reader.value("encoder_sequence_shape");
  reader.finish();
  return nn::with_trainable(std::make_shared<models::hub::TransformerDecoder>(config), given);
}

}  // namespace grouphead
