// The algorithms: what each keeps for a parameter, and one step of it.

#include "grouphead/train/optimizers.h"

#include <cmath>
#include <regex>

#include "core/check.h"
#include "core/number_text.h"
#include "ops/optimizer.h"
#include "ops/optimizer_algorithms.h"
#include "train/optimizer_fields.h"

namespace grouphead {
namespace {

using Groups = std::vector<std::vector<std::string>>;

// ---- States ------------------------------------------------------------------------------------

Tensor filled(const Shape& shape, Dtype dtype, double value) {
  Tensor made = Tensor::zeros(shape, dtype);
  for (Index i = 0; i < made.size() && value != 0; ++i) {
    if (dtype == Dtype::f64) {
      made.data<double>()[i] = value;
    } else {
      made.data<float>()[i] = static_cast<float>(value);
    }
  }
  return made;
}

Groups groups_of(const SGDConfig& config) {
  return config.momentum == 0 ? Groups{} : Groups{{"momentum"}};
}
Groups groups_of(const AdamConfig& config) {
  Groups groups = {{"momentum", "velocity"}};
  if (config.amsgrad) groups.push_back({"velocity_hat"});
  return groups;
}
Groups groups_of(const AdamWConfig& config) {
  return groups_of(AdamConfig{.amsgrad = config.amsgrad});
}
Groups groups_of(const RMSpropConfig& config) {
  Groups groups = {{"velocity"}};
  if (config.momentum > 0) groups.push_back({"momentum"});
  if (config.centered) groups.push_back({"average_gradient"});
  return groups;
}
Groups groups_of(const NadamConfig& /*config*/) { return {{"momentum", "velocity"}}; }
Groups groups_of(const LambConfig& /*config*/) { return {{"momentum", "velocity"}}; }
Groups groups_of(const ScheduleFreeAdamWConfig& /*config*/) { return {{"momentum", "velocity"}}; }
Groups groups_of(const MuonConfig& /*config*/) { return {{"momentum", "velocity"}}; }
Groups groups_of(const AdamaxConfig& /*config*/) { return {{"momentum", "norm"}}; }
Groups groups_of(const AdagradConfig& /*config*/) { return {{"accumulator"}}; }
Groups groups_of(const AdadeltaConfig& /*config*/) {
  return {{"accumulated_grad", "accumulated_delta_var"}};
}
Groups groups_of(const FtrlConfig& /*config*/) { return {{"accumulator", "linear"}}; }
Groups groups_of(const LionConfig& /*config*/) { return {{"momentum"}}; }
Groups groups_of(const AdafactorConfig& /*config*/) {
  return {{"factored_rows", "factored_columns", "velocity"}};
}

/// Zeros, where an algorithm says nothing else.
template <class Config>
Tensor state_of(const Config& /*config*/, std::size_t /*slot*/, const NamedParameter& named) {
  return Tensor::zeros(named.parameter->shape(), named.parameter->gradient_dtype());
}
Tensor state_of(const AdagradConfig& config, std::size_t /*slot*/, const NamedParameter& named) {
  return filled(named.parameter->shape(), named.parameter->gradient_dtype(),
                config.initial_accumulator_value);
}
Tensor state_of(const FtrlConfig& config, std::size_t slot, const NamedParameter& named) {
  return filled(named.parameter->shape(), named.parameter->gradient_dtype(),
                slot == 0 ? config.initial_accumulator_value : 0);
}
Tensor state_of(const ScheduleFreeAdamWConfig& /*config*/, std::size_t slot,
                const NamedParameter& named) {
  const Parameter& parameter = *named.parameter;
  Tensor made = Tensor::zeros(parameter.shape(), parameter.gradient_dtype());
  if (slot == 0) copy(parameter.numbers(), made);
  return made;
}
/// Keras keeps a number that nobody reads where there are no two axes to factor.
Tensor state_of(const AdafactorConfig& /*config*/, std::size_t slot, const NamedParameter& named) {
  const Shape& shape = named.parameter->shape();
  const Dtype dtype = named.parameter->gradient_dtype();
  if (slot == 2) return Tensor::zeros(shape, dtype);
  if (shape.rank() < 2) return Tensor::zeros({}, Dtype::i32);
  std::vector<Index> dims(shape.begin(), shape.end());
  dims.erase(dims.end() - (slot == 0 ? 1 : 2));
  return Tensor::zeros(Shape(dims), dtype);
}

std::regex pattern_of(const std::string& text) {
  constexpr std::size_t kLongest = 256;  // what is compiled recursively
  try {
    if (text.size() <= kLongest) return std::regex(text);
  } catch (const std::regex_error&) {  // reported below
  }
  core::throw_config_error("muon", "exclude_layers",
                           "regular expressions of 256 characters at most", text);
}

bool takes_adam(const MuonConfig& config, const NamedParameter& named) {
  if (named.parameter->shape().rank() != 2) return true;
  const bool is_embedding = core::lower_case(named.path).find("embedding") != std::string::npos;
  if (config.exclude_embeddings && is_embedding) return true;
  return std::any_of(config.exclude_layers.begin(), config.exclude_layers.end(),
                     [&](const std::string& pattern) {
                       return std::regex_search(named.path, pattern_of(pattern));
                     });
}
Tensor state_of(const MuonConfig& config, std::size_t slot, const NamedParameter& named) {
  if (slot == 1 && !takes_adam(config, named)) return {};
  return Tensor::zeros(named.parameter->shape(), named.parameter->gradient_dtype());
}

// ---- Steps -------------------------------------------------------------------------------------

/// What a step of one parameter is made of.
struct Call {
  Context& ctx;
  View w;
  View gradient;
  ops::OptimizerStep step;
  double t;  // 1: the first update
  bool is_decayed;
  std::array<View, 3> state;  // the own slots; absent where there is none
  const double* product;      // Nadam's
};

double share_left(double beta, double t) { return 1 - std::pow(beta, t); }

void move(const SGDConfig& config, const Call& c) {
  ops::sgd(c.ctx,
           {.learning_rate = c.step.learning_rate,
            .decay = c.step.decay,
            .momentum = config.momentum,
            .nesterov = config.nesterov,
            .gradient_scale = c.step.gradient_scale},
           c.gradient, c.w, c.state[0]);
}

struct Moments {
  double beta_1, beta_2, epsilon;
};
void adam(const Moments& n, const Call& c, View largest) {
  const double correction = std::sqrt(share_left(n.beta_2, c.t)) / share_left(n.beta_1, c.t);
  const ops::AdamWStep step = {.decay = c.step.decay,
                               .alpha = c.step.learning_rate * correction,
                               .beta_1 = n.beta_1,
                               .beta_2 = n.beta_2,
                               .epsilon = n.epsilon,
                               .gradient_scale = c.step.gradient_scale};
  if (largest.has_value()) {
    ops::amsgrad(c.ctx, step, c.gradient, c.w, c.state[0], c.state[1], largest);
  } else {
    ops::adamw(c.ctx, step, c.gradient, c.w, c.state[0], c.state[1]);
  }
}
void move(const AdamConfig& config, const Call& c) {
  adam({config.beta_1, config.beta_2, config.epsilon}, c, c.state[2]);
}
void move(const AdamWConfig& config, const Call& c) {
  adam({config.beta_1, config.beta_2, config.epsilon}, c, c.state[2]);
}

void move(const RMSpropConfig& config, const Call& c) {
  const std::size_t mean = config.momentum > 0 ? 2 : 1;
  ops::rmsprop(c.ctx, c.step, {config.rho, config.momentum, config.epsilon}, c.gradient, c.w,
               c.state[0], config.momentum > 0 ? c.state[1] : View(),
               config.centered ? c.state[mean] : View());
}

/// Dozat's schedule of the momentum.
double nadam_momentum(double beta_1, double t) { return beta_1 * (1 - 0.5 * std::pow(0.96, t)); }

void move(const NadamConfig& config, const Call& c) {
  const double now = nadam_momentum(config.beta_1, c.t);
  const double next = nadam_momentum(config.beta_1, c.t + 1);
  ops::nadam(c.ctx, c.step,
             {.beta_1 = config.beta_1,
              .beta_2 = config.beta_2,
              .epsilon = config.epsilon,
              .m_factor = next / (1 - *c.product * next),
              .g_factor = (1 - now) / (1 - *c.product),
              .v_correction = share_left(config.beta_2, c.t)},
             c.gradient, c.w, c.state[0], c.state[1]);
}

void move(const AdamaxConfig& config, const Call& c) {
  ops::adamax(c.ctx, c.step,
              {config.beta_1, config.beta_2, config.epsilon, share_left(config.beta_1, c.t)},
              c.gradient, c.w, c.state[0], c.state[1]);
}

void move(const LambConfig& config, const Call& c) {
  ops::lamb(c.ctx, c.step,
            {config.beta_1, config.beta_2, config.epsilon, share_left(config.beta_1, c.t),
             share_left(config.beta_2, c.t)},
            c.gradient, c.w, c.state[0], c.state[1]);
}

void move(const AdagradConfig& config, const Call& c) {
  ops::adagrad(c.ctx, c.step, config.epsilon, c.gradient, c.w, c.state[0]);
}

void move(const AdadeltaConfig& config, const Call& c) {
  ops::adadelta(c.ctx, c.step, config.rho, config.epsilon, c.gradient, c.w, c.state[0], c.state[1]);
}

void move(const FtrlConfig& config, const Call& c) {
  ops::ftrl(c.ctx, c.step,
            {.power = -config.learning_rate_power,
             .l1 = config.l1_regularization_strength,
             .l2 = config.l2_regularization_strength + config.beta / (2 * c.step.learning_rate),
             .shrinkage = config.l2_shrinkage_regularization_strength},
            c.gradient, c.w, c.state[0], c.state[1]);
}

void move(const LionConfig& config, const Call& c) {
  ops::lion(c.ctx, c.step, config.beta_1, config.beta_2, c.gradient, c.w, c.state[0]);
}

void move(const AdafactorConfig& config, const Call& c) {
  const bool is_factored = c.w.rank() >= 2;
  // `relative_step` bounds the rate by what bounds it anyway.
  ops::adafactor(c.ctx, c.step,
                 {.beta_2 = 1 - std::pow(c.t, config.beta_2_decay),
                  .epsilon_1 = config.epsilon_1,
                  .epsilon_2 = config.epsilon_2,
                  .clip_threshold = config.clip_threshold,
                  .largest_rate = 1 / std::sqrt(c.t)},
                 c.gradient, c.w, is_factored ? c.state[0] : View(),
                 is_factored ? c.state[1] : View(), c.state[2]);
}

void move(const MuonConfig& config, const Call& c) {
  if (c.state[1].has_value()) {
    Call call = c;
    call.step.decay =
        c.is_decayed ? c.step.learning_rate * config.adam_weight_decay.value_or(0) : 0;
    call.step.learning_rate *= config.adam_lr_ratio;
    return adam({config.adam_beta_1, config.adam_beta_2, config.epsilon}, call, {});
  }
  const auto longer = static_cast<double>(std::max(c.w.dim(0), c.w.dim(1)));
  ops::muon(c.ctx, c.step,
            {.momentum = config.momentum,
             .nesterov = config.nesterov,
             .coefficients = {config.muon_a, config.muon_b, config.muon_c},
             .iterations = config.ns_steps,
             .factor = config.rms_rate ? std::sqrt(longer) * *config.rms_rate : 1},
            c.gradient, c.w, c.state[0]);
}

void move(const ScheduleFreeAdamWConfig& config, const Call& c) {
  ops::OptimizerStep step = c.step;
  if (config.warmup_steps > 0) {
    step.learning_rate *= std::min(c.t / static_cast<double>(config.warmup_steps), 1.0);
  }
  ops::schedule_free(
      c.ctx, step,
      {config.beta_1, config.beta_2, config.epsilon, share_left(config.beta_2, c.t), 1 / c.t},
      c.gradient, c.w, c.state[0], c.state[1]);
}

/// The class's name of the variables: `rm_sprop` of RMSprop.
std::string variable_prefix(std::string_view class_name) {
  if (class_name == "SGD") return "sgd";
  if (class_name == "RMSprop") return "rm_sprop";
  std::string name;
  for (std::size_t i = 0; i < class_name.size(); ++i) {
    const bool is_upper = class_name[i] >= 'A' && class_name[i] <= 'Z';
    if (is_upper && i > 0) name += '_';
    name += class_name[i];
  }
  return core::lower_case(name);
}

template <class Config>
constexpr bool kIsNadam = std::is_same_v<Config, NadamConfig>;

}  // namespace

template <class Config>
detail::AlgorithmOf<Config>::AlgorithmOf(const Config& config)
    : Optimizer(variable_prefix(train::kOptimizerClass<Config>), config.learning_rate,
                config.weight_decay, config.options),
      config_(config) {
  train::visit_fields(config_, train::RequireRanges{train::kOptimizerClass<Config>});
  if constexpr (std::is_same_v<Config, MuonConfig>) {
    for (const std::string& pattern : config_.exclude_layers) pattern_of(pattern);
  }
  if constexpr (kIsNadam<Config>) product_ = filled({}, Dtype::f64, 1);
}

template <class Config>
std::string_view detail::AlgorithmOf<Config>::class_name() const {
  return train::kOptimizerClass<Config>;
}

template <class Config>
ConfigValue detail::AlgorithmOf<Config>::get_config() const {
  ConfigValue config = Optimizer::get_config();
  Config own = config_;
  train::visit_fields(own, [&](std::string_view key, const auto& field, auto... /*range*/) {
    using Field = std::remove_cvref_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, std::optional<double>>) {
      config.set(key, field ? ConfigValue(*field) : ConfigValue());
    } else if constexpr (std::is_same_v<Field, std::vector<std::string>>) {
      config.set(key, ConfigValue::List(field.begin(), field.end()));
    } else {
      config.set(key, field);
    }
  });
  return config;
}

template <class Config>
std::vector<Optimizer::SlotGroup> detail::AlgorithmOf<Config>::slot_groups() const {
  return groups_of(config_);
}

template <class Config>
Tensor detail::AlgorithmOf<Config>::initial(std::size_t slot,
                                            const NamedParameter& parameter) const {
  return state_of(config_, slot, parameter);
}

template <class Config>
std::vector<OptimizerVariable> detail::AlgorithmOf<Config>::own_numbers() const {
  if constexpr (kIsNadam<Config>) return {{"variable", product_}};
  return {};
}

template <class Config>
void detail::AlgorithmOf<Config>::begin_update(Index iteration) {
  if constexpr (kIsNadam<Config>) {
    *product_.template data<double>() *=
        nadam_momentum(config_.beta_1, static_cast<double>(iteration));
  } else {
    static_cast<void>(iteration);
  }
}

template <class Config>
void detail::AlgorithmOf<Config>::update(Context& ctx, const Update& u) {
  Call call{.ctx = ctx,
            .w = u.w,
            .gradient = u.gradient,
            .step = {u.learning_rate, u.learning_rate * u.weight_decay, u.gradient_scale},
            .t = static_cast<double>(u.iteration),
            .is_decayed = u.is_decayed,
            .state = {},
            .product = product_.has_value() ? product_.template data<double>() : nullptr};
  std::size_t slot = 0;
  for (const SlotGroup& group : slot_groups()) {
    for (std::size_t i = 0; i < group.size(); ++i, ++slot) {
      if (has_own(slot, u.parameter)) call.state[slot] = own(slot, u.parameter);
    }
  }
  move(config_, call);
}

template class detail::AlgorithmOf<AdadeltaConfig>;
template class detail::AlgorithmOf<AdafactorConfig>;
template class detail::AlgorithmOf<AdagradConfig>;
template class detail::AlgorithmOf<AdamConfig>;
template class detail::AlgorithmOf<AdamWConfig>;
template class detail::AlgorithmOf<AdamaxConfig>;
template class detail::AlgorithmOf<FtrlConfig>;
template class detail::AlgorithmOf<LambConfig>;
template class detail::AlgorithmOf<LionConfig>;
template class detail::AlgorithmOf<MuonConfig>;
template class detail::AlgorithmOf<NadamConfig>;
template class detail::AlgorithmOf<RMSpropConfig>;
template class detail::AlgorithmOf<SGDConfig>;
template class detail::AlgorithmOf<ScheduleFreeAdamWConfig>;

}  // namespace grouphead
