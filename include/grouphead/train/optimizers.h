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

class Communicator;

/// What every optimizer knows besides its learning rate and weight decay. Names, order and meaning
/// are Keras's.
struct OptimizerOptions {
  std::optional<double> clipnorm{};         ///< scales each gradient so that its norm fits
  std::optional<double> clipvalue{};        ///< cuts each number of the gradients to [-c, c]
  std::optional<double> global_clipnorm{};  ///< scales all so that their joint norm fits
  bool use_ema = false;                     ///< keeps a moving average of the parameters
  double ema_momentum = 0.99;
  std::optional<Index> ema_overwrite_frequency{};      ///< each so many steps w := average
  std::optional<double> loss_scale_factor{};           ///< gradients come scaled by it
  std::optional<Index> gradient_accumulation_steps{};  ///< steps whose mean gradient is one update
  std::string name{};                                  ///< of its variables; empty: the class's
};

/// Keras's LossScaleOptimizer: how the scale of a loss follows its gradients.
struct LossScaling {
  double initial_scale = 32768;
  Index dynamic_growth_steps = 2000;  ///< finite steps after which the scale doubles
  std::string name = "loss_scale_optimizer";
};

/// One state variable of an optimizer, under the name that Keras gives it. Shares the elements.
struct OptimizerVariable {
  std::string path;  ///< `adam/dense_kernel_momentum`
  Tensor value;
};

/// One kind of state, a tensor for each of the optimizer's parameters, in their order; absent where
/// an algorithm keeps none for a parameter, or another process does.
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

  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  virtual std::string_view class_name() const = 0;
  /// Keras's configuration. Errors: ConfigError where the learning rate is a function.
  virtual ConfigValue get_config() const;
  /// Keras's envelope, of a LossScaleOptimizer with this one inside where scale_loss() was called.
  ConfigValue config() const;

  /// The loss is scaled, and what does not fit into a step halves the scale and is left out, as in
  /// Keras's LossScaleOptimizer around this optimizer; its own loss_scale_factor no longer counts.
  /// Errors: ConfigError once built, or for numbers that are not positive.
  void scale_loss(const LossScaling& scaling = {});
  bool scales_loss() const noexcept { return scale_ != nullptr; }

  /// Parameters that are not decayed: these, and those whose name (`bias`) contains one of the
  /// words. Errors: ConfigError once built.
  void exclude_from_weight_decay(std::vector<const Parameter*> parameters,
                                 std::vector<std::string> words = {});
  /// Makes the state, zero at the start, for each trainable parameter; the others are left out.
  /// Those that are overwritten get their next values in step(): with gradient accumulation the
  /// greatest of the steps.
  /// Errors: ConfigError for a second call.
  void build(const ParameterList& parameters);
  bool is_built() const noexcept { return is_built_; }

  /// The processes of a job share the state: each keeps that of some parameters, neighbours in
  /// their order and about as many elements as the others' (ZeRO stage 1: Rajbhandari et al. 2020,
  /// arXiv:1910.02054), moves these in step(), and gives the others their new values. The bits are
  /// those of one process. From here on step(), finalize(), swap_averages() and gather_state() are
  /// called by every process. Before or after build(). Errors: ConfigError for a second call.
  void share_state(std::shared_ptr<Communicator> job);
  /// `parts[i]`: whether parameter i is a part of a tensor that the processes of `job` share out;
  /// the others are the same in all. Norms are then those of whole tensors. After build().
  void share_tensors(std::shared_ptr<Communicator> job, std::vector<bool> parts);
  /// The process that moves a parameter of parameters(); its gradient is needed there alone.
  int owner(std::size_t parameter) const noexcept {
    return owners_.empty() ? 0 : owners_[parameter];
  }
  /// Process 0 gets the whole state, to save it, until its next step.
  void gather_state();

  /// One step. The gradients may be changed. Returns their joint norm before clipping.
  /// Errors: ConfigError before build(), or for a parameter that `grads` does not have.
  double step(Context& ctx, Grads& grads);
  /// At the end of a training: with use_ema the parameters become their averages.
  void finalize(Context& ctx);

  /// Exchanges the parameters with their averages, each rounded to the other's type; a second call
  /// brings them back. Between the two no step. Errors: ConfigError without use_ema.
  void swap_averages();
  /// Whether the parameters hold the averages now.
  bool has_swapped_averages() const noexcept { return has_swapped_averages_; }

  /// Updates made: with gradient accumulation fewer than steps.
  Index iterations() const noexcept;
  void set_iterations(Index iterations) noexcept;
  /// That of the next step.
  double learning_rate() const;
  /// Errors: ConfigError where it is a schedule.
  void set_learning_rate(double rate);
  /// What a loss is to be multiplied by before its gradients are computed.
  double loss_scale() const noexcept;
  const std::string& name() const noexcept { return options_.name; }

  /// The trainable parameters, in order.
  const ParameterList& parameters() const noexcept { return parameters_; }
  std::vector<OptimizerSlot>& slots() noexcept { return slots_; }
  /// All state in Keras's order: that of the loss's scale, iteration (i64), learning_rate (f64; not
  /// with a schedule), slots, numbers of the algorithm.
  /// Writing to the tensors sets the state.
  std::vector<OptimizerVariable> variables() const;

 protected:
  /// Slots that stand together for each parameter in Keras's order.
  using SlotGroup = std::vector<std::string>;

  /// Errors: ConfigError for options outside their ranges or that exclude each other.
  Optimizer(std::string_view class_name, LearningRate learning_rate,
            std::optional<double> weight_decay, OptimizerOptions options);

  /// One parameter's part of a step.
  struct Update {
    std::size_t parameter;  // its place in parameters()
    View w;                 // in the gradient's type
    View gradient;          // may be changed
    double gradient_scale;  // of unscaling and clipping
    double learning_rate;
    double weight_decay;  // 0: none
    bool is_decayed;      // not one of those excluded
    Index iteration;      // 1: the first update
  };

  View own(std::size_t slot, std::size_t parameter) {
    return slots_[first_own_ + slot].tensors[parameter];
  }
  bool has_own(std::size_t slot, std::size_t parameter) const {
    return slots_[first_own_ + slot].tensors[parameter].has_value();
  }

 private:
  /// The algorithm's own slots.
  virtual std::vector<SlotGroup> slot_groups() const = 0;
  /// What a slot of a parameter starts with, of its gradient's type; absent where there is none.
  virtual Tensor initial(std::size_t slot, const NamedParameter& parameter) const = 0;
  /// Numbers that are no parameter's, by their names in Keras.
  virtual std::vector<OptimizerVariable> own_numbers() const = 0;
  /// Before the updates of one step.
  virtual void begin_update(Index iteration) = 0;
  /// Decays w and moves it; own(k, parameter) are the slots.
  virtual void update(Context& ctx, const Update& update) = 0;

  struct Scale;
  struct Overwritten {
    Parameter* parameter = nullptr;
    Tensor greatest{};  // of the accumulated steps
  };
  bool is_own(std::size_t parameter) const noexcept;
  void choose_owners();
  void keep_own_state();
  /// What each process knows of its parameters, for all of them.
  void exchange(std::vector<double>& numbers) const;
  void add_parts(std::vector<double>& squares) const;
  void broadcast_parameters();
  std::vector<double> squares_of(Context& ctx, std::span<const View> gradients) const;
  std::vector<View> gradients_of(Grads& grads) const;
  bool accumulate(Context& ctx, std::span<const View> gradients, double& scale);
  std::vector<double> clip(Context& ctx, std::span<const View> gradients, double scale,
                           double& joint_norm) const;
  double apply(Context& ctx, std::span<const View> gradients, Grads& grads);
  void overwrite(Grads& grads, bool moves);
  void average(Context& ctx, std::size_t parameter, View w);
  bool is_decayed(const Parameter& parameter) const;

  OptimizerOptions options_;
  LearningRate rate_;
  std::optional<double> weight_decay_;
  ParameterList parameters_;
  std::vector<Overwritten> overwritten_;
  std::vector<SlotGroup> groups_;
  std::vector<OptimizerSlot> slots_;  // in the order of groups_
  std::size_t first_own_ = 0;
  std::vector<const Parameter*> undecayed_;
  std::vector<std::string> undecayed_words_;
  Tensor iteration_;              // [] i64: calls of step()
  Tensor learning_rate_;          // [] f64; absent with a schedule
  std::unique_ptr<Scale> scale_;  // of the loss; null: loss_scale_factor
  bool is_built_ = false;
  bool has_swapped_averages_ = false;
  std::shared_ptr<Communicator> job_{};         // null: one process
  std::shared_ptr<Communicator> tensor_job_{};  // null: tensors are whole
  std::vector<bool> are_parts_{};
  std::vector<int> owners_{};  // by parameter; empty: one process
};

// Names and defaults of the configurations are Keras's.

struct SGDConfig {
  LearningRate learning_rate = 0.01;
  double momentum = 0;  ///< in [0, 1]
  bool nesterov = false;
  std::optional<double> weight_decay{};  ///< w -= lr weight_decay w, before the step
  OptimizerOptions options{};
};
struct AdamConfig {
  LearningRate learning_rate = 1e-3;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  bool amsgrad = false;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct AdamWConfig {
  LearningRate learning_rate = 1e-3;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  bool amsgrad = false;
  std::optional<double> weight_decay = 4e-3;
  OptimizerOptions options{};
};
struct RMSpropConfig {
  LearningRate learning_rate = 1e-3;
  double rho = 0.9;
  double momentum = 0;
  double epsilon = 1e-7;
  bool centered = false;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct NadamConfig {
  LearningRate learning_rate = 1e-3;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct AdamaxConfig {
  LearningRate learning_rate = 1e-3;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct LambConfig {
  LearningRate learning_rate = 1e-3;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct AdagradConfig {
  LearningRate learning_rate = 1e-3;
  double initial_accumulator_value = 0.1;
  double epsilon = 1e-7;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct AdadeltaConfig {
  LearningRate learning_rate = 1e-3;
  double rho = 0.95;
  double epsilon = 1e-7;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct FtrlConfig {
  LearningRate learning_rate = 1e-3;
  double learning_rate_power = -0.5;
  double initial_accumulator_value = 0.1;
  double l1_regularization_strength = 0;
  double l2_regularization_strength = 0;
  double l2_shrinkage_regularization_strength = 0;
  double beta = 0;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct LionConfig {
  LearningRate learning_rate = 1e-3;
  double beta_1 = 0.9;
  double beta_2 = 0.99;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct AdafactorConfig {
  LearningRate learning_rate = 1e-3;
  double beta_2_decay = -0.8;
  double epsilon_1 = 1e-30;
  double epsilon_2 = 1e-3;
  double clip_threshold = 1;
  bool relative_step = true;  ///< no effect: the rate is at most 1 / sqrt(step) either way
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};
struct MuonConfig {
  LearningRate learning_rate = 1e-3;
  double adam_beta_1 = 0.9;
  double adam_beta_2 = 0.999;
  std::optional<double> adam_weight_decay = 0.004;
  double epsilon = 1e-7;
  std::vector<std::string> exclude_layers{};  ///< patterns: paths that hold one get AdamW's step
  bool exclude_embeddings = true;
  double muon_a = 3.4445;
  double muon_b = -4.775;
  double muon_c = 2.0315;
  double adam_lr_ratio = 1;
  double momentum = 0.95;
  Index ns_steps = 5;
  bool nesterov = true;
  std::optional<double> rms_rate = 0.2;
  std::optional<double> weight_decay = 0.004;
  OptimizerOptions options{};
};
struct ScheduleFreeAdamWConfig {
  LearningRate learning_rate = 0.0025;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-8;
  Index warmup_steps = 0;
  std::optional<double> weight_decay{};
  OptimizerOptions options{};
};

namespace detail {

/// An optimizer of one of the configurations above. Errors: ConfigError for numbers out of range.
template <class AlgorithmConfig>
class AlgorithmOf final : public Optimizer {
 public:
  using Config = AlgorithmConfig;
  explicit AlgorithmOf(const AlgorithmConfig& config = {});
  std::string_view class_name() const override;
  ConfigValue get_config() const override;

 private:
  std::vector<SlotGroup> slot_groups() const override;
  Tensor initial(std::size_t slot, const NamedParameter& parameter) const override;
  std::vector<OptimizerVariable> own_numbers() const override;
  void begin_update(Index iteration) override;
  void update(Context& ctx, const Update& update) override;

  AlgorithmConfig config_;
  Tensor product_;  // [] Nadam's product of momenta; absent for the others
};

extern template class AlgorithmOf<AdadeltaConfig>;
extern template class AlgorithmOf<AdafactorConfig>;
extern template class AlgorithmOf<AdagradConfig>;
extern template class AlgorithmOf<AdamConfig>;
extern template class AlgorithmOf<AdamWConfig>;
extern template class AlgorithmOf<AdamaxConfig>;
extern template class AlgorithmOf<FtrlConfig>;
extern template class AlgorithmOf<LambConfig>;
extern template class AlgorithmOf<LionConfig>;
extern template class AlgorithmOf<MuonConfig>;
extern template class AlgorithmOf<NadamConfig>;
extern template class AlgorithmOf<RMSpropConfig>;
extern template class AlgorithmOf<SGDConfig>;
extern template class AlgorithmOf<ScheduleFreeAdamWConfig>;

}  // namespace detail

// Steps of w along its gradient g with the learning rate lr, m and v starting at 0.

/// a += (1 - rho) (g^2 - a), d = -g sqrt(b + epsilon) / sqrt(a + epsilon), b likewise of d^2;
/// w += lr d. Source: keras.optimizers.Adadelta; Zeiler 2012, arXiv:1212.5701.
using Adadelta = detail::AlgorithmOf<AdadeltaConfig>;
/// Second moments of a matrix by its rows and columns. Source: keras.optimizers.Adafactor; Shazeer
/// & Stern 2018, arXiv:1804.04235.
using Adafactor = detail::AlgorithmOf<AdafactorConfig>;
/// a += g^2; w -= lr g / sqrt(a + epsilon). Source: keras.optimizers.Adagrad; Duchi et al. 2011.
using Adagrad = detail::AlgorithmOf<AdagradConfig>;
/// With the bias correction of Keras: alpha = lr sqrt(1 - beta_2^t) / (1 - beta_1^t);
/// w -= alpha m / (sqrt(v) + epsilon); with amsgrad the largest v so far instead of v.
/// Source: keras.optimizers.Adam; Kingma & Ba 2015, arXiv:1412.6980.
using Adam = detail::AlgorithmOf<AdamConfig>;
/// Adam whose weight decay is on. Source: keras.optimizers.AdamW; Loshchilov & Hutter 2019,
/// arXiv:1711.05101.
using AdamW = detail::AlgorithmOf<AdamWConfig>;
/// u = max(beta_2 u, |g|); w -= lr m / ((1 - beta_1^t) (u + epsilon)).
/// Source: keras.optimizers.Adamax; Kingma & Ba 2015, section 7.1.
using Adamax = detail::AlgorithmOf<AdamaxConfig>;
/// Source: keras.optimizers.Ftrl; McMahan et al. 2013, "Ad click prediction", algorithm 1.
using Ftrl = detail::AlgorithmOf<FtrlConfig>;
/// Adam's step times |w| / |step|. Source: keras.optimizers.Lamb; You et al. 2020,
/// arXiv:1904.00962.
using Lamb = detail::AlgorithmOf<LambConfig>;
/// w -= lr sign(beta_1 m + (1 - beta_1) g). Source: keras.optimizers.Lion; Chen et al. 2023,
/// arXiv:2302.06675.
using Lion = detail::AlgorithmOf<LionConfig>;
/// Matrices are moved by their momentum made orthogonal, all else by AdamW. Source:
/// keras.optimizers.Muon; Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982.
using Muon = detail::AlgorithmOf<MuonConfig>;
/// Adam with Nesterov's momentum. Source: keras.optimizers.Nadam; Dozat 2015.
using Nadam = detail::AlgorithmOf<NadamConfig>;
/// v += (1 - rho) (g^2 - v); w -= lr g / sqrt(v + epsilon), with `centered` v less the squared mean
/// of g, with momentum m = momentum m + step. Source: keras.optimizers.RMSprop.
using RMSprop = detail::AlgorithmOf<RMSpropConfig>;
/// m = momentum m - lr g; w += m, or with nesterov w += momentum m - lr g. Without momentum
/// w -= lr g. Source: keras.optimizers.SGD.
using SGD = detail::AlgorithmOf<SGDConfig>;
/// Source: keras.optimizers.ScheduleFreeAdamW; Defazio et al. 2024, arXiv:2405.15682.
using ScheduleFreeAdamW = detail::AlgorithmOf<ScheduleFreeAdamWConfig>;

}  // namespace grouphead
#pragma GCC visibility pop
