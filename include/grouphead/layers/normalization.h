#pragma once

#include <optional>
#include <vector>

#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Keras's arguments, and random_gains.
struct LayerNormalizationConfig {
  std::vector<Index> axis = {-1};  ///< the axes normalised together
  double epsilon = 1e-3;
  bool center = true;         ///< whether there is a beta
  bool scale = true;          ///< whether there is a gamma
  bool rms_scaling = false;   ///< y = gamma x / deviation: the mean is not taken off, no beta
  bool random_gains = false;  ///< gamma starts at U(-sqrt 3, sqrt 3), as in Axon
  Initializer beta_initializer = initializers::zeros();
  Initializer gamma_initializer = initializers::ones();
  Regularizer beta_regularizer{};
  Regularizer gamma_regularizer{};
  Constraint beta_constraint{};
  Constraint gamma_constraint{};
  std::string name = "layer_normalization";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta, mean and (biased) variance over `axis`.
///
/// Shapes   x, y of any rank; gamma, beta: the sizes of the axes, which build() must know
/// Types    with 16-bit policies the input is not rounded and gamma and beta keep their type
/// Mask     handed on
/// Views    in inference read in place over the last axis alone, where rows are contiguous and
///          evenly spaced, as in a slice of that axis; else one copy
/// Errors   ShapeError for an axis that x has not, or twice
/// Source   keras.layers.LayerNormalization
class LayerNormalization final : public Layer {
 public:
  using Config = LayerNormalizationConfig;
  /// Errors: ConfigError for a negative epsilon or no axis.
  explicit LayerNormalization(const LayerNormalizationConfig& config);
  std::string_view class_name() const override { return "LayerNormalization"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 protected:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor typed_call(Context& ctx, const LayerInput& x,
                    std::unique_ptr<Saved>* saved) const override;
  Tensor received(Context& ctx, const Tensor& tensor) const override {
    return widened(ctx, tensor);
  }

 private:
  bool has_beta() const noexcept { return config_.center && !config_.rms_scaling; }
  bool has_gamma() const noexcept { return config_.scale || config_.rms_scaling; }
  ConstView gains() const { return gamma_ ? gamma_->numbers() : ones_.view(); }
  ConstView offsets() const { return beta_ ? beta_->numbers() : zeros_.view(); }
  /// Rows [R, M] of the normalised axes; keeps mean and scale [R] unless absent.
  void normalize(Context& ctx, ConstView rows, View y, View mean, View scale) const;

  LayerNormalizationConfig config_;
  Index width_ = 0;  // elements that are normalised together; 0 before build()
  std::unique_ptr<Parameter> gamma_;
  std::unique_ptr<Parameter> beta_;
  Tensor ones_;  // in place of gamma and beta that the layer has not
  Tensor zeros_;
};

/// Keras's arguments.
struct RMSNormalizationConfig {
  std::vector<Index> axis = {-1};
  double epsilon = 1e-6;
  std::string name = "rms_normalization";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = scale x / sqrt(mean(x^2) + epsilon), the mean over `axis`. As in Keras, the result has no
/// mask. Shapes, views and errors as LayerNormalization's.
/// Source: Zhang & Sennrich 2019; keras.layers.RMSNormalization.
class RMSNormalization final : public Layer {
 public:
  using Config = RMSNormalizationConfig;
  /// Errors: ConfigError for a negative epsilon or no axis.
  explicit RMSNormalization(const RMSNormalizationConfig& config = {});
  std::string_view class_name() const override { return "RMSNormalization"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor typed_call(Context& ctx, const LayerInput& x,
                    std::unique_ptr<Saved>* saved) const override;
  RMSNormalizationConfig config_;
  std::unique_ptr<Parameter> scale_;
};

/// Limits of batch renormalization's corrections; those that are absent do not limit.
struct RenormClipping {
  std::optional<double> rmax{};
  std::optional<double> rmin{};
  std::optional<double> dmax{};
};

/// Keras's arguments.
struct BatchNormalizationConfig {
  Index axis = -1;         ///< the axis of the channels
  double momentum = 0.99;  ///< what a step keeps of the moving statistics
  double epsilon = 1e-3;
  bool center = true;  ///< whether there is a beta
  bool scale = true;   ///< whether there is a gamma
  Initializer beta_initializer = initializers::zeros();
  Initializer gamma_initializer = initializers::ones();
  Initializer moving_mean_initializer = initializers::zeros();
  Initializer moving_variance_initializer = initializers::ones();
  Regularizer beta_regularizer{};
  Regularizer gamma_regularizer{};
  Constraint beta_constraint{};
  Constraint gamma_constraint{};
  bool renorm = false;  ///< batch renormalization: Ioffe 2017
  std::optional<RenormClipping> renorm_clipping{};
  double renorm_momentum = 0.99;
  bool synchronized = false;  ///< kept for the configuration: there is one process
  std::string name = "batch_normalization";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta for each channel. In training mean and
/// (biased) variance are those of the batch, of the positions that the mask names where there is
/// one, and the moving statistics follow them (Mode::updates); else they are the moving ones. A
/// layer that is not trainable uses the moving ones always.
///
/// Shapes   x, y of any rank; gamma, beta and the statistics: the size of the axis
/// Operand  `mask`, or the mask attached to the input: x's shape without its last axis
/// Types    with 16-bit policies everything but x and y is float32
/// Mask     handed on
/// Errors   ConfigError for limits that exclude all numbers; ShapeError for a mask of another rank
/// Source   keras.layers.BatchNormalization; Ioffe & Szegedy 2015
class BatchNormalization final : public Layer {
 public:
  using Config = BatchNormalizationConfig;
  explicit BatchNormalization(const BatchNormalizationConfig& config = {});
  std::string_view class_name() const override { return "BatchNormalization"; }
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  struct Kept;
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  std::unique_ptr<Parameter> make_statistic(std::string name, const Initializer& rule,
                                            RandomStream& random) const;
  /// The statistics of the batch, with what renormalization makes of them.
  void measure(Context& ctx, const Mode& mode, Kept& kept) const;
  void update(Context& ctx, const Mode& mode, const Kept& kept) const;
  void update_deviations(Context& ctx, StateUpdates& updates, const Kept& kept) const;

  BatchNormalizationConfig config_;
  Index channels_ = 0;  // 0 before build()
  std::unique_ptr<Parameter> gamma_, beta_;
  std::unique_ptr<Parameter> moving_mean_, moving_variance_;
  // Of batch renormalization; null without it.
  std::unique_ptr<Parameter> moving_stddev_, renorm_mean_, renorm_stddev_;
};

/// Keras's arguments.
struct GroupNormalizationConfig {
  Index groups = 32;  ///< of neighbouring channels; -1: each channel alone
  Index axis = -1;    ///< the axis of the channels
  double epsilon = 1e-3;
  bool center = true;
  bool scale = true;
  Initializer beta_initializer = initializers::zeros();
  Initializer gamma_initializer = initializers::ones();
  Regularizer beta_regularizer{};
  Regularizer gamma_regularizer{};
  Constraint beta_constraint{};
  Constraint gamma_constraint{};
  std::string name = "group_normalization";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta, with mean and (biased) variance of each
/// entry of the batch and group of channels, over all other axes, masked positions included.
///
/// Shapes   x, y [B, ...]; gamma, beta: the size of the axis, which `groups` divides
/// Types    with 16-bit policies the input is not rounded and gamma and beta keep their type
/// Mask     handed on
/// Errors   ConfigError for groups of 0 or below -1; ShapeError for channels that they do not
/// divide Source   keras.layers.GroupNormalization; Wu & He 2018
class GroupNormalization final : public Layer {
 public:
  using Config = GroupNormalizationConfig;
  explicit GroupNormalization(const GroupNormalizationConfig& config = {});
  std::string_view class_name() const override { return "GroupNormalization"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 protected:
  Tensor received(Context& ctx, const Tensor& tensor) const override {
    return widened(ctx, tensor);
  }

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  /// The axes of x in the order of [B, ..., channels].
  std::vector<int> order_for(const Shape& shape) const;

  GroupNormalizationConfig config_;
  Index channels_ = 0;  // 0 before build()
  std::unique_ptr<Parameter> gamma_, beta_;
};

/// Keras's arguments.
struct UnitNormalizationConfig {
  std::vector<Index> axis = {-1};  ///< the axes normalised together
  bool axis_is_list = false;       ///< how a configuration writes one axis
  std::string name = "unit_normalization";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = x / |x|, the Euclidean norm over `axis`; where that is below 1e-12, y = 1e12 x.
/// Hands the mask on. Errors: ConfigError for no axis; ShapeError for an axis that x has not, or
/// twice. Source: keras.layers.UnitNormalization.
class UnitNormalization final : public Layer {
 public:
  using Config = UnitNormalizationConfig;
  explicit UnitNormalization(const UnitNormalizationConfig& config = {});
  std::string_view class_name() const override { return "UnitNormalization"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  /// The elements that are normalised together. Errors: ShapeError.
  Index width_of(const Shape& shape) const;

  UnitNormalizationConfig config_;
};

}  // namespace grouphead
#pragma GCC visibility pop
