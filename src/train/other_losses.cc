// Losses of margins, distributions and overlaps, and their configurations.

#include <cmath>

#include "core/check.h"
#include "core/number_text.h"
#include "ops/row_losses.h"
#include "train/loss_entries.h"

namespace grouphead {

Reduction train::reduction_of(nn::ConfigReader& reader) {
  return reader.has("reduction") ? reduction_from_config(reader.value("reduction"))
                                 : Reduction::sum_over_batch_size;
}

void train::require_last_axis(nn::ConfigReader& reader, std::string_view operation) {
  const Index axis = reader.integer("axis", -1);
  if (axis == -1) return;
  core::throw_config_error(operation, "axis", "the last axis, -1", std::to_string(axis));
}

void train::require_smoothing(std::string_view loss, double label_smoothing) {
  if (label_smoothing >= 0 && label_smoothing <= 1) return;
  core::throw_config_error(loss, "label_smoothing", "a number in [0, 1]",
                           core::number_text(label_smoothing));
}

namespace {

using Rule = std::shared_ptr<const LossRule>;

void require(std::string_view loss, std::string_view option, bool holds, const char* expected,
             double got) {
  if (!holds) core::throw_config_error(loss, option, expected, core::number_text(got));
}

// ---- Without options ---------------------------------------------------------------------------

enum class Plain : std::uint8_t {
  percentage,
  logarithmic,
  log_cosh,
  hinge,
  squared_hinge,
  poisson,
  cosine,
  categorical_hinge,
  kl_divergence,
};
struct PlainLoss {
  std::string_view class_name;
  const char* name;
};
constexpr PlainLoss kPlain[] = {
    {"MeanAbsolutePercentageError", "mean_absolute_percentage_error"},
    {"MeanSquaredLogarithmicError", "mean_squared_logarithmic_error"},
    {"LogCosh", "log_cosh"},
    {"Hinge", "hinge"},
    {"SquaredHinge", "squared_hinge"},
    {"Poisson", "poisson"},
    {"CosineSimilarity", "cosine_similarity"},
    {"CategoricalHinge", "categorical_hinge"},
    {"KLDivergence", "kl_divergence"},
};

template <Plain kKind>
class PlainRule final : public LossRule {
 public:
  explicit PlainRule(const MeanErrorConfig& config)
      : LossRule(config.name.empty() ? known().name : config.name, config.reduction) {}
  std::string_view class_name() const override { return known().class_name; }

 private:
  static const PlainLoss& known() { return kPlain[static_cast<std::size_t>(kKind)]; }
  void evaluate(Context& ctx, const LossRows& rows) const override {
    constexpr int kNumber = static_cast<int>(kKind);
    constexpr int kFirst = static_cast<int>(Plain::cosine);
    if constexpr (kNumber < kFirst) {
      ops::element_loss(ctx, rows, static_cast<ops::ElementLoss>(kNumber));
    } else {
      ops::vector_loss(ctx, rows, static_cast<ops::VectorLoss>(kNumber - kFirst));
    }
  }
};

template <Plain kKind>
Rule make_plain(const ConfigValue& config) {
  nn::ConfigReader reader(kPlain[static_cast<std::size_t>(kKind)].class_name, config);
  const MeanErrorConfig options{.reduction = train::reduction_of(reader), .name = reader.name("")};
  if (kKind == Plain::cosine) train::require_last_axis(reader);
  reader.finish();
  return std::make_shared<PlainRule<kKind>>(options);
}

// ---- Focal cross entropies ---------------------------------------------------------------------

template <class Config>
constexpr bool kIsBinary = std::is_same_v<Config, BinaryFocalCrossentropyConfig>;

template <class Config>
class FocalRule final : public LossRule {
 public:
  explicit FocalRule(const Config& config)
      : LossRule(config.name, config.reduction), config_(config) {
    train::require_smoothing(name(), config.label_smoothing);
    require(name(), "alpha", std::isfinite(config.alpha), "a finite number", config.alpha);
    require(name(), "gamma", config.gamma >= 0 && std::isfinite(config.gamma),
            "a finite number of 0 or more", config.gamma);
  }
  std::string_view class_name() const override {
    return kIsBinary<Config> ? "BinaryFocalCrossentropy" : "CategoricalFocalCrossentropy";
  }
  ConfigValue get_config() const override {
    ConfigValue config = LossRule::get_config();
    config.set("from_logits", config_.from_logits);
    config.set("label_smoothing", config_.label_smoothing);
    config.set("axis", -1);
    if constexpr (kIsBinary<Config>) {
      config.set("apply_class_balancing", config_.apply_class_balancing);
    }
    config.set("alpha", config_.alpha);
    config.set("gamma", config_.gamma);
    return config;
  }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    const double classes =
        kIsBinary<Config> ? 2 : static_cast<double>(rows.prediction.shape().back());
    ops::FocalOptions options{.crossentropy = {.from_logits = config_.from_logits,
                                               .target_scale = 1 - config_.label_smoothing,
                                               .target_shift = config_.label_smoothing / classes},
                              .alpha = config_.alpha,
                              .gamma = config_.gamma};
    if constexpr (kIsBinary<Config>) {
      options.is_balanced = config_.apply_class_balancing;
      ops::binary_focal_cross_entropy(ctx, rows, options);
    } else {
      ops::categorical_focal_cross_entropy(ctx, rows, options);
    }
  }
  Config config_;
};

template <class Config>
Rule make_focal(const ConfigValue& given) {
  nn::ConfigReader reader("focal crossentropy", given);
  Config config;
  config.alpha = reader.number("alpha", config.alpha);
  config.gamma = reader.number("gamma", config.gamma);
  config.from_logits = reader.boolean("from_logits", config.from_logits);
  config.label_smoothing = reader.number("label_smoothing", config.label_smoothing);
  config.reduction = train::reduction_of(reader);
  config.name = reader.name(config.name);
  if constexpr (kIsBinary<Config>) {
    config.apply_class_balancing =
        reader.boolean("apply_class_balancing", config.apply_class_balancing);
  }
  train::require_last_axis(reader);
  reader.finish();
  return std::make_shared<FocalRule<Config>>(config);
}

// ---- Generalized cross entropy -----------------------------------------------------------------

class GeneralizedRule final : public LossRule {
 public:
  explicit GeneralizedRule(const CategoricalGeneralizedCrossEntropyConfig& config)
      : LossRule(config.name, config.reduction), q_(config.q) {
    require(name(), "q", q_ > 0 && q_ < 1, "a number in (0, 1)", q_);
  }
  std::string_view class_name() const override { return "CategoricalGeneralizedCrossEntropy"; }
  ConfigValue get_config() const override {
    ConfigValue config = LossRule::get_config();
    config.set("q", q_);
    return config;
  }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    ops::generalized_cross_entropy(ctx, rows, q_);
  }
  LossTargets targets() const override { return LossTargets::labels; }
  double q_;
};

Rule make_generalized(const ConfigValue& given) {
  nn::ConfigReader reader("CategoricalGeneralizedCrossEntropy", given);
  CategoricalGeneralizedCrossEntropyConfig config;
  config.q = reader.number("q", config.q);
  config.reduction = train::reduction_of(reader);
  config.name = reader.name(config.name);
  reader.finish();
  return std::make_shared<GeneralizedRule>(config);
}

// ---- Overlaps ----------------------------------------------------------------------------------

constexpr double kEpsilon = 1e-7;  // keras.config.epsilon()

/// Dice and Tversky: one value of all numbers, or of the last axes.
class OverlapRule : public LossRule {
 protected:
  OverlapRule(std::string name, Reduction reduction, std::vector<Index> axis)
      : LossRule(std::move(name), reduction), axis_(std::move(axis)) {}
  ConfigValue axis_config() const {
    if (axis_.empty()) return {};
    if (axis_.size() == 1) return axis_[0];
    return ConfigValue::List(axis_.begin(), axis_.end());
  }

 private:
  int num_value_axes(const Shape& prediction) const override {
    const int rank = prediction.rank();
    const int kept = axis_.empty() ? 0 : rank - static_cast<int>(axis_.size());
    std::vector<bool> named(static_cast<std::size_t>(rank), axis_.empty());
    for (const Index axis : axis_) {
      const Index place = axis < 0 ? axis + rank : axis;
      if (place >= 0 && place < rank) named[static_cast<std::size_t>(place)] = true;
    }
    for (int place = kept; place < rank; ++place) {
      if (kept >= 0 && named[static_cast<std::size_t>(place)]) continue;
      core::throw_shape_error(name(), "axis", "the last axes, or none",
                              axis_config().to_string() + " of " + prediction.to_string());
    }
    return kept;
  }
  std::vector<Index> axis_;
};

class DiceRule final : public OverlapRule {
 public:
  explicit DiceRule(const DiceConfig& config)
      : OverlapRule(config.name, config.reduction, config.axis) {}
  std::string_view class_name() const override { return "Dice"; }
  ConfigValue get_config() const override {
    ConfigValue config = LossRule::get_config();
    config.set("axis", axis_config());
    return config;
  }

 private:
  // 2 I / (sum(t) + sum(x) + e) = I / (I + missed / 2 + extra / 2 + e / 2).
  void evaluate(Context& ctx, const LossRows& rows) const override {
    ops::overlap_loss(ctx, rows, {.alpha = 0.5, .beta = 0.5, .epsilon = kEpsilon / 2});
  }
};

class TverskyRule final : public OverlapRule {
 public:
  explicit TverskyRule(const TverskyConfig& config)
      : OverlapRule(config.name, config.reduction, config.axis),
        alpha_(config.alpha),
        beta_(config.beta) {
    require(name(), "alpha", std::isfinite(alpha_), "a finite number", alpha_);
    require(name(), "beta", std::isfinite(beta_), "a finite number", beta_);
  }
  std::string_view class_name() const override { return "Tversky"; }
  ConfigValue get_config() const override {
    ConfigValue config = LossRule::get_config();
    config.set("alpha", alpha_);
    config.set("beta", beta_);
    config.set("axis", axis_config());
    return config;
  }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    ops::overlap_loss(ctx, rows, {.alpha = alpha_, .beta = beta_, .epsilon = kEpsilon});
  }
  double alpha_;
  double beta_;
};

std::vector<Index> axes_from(nn::ConfigReader& reader) {
  const ConfigValue& held = reader.value("axis");
  std::vector<Index> axes;
  if (held.is_integer()) axes.push_back(held.as_integer("axis"));
  if (held.is_null() || held.is_integer()) return axes;
  for (const ConfigValue& axis : held.as_list("axis")) axes.push_back(axis.as_integer("axis"));
  return axes;
}

Rule make_dice(const ConfigValue& given) {
  nn::ConfigReader reader("Dice", given);
  const DiceConfig config{.axis = axes_from(reader),
                          .reduction = train::reduction_of(reader),
                          .name = reader.name("dice")};
  reader.finish();
  return std::make_shared<DiceRule>(config);
}

Rule make_tversky(const ConfigValue& given) {
  nn::ConfigReader reader("Tversky", given);
  const TverskyConfig config{.alpha = reader.number("alpha", 0.5),
                             .beta = reader.number("beta", 0.5),
                             .axis = axes_from(reader),
                             .reduction = train::reduction_of(reader),
                             .name = reader.name("tversky")};
  reader.finish();
  return std::make_shared<TverskyRule>(config);
}

constexpr train::LossEntry kEntries[] = {
    {{"BinaryFocalCrossentropy", "binary_focal_crossentropy"},
     make_focal<BinaryFocalCrossentropyConfig>},
    {{"CategoricalFocalCrossentropy", "categorical_focal_crossentropy"},
     make_focal<CategoricalFocalCrossentropyConfig>},
    {{"CategoricalGeneralizedCrossEntropy"}, make_generalized},
    {{"CategoricalHinge", "categorical_hinge"}, make_plain<Plain::categorical_hinge>},
    {{"CosineSimilarity", "cosine_similarity"}, make_plain<Plain::cosine>},
    {{"Dice", "dice"}, make_dice},
    {{"Hinge", "hinge"}, make_plain<Plain::hinge>},
    {{"KLDivergence", "kl_divergence", "kld", "KLD"}, make_plain<Plain::kl_divergence>},
    {{"LogCosh", "log_cosh"}, make_plain<Plain::log_cosh>},
    {{"MeanAbsolutePercentageError", "mean_absolute_percentage_error", "mape", "MAPE"},
     make_plain<Plain::percentage>},
    {{"MeanSquaredLogarithmicError", "mean_squared_logarithmic_error", "msle", "MSLE"},
     make_plain<Plain::logarithmic>},
    {{"Poisson", "poisson"}, make_plain<Plain::poisson>},
    {{"SquaredHinge", "squared_hinge"}, make_plain<Plain::squared_hinge>},
    {{"Tversky", "tversky"}, make_tversky},
};

template <Plain kKind>
Loss plain(const MeanErrorConfig& config) {
  return std::make_shared<PlainRule<kKind>>(config);
}

}  // namespace

std::span<const train::LossEntry> train::other_losses() { return kEntries; }

Loss mean_absolute_percentage_error(const MeanErrorConfig& config) {
  return plain<Plain::percentage>(config);
}
Loss mean_squared_logarithmic_error(const MeanErrorConfig& config) {
  return plain<Plain::logarithmic>(config);
}
Loss log_cosh(const MeanErrorConfig& config) { return plain<Plain::log_cosh>(config); }
Loss hinge(const MeanErrorConfig& config) { return plain<Plain::hinge>(config); }
Loss squared_hinge(const MeanErrorConfig& config) { return plain<Plain::squared_hinge>(config); }
Loss poisson(const MeanErrorConfig& config) { return plain<Plain::poisson>(config); }
Loss cosine_similarity(const MeanErrorConfig& config) { return plain<Plain::cosine>(config); }
Loss categorical_hinge(const MeanErrorConfig& config) {
  return plain<Plain::categorical_hinge>(config);
}
Loss kl_divergence(const MeanErrorConfig& config) { return plain<Plain::kl_divergence>(config); }
Loss binary_focal_crossentropy(const BinaryFocalCrossentropyConfig& config) {
  return std::make_shared<FocalRule<BinaryFocalCrossentropyConfig>>(config);
}
Loss categorical_focal_crossentropy(const CategoricalFocalCrossentropyConfig& config) {
  return std::make_shared<FocalRule<CategoricalFocalCrossentropyConfig>>(config);
}
Loss categorical_generalized_cross_entropy(const CategoricalGeneralizedCrossEntropyConfig& config) {
  return std::make_shared<GeneralizedRule>(config);
}
Loss dice(const DiceConfig& config) { return std::make_shared<DiceRule>(config); }
Loss tversky(const TverskyConfig& config) { return std::make_shared<TverskyRule>(config); }

}  // namespace grouphead
