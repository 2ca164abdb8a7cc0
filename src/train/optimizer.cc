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
    detail::throw_config_error("optimizer", option, expected, detail::number_text(got));
  }
}

void require_positive(std::string_view option, const std::optional<double>& value) {
  if (value) require(*value > 0, option, "a number above 0", *value);
}

void check(const OptimizerOptions& options) {
  const auto& o = options;
  if (o.weight_decay) {
    require(*o.weight_decay >= 0 && std::isfinite(*o.weight_decay), "weight_decay",
            "a finite number of 0 or more", *o.weight_decay);
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

template <class T>
ConfigValue or_null(const std::optional<T>& value) {
  return value ? ConfigValue(*value) : ConfigValue();
}

}  // namespace

Optimizer::Optimizer(std::string_view class_name, OptimizerOptions options)
    : options_(std::move(options)), iteration_(Tensor::zeros({}, Dtype::i64)) {
  check(options_);
  if (options_.name.empty()) options_.name = class_name;
  if (options_.learning_rate.is_number()) {
    learning_rate_ = Tensor({}, Dtype::f64);
    *learning_rate_.data<double>() = options_.learning_rate(0);
  }
}

void Optimizer::exclude_from_weight_decay(std::vector<const Parameter*> parameters,
                                          std::vector<std::string> words) {
  if (is_built_) {
    detail::throw_config_error(name(), "exclude_from_weight_decay", "a call before build()",
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
  if (is_built_) detail::throw_config_error(name(), "build", "one call", "a second one");
  for (const NamedParameter& named : parameters) {
    if (named.parameter->trainable()) parameters_.push_back(named);
  }
  if (options_.use_ema) groups_.push_back({std::string(kAverage)});
  if (options_.gradient_accumulation_steps) groups_.push_back({std::string(kAccumulator)});
  first_own_ = groups_.size();
  for (SlotGroup& group : slot_groups()) groups_.push_back(std::move(group));
  for (const SlotGroup& group : groups_) {
    for (const std::string& slot : group) {
      OptimizerSlot& made = slots_.emplace_back(OptimizerSlot{.name = slot});
      for (const auto& [path, parameter] : parameters_) {
        made.tensors.push_back(Tensor::zeros(parameter->shape(), parameter->gradient_dtype()));
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
                                    : options_.learning_rate(*iteration_.data<std::int64_t>());
}

void Optimizer::set_learning_rate(double rate) {
  if (!learning_rate_.has_value()) {
    detail::throw_config_error(name(), "learning_rate", "a number, to be set", "a schedule");
  }
  *learning_rate_.data<double>() = LearningRate(rate)(0);
}

std::vector<OptimizerVariable> Optimizer::variables() const {
  std::vector<OptimizerVariable> list{{name() + "/iteration", iteration_}};
  if (learning_rate_.has_value()) list.push_back({name() + "/learning_rate", learning_rate_});
  std::size_t first = 0;
  for (const SlotGroup& group : groups_) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      for (std::size_t k = 0; k < group.size(); ++k) {
        list.push_back({name() + "/" + variable_name(parameters_[i].path, group[k]),
                        slots_[first + k].tensors[i]});
      }
    }
    first += group.size();
  }
  return list;
}

ConfigValue Optimizer::get_config() const {
  const OptimizerOptions& o = options_;
  return ConfigValue::Object{
      {"name", o.name},
      {"learning_rate", learning_rate_.has_value() ? learning_rate() : o.learning_rate.config()},
      {"weight_decay", or_null(o.weight_decay)},
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
  if (!is_built_) detail::throw_config_error(name(), "step", "a call after build()", "none");
  std::vector<View> gradients;
  for (const NamedParameter& named : parameters_) {
    gradients.push_back(grads.of(*named.parameter));
    if (!gradients.back().has_value()) {
      detail::throw_config_error(name(), named.path, "a gradient in grads", "none");
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

/// What each gradient is to be multiplied by, its `scale` included.
std::vector<double> Optimizer::clip(Context& ctx, std::span<const View> gradients, double scale,
                                    double& joint_norm) const {
  std::vector<double> norms;
  double squares = 0;
  for (const View& gradient : gradients) {
    const double square = ops::sum_of_squares(ctx, gradient);
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
    if (options_.clipvalue) {
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
  const double rate = learning_rate();
  double scale = 1 / loss_scale();
  const bool moves = accumulate(ctx, gradients, scale);
  double joint_norm = 0;
  const std::vector<double> scales = clip(ctx, gradients, scale, joint_norm);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& parameter = *parameters_[i].parameter;
    Editing editing(ctx, parameter);
    const View w = editing.view();
    if (moves) {
      const double decay = is_decayed(parameter) ? options_.weight_decay.value_or(0) : 0;
      update(ctx, {.parameter = i,
                   .w = w,
                   .gradient = gradients[i],
                   .gradient_scale = scales[i],
                   .learning_rate = rate,
                   .weight_decay = decay,
                   .iteration = iterations() + 1});
    }
    average(ctx, i, w);
    if (parameter.constraint()) parameter.constraint()->apply(ctx, w);
    editing.store();
  }
  ++*iteration_.data<std::int64_t>();
  return joint_norm;
}

void Optimizer::finalize(Context& /*ctx*/) {
  if (!options_.use_ema || !is_built_) return;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const View w = parameters_[i].parameter->edit();
    ops::convert_rounded(slots_[0].tensors[i], w.dtype(), w);
  }
}

}  // namespace grouphead
