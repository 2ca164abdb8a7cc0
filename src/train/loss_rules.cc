// The losses and their configurations.

#include <algorithm>
#include <span>

#include "core/check.h"
#include "core/comma_list.h"
#include "core/number_text.h"
#include "nn/config_reader.h"
#include "nn/own_classes.h"
#include "ops/row_losses.h"
#include "train/loss_entries.h"

namespace grouphead {
namespace {

class MeanSquaredError final : public LossRule {
 public:
  explicit MeanSquaredError(const MeanErrorConfig& config)
      : LossRule(config.name.empty() ? "mean_squared_error" : config.name, config.reduction) {}
  std::string_view class_name() const override { return "MeanSquaredError"; }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    ops::error_loss(ctx, rows, ops::ErrorNorm::squared, 0);
  }
};

class MeanAbsoluteError final : public LossRule {
 public:
  explicit MeanAbsoluteError(const MeanErrorConfig& config)
      : LossRule(config.name.empty() ? "mean_absolute_error" : config.name, config.reduction) {}
  std::string_view class_name() const override { return "MeanAbsoluteError"; }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    ops::error_loss(ctx, rows, ops::ErrorNorm::absolute, 0);
  }
};

// Keras leaves delta out of the configuration, so a saved Huber comes back with delta 1 there; here
// it is read and written.
class Huber final : public LossRule {
 public:
  explicit Huber(const HuberConfig& config)
      : LossRule(config.name, config.reduction), delta_(config.delta) {
    if (!(delta_ >= 0)) {
      core::throw_config_error("huber", "delta", "a number of 0 or more",
                               core::number_text(delta_));
    }
  }
  std::string_view class_name() const override { return "Huber"; }
  ConfigValue get_config() const override {
    ConfigValue config = LossRule::get_config();
    if (delta_ != 1) config.set("delta", delta_);
    return config;
  }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    ops::error_loss(ctx, rows, ops::ErrorNorm::huber, delta_);
  }
  double delta_;
};

ConfigValue crossentropy_config(ConfigValue config, const CrossentropyConfig& options) {
  config.set("from_logits", options.from_logits);
  config.set("label_smoothing", options.label_smoothing);
  config.set("axis", -1);
  return config;
}

class BinaryCrossentropy final : public LossRule {
 public:
  explicit BinaryCrossentropy(const CrossentropyConfig& config)
      : LossRule(config.name.empty() ? "binary_crossentropy" : config.name, config.reduction),
        config_(config) {
    train::require_smoothing(name(), config.label_smoothing);
  }
  std::string_view class_name() const override { return "BinaryCrossentropy"; }
  ConfigValue get_config() const override {
    return crossentropy_config(LossRule::get_config(), config_);
  }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    ops::binary_cross_entropy(ctx, rows,
                              {.from_logits = config_.from_logits,
                               .target_scale = 1 - config_.label_smoothing,
                               .target_shift = config_.label_smoothing / 2});
  }
  CrossentropyConfig config_;
};

class CategoricalCrossentropy final : public LossRule {
 public:
  explicit CategoricalCrossentropy(const CrossentropyConfig& config)
      : LossRule(config.name.empty() ? "categorical_crossentropy" : config.name, config.reduction),
        config_(config) {
    train::require_smoothing(name(), config.label_smoothing);
  }
  std::string_view class_name() const override { return "CategoricalCrossentropy"; }
  ConfigValue get_config() const override {
    return crossentropy_config(LossRule::get_config(), config_);
  }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    const auto classes = static_cast<double>(rows.prediction.shape().back());
    ops::categorical_cross_entropy(ctx, rows,
                                   {.from_logits = config_.from_logits,
                                    .target_scale = 1 - config_.label_smoothing,
                                    .target_shift = config_.label_smoothing / classes});
  }
  CrossentropyConfig config_;
};

class SparseCategoricalCrossentropy final : public LossRule {
 public:
  explicit SparseCategoricalCrossentropy(const SparseCategoricalCrossentropyConfig& config)
      : LossRule(config.name, config.reduction), config_(config) {}
  std::string_view class_name() const override { return "SparseCategoricalCrossentropy"; }
  ConfigValue get_config() const override {
    ConfigValue config = LossRule::get_config();
    config.set("from_logits", config_.from_logits);
    config.set("ignore_class",
               config_.ignore_class ? ConfigValue(*config_.ignore_class) : ConfigValue());
    return config;
  }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    ops::sparse_cross_entropy(ctx, rows, config_.from_logits);
  }
  LossTargets targets() const override { return LossTargets::labels; }
  std::optional<Index> ignored_class() const override { return config_.ignore_class; }
  SparseCategoricalCrossentropyConfig config_;
};

// ---- From configurations -----------------------------------------------------------------------

using Rule = std::shared_ptr<const LossRule>;

template <class R>
Rule make_error(const ConfigValue& config) {
  nn::ConfigReader reader("loss", config);
  MeanErrorConfig options{.reduction = train::reduction_of(reader), .name = reader.name("")};
  reader.finish();
  return std::make_shared<R>(options);
}

Rule make_huber(const ConfigValue& config) {
  nn::ConfigReader reader("Huber", config);
  HuberConfig options{.delta = reader.number("delta", 1),
                      .reduction = train::reduction_of(reader),
                      .name = reader.name("huber_loss")};
  reader.finish();
  return std::make_shared<Huber>(options);
}

template <class R>
Rule make_crossentropy(const ConfigValue& config) {
  nn::ConfigReader reader("crossentropy", config);
  CrossentropyConfig options{.from_logits = reader.boolean("from_logits", false),
                             .label_smoothing = reader.number("label_smoothing", 0),
                             .reduction = train::reduction_of(reader),
                             .name = reader.name("")};
  train::require_last_axis(reader);
  reader.finish();
  return std::make_shared<R>(options);
}

Rule make_sparse(const ConfigValue& config) {
  nn::ConfigReader reader("SparseCategoricalCrossentropy", config);
  SparseCategoricalCrossentropyConfig options{
      .from_logits = reader.boolean("from_logits", false),
      .reduction = train::reduction_of(reader),
      .name = reader.name("sparse_categorical_crossentropy")};
  const ConfigValue& ignored = reader.value("ignore_class");
  if (!ignored.is_null()) options.ignore_class = ignored.as_integer("ignore_class");
  train::require_last_axis(reader);
  reader.finish();
  return std::make_shared<SparseCategoricalCrossentropy>(options);
}

using Entry = train::LossEntry;
// Class names first; then the names of Keras's functions.
constexpr Entry kEntries[] = {
    {{"BinaryCrossentropy", "binary_crossentropy", "bce", "BCE"},
     make_crossentropy<BinaryCrossentropy>},
    {{"CategoricalCrossentropy", "categorical_crossentropy"},
     make_crossentropy<CategoricalCrossentropy>},
    {{"Huber", "huber"}, make_huber},
    {{"MeanAbsoluteError", "mean_absolute_error", "mae", "MAE"}, make_error<MeanAbsoluteError>},
    {{"MeanSquaredError", "mean_squared_error", "mse", "MSE"}, make_error<MeanSquaredError>},
    {{"SparseCategoricalCrossentropy", "sparse_categorical_crossentropy"}, make_sparse},
};

/// body(entry) for all of them, until it says true.
template <class Body>
void for_entries(const Body& body) {
  for (const std::span<const Entry> entries :
       {std::span<const Entry>(kEntries), train::other_losses(), train::set_losses()}) {
    for (const Entry& entry : entries) {
      if (body(entry)) return;
    }
  }
}

const Entry* entry_of(std::string_view name) {
  const Entry* found = nullptr;
  for_entries([&](const Entry& entry) {
    const auto& names = entry.names;
    const bool is_named =
        !name.empty() && std::find(names.begin(), names.end(), name) != names.end();
    if (is_named) found = &entry;
    return is_named;
  });
  return found;
}

nn::OwnClasses<detail::LossMaker>& own_losses() {
  static nn::OwnClasses<detail::LossMaker> losses("register_loss");
  return losses;
}
nn::OwnClasses<detail::LossMaker>& own_functions() {
  static nn::OwnClasses<detail::LossMaker> functions("register_loss");
  return functions;
}

Rule make(std::string_view name, const ConfigValue& config) {
  if (const auto own = own_functions().find(std::string(name))) return own(ConfigValue());
  const Entry* entry = entry_of(name);
  if (entry == nullptr) {
    const bool is_own = nn::is_own_name(name);
    core::throw_config_error(
        "loss", "name", is_own ? "one that register_loss() was given" : LossRule::known_names(),
        name);
  }
  return entry->make(config);
}

}  // namespace

bool LossRule::is_known(std::string_view name) {
  return entry_of(name) != nullptr || train::is_own_function(name);
}

bool train::is_own_function(std::string_view name) {
  return own_functions().find(std::string(name)) != nullptr;
}

void detail::register_loss(const std::string& name, RegisteredAs as, std::type_index type,
                           LossMaker make) {
  (as == RegisteredAs::a_class ? own_losses() : own_functions()).add(name, type, std::move(make));
}

template <>
ConfigValue Choice<LossRule>::config() const {
  if (!rule_) return {};
  const LossRule& rule = *rule_;
  if (const std::string name = own_functions().name_of(typeid(rule)); !name.empty()) {
    return train::function_envelope(name);
  }
  if (const std::string name = own_losses().name_of(typeid(rule)); !name.empty()) {
    return nn::own_envelope(name, rule.get_config());
  }
  return config_envelope(LossRule::kModule, rule.class_name(), rule.get_config());
}

ConfigValue train::function_envelope(const std::string& name) {
  ConfigValue envelope = config_envelope("builtins", "function", name);
  envelope.set("registered_name", "function");
  return envelope;
}

std::string LossRule::known_names() {
  std::vector<std::string_view> names;
  for_entries([&](const Entry& entry) {
    names.push_back(entry.names[0]);
    return false;
  });
  std::sort(names.begin(), names.end());
  return core::comma_list(names);
}

std::shared_ptr<const LossRule> LossRule::from_config(const ConfigValue& identifier) {
  if (identifier.is_null()) return nullptr;
  if (identifier.is_string()) return make(identifier.as_string("loss"), ConfigValue());
  const std::string& class_name = identifier["class_name"].as_string("class_name");
  const std::string own = nn::own_name_in(identifier);
  if (const auto own_maker = own_losses().find(own)) return own_maker(identifier["config"]);
  // Keras writes its loss functions so.
  if (class_name == "function") return make(identifier["config"].as_string("config"), {});
  return make(nn::is_own_name(own) ? own : class_name, identifier["config"]);
}

Loss mean_squared_error(const MeanErrorConfig& config) {
  return std::make_shared<MeanSquaredError>(config);
}
Loss mean_absolute_error(const MeanErrorConfig& config) {
  return std::make_shared<MeanAbsoluteError>(config);
}
Loss huber(const HuberConfig& config) { return std::make_shared<Huber>(config); }
Loss binary_crossentropy(const CrossentropyConfig& config) {
  return std::make_shared<BinaryCrossentropy>(config);
}
Loss categorical_crossentropy(const CrossentropyConfig& config) {
  return std::make_shared<CategoricalCrossentropy>(config);
}
Loss sparse_categorical_crossentropy(const SparseCategoricalCrossentropyConfig& config) {
  return std::make_shared<SparseCategoricalCrossentropy>(config);
}

}  // namespace grouphead
