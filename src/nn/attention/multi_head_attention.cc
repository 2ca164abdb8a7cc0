#include "grouphead/layers/multi_head_attention.h"

#include "nn/attention/config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "multi_head_attention";

const MultiHeadAttentionConfig& checked(const MultiHeadAttentionConfig& config) {
  core::require_positive(kLayer, "num_heads", config.num_heads);
  core::require_positive(kLayer, "key_dim", config.key_dim);
  if (config.value_dim) core::require_positive(kLayer, "value_dim", *config.value_dim);
  for (const Index size : config.output_shape) core::require_positive(kLayer, "output_shape", size);
  nn::check_attention_config(kLayer, config, config.num_heads);
  return config;
}

nn::AttentionSettings settings_of(const MultiHeadAttentionConfig& config) {
  nn::AttentionSettings settings = nn::attention_settings(kLayer, config);
  settings.num_query_heads = config.num_heads;
  settings.num_key_value_heads = config.num_heads;
  settings.key_dim = config.key_dim;
  settings.value_dim = config.value_dim.value_or(config.key_dim);
  return settings;
}

nn::AttentionRules rules_of(const MultiHeadAttentionConfig& config) {
  nn::AttentionRules rules = nn::attention_rules(kLayer, config);
  rules.num_heads = config.num_heads;
  rules.honours_query_mask = false;
  rules.output_shape = config.output_shape;
  return rules;
}

ConfigValue list_config(std::span<const Index> values) {
  if (values.empty()) return {};
  ConfigValue::List list;
  for (const Index value : values) list.emplace_back(value);
  return list;
}

// An integer, a list of them, or null: nothing.
std::vector<Index> integers(std::string_view key, const ConfigValue& value) {
  if (value.is_null()) return {};
  if (value.is_integer()) return {value.as_integer(key)};
  std::vector<Index> found;
  for (const ConfigValue& one : value.as_list(key)) found.push_back(one.as_integer(key));
  return found;
}

}  // namespace

MultiHeadAttention::MultiHeadAttention(const MultiHeadAttentionConfig& config)
    : AttentionLayer(config.name, config.dtype),
      config_(checked(config)),
      core_(std::make_unique<nn::AttentionCore>(settings_of(config))) {}

MultiHeadAttention::~MultiHeadAttention() = default;

ConfigValue MultiHeadAttention::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("num_heads", config_.num_heads);
  config.set("key_dim", config_.key_dim);
  config.set("value_dim", value_dim());
  config.set("dropout", config_.dropout);
  config.set("use_bias", config_.use_bias);
  config.set("use_gate", config_.use_gate);
  config.set("output_shape",
             list_config({config_.output_shape.begin(), config_.output_shape.end()}));
  config.set("attention_axes", list_config(config_.attention_axes));
  config.set("sliding_window", nn::optional_config(config_.sliding_window));
  nn::write_attention_rules(config_, config);
  return config;
}

std::span<const std::string_view> MultiHeadAttention::input_names() const {
  return nn::kAttentionOperandNames;
}

std::unique_ptr<CallArguments> MultiHeadAttention::arguments_from_config(
    const ConfigValue& keywords) const {
  return nn::attention_arguments(kLayer, keywords);
}

ConfigValue MultiHeadAttention::arguments_config(const CallArguments* arguments) const {
  return nn::attention_arguments_config(arguments);
}

nn::AttentionAxes MultiHeadAttention::axes_of(int rank) const {
  return {kLayer, config_.attention_axes, rank};
}

std::vector<Shape> MultiHeadAttention::output_shapes(std::span<const Shape> inputs,
                                                     const CallArguments* arguments) const {
  const nn::AttentionShapes shapes = nn::attention_shapes(kLayer, inputs);
  return nn::attention_output_shapes(rules_of(config_), axes_of(shapes[0].rank()), shapes,
                                     arguments);
}

void MultiHeadAttention::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, core_->is_built());
  const nn::AttentionShapes shapes = nn::attention_shapes(kLayer, inputs);
  const nn::AttentionAxes axes = axes_of(shapes[0].rank());
  const nn::AttentionRules rules = rules_of(config_);
  nn::require_shapes(rules, axes, shapes);
  core_->build(nn::attention_widths(rules, shapes), trainable(), random);
  input_rank_ = shapes[0].rank();
  config_.attention_axes.assign(axes.axes().begin(), axes.axes().end());
}

// attention_forward() says what is missing.
bool MultiHeadAttention::can_decode(std::span<const Shape> /*inputs*/,
                                    const CallArguments* /*arguments*/) const {
  return true;
}

std::vector<Value> MultiHeadAttention::run(Context& ctx, const nn::AttentionOperands& in,
                                           const Mode& mode, std::unique_ptr<Saved>* saved) const {
  nn::require_operands(kLayer, in);
  return nn::attention_forward(ctx, *core_, rules_of(config_),
                               axes_of(in[nn::kQuery].input.shape().rank()), in, mode, saved);
}

void MultiHeadAttention::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                  std::span<View> d_in, Grads& grads) const {
  nn::attention_backward(ctx, *core_, kLayer, saved, d_out, d_in, grads);
}

void MultiHeadAttention::append_parameters(const std::string& prefix, ParameterList& out) {
  core_->append_parameters(prefix, out);
}

void MultiHeadAttention::require_one_axis() const {
  nn::require_built(kLayer, core_->is_built());
  if (config_.attention_axes == std::vector<Index>{1}) return;
  core::throw_config_error(kLayer, "attention_axes", "[1] with a cache",
                           list_config(config_.attention_axes).to_string());
}

// y with output_shape for its last axis.
Tensor MultiHeadAttention::outputs(const Tensor& y) const {
  if (config_.output_shape.rank() < 2) return y;
  std::vector<Index> dims{y.dim(0), y.dim(1)};
  dims.insert(dims.end(), config_.output_shape.begin(), config_.output_shape.end());
  return y.reshaped(Shape(dims));
}

Tensor MultiHeadAttention::apply_cached(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                                        std::span<const Index> counts) const {
  require_one_axis();
  return outputs(core_->forward_cached(ctx, x, cache, layer, config_.sliding_window, counts));
}

void MultiHeadAttention::store_source(Context& ctx, const Tensor& source, KvCache& cache,
                                      Index layer, std::span<const Index> counts) const {
  require_one_axis();
  core_->require_no_positions(config_.sliding_window.has_value());
  core_->store_source(ctx, source, cache, layer, counts);
}

Tensor MultiHeadAttention::apply_to_source(Context& ctx, const Tensor& x, const KvCache& cache,
                                           Index layer) const {
  require_one_axis();
  core_->require_no_positions(config_.sliding_window.has_value());
  return outputs(core_->forward_source(ctx, x, cache, layer));
}

const Quantization* MultiHeadAttention::quantization() const noexcept {
  return core_->quantization();
}

bool MultiHeadAttention::takes_quantization(QuantizationMode /*mode*/) const { return true; }

void MultiHeadAttention::plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) {
  core_->plan_quantization(how, input_rank_, plan);
}

const SeedGenerator* MultiHeadAttention::seed_generator() const noexcept {
  return core_->seed_generator();
}

ConstParameterList MultiHeadAttention::projection(std::string_view prefix) const {
  ConstParameterList list;
  for (const NamedConstParameter& entry : parameters()) {
    if (entry.path.starts_with(prefix)) {
      list.push_back({entry.path.substr(prefix.size()), entry.parameter});
    }
  }
  return list;
}

std::shared_ptr<Layer> nn::make_multi_head_attention(const ConfigValue& config) {
  ConfigReader reader("MultiHeadAttention", config);
  MultiHeadAttentionConfig read;
  read.num_heads = reader.integer("num_heads", 0);
  read.key_dim = reader.integer("key_dim", 0);
  if (!reader.value("value_dim").is_null()) read.value_dim = reader.integer("value_dim", 0);
  // Keras takes 0 for none.
  const ConfigValue& output_shape = reader.value("output_shape");
  if (output_shape != ConfigValue(0))
    read.output_shape = Shape(integers("output_shape", output_shape));
  read.attention_axes = integers("attention_axes", reader.value("attention_axes"));
  nn::read_attention_config(kLayer, reader, read);
  const bool trainable = reader.trainable();
  reader.finish();
  auto layer = std::make_shared<MultiHeadAttention>(read);
  layer->set_trainable(trainable);
  return layer;
}

}  // namespace grouphead
