#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/layers/layer.h"
#include "grouphead/train/callbacks.h"
#include "grouphead/train/losses.h"
#include "grouphead/train/metrics.h"
#include "grouphead/train/optimizers.h"

#pragma GCC visibility push(default)
namespace grouphead {

class Communicator;
class Model;
class StepTrace;

/// An optimizer by Keras's name, by its configuration, or as an object; or none.
class OptimizerChoice {
 public:
  OptimizerChoice() = default;
  OptimizerChoice(const char* name)  // NOLINT(google-explicit-constructor)
      : optimizer_(Optimizer::from_config(ConfigValue(name))) {}
  OptimizerChoice(const ConfigValue& identifier)  // NOLINT(google-explicit-constructor)
      : optimizer_(Optimizer::from_config(identifier)) {}
  OptimizerChoice(std::shared_ptr<Optimizer> optimizer)  // NOLINT(google-explicit-constructor)
      : optimizer_(std::move(optimizer)) {}
  template <class O, std::enable_if_t<std::is_base_of_v<Optimizer, O>, int> = 0>
  OptimizerChoice(std::shared_ptr<O> optimizer)  // NOLINT(google-explicit-constructor)
      : optimizer_(std::move(optimizer)) {}
  const std::shared_ptr<Optimizer>& get() const noexcept { return optimizer_; }

 private:
  std::shared_ptr<Optimizer> optimizer_;
};

/// What Keras's compile() takes. Lists have one entry for each output, or one for all.
struct CompileConfig {
  OptimizerChoice optimizer{};
  std::vector<Loss> loss{};                                   ///< null: no loss for this output
  std::vector<double> loss_weights{};                         ///< empty: 1 for each
  std::vector<std::vector<MetricChoice>> metrics{};           ///< without sample weights
  std::vector<std::vector<MetricChoice>> weighted_metrics{};  ///< with them
  std::vector<std::string> output_names{};  ///< empty: those of a Model, else output_1, ...
  /// Calls scale_loss() of an optimizer that is not built, where a layer of the model has the
  /// policy mixed_float16: f16 overflows, and then the step is left out.
  bool auto_scale_loss = true;

  /// Processes that train one model together (docs/scale.md); null: this one alone. All have the
  /// same model, and are given the same batches, which are the whole job's: each process computes
  /// some blocks of them. Then step by step all call the same functions.
  std::shared_ptr<Communicator> communicator{};
  /// Of these processes the ones that have the same samples, and share out their positions; null:
  /// nobody does. Process (s, d), the s-th here, is s D + d of `communicator`, where D share out a
  /// batch. The model is a LanguageModel, or a TransformerModel without a
  /// table of positions, attention sinks, dropped probabilities and products in bf16; inputs and
  /// targets have positions along axis 1, in a multiple of two for each process.
  std::shared_ptr<Communicator> sequence{};
  /// Parts that a batch is cut into; gradients and losses are summed over them in a fixed order, so
  /// that any number of processes gives the same bits. 1: the batch as a whole, in one process.
  /// 0: with a communicator the largest power of two up to 8 that divides the first batch, else 1.
  Index batch_blocks = 0;
};

/// From Keras's compile_config. Losses, their weights and metrics may be listed by the model's
/// output_names(). Errors: ConfigError for other names, and for optimizers, losses and metrics that
/// this library does not have. Source: keras.Model.compile_from_config.
CompileConfig compile_config_from(const ConfigValue& config, const Model& model);

/// Samples along the first axis: one tensor for each input and output.
struct Data {
  std::vector<Tensor> x{};
  std::vector<Tensor> y{};
  /// None; one for each output; or one number per sample for all of them.
  std::vector<Tensor> sample_weight{};
};

/// The batch of a step of an epoch; nothing when the epoch is over.
using BatchSource = std::function<std::optional<Data>(Index epoch, Index step)>;

/// Where a training stands, for whoever shows it.
struct FitProgress {
  Index epoch = 0;  ///< from 0
  Index epochs = 0;
  Index step = 0;    ///< steps done in this epoch
  Index steps = -1;  ///< of an epoch; -1: unknown
  bool epoch_is_over = false;
  const Logs& logs;
};

/// Names and defaults are Keras's.
struct FitConfig {
  Index batch_size = 0;  ///< 0: 32, or what steps_per_epoch asks for. Not with a BatchSource
  Index epochs = 1;      ///< the index where training ends
  std::vector<std::shared_ptr<Callback>> callbacks{};
  double validation_split = 0;  ///< share of the last samples, before shuffling
  std::optional<Data> validation_data{};
  BatchSource validation_source{};
  bool shuffle = true;
  /// Epoch e is shuffled by Philox numbers of (seed, e): an order of its own, not NumPy's.
  std::uint64_t shuffle_seed = 0;
  std::map<Index, double> class_weight{};  ///< one output; classes that are missing count 1
  Index initial_epoch = 0;
  Index steps_per_epoch = 0;  ///< 0: until the data end
  Index validation_steps = 0;
  Index validation_batch_size = 0;  ///< 0: batch_size
  Index validation_freq = 1;

  RandomStream* random = nullptr;           ///< for dropout; null: the layers' own generators
  const std::atomic<bool>* stop = nullptr;  ///< looked at between steps: true ends the training
  std::function<void(const FitProgress&)> progress{};
};

struct EvaluateConfig {
  Index batch_size = 32;
  Index steps = 0;  ///< 0: all batches
  std::vector<std::shared_ptr<Callback>> callbacks{};
};

/// Where a training that was interrupted goes on.
struct FitStart {
  Index epoch = 0;
  Index step = 0;  ///< steps of this epoch that were done
};

/// What fit() did.
struct History {
  std::vector<Index> epochs{};
  std::vector<std::pair<std::string, std::vector<double>>> series{};
  /// Whether FitConfig::stop ended it; the epoch that was cut short is not in the series.
  bool interrupted = false;

  /// One number per epoch. Errors: ConfigError that lists the names.
  const std::vector<double>& operator[](std::string_view name) const;
};

/// A model with what it is trained by: Keras's compile(), fit(), evaluate() and predict().
///
/// A step is call() with penalties, the losses, call_backward() and the optimizer's step: between
/// steps the model and the optimizer's state belong together. The loss of the logs is the mean over
/// the batches by their sizes, penalties included. Masks that the model attaches to its outputs
/// weigh losses and metrics. The model outlives this object.
///
/// Source: keras.Model's Trainer.
class CompiledModel {
 public:
  /// Errors: ConfigError for lists that do not fit the outputs, or a loss whose reduction is none.
  CompiledModel(Layer& model, const CompileConfig& config);
  ~CompiledModel();
  CompiledModel(CompiledModel&&) noexcept;
  CompiledModel& operator=(CompiledModel&&) noexcept;

  /// Errors: ConfigError; ShapeError for data that do not fit.
  History fit(Context& ctx, const Data& data, const FitConfig& config = {});
  History fit(Context& ctx, const BatchSource& source, const FitConfig& config = {});
  /// Loss and metrics in inference.
  Logs evaluate(Context& ctx, const Data& data, const EvaluateConfig& config = {});
  Logs evaluate(Context& ctx, const BatchSource& source, const EvaluateConfig& config = {});
  /// The outputs in inference, batch after batch.
  std::vector<Tensor> predict(Context& ctx, const std::vector<Tensor>& x, Index batch_size = 32);

  /// One step: compute_gradients() and the optimizer's step. Returns the batch's loss, penalties
  /// included, and updates the metrics.
  double train_on_batch(Context& ctx, const Data& batch, RandomStream* random = nullptr);
  /// The same without the optimizer's step: no parameter changes, and gradients() has the batch's
  /// gradients of the loss, penalties included.
  double compute_gradients(Context& ctx, const Data& batch, RandomStream* random = nullptr);
  /// Of the last batch; after train_on_batch() of the loss times the optimizer's loss scale.
  /// Errors: ConfigError before the first batch.
  Grads& gradients();
  /// Euclidean norm of all gradients of the last train_on_batch(), before they are clipped: what
  /// Optimizer::step() returns. 0 before the first.
  double gradient_norm() const noexcept;
  /// The same in inference: no parameter changes.
  double test_on_batch(Context& ctx, const Data& batch);
  /// Of all batches since reset_metrics().
  Logs logs() const;
  void reset_metrics();

  const Layer& model() const noexcept;
  Layer& model() noexcept;
  /// What compile_config_from() and Keras make this again from; the optimizer's state apart.
  /// Errors: ConfigError where the learning rate is a function.
  ConfigValue compile_config() const;
  bool has_optimizer() const noexcept;
  /// Errors: ConfigError where there is none.
  Optimizer& optimizer() const;
  /// Whether more of this metric is better; absent for a name that is none of the metrics.
  std::optional<bool> higher_is_better(std::string_view name) const;

  /// In fit(): whether the epoch that ended was not validated, but others are.
  bool is_between_validations() const noexcept;

  /// Where train_on_batch() writes when it did what; null: nowhere.
  StepTrace* trace = nullptr;
  /// Ends fit() after the batch.
  bool stop_training = false;
  /// What on_train_begin() of a callback may set: where this fit() begins, in initial_epoch's
  /// place. The logs of an epoch that was begun before are those of its other steps.
  std::optional<FitStart> start{};
  /// Whether FitConfig::stop ended the last fit().
  bool is_interrupted() const noexcept;
  /// Whether any process of the communicator says so; without one `own`.
  bool any_process(bool own) const;

 private:
  struct State;
  double add_gradients(Context& ctx, const Data& batch, RandomStream* random);
  Logs evaluate(Context& ctx, const BatchSource& source, Index steps,
                const std::vector<std::shared_ptr<Callback>>& callbacks);
  History fit(Context& ctx, const BatchSource& source, const FitConfig& config, Index steps);
  std::unique_ptr<State> state_;
};

inline CompiledModel compile(Layer& model, const CompileConfig& config) {
  return CompiledModel(model, config);
}

}  // namespace grouphead
#pragma GCC visibility pop
