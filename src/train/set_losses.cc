// Losses whose values are one for each sample of a batch: of sequences, and of sets of samples.

#include <cmath>

#include "core/check.h"
#include "core/number_text.h"
#include "ops/row_losses.h"
#include "train/loss_entries.h"

namespace grouphead {
namespace {

using Rule = std::shared_ptr<const LossRule>;

class CtcRule final : public LossRule {
 public:
  explicit CtcRule(const CTCConfig& config) : LossRule(config.name, config.reduction) {}
  std::string_view class_name() const override { return "CTC"; }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override { ops::ctc_loss(ctx, rows); }
  LossTargets targets() const override { return LossTargets::label_rows; }
  int num_value_axes(const Shape& prediction) const override {
    if (prediction.rank() == 3) return 1;
    core::throw_shape_error(name(), "prediction", "[B, T, C]", prediction.to_string());
  }
};

Rule make_ctc(const ConfigValue& given) {
  nn::ConfigReader reader("CTC", given);
  const CTCConfig config{.reduction = train::reduction_of(reader), .name = reader.name("ctc")};
  reader.finish();
  return std::make_shared<CtcRule>(config);
}

class CircleRule final : public LossRule {
 public:
  explicit CircleRule(const CircleConfig& config)
      : LossRule(config.name, config.reduction), config_(config) {
    for (const auto& [option, number] :
         {std::pair{"gamma", config.gamma}, std::pair{"margin", config.margin}}) {
      if (std::isfinite(number)) continue;
      core::throw_config_error(name(), option, "a finite number", core::number_text(number));
    }
  }
  std::string_view class_name() const override { return "Circle"; }
  ConfigValue get_config() const override {
    ConfigValue config = LossRule::get_config();
    config.set("gamma", config_.gamma);
    config.set("margin", config_.margin);
    config.set("remove_diagonal", config_.remove_diagonal);
    return config;
  }

 private:
  void evaluate(Context& ctx, const LossRows& rows) const override {
    ops::circle_loss(ctx, rows,
                     {.gamma = config_.gamma,
                      .margin = config_.margin,
                      .remove_diagonal = config_.remove_diagonal});
  }
  LossTargets targets() const override { return LossTargets::any_labels; }
  bool counts_positive_values() const override { return true; }
  int num_value_axes(const Shape& prediction) const override {
    if (prediction.rank() == 2) return 1;
    core::throw_shape_error(name(), "prediction", "[B, C]", prediction.to_string());
  }
  CircleConfig config_;
};

Rule make_circle(const ConfigValue& given) {
  nn::ConfigReader reader("Circle", given);
  CircleConfig config;
  config.gamma = reader.number("gamma", config.gamma);
  config.margin = reader.number("margin", config.margin);
  config.remove_diagonal = reader.boolean("remove_diagonal", config.remove_diagonal);
  config.reduction = train::reduction_of(reader);
  config.name = reader.name(config.name);
  reader.finish();
  return std::make_shared<CircleRule>(config);
}

constexpr train::LossEntry kEntries[] = {
    {{"CTC", "ctc"}, make_ctc},
    {{"Circle", "circle"}, make_circle},
};

}  // namespace

std::span<const train::LossEntry> train::set_losses() { return kEntries; }

Loss ctc(const CTCConfig& config) { return std::make_shared<CtcRule>(config); }
Loss circle(const CircleConfig& config) { return std::make_shared<CircleRule>(config); }

}  // namespace grouphead
