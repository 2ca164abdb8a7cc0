#pragma once

// What each optimizer's configuration has besides the learning rate, the weight decay and the
// common options: visit(key, field) in Keras's order, and the numbers that are valid.

#include <cmath>

#include "core/check.h"
#include "core/number_text.h"
#include "grouphead/train/optimizers.h"

namespace grouphead::train {

template <class Config>
inline constexpr std::string_view kOptimizerClass = "";
template <>
inline constexpr std::string_view kOptimizerClass<AdadeltaConfig> = "Adadelta";
template <>
inline constexpr std::string_view kOptimizerClass<AdafactorConfig> = "Adafactor";
template <>
inline constexpr std::string_view kOptimizerClass<AdagradConfig> = "Adagrad";
template <>
inline constexpr std::string_view kOptimizerClass<AdamConfig> = "Adam";
template <>
inline constexpr std::string_view kOptimizerClass<AdamWConfig> = "AdamW";
template <>
inline constexpr std::string_view kOptimizerClass<AdamaxConfig> = "Adamax";
template <>
inline constexpr std::string_view kOptimizerClass<FtrlConfig> = "Ftrl";
template <>
inline constexpr std::string_view kOptimizerClass<LambConfig> = "Lamb";
template <>
inline constexpr std::string_view kOptimizerClass<LionConfig> = "Lion";
template <>
inline constexpr std::string_view kOptimizerClass<MuonConfig> = "Muon";
template <>
inline constexpr std::string_view kOptimizerClass<NadamConfig> = "Nadam";
template <>
inline constexpr std::string_view kOptimizerClass<RMSpropConfig> = "RMSprop";
template <>
inline constexpr std::string_view kOptimizerClass<SGDConfig> = "SGD";
template <>
inline constexpr std::string_view kOptimizerClass<ScheduleFreeAdamWConfig> = "ScheduleFreeAdamW";

/// One own field: where its numbers may lie.
enum class Range : std::uint8_t {
  any,
  share,           ///< [0, 1]
  below_one,       ///< [0, 1)
  not_negative,    ///< finite, 0 or more
  positive,        ///< finite, above 0
  positive_share,  ///< (0, 1]
  not_positive,    ///< finite, 0 or less
};

template <class V>
void visit_moments(double& beta_1, double& beta_2, double& epsilon, V&& visit) {
  visit("beta_1", beta_1, Range::below_one);
  visit("beta_2", beta_2, Range::below_one);
  visit("epsilon", epsilon, Range::not_negative);
}

template <class V>
void visit_fields(SGDConfig& c, V&& visit) {
  visit("momentum", c.momentum, Range::share);
  visit("nesterov", c.nesterov);
}
template <class V>
void visit_fields(AdamConfig& c, V&& visit) {
  visit_moments(c.beta_1, c.beta_2, c.epsilon, visit);
  visit("amsgrad", c.amsgrad);
}
template <class V>
void visit_fields(AdamWConfig& c, V&& visit) {
  visit_moments(c.beta_1, c.beta_2, c.epsilon, visit);
  visit("amsgrad", c.amsgrad);
}
template <class V>
void visit_fields(NadamConfig& c, V&& visit) {
  visit_moments(c.beta_1, c.beta_2, c.epsilon, visit);
}
template <class V>
void visit_fields(AdamaxConfig& c, V&& visit) {
  visit_moments(c.beta_1, c.beta_2, c.epsilon, visit);
}
template <class V>
void visit_fields(LambConfig& c, V&& visit) {
  visit_moments(c.beta_1, c.beta_2, c.epsilon, visit);
}
template <class V>
void visit_fields(ScheduleFreeAdamWConfig& c, V&& visit) {
  visit("beta_1", c.beta_1, Range::positive_share);
  visit("beta_2", c.beta_2, Range::below_one);
  visit("epsilon", c.epsilon, Range::not_negative);
  visit("warmup_steps", c.warmup_steps, Range::not_negative);
}
template <class V>
void visit_fields(RMSpropConfig& c, V&& visit) {
  visit("rho", c.rho, Range::share);
  visit("momentum", c.momentum, Range::share);
  visit("epsilon", c.epsilon, Range::not_negative);
  visit("centered", c.centered);
}
template <class V>
void visit_fields(AdagradConfig& c, V&& visit) {
  visit("initial_accumulator_value", c.initial_accumulator_value, Range::not_negative);
  visit("epsilon", c.epsilon, Range::not_negative);
}
template <class V>
void visit_fields(AdadeltaConfig& c, V&& visit) {
  visit("rho", c.rho, Range::share);
  visit("epsilon", c.epsilon, Range::not_negative);
}
template <class V>
void visit_fields(FtrlConfig& c, V&& visit) {
  visit("learning_rate_power", c.learning_rate_power, Range::not_positive);
  visit("initial_accumulator_value", c.initial_accumulator_value, Range::not_negative);
  visit("l1_regularization_strength", c.l1_regularization_strength, Range::not_negative);
  visit("l2_regularization_strength", c.l2_regularization_strength, Range::not_negative);
  visit("l2_shrinkage_regularization_strength", c.l2_shrinkage_regularization_strength,
        Range::not_negative);
  visit("beta", c.beta, Range::any);
}
template <class V>
void visit_fields(LionConfig& c, V&& visit) {
  visit("beta_1", c.beta_1, Range::positive_share);
  visit("beta_2", c.beta_2, Range::share);
}
template <class V>
void visit_fields(AdafactorConfig& c, V&& visit) {
  visit("beta_2_decay", c.beta_2_decay, Range::any);
  visit("epsilon_1", c.epsilon_1, Range::not_negative);
  visit("epsilon_2", c.epsilon_2, Range::not_negative);
  visit("clip_threshold", c.clip_threshold, Range::positive);
  visit("relative_step", c.relative_step);
}
template <class V>
void visit_fields(MuonConfig& c, V&& visit) {
  visit("adam_beta_1", c.adam_beta_1, Range::below_one);
  visit("adam_beta_2", c.adam_beta_2, Range::below_one);
  visit("epsilon", c.epsilon, Range::not_negative);
  visit("exclude_layers", c.exclude_layers);
  visit("muon_a", c.muon_a, Range::any);
  visit("muon_b", c.muon_b, Range::any);
  visit("muon_c", c.muon_c, Range::any);
  visit("adam_lr_ratio", c.adam_lr_ratio, Range::not_negative);
  visit("momentum", c.momentum, Range::any);
  visit("ns_steps", c.ns_steps, Range::not_negative);
  visit("nesterov", c.nesterov);
  visit("exclude_embeddings", c.exclude_embeddings);
  visit("adam_weight_decay", c.adam_weight_decay, Range::not_negative);
  visit("rms_rate", c.rms_rate, Range::not_negative);
}

/// Errors: ConfigError for a number out of its range.
struct RequireRanges {
  std::string_view optimizer;

  void operator()(std::string_view key, double value, Range range) const {
    struct Known {
      bool holds;
      const char* expected;
    };
    const bool finite = std::isfinite(value);
    const Known known[] = {
        {finite, "a finite number"},
        {value >= 0 && value <= 1, "a number in [0, 1]"},
        {value >= 0 && value < 1, "a number in [0, 1)"},
        {finite && value >= 0, "a finite number of 0 or more"},
        {finite && value > 0, "a finite number above 0"},
        {value > 0 && value <= 1, "a number in (0, 1]"},
        {finite && value <= 0, "a finite number of 0 or less"},
    };
    const Known& one = known[static_cast<std::size_t>(range)];
    if (one.holds) return;
    core::throw_config_error(optimizer, key, one.expected, core::number_text(value));
  }
  void operator()(std::string_view key, Index value, Range range) const {
    (*this)(key, static_cast<double>(value), range);
  }
  void operator()(std::string_view key, const std::optional<double>& value, Range range) const {
    if (value) (*this)(key, *value, range);
  }
  template <class Other>
  void operator()(std::string_view /*key*/, const Other& /*value*/) const {}
};

}  // namespace grouphead::train
