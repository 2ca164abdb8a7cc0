#include "models/hub/hub_layers.h"
#include "nn/attention/config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"

namespace grouphead::models::hub {
namespace {

constexpr std::string_view kLayer = "cached_multi_head_attention";
constexpr std::string_view kNames[] = {"query", "value", "key", "attention_mask", "padding_mask"};
// Where these stand among MultiHeadAttention's operands.
constexpr nn::AttentionOperand kPlaces[] = {nn::kQuery, nn::kValue, nn::kKey, nn::kAttentionMask,
                                            nn::kKeyMask};

class CachedMultiHeadAttention final : public Layer, public HasQuantization {
 public:
  explicit CachedMultiHeadAttention(const MultiHeadAttentionConfig& config)
      : Layer(config.name, config.dtype), attention_(config) {}

  std::string_view class_name() const override { return "CachedMultiHeadAttention"; }
  std::string_view module() const override {
    return "keras_hub.src.layers.modeling.cached_multi_head_attention";
  }
  ConfigValue get_config() const override {
    ConfigValue config = attention_.get_config();
    config.set("name", name());
    config.set("trainable", trainable());
    return config;
  }
  std::span<const std::string_view> input_names() const override { return kNames; }
  std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const override {
    if (keywords.is_null()) return nullptr;
    nn::ConfigReader reader(name(), keywords);
    AttentionArguments arguments;
    arguments.use_causal_mask = reader.boolean("use_causal_mask", false);
    arguments.return_attention_scores = reader.boolean("return_attention_scores", false);
    for (const char* key : {"cache", "cache_update_index"}) {
      if (!reader.value(key).is_null()) {
        core::throw_config_error(name(), key, "null: caches are of generation", "a value");
      }
    }
    reader.finish();
    return std::make_unique<AttentionArguments>(arguments);
  }
  ConfigValue arguments_config(const CallArguments* arguments) const override {
    return nn::attention_arguments_config(arguments);
  }
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override {
    return attention_.output_shapes(placed(inputs), arguments);
  }

  bool can_decode(std::span<const Shape> /*inputs*/,
                  const CallArguments* /*arguments*/) const override {
    return true;
  }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    std::vector<Value> operands = placed(in);
    const std::optional<Tensor> mask = operands[nn::kQuery].mask;
    for (Value& value : operands) value.mask.reset();
    std::vector<Value> out = attention_.forward(ctx, operands, mode, saved);
    for (Value& value : out) value.mask = mask;
    return out;
  }

  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override {
    std::vector<View> d_operands = placed(std::span<const View>(d_in));
    attention_.backward(ctx, saved, d_out, d_operands, grads);
  }

  void append_parameters(const std::string& prefix, ParameterList& out) override {
    attention_.append_parameters(prefix, out);
  }
  const Quantization* quantization() const noexcept override { return attention_.quantization(); }
  bool takes_quantization(QuantizationMode mode) const override {
    return attention_.takes_quantization(mode);
  }
  void plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) override {
    attention_.plan_quantization(how, plan);
  }

 private:
  // In MultiHeadAttention's places.
  template <class T>
  std::vector<T> placed(std::span<const T> given) const {
    nn::require_count(name(), "number of inputs", given.size(), 2, std::size(kNames));
    std::vector<T> all(nn::kNumOperands);
    for (std::size_t i = 0; i < given.size(); ++i) all[kPlaces[i]] = given[i];
    return all;
  }
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override {
    attention_.set_trainable(trainable());
    attention_.build(placed(inputs), random);
  }

  MultiHeadAttention attention_;
};

}  // namespace

std::shared_ptr<Layer> cached_attention(const MultiHeadAttentionConfig& config) {
  return std::make_shared<CachedMultiHeadAttention>(config);
}

}  // namespace grouphead::models::hub

namespace grouphead {

std::shared_ptr<Layer> nn::make_cached_attention(const ConfigValue& given) {
  const std::shared_ptr<Layer> plain = nn::make_multi_head_attention(given);
  MultiHeadAttentionConfig config = dynamic_cast<MultiHeadAttention&>(*plain).config();
  if (!given.contains("name")) config.name = models::hub::kLayer;
  const std::shared_ptr<Layer> made = models::hub::cached_attention(config);
  made->set_trainable(plain->trainable());
  return made;
}

}  // namespace grouphead
