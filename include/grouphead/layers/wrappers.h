#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/layers/recurrent.h"
#include "grouphead/layers/sub_layers.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// How Bidirectional joins its two outputs; `none` gives both.
enum class MergeMode : int { concat, sum, mul, ave, none };

struct BidirectionalConfig {
  /// An LSTM, GRU, SimpleRNN or RNN.
  std::shared_ptr<Recurrent> layer{};
  /// Absent: `layer` once more, going the other way.
  std::shared_ptr<Recurrent> backward_layer{};
  MergeMode merge_mode = MergeMode::concat;
  std::string name = "bidirectional";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// A recurrent layer in both directions. As in Keras it works with layers of its own: copies of
/// `layer`, named `forward_...` and `backward_...`, with zero_output_for_mask where they return
/// sequences; a given `backward_layer` is taken as it is, but for that.
///
/// Operands sequences [B, T, F]; mask [B, T]; initial_state, initial_state_1, ...: the forward
///          layer's, then the backward layer's
/// Outputs  the two outputs joined, the backward one in the order of the inputs (of both, with
///          MergeMode::none); with return_state the states of both
/// Mask     as the layers: handed on with return_sequences, to both outputs
/// Errors   ConfigError where both go the same way, differ in return_sequences or return_state;
///          ShapeError
/// Source: keras.layers.Bidirectional.
class Bidirectional final : public Layer, public HasSubLayers {
 public:
  using Config = BidirectionalConfig;
  explicit Bidirectional(const BidirectionalConfig& config);
  std::string_view class_name() const override { return "Bidirectional"; }
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  std::vector<SubLayer> sub_layers() const override;

  const Recurrent& forward_layer() const noexcept { return *forward_; }
  const Recurrent& backward_layer() const noexcept { return *backward_; }

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  std::size_t num_states() const;  // of both
  void require_all_states(std::size_t num_inputs) const;
  Tensor merged(Context& ctx, const Tensor& y, const Tensor& y_back) const;
  void merge_back(Context& ctx, Saved& saved, std::span<const ConstView> d_out, Tensor& d_y,
                  Tensor& d_back) const;

  std::shared_ptr<Recurrent> forward_, backward_;
  MergeMode merge_mode_;
};

struct TimeDistributedConfig {
  std::shared_ptr<Layer> layer{};  ///< of one input and one output
  std::string name = "time_distributed";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// One layer for every step of x [B, T, ...]: y[:, t] = layer(x[:, t]), with one set of parameters.
/// A layer that treats rows alone is called once, for all steps; others in training once for each
/// step in turn, as Keras does it where T is known.
///
/// Mask     [B, T, ...] must begin with x's axes; steps of it go to layers that read one, and the
///          whole is handed on
/// Errors   ConfigError without a layer; ShapeError below rank 3 and without a step
/// Source: keras.layers.TimeDistributed.
class TimeDistributed final : public Layer, public HasSubLayers {
 public:
  using Config = TimeDistributedConfig;
  explicit TimeDistributed(const TimeDistributedConfig& config);
  std::string_view class_name() const override { return "TimeDistributed"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  std::vector<SubLayer> sub_layers() const override;

  const Layer& layer() const noexcept { return *layer_; }

 private:
  struct Run;
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor apply(Context& ctx, const Value& in, const Mode& mode, Run* keep) const;

  std::shared_ptr<Layer> layer_;
};

}  // namespace grouphead
#pragma GCC visibility pop
