#include "models/transformer_config.h"

#include "core/check.h"
#include "nn/attention/config.h"

namespace grouphead {

void write_transformer_config(const TransformerConfig& config, ConfigValue& out) {
  out.set("hidden_size", config.hidden_size);
  out.set("num_heads", config.num_heads);
  out.set("num_key_value_heads", config.num_key_value_heads);
  out.set("num_layers", config.num_layers);
  out.set("feed_forward", config.feed_forward);
  out.set("dropout", config.dropout);
  out.set("inter_block_dropout", config.inter_block_dropout);
  out.set("norm_epsilon", config.norm_epsilon);
  out.set("final_norm", config.final_norm);
  out.set("random_norm_gains", config.random_norm_gains);
  out.set("rope", nn::rope_config(config.rope));
}

void read_transformer_config(nn::ConfigReader& reader, TransformerConfig& config) {
  config.hidden_size = reader.integer("hidden_size", config.hidden_size);
  config.num_heads = reader.integer("num_heads", config.num_heads);
  config.num_key_value_heads = reader.integer("num_key_value_heads", config.num_key_value_heads);
  config.num_layers = reader.integer("num_layers", config.num_layers);
  config.feed_forward = reader.integer("feed_forward", config.feed_forward);
  config.dropout = reader.number("dropout", config.dropout);
  config.inter_block_dropout = reader.number("inter_block_dropout", config.inter_block_dropout);
  config.norm_epsilon = reader.number("norm_epsilon", config.norm_epsilon);
  config.final_norm = reader.boolean("final_norm", config.final_norm);
  config.random_norm_gains = reader.boolean("random_norm_gains", config.random_norm_gains);
  if (reader.has("rope")) config.rope = nn::rope_from_config(reader.value("rope"));
}

bool is_same(const TransformerConfig& a, const TransformerConfig& b) {
  ConfigValue left, right;
  write_transformer_config(a, left);
  write_transformer_config(b, right);
  return a.dtype == b.dtype && left == right;
}

Dtype dtype_from(std::string_view model, nn::ConfigReader& reader) {
  const DtypePolicy policy = reader.dtype();
  if (policy != DtypePolicy(Dtype::f32) && policy != DtypePolicy(Dtype::f64)) {
    core::throw_config_error(model, "dtype", "float32 or float64", policy.name());
  }
  return policy.compute();
}

}  // namespace grouphead
