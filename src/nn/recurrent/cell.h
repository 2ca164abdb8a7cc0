#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grouphead/layers/recurrent.h"

namespace grouphead::nn {

/// What inputs and states are multiplied with in one call: none, one for all gates, or one each.
struct StepMasks {
  std::vector<Tensor> x{};  // [B, F]
  std::vector<Tensor> h{};  // [B, U]
};

/// Keras's class, and the name that it gives its first object.
std::string_view class_name_of(CellKind kind) noexcept;
std::string_view default_name_of(CellKind kind) noexcept;

/// Operands of recurrent layers before their states: sequences and mask.
inline constexpr std::size_t kFirstState = 2;
/// `sequences`, `mask`, `initial_state`, `initial_state_1`, ... for so many states, 128 at most.
std::span<const std::string_view> recurrent_operand_names(std::size_t num_states);

/// The mask that a call goes by: the one that is given or, without initial states, the one attached
/// to the sequences. Source: keras.layers.Layer.__call__, which looks for the latter in calls of
/// one tensor alone.
std::optional<Tensor> recurrent_mask(std::span<const Value> in);
/// The mask that its outputs get.
std::optional<Tensor> handed_on_mask(std::span<const Value> in);

/// Parameters and options of one cell.
class RecurrentCell {
 public:
  /// Errors: ConfigError for options that no cell has.
  RecurrentCell(std::string_view layer, const RecurrentCellConfig& config, std::string path);

  CellKind kind() const noexcept { return config_.kind; }
  const RecurrentConfig& options() const noexcept { return config_.options; }
  bool trainable() const noexcept { return config_.trainable; }
  /// In the paths of its parameters: `lstm_cell`.
  const std::string& path() const noexcept { return path_; }
  std::string_view class_name() const noexcept { return class_name_of(kind()); }
  /// Keras's keys of cells; layers put theirs around them.
  void write_options(ConfigValue& config) const;

  Index units() const noexcept { return config_.options.units; }
  Index num_gates() const noexcept {
    return kind() == CellKind::lstm ? 4 : kind() == CellKind::gru ? 3 : 1;
  }
  std::size_t num_states() const noexcept { return kind() == CellKind::lstm ? 2 : 1; }
  bool resets_before() const noexcept {
    return kind() == CellKind::gru && !config_.options.reset_after;
  }
  Dtype dtype() const noexcept { return config_.options.dtype.arithmetic(); }
  /// The type that Keras has the numbers in.
  Dtype grid() const noexcept { return config_.options.dtype.compute(); }

  void build(Index inputs, bool trainable, RandomStream& random);
  bool is_built() const noexcept { return kernel_ != nullptr; }
  Index num_inputs() const noexcept { return kernel_->shape()[0]; }
  void append_parameters(const std::string& prefix, ParameterList& out);

  const Parameter& kernel() const noexcept { return *kernel_; }
  const Parameter& recurrent_kernel() const noexcept { return *recurrent_kernel_; }
  /// [G U], or of GRU with reset_after [2, G U]: of the inputs, then of the states. May be null.
  const Parameter* bias() const noexcept { return bias_.get(); }
  bool has_state_bias() const noexcept {
    return kind() == CellKind::gru && config_.options.reset_after && bias_ != nullptr;
  }

  /// Those of one call. Numbers are drawn where Keras draws them: in every call.
  StepMasks masks(Context& ctx, const Mode& mode, Index batch) const;

 private:
  void start_bias(RandomStream& random) const;
  std::vector<Tensor> draw_masks(Context& ctx, const Mode& mode, double rate,
                                 const Shape& shape) const;

  RecurrentCellConfig config_;
  std::string path_;
  std::unique_ptr<Parameter> kernel_, recurrent_kernel_, bias_;
  std::unique_ptr<SeedGenerator> generator_;  // its draws are counted by const calls
};

}  // namespace grouphead::nn
