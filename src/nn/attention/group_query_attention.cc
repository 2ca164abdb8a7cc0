#include "grouphead/layers/group_query_attention.h"

#include "nn/attention/config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "group_query_attention";

void check_config(const GroupQueryAttentionConfig& config) {
  core::require_positive(kLayer, "head_dim", config.head_dim);
  core::require_positive(kLayer, "num_query_heads", config.num_query_heads);
  core::require_positive(kLayer, "num_key_value_heads", config.num_key_value_heads);
  if (config.num_query_heads % config.num_key_value_heads != 0) {
    core::throw_config_error(
        kLayer, "num_key_value_heads",
        "a divisor of num_query_heads = " + std::to_string(config.num_query_heads),
        std::to_string(config.num_key_value_heads));
  }
  if (config.output_dim < 0) {
    core::throw_config_error(kLayer, "output_dim", "0 or more", std::to_string(config.output_dim));
  }
  if (config.rope) rope_frequencies(config.head_dim, *config.rope);  // checks
  nn::check_attention_config(kLayer, config, config.num_query_heads);
}

const GroupQueryAttentionConfig& checked(const GroupQueryAttentionConfig& config) {
  check_config(config);
  return config;
}

nn::AttentionSettings settings_of(const GroupQueryAttentionConfig& config) {
  nn::AttentionSettings settings = nn::attention_settings(kLayer, config);
  settings.num_query_heads = config.num_query_heads;
  settings.num_key_value_heads = config.num_key_value_heads;
  settings.key_dim = config.head_dim;
  settings.value_dim = config.head_dim;
  settings.rope = config.rope;
  return settings;
}

nn::AttentionRules rules_of(const GroupQueryAttentionConfig& config) {
  nn::AttentionRules rules = nn::attention_rules(kLayer, config);
  rules.num_heads = config.num_query_heads;
  rules.causal = config.causal;
  if (config.output_dim > 0) rules.output_shape = {config.output_dim};
  return rules;
}

const nn::AttentionAxes& axis_1() {
  static const nn::AttentionAxes kAxes(kLayer, {}, 3);
  return kAxes;
}

}  // namespace

GroupQueryAttention::GroupQueryAttention(const GroupQueryAttentionConfig& config)
    : AttentionLayer(config.name, config.dtype, config.activity_regularizer),
      config_(checked(config)),
      core_(std::make_unique<nn::AttentionCore>(settings_of(config))) {}

GroupQueryAttention::~GroupQueryAttention() = default;

ConfigValue GroupQueryAttention::get_config() const {
  ConfigValue config = Layer::get_config();
  // Keras's base class writes it first where there is one.
  if (config_.activity_regularizer) {
    config.set("activity_regularizer", config_.activity_regularizer.config());
  }
  config.set("head_dim", config_.head_dim);
  config.set("num_query_heads", config_.num_query_heads);
  config.set("num_key_value_heads", config_.num_key_value_heads);
  config.set("use_bias", config_.use_bias);
  config.set("use_gate", config_.use_gate);
  config.set("sliding_window", nn::optional_config(config_.sliding_window));
  config.set("dropout", config_.dropout);
  nn::write_attention_rules(config_, config);
  if (config_.rope) config.set("rope", nn::rope_config(config_.rope));
  if (config_.causal) config.set("causal", true);
  if (config_.output_dim > 0) config.set("output_dim", config_.output_dim);
  return config;
}

std::span<const std::string_view> GroupQueryAttention::input_names() const {
  return nn::kAttentionOperandNames;
}

std::unique_ptr<CallArguments> GroupQueryAttention::arguments_from_config(
    const ConfigValue& keywords) const {
  return nn::attention_arguments(kLayer, keywords);
}

ConfigValue GroupQueryAttention::arguments_config(const CallArguments* arguments) const {
  return nn::attention_arguments_config(arguments);
}

std::vector<Shape> GroupQueryAttention::output_shapes(std::span<const Shape> inputs,
                                                      const CallArguments* arguments) const {
  const nn::AttentionShapes shapes = nn::attention_shapes(kLayer, inputs);
  const auto& [query, value, key] = shapes;
  core::require_shape(kLayer, "query", query, {-1, -1, -1});
  core::require_shape(kLayer, "value", value, {-1, -1, -1});
  if (query.back() != value.back() && query.back() >= 0 && value.back() >= 0) {
    core::throw_shape_error(kLayer, "value", "query's last axis, " + std::to_string(query.back()),
                            value.to_string());
  }
  return nn::attention_output_shapes(rules_of(config_), axis_1(), shapes, arguments);
}

void GroupQueryAttention::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, core_->is_built());
  const nn::AttentionShapes shapes = nn::attention_shapes(kLayer, inputs);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    core::require_shape(kLayer, nn::kAttentionOperandNames[i], shapes[i], {-1, -1, -1});
  }
  core_->build(nn::attention_widths(rules_of(config_), shapes), trainable(), random);
}

// attention_forward() says what is missing.
bool GroupQueryAttention::can_decode(std::span<const Shape> /*inputs*/,
                                     const CallArguments* /*arguments*/) const {
  return true;
}

std::vector<Value> GroupQueryAttention::run(Context& ctx, const nn::AttentionOperands& in,
                                            const Mode& mode, std::unique_ptr<Saved>* saved) const {
  nn::require_operands(kLayer, in);
  return nn::attention_forward(ctx, *core_, rules_of(config_), axis_1(), in, mode, saved);
}

void GroupQueryAttention::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                   std::span<View> d_in, Grads& grads) const {
  nn::attention_backward(ctx, *core_, kLayer, saved, d_out, d_in, grads);
}

void GroupQueryAttention::append_parameters(const std::string& prefix, ParameterList& out) {
  core_->append_parameters(prefix, out);
}

Tensor GroupQueryAttention::apply_cached(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                                         std::span<const Index> counts) const {
  return core_->forward_cached(ctx, x, cache, layer, config_.sliding_window, counts);
}

Tensor GroupQueryAttention::apply_packed(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                                         std::span<const SequenceRows> rows) const {
  return core_->forward_packed(ctx, x, cache, layer, config_.sliding_window, rows);
}

void GroupQueryAttention::store_source(Context& ctx, const Tensor& source, KvCache& cache,
                                       Index layer, std::span<const Index> counts) const {
  core_->require_no_positions(config_.sliding_window.has_value() || config_.causal);
  core_->store_source(ctx, source, cache, layer, counts);
}

Tensor GroupQueryAttention::apply_to_source(Context& ctx, const Tensor& x, const KvCache& cache,
                                            Index layer) const {
  core_->require_no_positions(config_.sliding_window.has_value() || config_.causal);
  return core_->forward_source(ctx, x, cache, layer);
}

const Quantization* GroupQueryAttention::quantization() const noexcept {
  return core_->quantization();
}

bool GroupQueryAttention::takes_quantization(QuantizationMode /*mode*/) const { return true; }

void GroupQueryAttention::plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) {
  core_->plan_quantization(how, 3, plan);
}

const SeedGenerator* GroupQueryAttention::seed_generator() const noexcept {
  return core_->seed_generator();
}

void GroupQueryAttention::share_rope_tables(const GroupQueryAttention& other) {
  core_->share_rope_tables(*other.core_);
}

std::shared_ptr<Layer> nn::make_group_query_attention(const ConfigValue& config) {
  ConfigReader reader("GroupQueryAttention", config);
  GroupQueryAttentionConfig read;
  read.head_dim = reader.integer("head_dim", 0);
  read.num_query_heads = reader.integer("num_query_heads", 0);
  read.num_key_value_heads = reader.integer("num_key_value_heads", 0);
  nn::read_attention_config(kLayer, reader, read);
  read.rope = nn::rope_from_config(reader.value("rope"));
  read.causal = reader.boolean("causal", false);
  read.output_dim = reader.integer("output_dim", 0);
  const bool trainable = reader.trainable();
  reader.finish();
  auto layer = std::make_shared<GroupQueryAttention>(read);
  layer->set_trainable(trainable);
  return layer;
}

}  // namespace grouphead
