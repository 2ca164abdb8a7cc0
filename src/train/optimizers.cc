// The algorithms, and optimizers from configurations.

#include "grouphead/train/optimizers.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/number_text.h"
#include "nn/config_reader.h"
#include "ops/optimizer.h"

namespace grouphead {
namespace {

/// The fields that every configuration has.
template <class Config>
OptimizerOptions options_of(const Config& config) {
  return {.name = config.name,
          .learning_rate = config.learning_rate,
          .weight_decay = config.weight_decay,
          .clipnorm = config.clipnorm,
          .global_clipnorm = config.global_clipnorm,
          .clipvalue = config.clipvalue,
          .use_ema = config.use_ema,
          .ema_momentum = config.ema_momentum,
          .ema_overwrite_frequency = config.ema_overwrite_frequency,
          .loss_scale_factor = config.loss_scale_factor,
          .gradient_accumulation_steps = config.gradient_accumulation_steps};
}

AdamConfig adam_config(const AdamWConfig& config) {
  return {.learning_rate = config.learning_rate,
          .beta_1 = config.beta_1,
          .beta_2 = config.beta_2,
          .epsilon = config.epsilon,
          .amsgrad = config.amsgrad,
          .weight_decay = config.weight_decay,
          .clipnorm = config.clipnorm,
          .clipvalue = config.clipvalue,
          .global_clipnorm = config.global_clipnorm,
          .use_ema = config.use_ema,
          .ema_momentum = config.ema_momentum,
          .ema_overwrite_frequency = config.ema_overwrite_frequency,
          .loss_scale_factor = config.loss_scale_factor,
          .gradient_accumulation_steps = config.gradient_accumulation_steps,
          .name = config.name};
}

void require_below(std::string_view optimizer, std::string_view option, double value,
                   double limit) {
  if (value >= 0 && value < limit) return;
  detail::throw_config_error(optimizer, option,
                             limit == 1 ? "a number in [0, 1)" : "a finite number of 0 or more",
                             detail::number_text(value));
}

}  // namespace

// ---- SGD ---------------------------------------------------------------------------------------

SGD::SGD(const SGDConfig& config)
    : Optimizer("sgd", options_of(config)), momentum_(config.momentum), nesterov_(config.nesterov) {
  if (!(momentum_ >= 0 && momentum_ <= 1)) {
    detail::throw_config_error("sgd", "momentum", "a number in [0, 1]",
                               detail::number_text(momentum_));
  }
}

ConfigValue SGD::get_config() const {
  ConfigValue config = Optimizer::get_config();
  config.set("momentum", momentum_);
  config.set("nesterov", nesterov_);
  return config;
}

std::vector<Optimizer::SlotGroup> SGD::slot_groups() const {
  if (momentum_ == 0) return {};
  return {{"momentum"}};
}

void SGD::update(Context& ctx, const Update& u) {
  const ops::SgdStep step = {.learning_rate = u.learning_rate,
                             .weight_decay = u.weight_decay,
                             .momentum = momentum_,
                             .nesterov = nesterov_,
                             .gradient_scale = u.gradient_scale};
  ops::sgd(ctx, step, u.gradient, u.w, momentum_ != 0 ? own(0, u.parameter) : View());
}

// ---- Adam --------------------------------------------------------------------------------------

Adam::Adam(std::string_view class_name, const AdamConfig& config)
    : Optimizer(class_name, options_of(config)),
      beta_1_(config.beta_1),
      beta_2_(config.beta_2),
      epsilon_(config.epsilon),
      amsgrad_(config.amsgrad) {
  require_below(class_name, "beta_1", beta_1_, 1);
  require_below(class_name, "beta_2", beta_2_, 1);
  require_below(class_name, "epsilon", epsilon_, std::numeric_limits<double>::infinity());
}

Adam::Adam(const AdamConfig& config) : Adam("adam", config) {}

ConfigValue Adam::get_config() const {
  ConfigValue config = Optimizer::get_config();
  config.set("beta_1", beta_1_);
  config.set("beta_2", beta_2_);
  config.set("epsilon", epsilon_);
  config.set("amsgrad", amsgrad_);
  return config;
}

std::vector<Optimizer::SlotGroup> Adam::slot_groups() const {
  std::vector<SlotGroup> groups = {{"momentum", "velocity"}};
  if (amsgrad_) groups.push_back({"velocity_hat"});
  return groups;
}

void Adam::update(Context& ctx, const Update& u) {
  const auto t = static_cast<double>(u.iteration);
  const double correction = std::sqrt(1 - std::pow(beta_2_, t)) / (1 - std::pow(beta_1_, t));
  const ops::AdamWStep step = {.learning_rate = u.learning_rate,
                               .alpha = u.learning_rate * correction,
                               .weight_decay = u.weight_decay,
                               .beta_1 = beta_1_,
                               .beta_2 = beta_2_,
                               .epsilon = epsilon_,
                               .gradient_scale = u.gradient_scale};
  const View m = own(0, u.parameter);
  const View v = own(1, u.parameter);
  if (amsgrad_) {
    ops::amsgrad(ctx, step, u.gradient, u.w, m, v, own(2, u.parameter));
  } else {
    ops::adamw(ctx, step, u.gradient, u.w, m, v);
  }
}

AdamW::AdamW(const AdamWConfig& config) : Adam("adam_w", adam_config(config)) {}

// ---- From configurations -----------------------------------------------------------------------

namespace {

/// Reads the fields that every configuration has; what a file lacks keeps Keras's default.
template <class Config>
void read_options(nn::ConfigReader& reader, Config& config) {
  const auto number = [&](std::string_view key) {
    const ConfigValue& held = reader.value(key);
    return held.is_null() ? std::optional<double>() : held.as_number(key);
  };
  const auto integer = [&](std::string_view key) {
    const ConfigValue& held = reader.value(key);
    return held.is_null() ? std::optional<Index>() : held.as_integer(key);
  };
  config.name = reader.name("");
  if (reader.has("learning_rate")) {
    config.learning_rate = LearningRate::from_config(reader.value("learning_rate"));
  }
  config.clipnorm = number("clipnorm");
  config.global_clipnorm = number("global_clipnorm");
  config.clipvalue = number("clipvalue");
  config.use_ema = reader.boolean("use_ema", false);
  config.ema_momentum = reader.number("ema_momentum", 0.99);
  config.ema_overwrite_frequency = integer("ema_overwrite_frequency");
  config.loss_scale_factor = number("loss_scale_factor");
  config.gradient_accumulation_steps = integer("gradient_accumulation_steps");
  if (!reader.value("weight_decay").is_null()) {
    config.weight_decay = reader.value("weight_decay").as_number("weight_decay");
  }
}

std::shared_ptr<Optimizer> make_sgd(const ConfigValue& held) {
  nn::ConfigReader reader("SGD", held);
  SGDConfig config;
  read_options(reader, config);
  config.momentum = reader.number("momentum", config.momentum);
  config.nesterov = reader.boolean("nesterov", config.nesterov);
  reader.finish();
  return std::make_shared<SGD>(config);
}

template <class Algorithm, class Config>
std::shared_ptr<Optimizer> make_adam(const ConfigValue& held) {
  nn::ConfigReader reader("Adam", held);
  Config config;
  read_options(reader, config);
  config.beta_1 = reader.number("beta_1", config.beta_1);
  config.beta_2 = reader.number("beta_2", config.beta_2);
  config.epsilon = reader.number("epsilon", config.epsilon);
  config.amsgrad = reader.boolean("amsgrad", config.amsgrad);
  reader.finish();
  return std::make_shared<Algorithm>(config);
}

}  // namespace

std::shared_ptr<Optimizer> Optimizer::from_config(const ConfigValue& identifier) {
  const ConfigValue& held = identifier.is_string() ? identifier : identifier["class_name"];
  const std::string name = detail::lower_case(held.as_string("optimizer"));
  const ConfigValue config = identifier.is_string() ? ConfigValue() : identifier["config"];
  // The loss scale of float16 is not needed here: gradients are f32.
  if (name == "lossscaleoptimizer") return from_config(config["inner_optimizer"]);
  if (name == "sgd") return make_sgd(config);
  if (name == "adam") return make_adam<Adam, AdamConfig>(config);
  if (name == "adamw") return make_adam<AdamW, AdamWConfig>(config);
  detail::throw_config_error("optimizer", "name", "SGD, Adam or AdamW", held.to_string());
}

}  // namespace grouphead
