#include "grouphead/train/fit.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "grouphead/models/model.h"
#include "ops/arithmetic.h"
#include "train/batches.h"
#include "train/compile_config.h"
#include "train/compiled_state.h"
#include "train/share_rules.h"

namespace grouphead {

std::optional<double> find(const Logs& logs, std::string_view name) {
  for (const auto& [key, value] : logs) {
    if (key == name) return value;
  }
  return {};
}

const std::vector<double>& History::operator[](std::string_view name) const {
  std::string known;
  for (const auto& [key, values] : series) {
    if (key == name) return values;
    known += known.empty() ? key : ", " + key;
  }
  core::throw_config_error("history", "name", known, name);
}

namespace {

std::vector<std::string> names_of_outputs(const Layer& layer, const CompileConfig& config) {
  if (!config.output_names.empty()) return config.output_names;
  const auto* model = dynamic_cast<const Model*>(&layer);
  return model != nullptr ? model->output_names() : std::vector<std::string>();
}

[[noreturn]] void throw_no_batch(std::string_view operation) {
  core::throw_shape_error(operation, "data", "1 sample or more", "none");
}

/// Whether the epoch (from 0) ends with a validation.
bool is_validated(const FitConfig& config, Index epoch) {
  return (epoch + 1) % config.validation_freq == 0;
}

/// Whether any epoch does.
bool validates(const FitConfig& config) {
  const Index freq = config.validation_freq;
  return (config.validation_data || config.validation_source) &&
         config.epochs / freq > config.initial_epoch / freq;
}

// Each block would have statistics of its own.
void check_job(const CompileConfig& config, const ParameterList& parameters) {
  const int sequence = config.sequence ? config.sequence->size() : 1;
  const int processes = config.communicator ? config.communicator->size() / sequence : 1;
  if (config.batch_blocks < 0 || (config.batch_blocks > 0 && config.batch_blocks < processes)) {
    core::throw_config_error(
        "compile", "batch_blocks",
        "0, or 1 and more for each of " + std::to_string(processes) + " processes",
        std::to_string(config.batch_blocks));
  }
  if (!config.communicator && config.batch_blocks < 2) return;
  for (const NamedParameter& named : parameters) {
    if (!named.parameter->is_updated() && !named.parameter->is_overwritten()) continue;
    core::throw_config_error("compile", "batch_blocks",
                             "1, with moving statistics such as " + named.path,
                             std::to_string(config.batch_blocks));
  }
}

void check_sequence(const CompileConfig& config, const Layer& model) {
  if (!config.sequence) return;
  const int own = config.communicator ? config.communicator->size() / config.sequence->size() : 0;
  if (own == 0 || config.communicator->size() % config.sequence->size() != 0 ||
      config.communicator->rank() / own != config.sequence->rank()) {
    core::throw_config_error("compile", "sequence",
                             "processes s D + d of the communicator, in the order of s", "others");
  }
  train::require_sequence_model(model);
}

// Keras asks the policy that was global when the model was made, which files do not tell.
bool has_mixed_float16(const Layer& layer) {
  if (layer.policy().name() == "mixed_float16") return true;
  const auto* model = dynamic_cast<const Model*>(&layer);
  if (model == nullptr) return false;
  const std::vector<std::shared_ptr<Layer>> layers = model->layers();
  return std::any_of(layers.begin(), layers.end(),
                     [](const auto& inner) { return has_mixed_float16(*inner); });
}

}  // namespace

CompiledModel::CompiledModel(Layer& model, const CompileConfig& config)
    : state_(new State{.model = model,
                       .config = config,
                       .optimizer = config.optimizer.get(),
                       .loss = {config.loss, config.loss_weights},
                       .metrics = {config.metrics, config.weighted_metrics}}) {
  check_job(config, {});
  check_sequence(config, model);
  if (model.is_built()) state_->adopt();
}

void CompiledModel::State::adopt() {
  parameters = model.parameters();
  check_job(config, parameters);
  output_names = names_of_outputs(model, config);
  has_several_losses = config.loss.size() > 1 || output_names.size() > 1;
  if (optimizer && config.communicator) optimizer->share_state(config.communicator);
  if (optimizer && !optimizer->is_built()) {
    const bool scales = config.auto_scale_loss && !optimizer->scales_loss();
    if (scales && has_mixed_float16(model)) optimizer->scale_loss();
    optimizer->build(parameters);
  }
  is_ready = true;
}

void CompiledModel::State::build_for(const std::vector<Tensor>& x) {
  if (is_ready) return;
  std::vector<Shape> shapes;
  for (const Tensor& tensor : x) {
    shapes.push_back(tensor.has_value() ? tensor.shape() : Shape());
  }
  const bool tells_shape =
      std::any_of(x.begin(), x.end(), [](const Tensor& one) { return one.has_value(); });
  if (!model.is_built() && !tells_shape) {
    core::throw_config_error(model.name(), "x", "a tensor, whose shape the model is built for",
                             "none");
  }
  model.build_once(shapes);
  adopt();
}

CompiledModel::~CompiledModel() = default;
CompiledModel::CompiledModel(CompiledModel&&) noexcept = default;
CompiledModel& CompiledModel::operator=(CompiledModel&&) noexcept = default;

const Layer& CompiledModel::model() const noexcept { return state_->model; }
Layer& CompiledModel::model() noexcept { return state_->model; }

ConfigValue CompiledModel::compile_config() const {
  const auto* model = dynamic_cast<const Model*>(&state_->model);
  return train::config_of(state_->config, state_->output_names.size(),
                          model != nullptr ? model->output_keys() : std::vector<std::string>());
}

bool CompiledModel::is_between_validations() const noexcept {
  return state_->is_between_validations;
}

bool CompiledModel::is_interrupted() const noexcept { return state_->is_interrupted; }

bool CompiledModel::has_optimizer() const noexcept { return state_->optimizer != nullptr; }

Optimizer& CompiledModel::optimizer() const {
  if (!state_->optimizer) core::throw_config_error("compile", "optimizer", "one, to train", "none");
  return *state_->optimizer;
}

std::optional<bool> CompiledModel::higher_is_better(std::string_view name) const {
  return name == "loss" ? false : state_->metrics.higher_is_better(name);
}

// ---- One batch ---------------------------------------------------------------------------------

double CompiledModel::compute_gradients(Context& ctx, const Data& batch, RandomStream* random) {
  const double total = add_gradients(ctx, batch, random);
  if (state_->sums) state_->sums->share(*state_->grads);
  return total;
}

double CompiledModel::add_gradients(Context& ctx, const Data& batch, RandomStream* random) {
  State& s = *state_;
  s.is_between_validations = false;
  s.build_for(batch.x);
  s.prepare(train::num_samples(batch));
  LossSink penalties;
  double total =
      s.sums ? s.run_blocks(ctx, batch, random, trace) : s.run(ctx, batch, random, penalties);
  add_weight_penalties(ctx, s.parameters, &penalties, s.grads.get());
  for (const double penalty : penalties.losses()) total += penalty;
  s.mean_loss.add(total, static_cast<double>(batch.x[0].dim(0)));
  return total;
}

double CompiledModel::train_on_batch(Context& ctx, const Data& batch, RandomStream* random) {
  State& s = *state_;
  if (trace != nullptr) trace->restart();
  const double total = add_gradients(ctx, batch, random);
  // Optimizers expect gradients of the scaled loss.
  const double scale = optimizer().loss_scale();
  for (const NamedParameter& named : s.optimizer->parameters()) {
    const View gradient = s.grads->of(*named.parameter);
    if (scale != 1) ops::scale(ctx, gradient, scale, gradient);
  }
  s.gradient_norm = s.optimizer->step(ctx, *s.grads);
  s.updates.apply(s.parameters);
  return total;
}

Grads& CompiledModel::gradients() {
  if (!state_->grads) {
    core::throw_config_error("compile", "gradients", "a batch before they are asked for", "none");
  }
  return *state_->grads;
}

double CompiledModel::gradient_norm() const noexcept { return state_->gradient_norm; }

double CompiledModel::test_on_batch(Context& ctx, const Data& batch) {
  State& s = *state_;
  s.build_for(batch.x);
  s.prepare(train::num_samples(batch));
  LossSink penalties;
  double total = s.sums ? s.test_blocks(ctx, batch) : s.test(ctx, batch, penalties);
  add_weight_penalties(ctx, s.parameters, &penalties, nullptr);
  for (const double penalty : penalties.losses()) total += penalty;
  s.mean_loss.add(total, static_cast<double>(batch.x[0].dim(0)));
  return total;
}

Logs CompiledModel::logs() const {
  std::vector<std::string> names = state_->output_names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) names[i] = "output_" + std::to_string(i + 1);
  }
  Logs logs{{"loss", state_->mean_loss.result()}};
  state_->metrics.append_logs(names, logs);
  state_->loss.append_logs(names, logs);
  return logs;
}

void CompiledModel::reset_metrics() {
  state_->mean_loss.reset();
  state_->metrics.reset();
  state_->loss.reset();
}

// ---- Evaluation --------------------------------------------------------------------------------

Logs CompiledModel::evaluate(Context& ctx, const BatchSource& source, Index steps,
                             const std::vector<std::shared_ptr<Callback>>& callbacks) {
  reset_metrics();
  for (const auto& callback : callbacks) callback->on_test_begin(*this);
  for (Index step = 0; steps == 0 || step < steps; ++step) {
    const std::optional<Data> batch = source(0, step);
    if (!batch && step == 0) throw_no_batch("evaluate");
    if (!batch) break;
    test_on_batch(ctx, *batch);
  }
  Logs numbers = logs();
  for (const auto& callback : callbacks) callback->on_test_end(*this, numbers);
  return numbers;
}

Logs CompiledModel::evaluate(Context& ctx, const Data& data, const EvaluateConfig& config) {
  return evaluate(ctx, train::ArrayBatches(data, {.batch_size = config.batch_size}), config.steps,
                  config.callbacks);
}

Logs CompiledModel::evaluate(Context& ctx, const BatchSource& source,
                             const EvaluateConfig& config) {
  return evaluate(ctx, source, config.steps, config.callbacks);
}

std::vector<Tensor> CompiledModel::predict(Context& ctx, const std::vector<Tensor>& x,
                                           Index batch_size) {
  state_->build_for(x);
  train::ArrayBatches batches({.x = x}, {.batch_size = batch_size});
  const Index samples = train::num_samples({.x = x});
  std::vector<Tensor> outputs;
  if (samples == 0) {
    for (Value& value : state_->model.call(ctx, train::values_of(x), {}, nullptr)) {
      outputs.push_back(std::move(value.tensor));
    }
    return outputs;
  }
  Index first = 0;
  for (Index step = 0; step < batches.steps(); ++step) {
    const std::optional<Data> batch = batches(0, step);
    const std::vector<Value> out = state_->model.call(ctx, train::values_of(batch->x), {}, nullptr);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const Tensor& part = out[i].tensor;
      if (outputs.size() <= i) {
        std::array<Index, kMaxRank> dims{};
        std::copy(part.shape().begin(), part.shape().end(), dims.begin());
        dims[0] = samples;
        outputs.emplace_back(
            Shape(std::span<const Index>(dims.data(), static_cast<std::size_t>(part.rank()))),
            part.dtype());
      }
      copy(part, outputs[i].view().slice(0, first, first + part.dim(0)));
    }
    first += batch->x[0].dim(0);
  }
  return outputs;
}

// ---- Training ----------------------------------------------------------------------------------

namespace {

void append(const Logs& logs, Index epoch, History& history) {
  history.epochs.push_back(epoch);
  for (const auto& [name, value] : logs) {
    auto found = history.series.begin();
    while (found != history.series.end() && found->first != name) ++found;
    if (found == history.series.end()) found = history.series.insert(found, {name, {}});
    found->second.push_back(value);
  }
}

/// Training data with class weights as sample weights, and what is validated on.
struct Parts {
  Data training;
  std::optional<Data> validation;
};

Parts parts_of(Context& ctx, const Data& data, const FitConfig& config) {
  Parts parts{data, config.validation_data};
  if (config.validation_split != 0 && !parts.validation) {
    auto [training, validation] = train::split(data, config.validation_split);
    parts = {std::move(training), std::move(validation)};
  }
  if (!config.class_weight.empty()) {
    parts.training.sample_weight = {
        train::weights_of_classes(ctx, parts.training, config.class_weight)};
  }
  return parts;
}

/// One call of fit().
class Fitting {
 public:
  /// `first`: the first batch of config.initial_epoch, where it was asked for already.
  Fitting(Context& ctx, CompiledModel& model, const BatchSource& source, std::optional<Data> first,
          Index steps, const FitConfig& config, bool& is_interrupted)
      : ctx_(ctx),
        model_(model),
        source_(source),
        first_(std::move(first)),
        steps_(steps),
        config_(config),
        is_interrupted_(is_interrupted) {}

  template <class Validate>
  History run(Validate&& validate) {
    for (const auto& callback : config_.callbacks) callback->on_train_begin(model_);
    FitStart start = model_.start.value_or(FitStart{.epoch = config_.initial_epoch});
    for (Index epoch = start.epoch; epoch < config_.epochs; ++epoch) {
      model_.reset_metrics();
      for (const auto& callback : config_.callbacks) callback->on_epoch_begin(model_, epoch);
      if (!train_epoch(epoch, std::exchange(start.step, 0))) break;
      Logs logs = model_.logs();
      for (auto& [name, value] : validate(epoch)) logs.emplace_back("val_" + name, value);
      append(logs, epoch, history_);
      report(epoch, true, logs);
      for (const auto& callback : config_.callbacks) callback->on_epoch_end(model_, epoch, logs);
      if (model_.stop_training) break;
    }
    model_.optimizer().finalize(ctx_);
    for (const auto& callback : config_.callbacks) callback->on_train_end(model_);
    return std::move(history_);
  }

 private:
  /// False when the training is to end before the epoch does.
  bool train_epoch(Index epoch, Index first_step) {
    for (step_ = first_step; config_.steps_per_epoch == 0 || step_ < config_.steps_per_epoch;) {
      if (config_.stop != nullptr && model_.any_process(config_.stop->load())) {
        history_.interrupted = is_interrupted_ = true;
        return false;
      }
      const std::optional<Data> batch = next(epoch);
      if (!batch && step_ == 0) throw_no_batch("fit");
      if (!batch) break;
      for (const auto& callback : config_.callbacks) callback->on_train_batch_begin(model_, step_);
      model_.train_on_batch(ctx_, *batch, config_.random);
      const Logs logs = model_.logs();
      for (const auto& callback : config_.callbacks) {
        callback->on_train_batch_end(model_, step_, logs);
      }
      ++step_;
      report(epoch, false, logs);
      if (model_.stop_training) break;
    }
    return true;
  }

  std::optional<Data> next(Index epoch) {
    std::optional<Data> first = std::exchange(first_, std::nullopt);
    if (first && epoch == config_.initial_epoch && step_ == 0) return first;
    return source_(epoch, step_);
  }

  void report(Index epoch, bool epoch_is_over, const Logs& logs) {
    if (!config_.progress) return;
    config_.progress({.epoch = epoch,
                      .epochs = config_.epochs,
                      .step = step_,
                      .steps = steps_,
                      .epoch_is_over = epoch_is_over,
                      .logs = logs});
  }

  Context& ctx_;
  CompiledModel& model_;
  const BatchSource& source_;
  std::optional<Data> first_;
  Index steps_;
  const FitConfig& config_;
  bool& is_interrupted_;
  History history_;
  Index step_ = 0;
};

void check(const FitConfig& config) {
  if (config.validation_freq < 1 || config.initial_epoch < 0 || config.epochs < 0) {
    core::throw_config_error("fit", "epochs", "epochs of 0 or more, validation_freq of 1 or more",
                             std::to_string(config.epochs));
  }
}

}  // namespace

History CompiledModel::fit(Context& ctx, const Data& data, const FitConfig& config) {
  Parts parts = parts_of(ctx, data, config);
  train::ArrayBatches batches(
      parts.training,
      {.batch_size = config.batch_size,
       .steps_per_epoch = config.steps_per_epoch,
       .shuffle_seed = config.shuffle ? std::optional(config.shuffle_seed) : std::nullopt});
  FitConfig with_validation = config;
  with_validation.validation_data = std::move(parts.validation);
  const Index steps = batches.steps();
  return fit(ctx, BatchSource([&](Index epoch, Index step) { return batches(epoch, step); }),
             with_validation, steps);
}

History CompiledModel::fit(Context& ctx, const BatchSource& source, const FitConfig& config) {
  if (config.validation_split != 0 || !config.class_weight.empty()) {
    core::throw_config_error("fit", "validation_split, class_weight", "none with a BatchSource",
                             "one");
  }
  return fit(ctx, source, config, config.steps_per_epoch > 0 ? config.steps_per_epoch : -1);
}

History CompiledModel::fit(Context& ctx, const BatchSource& source, const FitConfig& config,
                           Index steps) {
  check(config);
  optimizer();
  stop_training = false;
  start.reset();
  state_->is_interrupted = false;
  const Index batch_size =
      config.validation_batch_size > 0 ? config.validation_batch_size : config.batch_size;
  if (config.validation_data && train::num_samples(*config.validation_data) == 0) {
    throw_no_batch("fit: validation");
  }
  const auto validate = [&](Index epoch) -> Logs {
    state_->is_between_validations = !is_validated(config, epoch) && validates(config);
    if (!is_validated(config, epoch)) return {};
    if (config.validation_data) {
      const train::ArrayBatches batches(*config.validation_data, {.batch_size = batch_size});
      return evaluate(ctx, batches, config.validation_steps, config.callbacks);
    }
    if (!config.validation_source) return {};
    return evaluate(ctx, config.validation_source, config.validation_steps, config.callbacks);
  };
  // Callbacks find the model built.
  std::optional<Data> first;
  if (!state_->is_ready && config.initial_epoch < config.epochs) {
    first = source(config.initial_epoch, 0);
    if (!first) throw_no_batch("fit");
    state_->build_for(first->x);
  }
  return Fitting(ctx, *this, source, std::move(first), steps, config, state_->is_interrupted)
      .run(validate);
}

}  // namespace grouphead
