#include <cmath>

#include "saved/huggingface/family.h"

namespace grouphead::saved {
namespace {

std::vector<double> numbers_of(HubConfig& config, std::string_view key) {
  const ConfigValue& list = config.value(key);
  if (!list.is_list()) config.refuse(key, "a list of numbers");
  std::vector<double> numbers;
  for (const ConfigValue& one : list.as_list(key)) {
    if (!one.is_number()) config.refuse(key, "a list of numbers");
    numbers.push_back(one.as_number(key));
  }
  return numbers;
}

/// The positions that the model was trained with first.
Index original_positions(HubConfig& outer, HubConfig& rule, Index fallback) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  const Index stated = rule.size({kKey}, fallback);
  return outer.size({kKey}, stated);
}

YarnConfig yarn_of(HubConfig& outer, HubConfig& rule, Index positions) {
  YarnConfig yarn;
  yarn.ramp = YarnRamp::index;
  yarn.original_max_position = original_positions(outer, rule, positions);
  const double grown =
      static_cast<double>(positions) / static_cast<double>(yarn.original_max_position);
  yarn.scale = rule.number({"factor"}, grown);
  yarn.beta_fast = rule.number({"beta_fast"}, 32);
  yarn.beta_slow = rule.number({"beta_slow"}, 1);
  yarn.truncate = rule.boolean("truncate", true);
  const auto magnitude = [&](double share) {
    return yarn.scale <= 1 ? 1 : 0.1 * share * std::log(yarn.scale) + 1;
  };
  const double mscale = rule.number({"mscale"}, 0);
  const double all_dims = rule.number({"mscale_all_dim"}, 0);
  const bool has_both = mscale != 0 && all_dims != 0;
  yarn.mscale = rule.number({"attention_factor"},
                            has_both ? magnitude(mscale) / magnitude(all_dims) : magnitude(1));
  return yarn;
}

LongRopeConfig longrope_of(HubConfig& outer, HubConfig& rule, Index positions) {
  LongRopeConfig longrope;
  longrope.short_factors = numbers_of(rule, "short_factor");
  longrope.long_factors = numbers_of(rule, "long_factor");
  longrope.original_max_position = original_positions(outer, rule, positions);
  const auto original = static_cast<double>(longrope.original_max_position);
  const double factor = rule.number({"factor"}, static_cast<double>(positions) / original);
  longrope.magnitude = rule.number(
      {"attention_factor"}, factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(original)));
  return longrope;
}

Llama3RopeConfig llama3_of(HubConfig& outer, HubConfig& rule, Index positions) {
  return {.factor = rule.number({"factor"}, 8),
          .low_freq_factor = rule.number({"low_freq_factor"}, 1),
          .high_freq_factor = rule.number({"high_freq_factor"}, 4),
          .original_max_position = original_positions(outer, rule, positions)};
}

}  // namespace

RopeConfig rope_from(HubConfig& outer, const ConfigValue& given, double default_theta,
                     double default_share) {
  HubConfig rule(outer.where() + ": rope_parameters", given);
  const Index positions = outer.size({"max_position_embeddings"}, 2048);
  outer.ignore({"original_max_position_embeddings"});  // but to the rules that ask for it
  RopeConfig rope;
  rope.base = rule.number({"rope_theta"}, default_theta);
  const double share = rule.number({"partial_rotary_factor"}, default_share);
  if (!(share > 0 && share <= 1)) rule.refuse("partial_rotary_factor", "above 0, at most 1");
  std::string kind = rule.text({"rope_type", "type"}, "default");
  // What Phi-3's first files call LongRoPE.
  if (kind == "su" || (kind == "yarn" && rule.contains("short_factor"))) kind = "longrope";
  if (kind == "linear") {
    rope.position_scale = rule.number({"factor"}, 1);
  } else if (kind == "dynamic") {
    rope.dynamic =
        DynamicRopeConfig{.factor = rule.number({"factor"}, 1), .max_position = positions};
    rule.ignore({"original_max_position_embeddings"});
  } else if (kind == "yarn") {
    rope.yarn = yarn_of(outer, rule, positions);
  } else if (kind == "llama3") {
    rope.llama3 = llama3_of(outer, rule, positions);
  } else if (kind == "longrope") {
    rope.longrope = longrope_of(outer, rule, positions);
  } else if (kind != "default") {
    rule.refuse("rope_type", "default, linear, dynamic, yarn, llama3 or longrope", kind);
  }
  if (share != 1) {
    const Index heads = outer.count({"num_attention_heads"}, 1);
    const Index head_dim = outer.size({"head_dim"}, outer.size({"hidden_size"}, 1) / heads);
    rope.rotary_dims = static_cast<Index>(static_cast<double>(head_dim) * share);
  }
  if (kind == "default") {
    rule.ignore({"factor", "original_max_position_embeddings", "attention_factor"});
  }
  rule.finish();
  return rope;
}

RopeConfig rope_of(HubConfig& config, double default_theta, double default_share) {
  const double theta = config.number({"rope_theta"}, default_theta);
  const double share = config.number({"partial_rotary_factor"}, default_share);
  const ConfigValue nothing{ConfigValue::Object{}};
  const ConfigValue* rule = &nothing;
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    if (config.has(key)) rule = &config.value(key);
  }
  return rope_from(config, *rule, theta, share);
}

}  // namespace grouphead::saved
