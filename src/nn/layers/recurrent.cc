#include "grouphead/layers/recurrent.h"

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/operations/promotion.h"
#include "nn/recurrent/cell_config.h"
#include "nn/recurrent/recurrence.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/arithmetic.h"
#include "ops/recurrent.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

using nn::CellRun;
using nn::kFirstState;
using nn::RecurrentCell;

/// Axes 0 and 1 change places.
ConstView swapped(ConstView x) {
  std::vector<Index> dims(x.shape().begin(), x.shape().end());
  Strides strides = x.strides();
  std::swap(dims[0], dims[1]);
  std::swap(strides[0], strides[1]);
  return {x.raw(), x.dtype(), Shape(dims), strides};
}

/// The first axis backwards.
ConstView turned(ConstView x) {
  Strides strides = x.strides();
  const Index last = x.size() > 0 ? (x.dim(0) - 1) * strides[0] : 0;
  strides[0] = -strides[0];
  const auto* start = static_cast<const std::byte*>(x.raw()) + last * size_of(x.dtype());
  return {start, x.dtype(), x.shape(), strides};
}

/// [B, S, ...] in the order of the steps, and [S, B, ...] as outputs are.
Tensor steps_of(Context& ctx, ConstView x, bool backwards) {
  const ConstView from = backwards ? turned(swapped(x)) : swapped(x);
  Tensor steps = ctx.tensor(from.shape(), x.dtype());
  ops::copy_elements(ctx, from, steps);
  return steps;
}

/// Where an unrolled run has had a step that counts.
Tensor seen_so_far(Context& ctx, const Tensor& mask) {
  Tensor seen = ctx.tensor(mask.shape(), Dtype::boolean);
  const Index rows = mask.dim(1);
  for (Index i = 0; i < mask.size(); ++i) {
    seen.data<bool>()[i] = mask.data<bool>()[i] || (i >= rows && seen.data<bool>()[i - rows]);
  }
  return seen;
}

}  // namespace

struct Recurrent::Run final : Saved {
  std::vector<CellRun> cells;
  Tensor mask;     // [S, B] in the order of the steps; absent without one
  Tensor outputs;  // [S, B]: where the output is the state, not 0; absent: everywhere
};

Recurrent::Recurrent(const RecurrentConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {}

Recurrent::~Recurrent() = default;

void Recurrent::add_cell(const RecurrentCellConfig& config, const std::string& path) {
  cells_.push_back(std::make_unique<RecurrentCell>(name(), config, path));
}

ConfigValue Recurrent::get_config() const {
  ConfigValue config = Layer::get_config();
  nn::write_sequence_options(config_, config);
  cells_[0]->write_options(config);
  config.set("activity_regularizer", activity_regularizer().config());
  return config;
}

std::string Recurrent::attribute_of(std::string_view /*cell*/) const { return "cell"; }

std::size_t Recurrent::num_states() const noexcept {
  std::size_t count = 0;
  for (const auto& cell : cells_) count += cell->num_states();
  return count;
}

Index Recurrent::num_outputs() const noexcept { return cells_.back()->units(); }

std::span<const std::string_view> Recurrent::input_names() const {
  return nn::recurrent_operand_names(num_states());
}

std::vector<Shape> Recurrent::output_shapes(std::span<const Shape> inputs,
                                            const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, kFirstState + num_states());
  const Index width = cells_[0]->is_built() ? cells_[0]->num_inputs() : -1;
  core::require_shape(name(), "sequences", inputs[0], {-1, -1, width});
  const Index batch = inputs[0][0];
  if (inputs.size() > 1 && inputs[1].rank() > 0) {
    core::require_shape(name(), "mask", inputs[1], {batch, inputs[0][1]});
  }
  std::vector<Shape> states;
  for (const auto& cell : cells_) {
    states.insert(states.end(), cell->num_states(), Shape::partial({batch, cell->units()}));
  }
  if (inputs.size() > kFirstState && inputs.size() != kFirstState + states.size()) {
    core::throw_shape_error(name(), "initial_state",
                            std::to_string(states.size()) + " tensors or none",
                            std::to_string(inputs.size() - kFirstState));
  }
  for (std::size_t i = kFirstState; i < inputs.size(); ++i) {
    core::require_shape(name(), input_names()[i], inputs[i], {-1, states[i - kFirstState][1]});
  }
  std::vector<Shape> made{config_.return_sequences
                              ? Shape::partial({batch, inputs[0][1], num_outputs()})
                              : Shape::partial({batch, num_outputs()})};
  if (config_.return_state) made.insert(made.end(), states.begin(), states.end());
  return made;
}

void Recurrent::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(name(), cells_[0]->is_built());
  output_shapes(inputs, nullptr);  // checks
  Index width = nn::built_width(name(), inputs.first(1));
  for (const auto& cell : cells_) {
    cell->build(width, trainable() && cell->trainable(), random);
    width = cell->units();
  }
}

void Recurrent::append_parameters(const std::string& prefix, ParameterList& out) {
  for (const auto& cell : cells_) cell->append_parameters(prefix, out);
}

void Recurrent::check(std::span<const Value> in) const {
  nn::require_built(name(), cells_[0]->is_built());
  std::vector<Shape> shapes;
  for (const Value& value : in) {
    shapes.push_back(value.tensor.has_value() ? value.tensor.shape() : Shape());
  }
  output_shapes(shapes, nullptr);
  const Shape& x = shapes[0];
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i == 1) continue;
    core::require_dtype(name(), input_names()[i], in[i].tensor, dtype());
    if (shapes[i][0] != x[0]) {
      core::throw_shape_error(name(), input_names()[i], "as many rows as the sequences",
                              shapes[i].to_string());
    }
  }
  if (x[1] < 1) core::throw_shape_error(name(), "sequences", "1 step or more", x.to_string());
  if (in[0].mask) core::require_shape(name(), "mask", *in[0].mask, {x[0], x[1]});
}

std::optional<Tensor> nn::recurrent_mask(std::span<const Value> in) {
  if (in.size() > 1 && in[1].tensor.has_value()) return in[1].tensor;
  return in.size() > kFirstState ? std::nullopt : in[0].mask;
}

std::optional<Tensor> nn::handed_on_mask(std::span<const Value> in) {
  return in.size() > 1 && in[1].tensor.has_value() ? in[1].tensor : in[0].mask;
}

void Recurrent::set_mask(Context& ctx, const std::optional<Tensor>& given, Run& run) const {
  if (!given) return;
  const Tensor mask = nn::as_type(ctx, *given, Dtype::boolean);
  run.mask = steps_of(ctx, mask, config_.go_backwards);
  if (config_.unroll) {
    run.outputs = seen_so_far(ctx, run.mask);
  } else if (config_.zero_output_for_mask) {
    run.outputs = run.mask;
  }
}

std::vector<Value> Recurrent::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                      std::unique_ptr<Saved>* saved) const {
  check(in);
  auto run = std::make_unique<Run>();
  set_mask(ctx, nn::recurrent_mask(in), *run);
  Tensor x = steps_of(ctx, in[0].tensor, config_.go_backwards);
  std::vector<nn::StepMasks> masks;
  for (const auto& cell : cells_) masks.push_back(cell->masks(ctx, mode, x.dim(1)));
  std::size_t state = kFirstState;
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    const RecurrentCell& cell = *cells_[i];
    const auto start = [&](std::size_t k) {
      return in.size() > kFirstState ? in[state + k].tensor
                                     : ctx.zeros({x.dim(1), cell.units()}, cell.dtype());
    };
    const Tensor h0 = start(0);
    const Tensor c0 = cell.num_states() > 1 ? start(1) : Tensor();
    state += cell.num_states();
    run->cells.push_back(
        nn::run_cell(ctx, cell, x, run->mask, h0, c0, std::move(masks[i]), saved != nullptr));
    if (i + 1 < cells_.size()) {
      const ConstView h = run->cells.back().h.view();
      x = nn::copied(ctx, h.slice(0, 1, h.dim(0)));
    }
  }
  std::vector<Value> out = results(ctx, *run);
  if (config_.return_sequences) out[0].mask = nn::handed_on_mask(in);
  if (saved != nullptr) *saved = std::move(run);
  return out;
}

std::vector<Value> Recurrent::results(Context& ctx, const Run& run) const {
  const ConstView h = run.cells.back().h.view();
  const Index steps = h.dim(0) - 1;
  ConstView made = h.slice(0, 1, steps + 1);
  Tensor shown;  // with zeros where the output is none
  if (run.outputs.has_value()) {
    shown = nn::copied(ctx, made);
    ops::clear_rows(run.outputs.view().reshaped({run.outputs.size()}),
                    shown.view().reshaped({shown.dim(0) * shown.dim(1), shown.dim(2)}));
    made = std::as_const(shown).view();
  }
  std::vector<Value> out;
  if (config_.return_sequences) {
    out.push_back({steps_of(ctx, made, false), {}});
  } else {
    const ConstView last = made.slice(0, steps - 1, steps);
    out.push_back({nn::copied(ctx, last.reshaped({h.dim(1), h.dim(2)})), {}});
  }
  if (!config_.return_state) return out;
  for (const CellRun& cell : run.cells) {
    for (const Tensor* states : {&cell.h, &cell.c}) {
      if (!states->has_value()) continue;
      const ConstView last = states->view().slice(0, steps, steps + 1);
      out.push_back({nn::copied(ctx, last.reshaped({states->dim(1), states->dim(2)})), {}});
    }
  }
  return out;
}

/// Gradients of the last cell's h: of every step, or of the last one alone.
struct Recurrent::Gradients {
  Tensor steps, last;
};

Recurrent::Gradients Recurrent::gradients_of(Context& ctx, const Run& run, ConstView d_y) const {
  if (!d_y.has_value()) return {};
  const bool is_shown_in_part = run.outputs.has_value();
  const Index rows = run.cells[0].x.dim(1);
  const Index steps = run.cells[0].x.dim(0);
  if (config_.return_sequences) {
    Tensor all = steps_of(ctx, d_y, false);
    if (is_shown_in_part) {
      ops::clear_rows(run.outputs.view().reshaped({steps * rows}),
                      all.view().reshaped({steps * rows, num_outputs()}));
    }
    return {.steps = all, .last = {}};
  }
  Tensor last = nn::copied(ctx, d_y);
  if (is_shown_in_part) {
    ops::clear_rows(run.outputs.view().slice(0, steps - 1, steps).reshaped({rows}), last);
  }
  return {.steps = {}, .last = last};
}

void Recurrent::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                         std::span<View> d_in, Grads& grads) const {
  auto& run = nn::saved_as<Run>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1,
                    1 + (config_.return_state ? num_states() : 0));
  nn::require_count(name(), "number of input gradients", d_in.size(), 1,
                    kFirstState + num_states());
  const Index rows = run.cells[0].x.dim(1);
  auto [d_steps, d_last] = gradients_of(ctx, run, d_out[0]);
  std::size_t state = num_states();  // places of those that are left
  for (std::size_t i = cells_.size(); i-- > 0;) {
    const RecurrentCell& cell = *cells_[i];
    state -= cell.num_states();
    Tensor d_states[2];
    for (std::size_t k = 0; k < cell.num_states(); ++k) {
      const std::size_t made = 1 + state + k;
      const bool is_given = made < d_out.size() && d_out[made].has_value();
      d_states[k] =
          is_given ? nn::copied(ctx, d_out[made]) : ctx.zeros({rows, cell.units()}, cell.dtype());
    }
    if (d_last.has_value()) ops::add(ctx, d_states[0], d_last, d_states[0]);
    d_last = {};
    const bool wants_x = i > 0 || d_in[0].has_value();
    Tensor d_x = wants_x ? ctx.tensor(run.cells[i].x.shape(), cell.dtype()) : Tensor();
    nn::run_cell_back(ctx, cell, run.cells[i], run.mask, std::as_const(d_steps).view(), d_states[0],
                      d_states[1].has_value() ? d_states[1].view() : View(),
                      wants_x ? d_x.view() : View(), grads);
    for (std::size_t k = 0; k < cell.num_states(); ++k) {
      const std::size_t given = kFirstState + state + k;
      if (given < d_in.size() && d_in[given].has_value()) {
        ops::add(ctx, d_in[given], d_states[k], d_in[given]);
      }
    }
    d_steps = std::move(d_x);
  }
  if (d_in[0].has_value()) {
    const ConstView d_x = std::as_const(d_steps).view();
    ops::add_elements(ctx, swapped(config_.go_backwards ? turned(d_x) : d_x), d_in[0]);
  }
}

namespace {

RecurrentConfig named(RecurrentConfig config, std::string_view name) {
  if (config.name.empty()) config.name = name;
  return config;
}

RecurrentConfig without_penalty(RecurrentConfig config) {
  config.activity_regularizer = {};
  return config;
}

}  // namespace

LSTM::LSTM(const RecurrentConfig& config) : Recurrent(named(config, "lstm")) {
  add_cell({.kind = CellKind::lstm, .options = config}, "lstm_cell");
}

GRU::GRU(const RecurrentConfig& config) : Recurrent(named(config, "gru")) {
  add_cell({.kind = CellKind::gru, .options = config}, "gru_cell");
}

SimpleRNN::SimpleRNN(const RecurrentConfig& config)
    : Recurrent(without_penalty(named(config, "simple_rnn"))) {
  add_cell({.kind = CellKind::simple_rnn, .options = config}, "simple_rnn_cell");
}

namespace nn {
namespace {

template <class L>
std::shared_ptr<Layer> make_recurrent(std::string_view class_name, CellKind kind,
                                      const ConfigValue& given) {
  ConfigReader reader(class_name, given);
  RecurrentConfig config;
  read_base(reader, config);
  read_sequence_options(reader, config);
  read_cell_options(reader, kind, config);
  if (const ConfigValue& cudnn = reader.value("use_cudnn"); cudnn == ConfigValue(true)) {
    core::throw_config_error(config.name, "use_cudnn", "auto or false", "true");
  }
  reader.finish();
  return with_trainable(std::make_shared<L>(config), given);
}

}  // namespace

std::shared_ptr<Layer> make_lstm(const ConfigValue& config) {
  return make_recurrent<LSTM>("LSTM", CellKind::lstm, config);
}
std::shared_ptr<Layer> make_gru(const ConfigValue& config) {
  return make_recurrent<GRU>("GRU", CellKind::gru, config);
}
std::shared_ptr<Layer> make_simple_rnn(const ConfigValue& config) {
  return make_recurrent<SimpleRNN>("SimpleRNN", CellKind::simple_rnn, config);
}

}  // namespace nn
}  // namespace grouphead
