#include "nn/recurrent/cell.h"

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "core/seed.h"
#include "nn/config_reader.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "ops/dropout.h"

namespace grouphead::nn {
namespace {

constexpr std::size_t kMostStates = 128;
/// So many that all columns of a kernel can be counted.
constexpr Index kMostUnits = std::numeric_limits<std::int32_t>::max() / 4;

/// Keras's min(1, max(0, rate)); NaN becomes 0.
double clamped(double rate) noexcept { return std::min(1.0, std::max(0.0, rate)); }

Tensor ones(Context& ctx, const Shape& shape, Dtype dtype) {
  Tensor all = ctx.tensor(shape, dtype);
  if (dtype == Dtype::f64) {
    std::fill_n(all.data<double>(), all.size(), 1.0);
  } else {
    std::fill_n(all.data<float>(), all.size(), 1.0F);
  }
  return all;
}

std::unique_ptr<Parameter> parameter(const char* name, const Shape& shape,
                                     const RecurrentConfig& options, bool trainable,
                                     const Regularizer& regularizer, const Constraint& constraint) {
  return std::make_unique<Parameter>(name, shape, options.dtype,
                                     ParameterOptions{trainable, regularizer, constraint});
}

constexpr std::string_view kClassNames[] = {"SimpleRNNCell", "GRUCell", "LSTMCell"};
constexpr std::string_view kDefaultNames[] = {"simple_rnn_cell", "gru_cell", "lstm_cell"};

}  // namespace

std::string_view class_name_of(CellKind kind) noexcept {
  return kClassNames[static_cast<std::size_t>(kind)];
}

std::string_view default_name_of(CellKind kind) noexcept {
  return kDefaultNames[static_cast<std::size_t>(kind)];
}

std::span<const std::string_view> recurrent_operand_names(std::size_t num_states) {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> made{"sequences", "mask", "initial_state"};
    for (std::size_t i = 1; i < kMostStates; ++i) {
      made.push_back(std::string(made[kFirstState]).append("_").append(std::to_string(i)));
    }
    return made;
  }();
  static const std::vector<std::string_view> names(texts.begin(), texts.end());
  return std::span(names).first(kFirstState + num_states);
}

RecurrentCell::RecurrentCell(std::string_view layer, const RecurrentCellConfig& config,
                             std::string path)
    : config_(config), path_(std::move(path)) {
  RecurrentConfig& options = config_.options;
  core::require_positive(layer, "units", options.units);
  if (options.units > kMostUnits) {
    core::throw_config_error(layer, "units", std::to_string(kMostUnits) + " or less",
                             std::to_string(options.units));
  }
  options.dropout = clamped(options.dropout);
  options.recurrent_dropout = clamped(options.recurrent_dropout);
  core::require_seed(options.seed);
  const bool drops = options.dropout > 0 || options.recurrent_dropout > 0;
  if (options.seed && drops) generator_ = std::make_unique<SeedGenerator>(*options.seed);
}

void RecurrentCell::write_options(ConfigValue& config) const {
  const RecurrentConfig& options = config_.options;
  config.set("units", options.units);
  config.set("activation", options.activation.config());
  if (kind() != CellKind::simple_rnn) {
    config.set("recurrent_activation", options.recurrent_activation.config());
  }
  config.set("use_bias", options.use_bias);
  config.set("kernel_initializer", options.kernel_initializer.config());
  config.set("recurrent_initializer", options.recurrent_initializer.config());
  config.set("bias_initializer", options.bias_initializer.config());
  if (kind() == CellKind::lstm) config.set("unit_forget_bias", options.unit_forget_bias);
  config.set("kernel_regularizer", options.kernel_regularizer.config());
  config.set("recurrent_regularizer", options.recurrent_regularizer.config());
  config.set("bias_regularizer", options.bias_regularizer.config());
  config.set("kernel_constraint", options.kernel_constraint.config());
  config.set("recurrent_constraint", options.recurrent_constraint.config());
  config.set("bias_constraint", options.bias_constraint.config());
  config.set("dropout", options.dropout);
  config.set("recurrent_dropout", options.recurrent_dropout);
  if (kind() == CellKind::gru) config.set("reset_after", options.reset_after);
  config.set("seed", nn::seed_config(options.seed));
}

void RecurrentCell::build(Index inputs, bool trainable, RandomStream& random) {
  const RecurrentConfig& options = config_.options;
  const Index columns = num_gates() * options.units;
  const Shape kernel{inputs, columns};
  const Shape recurrent{options.units, columns};
  kernel_ = parameter("kernel", kernel, options, trainable, options.kernel_regularizer,
                      options.kernel_constraint);
  recurrent_kernel_ = parameter("recurrent_kernel", recurrent, options, trainable,
                                options.recurrent_regularizer, options.recurrent_constraint);
  if (options.use_bias) {
    const bool is_double = kind() == CellKind::gru && options.reset_after;
    bias_ = parameter("bias", is_double ? Shape{2, columns} : Shape{columns}, options, trainable,
                      options.bias_regularizer, options.bias_constraint);
  }
  if (options.kernel_initializer) {
    nn::initialize(*kernel_, options.kernel_initializer, fans_of(kernel), random);
  }
  if (options.recurrent_initializer) {
    nn::initialize(*recurrent_kernel_, options.recurrent_initializer, fans_of(recurrent), random);
  }
  if (bias_) start_bias(random);
  const bool drops = options.dropout > 0 || options.recurrent_dropout > 0;
  if (!generator_ && drops) generator_ = std::make_unique<SeedGenerator>(core::draw_seed(random));
}

void RecurrentCell::start_bias(RandomStream& random) const {
  const Initializer& rule = config_.options.bias_initializer;
  const bool has_ones = kind() == CellKind::lstm && config_.options.unit_forget_bias;
  if (!has_ones) {
    if (rule) nn::initialize(*bias_, rule, fans_of(bias_->shape()), random);
    return;
  }
  if (nn::LoadingScope::is_active()) return;
  const View bias = bias_->edit();
  const Index n = units();
  if (rule) rule->fill(bias.slice(0, 0, n), fans_of(Shape{n}), random);
  initializers::ones()->fill(bias.slice(0, n, 2 * n), fans_of(Shape{n}), random);
  if (rule) rule->fill(bias.slice(0, 2 * n, 4 * n), fans_of(Shape{2 * n}), random);
}

void RecurrentCell::append_parameters(const std::string& prefix, ParameterList& out) {
  if (!kernel_) return;
  const std::string start = prefix + path_ + "/";
  out.push_back({start + "kernel", kernel_.get()});
  out.push_back({start + "recurrent_kernel", recurrent_kernel_.get()});
  if (bias_) out.push_back({start + "bias", bias_.get()});
}

StepMasks RecurrentCell::masks(Context& ctx, const Mode& mode, Index batch) const {
  StepMasks made;
  made.x = draw_masks(ctx, mode, config_.options.dropout, {batch, num_inputs()});
  made.h = draw_masks(ctx, mode, config_.options.recurrent_dropout, {batch, units()});
  return made;
}

// Source: keras.src.layers.rnn.dropout_rnn_cell.DropoutRNNCell. LSTM and GRU leave out a rate of 1.
std::vector<Tensor> RecurrentCell::draw_masks(Context& ctx, const Mode& mode, double rate,
                                              const Shape& shape) const {
  if (rate == 0) return {};
  const bool is_one_each = kind() != CellKind::simple_rnn && config_.options.recurrent_dropout > 0;
  const Index count = is_one_each ? num_gates() : 1;
  const bool is_used = mode.training && (rate < 1 || kind() == CellKind::simple_rnn);
  std::vector<Tensor> made;
  for (Index i = 0; i < count; ++i) {
    RandomDraw draw;
    if (rate < 1 && mode.random == nullptr) {
      draw = {RandomAlgorithm::threefry, generator_->next()};
    } else if (rate < 1 && is_used) {
      draw = {RandomAlgorithm::philox, mode.random->next()};
    }
    if (!is_used) continue;
    Tensor mask = ones(ctx, shape, dtype());
    ops::dropout(ctx, mask, rate, draw, grid(), mask);
    made.push_back(std::move(mask));
  }
  return made;
}

}  // namespace grouphead::nn
