#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/number_text.h"
#include "grouphead/train/optimizers.h"
#include "ops/arithmetic.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

constexpr std::string_view kAverage = "average";
constexpr std::string_view kAccumulator = "gradient_accumulator";

void require(bool holds, std::string_view option, std::string_view expected, double got) {
  if (!holds) {
    core::throw_config_error("optimizer", option, expected, core::number_text(got));
  }
}

void require_positive(std::string_view option, const std::optional<double>& value) {
  if (value) require(*value > 0, option, "a number above 0", *value);
}

void check(const OptimizerOptions& options, const std::optional<double>& weight_decay) {
  const auto& o = options;
  if (weight_decay) {
    require(*weight_decay >= 0 && std::isfinite(*weight_decay), "weight_decay",
            "a finite number of 0 or more", *weight_decay);
  }
  require_positive("clipnorm", o.clipnorm);
  require_positive("global_clipnorm", o.global_clipnorm);
  require_positive("clipvalue", o.clipvalue);
  require_positive("loss_scale_factor", o.loss_scale_factor);
  const int clips = int{o.clipnorm.has_value()} + int{o.global_clipnorm.has_value()} +
                    int{o.clipvalue.has_value()};
  require(clips <= 1, "clipping", "one of clipnorm, clipvalue and global_clipnorm", clips);
  if (o.gradient_accumulation_steps) {
    require(*o.gradient_accumulation_steps >= 2, "gradient_accumulation_steps", "2 or more",
            static_cast<double>(*o.gradient_accumulation_steps));
  }
  if (!o.use_ema) return;
  require(o.ema_momentum >= 0 && o.ema_momentum <= 1, "ema_momentum", "a number in [0, 1]",
          o.ema_momentum);
  if (o.ema_overwrite_frequency) {
    require(*o.ema_overwrite_frequency >= 1, "ema_overwrite_frequency", "1 or more",
            static_cast<double>(*o.ema_overwrite_frequency));
  }
}

/// A parameter's numbers in the type of its gradient, while a step changes them.
class Editing {
 public:
  Editing(Context& ctx, Parameter& parameter) : stored_(parameter.edit()) {
    if (stored_.dtype() == parameter.gradient_dtype()) return;
    wide_ = ctx.tensor(stored_.shape(), parameter.gradient_dtype());
    ops::convert_rounded(stored_, wide_.dtype(), wide_);
  }
  View view() { return wide_.has_value() ? wide_.view() : stored_; }
  /// Rounds what was computed to what is stored.
  void store() {
    if (wide_.has_value()) ops::convert_rounded(wide_, stored_.dtype(), stored_);
  }

 private:
  View stored_;
  Tensor wide_;
};

// clip_norm * min(1 / norm, 1 / clip_norm), NaN for a norm that is not finite.
// Source: keras.optimizers.Optimizer, clip_by_global_norm.
double global_clipping(double norm, double clip_norm) {
  return clip_norm * std::min(1 / norm, 1 / clip_norm) + (norm - norm);
}

std::string variable_name(const std::string& path, std::string_view slot) {
  std::string name = path;
  std::replace(name.begin(), name.end(), '/', '_');
  return name.append("_").append(slot);
}

/// Adafactor's moments of rows and columns have the name of the variable alone in Keras, and those
/// that nobody reads lack the optimizer's.
std::string variable_path(const std::string& optimizer, const NamedParameter& named,
                          const std::string& slot, const Tensor& state) {
  if (!slot.starts_with("factored_")) return optimizer + "/" + variable_name(named.path, slot);
  const std::string& own = named.parameter->name();
  return state.rank() == 0 ? own : optimizer + "/" + own;
}

template <class T>
ConfigValue or_null(const std::optional<T>& value) {
  return value ? ConfigValue(*value) : ConfigValue();
}

}  // namespace

/// The scale of the loss and its state: what Keras's LossScaleOptimizer has besides the optimizer
/// inside.
struct Optimizer::Scale {
  explicit Scale(LossScaling given) : scaling(std::move(given)) {
    *dynamic.data<float>() = static_cast<float>(scaling.initial_scale);
  }

  void after_step(bool was_finite) {
    std::int64_t& steps = *counter.data<std::int64_t>();
    const bool grows = was_finite && steps + 1 == scaling.dynamic_growth_steps;
    *dynamic.data<float>() *= grows ? 2.0F : was_finite ? 1.0F : 0.5F;
    steps = grows || !was_finite ? 0 : steps + 1;
  }

  LossScaling scaling;
  Tensor iteration = Tensor::zeros({}, Dtype::i64);      // Keras does not count
  Tensor learning_rate = Tensor::zeros({}, Dtype::f64);  // nor use it
  Tensor counter = Tensor::zeros({}, Dtype::i64);
  Tensor dynamic = Tensor::zeros({}, Dtype::f32);
};

Optimizer::Optimizer(std::string_view class_name, LearningRate learning_rate,
                     std::optional<double> weight_decay, OptimizerOptions options)
    : options_(std::move(options)),
      rate_(std::move(learning_rate)),
      weight_decay_(weight_decay),
      iteration_(Tensor::zeros({}, Dtype::i64)) {
  check(options_, weight_decay_);
  if (options_.name.empty()) options_.name = class_name;
  if (rate_.is_number()) {
    learning_rate_ = Tensor({}, Dtype::f64);
    *learning_rate_.data<double>() = rate_(0);
  }
}

Optimizer::~Optimizer() = default;

void Optimizer::scale_loss(const LossScaling& scaling) {
  if (is_built_) {
    core::throw_config_error(name(), "scale_loss", "a call before build()", "a call after it");
  }
  require_positive("initial_scale", scaling.initial_scale);
  require(scaling.dynamic_growth_steps >= 1, "dynamic_growth_steps", "1 or more",
          static_cast<double>(scaling.dynamic_growth_steps));
  scale_ = std::make_unique<Scale>(scaling);
  options_.loss_scale_factor.reset();
}

double Optimizer::loss_scale() const noexcept {
  if (scale_) return *scale_->dynamic.data<float>();
  return options_.loss_scale_factor.value_or(1);
}

ConfigValue Optimizer::config() const {
  ConfigValue own = config_envelope(kModule, class_name(), get_config());
  if (!scale_) return own;
  const LossScaling& scaling = scale_->scaling;
  return config_envelope(
      kModule, "LossScaleOptimizer",
      ConfigValue::Object{{"name", scaling.name},
                          {"inner_optimizer", std::move(own)},
                          {"initial_scale", scaling.initial_scale},
                          {"dynamic_growth_steps", scaling.dynamic_growth_steps}});
}

void Optimizer::exclude_from_weight_decay(std::vector<const Parameter*> parameters,
                                          std::vector<std::string> words) {
  if (is_built_) {
    core::throw_config_error(name(), "exclude_from_weight_decay", "a call before build()",
                             "a call after it");
  }
  undecayed_ = std::move(parameters);
  undecayed_words_ = std::move(words);
}

bool Optimizer::is_decayed(const Parameter& parameter) const {
  const auto has = [&](const std::string& word) {
    return parameter.name().find(word) != std::string::npos;
  };
  return std::find(undecayed_.begin(), undecayed_.end(), &parameter) == undecayed_.end() &&
         std::none_of(undecayed_words_.begin(), undecayed_words_.end(), has);
}

void Optimizer::build(const ParameterList& parameters) {
  if (is_built_) core::throw_config_error(name(), "build", "one call", "a second one");
  for (const NamedParameter& named : parameters) {
    if (named.parameter->trainable()) parameters_.push_back(named);
    if (named.parameter->is_overwritten()) overwritten_.push_back({.parameter = named.parameter});
  }
  choose_owners();
  if (options_.use_ema) groups_.push_back({std::string(kAverage)});
  if (options_.gradient_accumulation_steps) groups_.push_back({std::string(kAccumulator)});
  first_own_ = groups_.size();
  for (SlotGroup& group : slot_groups()) groups_.push_back(std::move(group));
  for (const SlotGroup& group : groups_) {
    for (const std::string& slot : group) {
      OptimizerSlot& made = slots_.emplace_back(OptimizerSlot{.name = slot});
      const std::size_t place = slots_.size() - 1;
      for (std::size_t i = 0; i < parameters_.size(); ++i) {
        const Parameter& parameter = *parameters_[i].parameter;
        Tensor& state = made.tensors.emplace_back();
        if (!is_own(i)) continue;
        state = place < first_own_ ? Tensor::zeros(parameter.shape(), parameter.gradient_dtype())
                                   : initial(place - first_own_, parameters_[i]);
      }
    }
  }
  is_built_ = true;
}

Index Optimizer::iterations() const noexcept {
  return *iteration_.data<std::int64_t>() / options_.gradient_accumulation_steps.value_or(1);
}

void Optimizer::set_iterations(Index iterations) noexcept {
  *iteration_.data<std::int64_t>() = iterations * options_.gradient_accumulation_steps.value_or(1);
}

// Keras asks a schedule by the number of steps, not of updates.
double Optimizer::learning_rate() const {
  return learning_rate_.has_value() ? *learning_rate_.data<double>()
                                    : rate_(*iteration_.data<std::int64_t>());
}

void Optimizer::set_learning_rate(double rate) {
  if (!learning_rate_.has_value()) {
    core::throw_config_error(name(), "learning_rate", "a number, to be set", "a schedule");
  }
  *learning_rate_.data<double>() = LearningRate(rate)(0);
}

std::vector<OptimizerVariable> Optimizer::variables() const {
  std::vector<OptimizerVariable> list;
  if (scale_) {
    const std::string& prefix = scale_->scaling.name;
    list = {{prefix + "/iteration", scale_->iteration},
            {prefix + "/learning_rate", scale_->learning_rate},
            {prefix + "/step_counter", scale_->counter},
            {prefix + "/dynamic_scale", scale_->dynamic}};
  }
  list.push_back({name() + "/iteration", iteration_});
  if (learning_rate_.has_value()) list.push_back({name() + "/learning_rate", learning_rate_});
  std::size_t first = 0;
  for (const SlotGroup& group : groups_) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      for (std::size_t k = 0; k < group.size(); ++k) {
        const Tensor& state = slots_[first + k].tensors[i];
        if (!state.has_value()) continue;
        list.push_back({variable_path(name(), parameters_[i], group[k], state), state});
      }
    }
    first += group.size();
  }
  for (OptimizerVariable& number : own_numbers()) list.push_back(std::move(number));
  return list;
}

ConfigValue Optimizer::get_config() const {
  const OptimizerOptions& o = options_;
  return ConfigValue::Object{
      {"name", o.name},
      {"learning_rate", learning_rate_.has_value() ? learning_rate() : rate_.config()},
      {"weight_decay", or_null(weight_decay_)},
      {"clipnorm", or_null(o.clipnorm)},
      {"global_clipnorm", or_null(o.global_clipnorm)},
      {"clipvalue", or_null(o.clipvalue)},
      {"use_ema", o.use_ema},
      {"ema_momentum", o.ema_momentum},
      {"ema_overwrite_frequency", or_null(o.ema_overwrite_frequency)},
      {"loss_scale_factor", or_null(o.loss_scale_factor)},
      {"gradient_accumulation_steps", or_null(o.gradient_accumulation_steps)}};
}

// ---- One step ----------------------------------------------------------------------------------

std::vector<View> Optimizer::gradients_of(Grads& grads) const {
  if (!is_built_) core::throw_config_error(name(), "step", "a call after build()", "none");
  std::vector<View> gradients;
  for (const NamedParameter& named : parameters_) {
    if (named.parameter->quantized() != nullptr) {
      core::throw_config_error(name(), named.path, "floating-point numbers, as at build()",
                               "numbers that were quantized after it");
    }
    gradients.push_back(grads.of(*named.parameter));
    if (!gradients.back().has_value()) {
      core::throw_config_error(name(), named.path, "a gradient in grads", "none");
    }
  }
  return gradients;
}

/// Whether parameters move in this step; the gradients are then the mean of the accumulated ones,
/// and `scale` no longer belongs to them.
bool Optimizer::accumulate(Context& ctx, std::span<const View> gradients, double& scale) {
  if (!options_.gradient_accumulation_steps) return true;
  const Index steps = *options_.gradient_accumulation_steps;
  const bool moves = (*iteration_.data<std::int64_t>() + 1) % steps == 0;
  std::vector<Tensor>& sums = slots_[first_own_ - 1].tensors;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (!is_own(i)) continue;
    const double part = 1 / static_cast<double>(steps);
    if (moves) {
      ops::blend(ctx, part, sums[i], part * scale, gradients[i]);
      fill_zero(sums[i]);
    } else {
      ops::blend(ctx, scale, gradients[i], 1, sums[i]);
    }
  }
  if (moves) scale = 1;
  return moves;
}

std::vector<double> Optimizer::squares_of(Context& ctx, std::span<const View> gradients) const {
  std::vector<double> squares(gradients.size());
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (is_own(i)) squares[i] = ops::sum_of_squares(ctx, gradients[i]);
  }
  exchange(squares);
  add_parts(squares);
  return squares;
}

/// What each gradient is to be multiplied by, its `scale` included.
std::vector<double> Optimizer::clip(Context& ctx, std::span<const View> gradients, double scale,
                                    double& joint_norm) const {
  std::vector<double> norms;
  double squares = 0;
  for (const double square : squares_of(ctx, gradients)) {
    norms.push_back(std::sqrt(square) * scale);
    squares += square;
  }
  joint_norm = std::sqrt(squares) * scale;
  std::vector<double> scales(gradients.size(), scale);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (options_.global_clipnorm)
      scales[i] *= global_clipping(joint_norm, *options_.global_clipnorm);
    if (options_.clipnorm) {
      scales[i] *= *options_.clipnorm / std::max(norms[i], *options_.clipnorm);
    }
    if (options_.clipvalue && is_own(i)) {
      ops::clip(ctx, scale, *options_.clipvalue, gradients[i]);
      scales[i] = 1;
    }
  }
  return scales;
}

/// average = momentum average + (1 - momentum) w; the first is w itself.
void Optimizer::average(Context& ctx, std::size_t parameter, View w) {
  if (!options_.use_ema) return;
  const double momentum = iterations() != 0 ? options_.ema_momentum : 0;
  Tensor& average = slots_[0].tensors[parameter];
  ops::blend(ctx, 1 - momentum, w, momentum, average);
  const auto& frequency = options_.ema_overwrite_frequency;
  if (frequency && (iterations() + 1) % *frequency == 0) copy(average, w);
}

double Optimizer::step(Context& ctx, Grads& grads) {
  const std::vector<View> gradients = gradients_of(grads);
  if (!scale_) return apply(ctx, gradients, grads);
  double squares = 0;
  for (const double square : squares_of(ctx, gradients)) squares += square;
  const bool is_finite =
      std::isfinite(squares) &&
      std::all_of(overwritten_.begin(), overwritten_.end(), [&](const Overwritten& one) {
        const View next = grads.next(*one.parameter);
        return !next.has_value() || std::isfinite(ops::sum_of_squares(ctx, next));
      });
  const double norm = is_finite ? apply(ctx, gradients, grads) : squares;
  scale_->after_step(is_finite);
  return norm;
}

/// Source: keras.optimizers.Optimizer, _overwrite_variables_directly_with_gradients.
void Optimizer::overwrite(Grads& grads, bool moves) {
  for (Overwritten& one : overwritten_) {
    const View next = grads.next(*one.parameter);
    if (!next.has_value()) continue;
    auto* const values = next.data<float>();
    if (one.greatest.has_value()) {
      const auto* const before = std::as_const(one.greatest).data<float>();
      for (Index i = 0; i < next.size(); ++i) values[i] = std::max(values[i], before[i]);
      one.greatest = Tensor();
    }
    if (moves) {
      copy(next, one.parameter->replace());
    } else {
      one.greatest = Tensor(next.shape(), Dtype::f32);
      copy(next, one.greatest);
    }
  }
}

double Optimizer::apply(Context& ctx, std::span<const View> gradients, Grads& grads) {
  keep_own_state();
  const double rate = learning_rate();
  double scale = 1 / loss_scale();
  const bool moves = accumulate(ctx, gradients, scale);
  overwrite(grads, moves);
  double joint_norm = 0;
  const std::vector<double> scales = clip(ctx, gradients, scale, joint_norm);
  if (moves) begin_update(iterations() + 1);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!is_own(i)) continue;
    Parameter& parameter = *parameters_[i].parameter;
    Editing editing(ctx, parameter);
    const View w = editing.view();
    if (moves) {
      const bool decays = is_decayed(parameter);
      update(ctx, {.parameter = i,
                   .w = w,
                   .gradient = gradients[i],
                   .gradient_scale = scales[i],
                   .learning_rate = rate,
                   .weight_decay = decays ? weight_decay_.value_or(0) : 0,
                   .is_decayed = decays,
                   .iteration = iterations() + 1});
    }
    average(ctx, i, w);
    if (parameter.constraint()) parameter.constraint()->apply(ctx, w);
    editing.store();
  }
  if (moves || options_.use_ema) broadcast_parameters();
  ++*iteration_.data<std::int64_t>();
  return joint_norm;
}

void Optimizer::swap_averages() {
  if (!options_.use_ema || !is_built_) {
    core::throw_config_error(name(), "use_ema", "true, for averages to swap", "none");
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!is_own(i)) continue;
    const View w = parameters_[i].parameter->edit();
    Tensor& average = slots_[0].tensors[i];
    Tensor parameter(w.shape(), w.dtype());
    copy(w, parameter);
    ops::convert_rounded(average, w.dtype(), w);
    ops::convert_rounded(parameter, average.dtype(), average);
  }
  broadcast_parameters();
  has_swapped_averages_ = !has_swapped_averages_;
}

void Optimizer::finalize(Context& /*ctx*/) {
  if (!options_.use_ema || !is_built_) return;
  if (has_swapped_averages_) swap_averages();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!is_own(i)) continue;
    const View w = parameters_[i].parameter->edit();
    ops::convert_rounded(slots_[0].tensors[i], w.dtype(), w);
  }
  broadcast_parameters();
}

}  // namespace grouphead
