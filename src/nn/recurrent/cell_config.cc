#include "nn/recurrent/cell_config.h"

#include "core/check.h"
#include "nn/recurrent/cell.h"

namespace grouphead::nn {
namespace {

Activation activation_of(ConfigReader& reader, std::string_view key, Activation fallback) {
  if (!reader.has(key)) return fallback;
  const ConfigValue& held = reader.value(key);
  return held.is_null() ? Activation("linear") : Activation(held.as_string(key));
}

constexpr CellKind kKinds[] = {CellKind::simple_rnn, CellKind::gru, CellKind::lstm};

}  // namespace

void read_cell_options(ConfigReader& reader, CellKind kind, RecurrentConfig& options) {
  options.units = reader.value("units").as_integer("units");
  options.activation = activation_of(reader, "activation", options.activation);
  if (kind != CellKind::simple_rnn) {
    options.recurrent_activation =
        activation_of(reader, "recurrent_activation", options.recurrent_activation);
  }
  options.use_bias = reader.boolean("use_bias", options.use_bias);
  if (kind == CellKind::lstm) {
    options.unit_forget_bias = reader.boolean("unit_forget_bias", options.unit_forget_bias);
  }
  if (kind == CellKind::gru) {
    options.reset_after = reader.boolean("reset_after", options.reset_after);
  }
  options.kernel_initializer = reader.choice("kernel_initializer", options.kernel_initializer);
  options.recurrent_initializer =
      reader.choice("recurrent_initializer", options.recurrent_initializer);
  options.bias_initializer = reader.choice("bias_initializer", options.bias_initializer);
  options.kernel_regularizer = reader.choice("kernel_regularizer", options.kernel_regularizer);
  options.recurrent_regularizer =
      reader.choice("recurrent_regularizer", options.recurrent_regularizer);
  options.bias_regularizer = reader.choice("bias_regularizer", options.bias_regularizer);
  options.kernel_constraint = reader.choice("kernel_constraint", options.kernel_constraint);
  options.recurrent_constraint =
      reader.choice("recurrent_constraint", options.recurrent_constraint);
  options.bias_constraint = reader.choice("bias_constraint", options.bias_constraint);
  options.dropout = reader.number("dropout", options.dropout);
  options.recurrent_dropout = reader.number("recurrent_dropout", options.recurrent_dropout);
  options.seed = reader.seed();
  // How Keras orders the products of the gates: no number depends on it.
  const Index implementation = reader.integer("implementation", 2);
  if (implementation != 1 && implementation != 2) {
    core::throw_config_error("recurrent", "implementation", "1 or 2",
                             std::to_string(implementation));
  }
}

void read_sequence_options(ConfigReader& reader, RecurrentConfig& options) {
  options.return_sequences = reader.boolean("return_sequences", options.return_sequences);
  options.return_state = reader.boolean("return_state", options.return_state);
  options.go_backwards = reader.boolean("go_backwards", options.go_backwards);
  options.stateful = reader.boolean("stateful", options.stateful);
  options.unroll = reader.boolean("unroll", options.unroll);
  options.zero_output_for_mask =
      reader.boolean("zero_output_for_mask", options.zero_output_for_mask);
  if (reader.boolean("time_major", false)) {
    core::throw_config_error("recurrent", "time_major", "false", "true");
  }
}

void write_sequence_options(const RecurrentConfig& options, ConfigValue& config) {
  config.set("return_sequences", options.return_sequences);
  config.set("return_state", options.return_state);
  config.set("go_backwards", options.go_backwards);
  config.set("stateful", options.stateful);
  config.set("unroll", options.unroll);
  config.set("zero_output_for_mask", options.zero_output_for_mask);
}

RecurrentCellConfig read_cell(const ConfigValue& envelope) {
  const std::string& name = envelope["class_name"].as_string("class_name");
  for (const CellKind kind : kKinds) {
    if (class_name_of(kind) != name) continue;
    ConfigReader reader(name, envelope["config"]);
    RecurrentCellConfig cell{.kind = kind};
    cell.options.name = reader.name("");
    cell.options.dtype = reader.dtype();
    cell.trainable = reader.trainable();
    read_cell_options(reader, kind, cell.options);
    reader.finish();
    return cell;
  }
  core::throw_config_error("rnn", "cell", "LSTMCell, GRUCell, SimpleRNNCell or StackedRNNCells",
                           name);
}

}  // namespace grouphead::nn
