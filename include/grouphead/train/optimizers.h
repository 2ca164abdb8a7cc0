#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/layers/layer.h"
#include "grouphead/train/schedules.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// What every optimizer knows. Names, order and meaning are Keras's.
struct OptimizerOptions {
  std::string name{};  ///< of its variables; empty: the class's
  LearningRate learning_rate = 1e-3;
  std::optional<double> weight_decay{};     ///< w -= lr weight_decay w, before the step
  std::optional<double> clipnorm{};         ///< scales each gradient so that its norm fits
  std::optional<double> global_clipnorm{};  ///< scales all so that their joint norm fits
  std::optional<double> clipvalue{};        ///< cuts each number of the gradients to [-c, c]
  bool use_ema = false;                     ///< keeps a moving average of the parameters
  double ema_momentum = 0.99;
  std::optional<Index> ema_overwrite_frequency{};      ///< each so many steps w := average
  std::optional<double> loss_scale_factor{};           ///< gradients come scaled by it
  std::optional<Index> gradient_accumulation_steps{};  ///< steps whose mean gradient is one update
};

/// One state variable of an optimizer, under the name that Keras gives it. Shares the elements.
struct OptimizerVariable {
  std::string path;  ///< `adam/dense_kernel_momentum`
  Tensor value;
};

/// One kind of state, a tensor for each of the optimizer's parameters, in their order.
struct OptimizerSlot {
  std::string name;  ///< `momentum`, `velocity`, ...
  std::vector<Tensor> tensors{};
};

/// Changes parameters along their gradients. The update is computed in the parameter's gradient
/// type, f32 for 16-bit parameters, whose states are f32 too and which are stored rounded.
///
/// Order of one step, as in Keras: unscale and accumulate, clip, decay, the algorithm's own step,
/// moving average, constraints. Parameters are cut into fixed blocks: the same bits for any number
/// of threads. Source: keras.optimizers.Optimizer.
class Optimizer {
 public:
  static constexpr std::string_view kModule = "keras.optimizers";
  /// From Keras's name in any case (`adam`: all defaults) or envelope. Errors: ConfigError.
  static std::shared_ptr<Optimizer> from_config(const ConfigValue& identifier);

  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  virtual std::string_view class_name() const = 0;
  /// Keras's configuration. Errors: ConfigError where the learning rate is a function.
  virtual ConfigValue get_config() const;
  /// Keras's envelope.
  ConfigValue config() const { return config_envelope(kModule, class_name(), get_config()); }

  /// Parameters that are not decayed: these, and those whose name (`bias`) contains one of the
  /// words. Errors: ConfigError once built.
  void exclude_from_weight_decay(std::vector<const Parameter*> parameters,
                                 std::vector<std::string> words = {});
  /// Makes the state, zero at the start, for each trainable parameter; the others are left out.
  /// Errors: ConfigError for a second call.
  void build(const ParameterList& parameters);
  bool is_built() const noexcept { return is_built_; }

  /// One step. The gradients may be changed. Returns their joint norm before clipping.
  /// Errors: ConfigError before build(), or for a parameter that `grads` does not have.
  double step(Context& ctx, Grads& grads);
  /// At the end of a training: with use_ema the parameters become their averages.
  void finalize(Context& ctx);

  /// Updates made: with gradient accumulation fewer than steps.
  Index iterations() const noexcept;
  void set_iterations(Index iterations) noexcept;
  /// That of the next step.
  double learning_rate() const;
  /// Errors: ConfigError where it is a schedule.
  void set_learning_rate(double rate);
  /// What a loss is to be multiplied by before its gradients are computed.
  double loss_scale() const noexcept { return options_.loss_scale_factor.value_or(1); }
  const std::string& name() const noexcept { return options_.name; }

  /// The trainable parameters, in order.
  const ParameterList& parameters() const noexcept { return parameters_; }
  std::vector<OptimizerSlot>& slots() noexcept { return slots_; }
  /// All state in Keras's order: iteration (i64), learning_rate (f64; not with a schedule), slots.
  /// Writing to the tensors sets the state.
  std::vector<OptimizerVariable> variables() const;

 protected:
  /// Slots that stand together for each parameter in Keras's order.
  using SlotGroup = std::vector<std::string>;

  /// Errors: ConfigError for options outside their ranges or that exclude each other.
  Optimizer(std::string_view class_name, OptimizerOptions options);

  /// One parameter's part of a step.
  struct Update {
    std::size_t parameter;  // its place in parameters()
    View w;                 // in the gradient's type
    ConstView gradient;
    double gradient_scale;  // of unscaling and clipping
    double learning_rate;
    double weight_decay;  // 0: none
    Index iteration;      // 1: the first update
  };

 private:
  /// The algorithm's own slots.
  virtual std::vector<SlotGroup> slot_groups() const = 0;
  /// Decays w and moves it; own(k, parameter) are the slots.
  virtual void update(Context& ctx, const Update& update) = 0;

  std::vector<View> gradients_of(Grads& grads) const;
  bool accumulate(Context& ctx, std::span<const View> gradients, double& scale);
  std::vector<double> clip(Context& ctx, std::span<const View> gradients, double scale,
                           double& joint_norm) const;
  void average(Context& ctx, std::size_t parameter, View w);
  bool is_decayed(const Parameter& parameter) const;

 protected:
  View own(std::size_t slot, std::size_t parameter) {
    return slots_[first_own_ + slot].tensors[parameter];
  }

 private:
  OptimizerOptions options_;
  ParameterList parameters_;
  std::vector<SlotGroup> groups_;
  std::vector<OptimizerSlot> slots_;  // in the order of groups_
  std::size_t first_own_ = 0;
  std::vector<const Parameter*> undecayed_;
  std::vector<std::string> undecayed_words_;
  Tensor iteration_;      // [] i64: calls of step()
  Tensor learning_rate_;  // [] f64; absent with a schedule
  bool is_built_ = false;
};

/// Names and defaults are Keras's.
struct SGDConfig {
  LearningRate learning_rate = 0.01;
  double momentum = 0;  ///< in [0, 1]
  bool nesterov = false;
  std::optional<double> weight_decay{};
  std::optional<double> clipnorm{};
  std::optional<double> clipvalue{};
  std::optional<double> global_clipnorm{};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<Index> ema_overwrite_frequency{};
  std::optional<double> loss_scale_factor{};
  std::optional<Index> gradient_accumulation_steps{};
  std::string name{};
};

/// m = momentum m - lr g; w += m, or with nesterov w += momentum m - lr g. Without momentum
/// w -= lr g. Source: keras.optimizers.SGD.
class SGD final : public Optimizer {
 public:
  /// Errors: ConfigError.
  explicit SGD(const SGDConfig& config = {});
  std::string_view class_name() const override { return "SGD"; }
  ConfigValue get_config() const override;

 private:
  std::vector<SlotGroup> slot_groups() const override;
  void update(Context& ctx, const Update& update) override;

  double momentum_;
  bool nesterov_;
};

/// Names and defaults are Keras's.
struct AdamConfig {
  LearningRate learning_rate = 1e-3;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  bool amsgrad = false;
  std::optional<double> weight_decay{};
  std::optional<double> clipnorm{};
  std::optional<double> clipvalue{};
  std::optional<double> global_clipnorm{};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<Index> ema_overwrite_frequency{};
  std::optional<double> loss_scale_factor{};
  std::optional<Index> gradient_accumulation_steps{};
  std::string name{};
};

/// With the bias correction of Keras: alpha = lr sqrt(1 - beta_2^t) / (1 - beta_1^t);
/// w -= alpha m / (sqrt(v) + epsilon); with amsgrad the largest v so far instead of v.
/// Source: keras.optimizers.Adam; Kingma & Ba 2015, arXiv:1412.6980.
class Adam : public Optimizer {
 public:
  /// Errors: ConfigError.
  explicit Adam(const AdamConfig& config = {});
  std::string_view class_name() const override { return "Adam"; }
  ConfigValue get_config() const override;

 protected:
  Adam(std::string_view class_name, const AdamConfig& config);

 private:
  std::vector<SlotGroup> slot_groups() const override;
  void update(Context& ctx, const Update& update) override;

  double beta_1_;
  double beta_2_;
  double epsilon_;
  bool amsgrad_;
};

/// AdamConfig with AdamW's default.
struct AdamWConfig {
  LearningRate learning_rate = 1e-3;
  double weight_decay = 4e-3;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  bool amsgrad = false;
  std::optional<double> clipnorm{};
  std::optional<double> clipvalue{};
  std::optional<double> global_clipnorm{};
  bool use_ema = false;
  double ema_momentum = 0.99;
  std::optional<Index> ema_overwrite_frequency{};
  std::optional<double> loss_scale_factor{};
  std::optional<Index> gradient_accumulation_steps{};
  std::string name{};
};

/// Adam whose weight decay is on. Source: keras.optimizers.AdamW; Loshchilov & Hutter 2019,
/// arXiv:1711.05101.
class AdamW final : public Adam {
 public:
  /// Errors: ConfigError.
  explicit AdamW(const AdamWConfig& config = {});
  std::string_view class_name() const override { return "AdamW"; }
};

}  // namespace grouphead
#pragma GCC visibility pop
