#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/layers/activation.h"
#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace nn {
class RecurrentCell;
}

enum class CellKind : int { simple_rnn, gru, lstm };

/// Keras's arguments of LSTM, GRU and SimpleRNN, and of their cells, which read the part up to
/// `seed`. `use_cudnn` has no meaning here, `stateful` that of files alone: every call begins with
/// the initial state that it is given, else with zeros.
struct RecurrentConfig {
  Index units = 0;
  Activation activation = Activation::tanh;
  Activation recurrent_activation = Activation::sigmoid;  ///< of gates; not of SimpleRNN
  bool use_bias = true;
  bool unit_forget_bias = true;  ///< LSTM: the forget gate's bias begins with 1
  bool reset_after = true;       ///< GRU: the reset gate follows the product, which has a bias
  Initializer kernel_initializer = "glorot_uniform";
  Initializer recurrent_initializer = "orthogonal";
  Initializer bias_initializer = "zeros";
  Regularizer kernel_regularizer{};
  Regularizer recurrent_regularizer{};
  Regularizer bias_regularizer{};
  Constraint kernel_constraint{};
  Constraint recurrent_constraint{};
  Constraint bias_constraint{};
  double dropout = 0;            ///< of the inputs; one mask serves all steps. Clamped to [0, 1]
  double recurrent_dropout = 0;  ///< of the state, likewise
  std::optional<std::uint64_t> seed{};  ///< of the cell's generator; none: drawn by build()
  bool return_sequences = false;        ///< the output of each step, else of the last one
  bool return_state = false;            ///< the last states as further outputs
  bool go_backwards = false;            ///< the last step first; outputs stand in this order
  bool stateful = false;
  bool unroll = false;  ///< changes what masked steps give: see Recurrent
  bool zero_output_for_mask = false;
  std::string name{};  ///< empty: the class's
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};  ///< SimpleRNN drops it, as in Keras
};

/// A cell of RNN.
struct RecurrentCellConfig {
  CellKind kind = CellKind::lstm;
  RecurrentConfig options{};
  bool trainable = true;
};

/// What layers that go through a sequence share.
///
/// Operands sequences [B, T, F], T >= 1; mask [B, T] (bool or a number that is not 0);
///          initial_state, initial_state_1, ... [B, units]: all or none. h of SimpleRNN and GRU, h
///          and c of LSTM, those of all cells of an RNN in order
/// Outputs  [B, T, units] with return_sequences, else [B, units]; with return_state the states
/// Mask     the operand, or without initial states the one attached to the sequences (as in Keras,
///          where states take it off the call). At a masked step states stay, and the output is the
///          state h, or 0 with zero_output_for_mask; with unroll it is the last output before, at
///          first 0. Handed on with return_sequences
/// Dropout  in training, by masks [B, F] and [B, units] that serve all steps: one for all gates,
///          with recurrent_dropout one for each. Numbers come as in Dropout; as in Keras the cell's
///          own generator counts calls without training too
/// Errors   ConfigError for units below 1; ShapeError
/// Source: keras.layers.RNN.
class Recurrent : public Layer {
 public:
  ~Recurrent() override;
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  /// Of the sequence; those of the cells are in cells().
  const RecurrentConfig& config() const noexcept { return config_; }
  /// Where Keras's files have the variables of one cell, by its name in parameter paths.
  virtual std::string attribute_of(std::string_view cell) const;

 protected:
  explicit Recurrent(const RecurrentConfig& config);
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  void add_cell(const RecurrentCellConfig& config, const std::string& path);
  const std::vector<std::unique_ptr<nn::RecurrentCell>>& cells() const noexcept { return cells_; }

 private:
  struct Run;
  struct Gradients;
  std::size_t num_states() const noexcept;
  Index num_outputs() const noexcept;
  void check(std::span<const Value> in) const;
  void set_mask(Context& ctx, const std::optional<Tensor>& given, Run& run) const;
  std::vector<Value> results(Context& ctx, const Run& run) const;
  Gradients gradients_of(Context& ctx, const Run& run, ConstView d_y) const;

  RecurrentConfig config_;
  std::vector<std::unique_ptr<nn::RecurrentCell>> cells_;
};

/// i, f, o = recurrent_activation(x W + h U + b) of their columns, g = activation(...);
/// c' = f c + i g; h' = o activation(c'). Columns of the kernels stand in the order i, f, g, o.
/// Source: keras.layers.LSTM.
class LSTM final : public Recurrent {
 public:
  using Config = RecurrentConfig;
  explicit LSTM(const RecurrentConfig& config);
  std::string_view class_name() const override { return "LSTM"; }
};

/// z, r = recurrent_activation(x W + h U + b) of their columns; the candidate
/// g = activation(x W + r (h U + b)) with reset_after, else activation(x W + b + (r h) U);
/// h' = z h + (1 - z) g. Columns of the kernels stand in the order z, r, g.
/// Source: keras.layers.GRU.
class GRU final : public Recurrent {
 public:
  using Config = RecurrentConfig;
  explicit GRU(const RecurrentConfig& config);
  std::string_view class_name() const override { return "GRU"; }
};

/// h' = activation(x W + h U + b). Source: keras.layers.SimpleRNN.
class SimpleRNN final : public Recurrent {
 public:
  using Config = RecurrentConfig;
  explicit SimpleRNN(const RecurrentConfig& config);
  std::string_view class_name() const override { return "SimpleRNN"; }
};

struct RNNConfig {
  std::vector<RecurrentCellConfig> cells{};  ///< each one's output is the next one's input
  bool is_stacked = false;  ///< in Keras's StackedRNNCells, as more than one always are
  std::string stack_name = "stacked_rnn_cells";
  /// Of the sequence: return_sequences to zero_output_for_mask, name, dtype,
  /// activity_regularizer.
  RecurrentConfig sequence{};
};

/// Cells of Keras, one or a stack. Errors: ConfigError for none or more than 32, and for a cell of
/// another type policy. Source: keras.layers.RNN, keras.layers.StackedRNNCells.
class RNN final : public Recurrent {
 public:
  using Config = RNNConfig;
  explicit RNN(const RNNConfig& config);
  std::string_view class_name() const override { return "RNN"; }
  ConfigValue get_config() const override;
  std::string attribute_of(std::string_view cell) const override;

 private:
  bool is_stacked_;
  std::string stack_name_;
};

}  // namespace grouphead
#pragma GCC visibility pop
