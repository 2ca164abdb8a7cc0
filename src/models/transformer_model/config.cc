#include "models/transformer_model/config.h"

#include <cmath>
#include <span>

#include "core/check.h"
#include "core/number_text.h"
#include "models/transformer.h"
#include "models/transformer_config.h"
#include "nn/attention/config.h"
#include "nn/base_config.h"
#include "nn/registry.h"

namespace grouphead::models {
namespace {

constexpr std::string_view kModel = "transformer";
constexpr std::string_view kNormKinds[] = {"layer", "rms"};
constexpr std::string_view kPlacements[] = {"before", "after", "both", "after_sum"};
constexpr std::string_view kHeadNorms[] = {"none", "shared_gains", "own_gains", "all_heads"};

using Names = std::span<const std::string_view>;

template <class Enum>
Enum from_name(std::string_view option, Names names, std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
    known.append(i > 0 ? ", " : "").append(names[i]);
  }
  core::throw_config_error(kModel, option, "one of " + known, name);
}
template <class Enum>
ConfigValue name_of(Names names, Enum value) {
  return names[static_cast<std::size_t>(value)];
}

/// Hands every field of a configuration to a visitor that writes or reads them.
template <class Visitor, class Config>
void visit_norm(Visitor& v, Config& c) {
  v.choice("kind", kNormKinds, c.kind);
  v.field("epsilon", c.epsilon);
  v.field("gains_from_one", c.gains_from_one);
  v.field("use_bias", c.use_bias);
}

template <class Visitor, class Config>
void visit_attention(Visitor& v, Config& c) {
  v.field("num_heads", c.num_heads);
  v.field("num_key_value_heads", c.num_key_value_heads);
  v.field("head_dim", c.head_dim);
  v.field("query_bias", c.query_bias);
  v.field("key_bias", c.key_bias);
  v.field("value_bias", c.value_bias);
  v.field("output_bias", c.output_bias);
  v.choice("query_key_norm", kHeadNorms, c.query_key_norm);
  v.object("query_key_norm_config",
           [&](auto& inner) { visit_norm(inner, c.query_key_norm_config); });
  v.field("scale", c.scale);
  v.field("scale_by_depth", c.scale_by_depth);
  v.field("softcap", c.softcap);
  v.numbers("alibi_slopes", c.alibi_slopes);
  v.field("sinks", c.sinks);
  v.field("dropout", c.dropout);
}

template <class Visitor, class Config>
void visit_feed_forward(Visitor& v, Config& c) {
  v.field("width", c.width);
  v.activation("activation", c.activation);
  v.field("gated", c.gated);
  v.field("use_bias", c.use_bias);
  v.field("clamp_limit", c.clamp_limit);
  v.field("clamp_alpha", c.clamp_alpha);
  v.field("num_experts", c.num_experts);
  v.field("experts_per_token", c.experts_per_token);
  v.field("router_bias", c.router_bias);
}

template <class Visitor, class Config>
void visit_model(Visitor& v, Config& c) {
  v.field("vocab_size", c.vocab_size);
  v.field("hidden_size", c.hidden_size);
  v.field("num_layers", c.num_layers);
  v.field("embedding_size", c.embedding_size);
  v.field("embedding_scale", c.embedding_scale);
  v.field("max_positions", c.max_positions);
  v.field("position_offset", c.position_offset);
  v.field("token_types", c.token_types);
  v.field("embedding_norm", c.embedding_norm);
  v.token("padding_token", c.padding_token);
  v.field("causal", c.causal);
  v.object("norm", [&](auto& inner) { visit_norm(inner, c.norm); });
  v.choice("norm_placement", kPlacements, c.norm_placement);
  v.field("parallel", c.parallel);
  v.field("shared_norm", c.shared_norm);
  v.field("residual_from_norm", c.residual_from_norm);
  v.field("residual_scale", c.residual_scale);
  v.field("final_norm", c.final_norm);
  v.object("attention", [&](auto& inner) { visit_attention(inner, c.attention); });
  v.object("feed_forward", [&](auto& inner) { visit_feed_forward(inner, c.feed_forward); });
  v.ropes("ropes", c.ropes);
  v.layers("layers", c.layers);
  v.field("head", c.head);
  v.field("tied_head", c.tied_head);
  v.field("head_bias", c.head_bias);
  v.field("logit_scale", c.logit_scale);
  v.field("logit_softcap", c.logit_softcap);
  v.field("embedding_dropout", c.embedding_dropout);
  v.field("residual_dropout", c.residual_dropout);
}

/// Writes fields into an object.
class Writer {
 public:
  explicit Writer(ConfigValue& out) : out_(out) {}
  void field(std::string_view key, Index value) { out_.set(key, value); }
  void field(std::string_view key, bool value) { out_.set(key, value); }
  void field(std::string_view key, double value) { out_.set(key, value); }
  void field(std::string_view key, const std::optional<double>& value) {
    out_.set(key, value ? ConfigValue(*value) : ConfigValue());
  }
  void token(std::string_view key, const std::optional<std::int32_t>& value) {
    out_.set(key, value ? ConfigValue(Index{*value}) : ConfigValue());
  }
  void activation(std::string_view key, const Activation& value) { out_.set(key, value.name()); }
  template <class Enum>
  void choice(std::string_view key, Names names, Enum value) {
    out_.set(key, name_of(names, value));
  }
  void numbers(std::string_view key, const std::vector<double>& values) {
    out_.set(key, ConfigValue::List(values.begin(), values.end()));
  }
  void ropes(std::string_view key, const std::vector<RopeConfig>& values) {
    ConfigValue::List list;
    for (const RopeConfig& value : values) list.push_back(nn::rope_config(value));
    out_.set(key, std::move(list));
  }
  void layers(std::string_view key, const std::vector<TransformerLayerConfig>& values) {
    ConfigValue::List list;
    for (const TransformerLayerConfig& value : values) {
      ConfigValue one;
      one.set("window", value.window ? ConfigValue(*value.window) : ConfigValue());
      one.set("rope", value.rope);
      list.push_back(std::move(one));
    }
    out_.set(key, std::move(list));
  }
  template <class Visit>
  void object(std::string_view key, const Visit& visit) {
    ConfigValue inner;
    Writer writer(inner);
    visit(writer);
    out_.set(key, std::move(inner));
  }

 private:
  ConfigValue& out_;
};

/// Reads them back; a key that is missing leaves its field.
class Reader {
 public:
  explicit Reader(nn::ConfigReader& in) : in_(in) {}
  void field(std::string_view key, Index& value) { value = in_.integer(key, value); }
  void field(std::string_view key, bool& value) { value = in_.boolean(key, value); }
  void field(std::string_view key, double& value) { value = in_.number(key, value); }
  void field(std::string_view key, std::optional<double>& value) {
    if (!in_.value(key).is_null()) value = in_.number(key, 0);
  }
  void token(std::string_view key, std::optional<std::int32_t>& value) {
    if (in_.value(key).is_null()) return;
    const Index given = in_.integer(key, 0);
    if (given < 0 || given > (Index{1} << 30)) {
      core::throw_config_error(kModel, key, "0 to 2^30", std::to_string(given));
    }
    value = static_cast<std::int32_t>(given);
  }
  // gelu_tanh, which is no name of Keras's, too.
  void activation(std::string_view key, Activation& value) {
    value = Activation(in_.string(key, value.name()));
  }
  template <class Enum>
  void choice(std::string_view key, Names names, Enum& value) {
    value = from_name<Enum>(key, names, in_.string(key, names[static_cast<std::size_t>(value)]));
  }
  void numbers(std::string_view key, std::vector<double>& values) {
    if (!in_.has(key)) return;
    values.clear();
    for (const ConfigValue& one : in_.value(key).as_list(key)) {
      values.push_back(one.as_number(key));
    }
  }
  void ropes(std::string_view key, std::vector<RopeConfig>& values) {
    if (!in_.has(key)) return;
    values.clear();
    for (const ConfigValue& one : in_.value(key).as_list(key)) {
      values.push_back(nn::rope_from_config(one).value_or(RopeConfig()));
    }
  }
  void layers(std::string_view key, std::vector<TransformerLayerConfig>& values) {
    if (!in_.has(key)) return;
    values.clear();
    for (const ConfigValue& one : in_.value(key).as_list(key)) {
      nn::ConfigReader inner("layers", one);
      TransformerLayerConfig layer;
      if (!inner.value("window").is_null()) layer.window = inner.integer("window", 0);
      layer.rope = inner.integer("rope", layer.rope);
      inner.finish();
      values.push_back(layer);
    }
  }
  template <class Visit>
  void object(std::string_view key, const Visit& visit) {
    if (!in_.has(key)) return;
    nn::ConfigReader inner(key, in_.value(key));
    Reader reader(inner);
    visit(reader);
    inner.finish();
  }

 private:
  nn::ConfigReader& in_;
};

void require(bool holds, std::string_view option, std::string_view expected,
             const std::string& got) {
  if (!holds) core::throw_config_error(kModel, option, expected, got);
}

void require_rate(std::string_view option, double rate) {
  require(rate >= 0 && rate < 1, option, "0 <= rate < 1", core::number_text(rate));
}

void require_limit(std::string_view option, const std::optional<double>& value) {
  require(!value || (std::isfinite(*value) && *value > 0), option, "a positive number",
          core::number_text(value.value_or(0)));
}

void check_attention(const SelfAttentionConfig& a) {
  require_size(kModel, "num_heads", a.num_heads);
  require_size(kModel, "num_key_value_heads", a.num_key_value_heads);
  require_size(kModel, "head_dim", a.head_dim);
  require(a.head_dim <= 65536, "head_dim", "at most 65536", std::to_string(a.head_dim));
  require(a.num_heads % a.num_key_value_heads == 0, "num_key_value_heads",
          "a divisor of num_heads = " + std::to_string(a.num_heads),
          std::to_string(a.num_key_value_heads));
  nn::check_logit_options(kModel, a.softcap, a.alibi_slopes, a.sinks, MaskedRows::zeros,
                          a.num_heads);
  require_rate("attention dropout", a.dropout);
  require(!a.query_key_norm_config.use_bias || a.query_key_norm != QueryKeyNorm::own_gains,
          "query_key_norm_config", "no bias where each head has gains", "one");
}

void check_feed_forward(const FeedForwardConfig& f) {
  require_size(kModel, "feed_forward width", f.width);
  require_limit("clamp_limit", f.clamp_limit);
  require(!f.clamp_limit || f.gated, "clamp_limit", "none without a gate",
          core::number_text(f.clamp_limit.value_or(0)));
  require(f.num_experts >= 0 && f.num_experts <= 65536, "num_experts", "0 to 65536",
          std::to_string(f.num_experts));
  require(f.num_experts == 0 || (f.experts_per_token >= 1 && f.experts_per_token <= f.num_experts),
          "experts_per_token", "1 to num_experts = " + std::to_string(f.num_experts),
          std::to_string(f.experts_per_token));
}

void check_layers(const TransformerModelConfig& c) {
  require(c.layers.empty() || static_cast<Index>(c.layers.size()) == c.num_layers, "layers",
          std::to_string(c.num_layers) + ", one for each layer", std::to_string(c.layers.size()));
  for (const TransformerLayerConfig& layer : c.layers) {
    require(layer.rope >= -1 && layer.rope < static_cast<Index>(c.ropes.size()), "rope",
            "-1 or the number of a rule below " + std::to_string(c.ropes.size()),
            std::to_string(layer.rope));
    require(layer.window.value_or(1) >= 1, "window", "1 or more",
            std::to_string(layer.window.value_or(1)));
  }
  for (const RopeConfig& rope : c.ropes) rope_frequencies(c.attention.head_dim, rope);  // checks
}

}  // namespace

void check_transformer_model(const TransformerModelConfig& c) {
  require(c.dtype == DtypePolicy(Dtype::f32) || c.dtype == DtypePolicy(Dtype::f64) ||
              c.dtype == DtypePolicy("mixed_bfloat16"),
          "dtype", "float32, float64 or mixed_bfloat16", std::string(c.dtype.name()));
  require_size(kModel, "vocab_size", c.vocab_size);
  require_size(kModel, "hidden_size", c.hidden_size);
  require_size(kModel, "num_layers", c.num_layers);
  require(c.embedding_size >= 0, "embedding_size", "0 or more", std::to_string(c.embedding_size));
  require(c.max_positions >= 0, "max_positions", "0 or more", std::to_string(c.max_positions));
  require(c.position_offset >= 0 && c.position_offset <= c.max_positions, "position_offset",
          "0 to max_positions = " + std::to_string(c.max_positions),
          std::to_string(c.position_offset));
  require(c.token_types >= 0, "token_types", "0 or more", std::to_string(c.token_types));
  const bool is_before = c.norm_placement == NormPlacement::before;
  require(!c.parallel || is_before, "parallel", "norms placed before", "others");
  require(!c.shared_norm || c.parallel, "shared_norm", "one with `parallel`", "true without it");
  require(!c.residual_from_norm || (is_before && !c.parallel), "residual_from_norm",
          "norms placed before, one after the other", "others");
  require(c.norm.kind == NormKind::layer || !c.norm.use_bias, "norm", "no bias of kind rms", "one");
  require(!c.tied_head || (c.head && !c.head_bias), "tied_head", "a head without a bias",
          "another");
  check_attention(c.attention);
  check_feed_forward(c.feed_forward);
  check_layers(c);
  require_limit("logit_softcap", c.logit_softcap);
  require_rate("embedding_dropout", c.embedding_dropout);
  require_rate("residual_dropout", c.residual_dropout);
}

void write_transformer_model(const TransformerModelConfig& config, ConfigValue& out) {
  Writer writer(out);
  visit_model(writer, config);
  out.set("seed", nn::seed_config(config.seed));
}

}  // namespace grouphead::models

namespace grouphead {

std::shared_ptr<Layer> nn::make_transformer_model(const ConfigValue& given) {
  ConfigReader reader("TransformerModel", given);
  TransformerModelConfig config;
  config.name = reader.name(config.name);
  reader.trainable();
  config.dtype = dtype_from("transformer", reader);
  models::Reader fields(reader);
  models::visit_model(fields, config);
  config.seed = seed_from(reader);
  reader.finish();
  return with_trainable(std::make_shared<TransformerModel>(config), given);
}

}  // namespace grouphead
