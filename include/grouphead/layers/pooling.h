#pragma once

#include "grouphead/layers/reshaping.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct GlobalAveragePooling1DConfig {
  DataFormat data_format = DataFormat::channels_last;
  bool keepdims = false;  ///< the time axis stays, with size 1
  std::string name = "global_average_pooling1d";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct GlobalMaxPooling1DConfig {
  DataFormat data_format = DataFormat::channels_last;
  bool keepdims = false;
  std::string name = "global_max_pooling1d";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// What the two poolings share: [B, T, M] (channels_first: [B, M, T]) to [B, M], or with keepdims
/// to the input's rank. The result has no mask.
class GlobalPooling1D : public Layer {
 public:
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 protected:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  template <class Config>
  explicit GlobalPooling1D(const Config& config)
      : Layer(config.name, config.dtype, config.activity_regularizer),
        data_format_(config.data_format),
        keepdims_(config.keepdims) {}

  int time_axis() const noexcept { return data_format_ == DataFormat::channels_last ? 1 : 2; }
  /// With size 1 on the time axis.
  Shape reduced_shape(const Shape& input) const;
  /// The result's shape. Errors: ShapeError unless x has rank 3 and the layer's type.
  Shape checked_shape(const Tensor& x) const;

 private:
  DataFormat data_format_;
  bool keepdims_;
};

/// The mean over time, of the steps that the mask names, where there is one: the operand `mask`
/// ([B, T], bool or a number that is not 0) or, without it, the one attached to the input. A row
/// without a step gives NaN. Source: keras.layers.GlobalAveragePooling1D.
class GlobalAveragePooling1D final : public GlobalPooling1D {
 public:
  using Config = GlobalAveragePooling1DConfig;
  explicit GlobalAveragePooling1D(const GlobalAveragePooling1DConfig& config = {});
  std::string_view class_name() const override { return "GlobalAveragePooling1D"; }
  std::span<const std::string_view> input_names() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
};

/// The largest of each feature over time, masked steps included; equal ones share the gradient.
/// Errors: ShapeError for an input without a step. Source: keras.layers.GlobalMaxPooling1D.
class GlobalMaxPooling1D final : public GlobalPooling1D {
 public:
  using Config = GlobalMaxPooling1DConfig;
  explicit GlobalMaxPooling1D(const GlobalMaxPooling1DConfig& config = {});
  std::string_view class_name() const override { return "GlobalMaxPooling1D"; }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
};

}  // namespace grouphead
#pragma GCC visibility pop
