#pragma once

#include <optional>

#include "grouphead/layers/windows.h"

#pragma GCC visibility push(default)
namespace grouphead {
namespace detail {

enum class PoolingKind : int { max, average };

constexpr const char* pooling_name(PoolingKind kind, int axes, bool is_global) {
  if (kind == PoolingKind::max) {
    if (is_global) return axes == 1 ? "global_max_pooling1d" : "global_max_pooling2d";
    return axes == 1 ? "max_pooling1d" : "max_pooling2d";
  }
  if (is_global) return axes == 1 ? "global_average_pooling1d" : "global_average_pooling2d";
  return axes == 1 ? "average_pooling1d" : "average_pooling2d";
}

template <PoolingKind kKind, int kAxes>
struct PoolingConfig {
  AxisSizes<kAxes> pool_size = equal_sizes<kAxes>(2);
  std::optional<AxisSizes<kAxes>> strides{};  ///< none: pool_size
  Padding padding = Padding::valid;           ///< not causal
  DataFormat data_format = DataFormat::channels_last;
  std::string name = pooling_name(kKind, kAxes, false);
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

template <PoolingKind kKind, int kAxes>
struct GlobalPoolingConfig {
  DataFormat data_format = DataFormat::channels_last;
  bool keepdims = false;  ///< the spatial axes stay, with size 1
  std::string name = pooling_name(kKind, kAxes, true);
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// What the poolings of sliding windows share.
class Pooling : public Layer {
 public:
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 protected:
  template <PoolingKind kKind, int kAxes>
  explicit Pooling(const PoolingConfig<kKind, kAxes>& config)
      : Layer(config.name, config.dtype, config.activity_regularizer),
        kind_(kKind),
        windows_{.axes = kAxes,
                 .size = both_axes(config.pool_size),
                 .strides = both_axes(config.strides.value_or(config.pool_size)),
                 .padding = config.padding,
                 .data_format = config.data_format} {
    check();
  }
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;

 private:
  void check() const;

  PoolingKind kind_;
  WindowConfig windows_;
};

/// What the poolings over whole sequences and images share.
class GlobalPooling : public Layer {
 public:
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 protected:
  template <PoolingKind kKind, int kAxes>
  explicit GlobalPooling(const GlobalPoolingConfig<kKind, kAxes>& config)
      : Layer(config.name, config.dtype, config.activity_regularizer),
        kind_(kKind),
        axes_(kAxes),
        data_format_(config.data_format),
        keepdims_(config.keepdims) {}
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;

 private:
  bool takes_mask() const noexcept { return kind_ == PoolingKind::average && axes_ == 1; }
  int first_axis() const noexcept { return data_format_ == DataFormat::channels_last ? 1 : 2; }
  /// With size 1 on the spatial axes.
  Shape reduced_shape(const Shape& input) const;
  /// Elements that are pooled to one.
  Index area(const Shape& input) const noexcept;
  void forward_masked(Context& ctx, const Tensor& x, const Tensor& mask, Saved& saved,
                      View mean) const;

  PoolingKind kind_;
  int axes_;
  DataFormat data_format_;
  bool keepdims_;
};

}  // namespace detail

using MaxPooling1DConfig = detail::PoolingConfig<detail::PoolingKind::max, 1>;
using MaxPooling2DConfig = detail::PoolingConfig<detail::PoolingKind::max, 2>;
using AveragePooling1DConfig = detail::PoolingConfig<detail::PoolingKind::average, 1>;
using AveragePooling2DConfig = detail::PoolingConfig<detail::PoolingKind::average, 2>;
using GlobalMaxPooling1DConfig = detail::GlobalPoolingConfig<detail::PoolingKind::max, 1>;
using GlobalMaxPooling2DConfig = detail::GlobalPoolingConfig<detail::PoolingKind::max, 2>;
using GlobalAveragePooling1DConfig = detail::GlobalPoolingConfig<detail::PoolingKind::average, 1>;
using GlobalAveragePooling2DConfig = detail::GlobalPoolingConfig<detail::PoolingKind::average, 2>;

/// The largest of each window, channel by channel; the first of equal ones has the gradient.
///
/// Shapes   [B, T, M] to [B, T', M] (channels_first: [B, M, T] to [B, M, T']), with
///          T' = floor((T - pool_size) / strides) + 1, or ceil(T / strides) with padding `same`,
///          whose windows reach over the ends and take what is there
/// Mask     lost, as in Keras
/// Errors   ConfigError for sizes below 1 or above 2^20; ShapeError for an input shorter than a
///          window
/// Source   keras.layers.MaxPooling1D
class MaxPooling1D final : public detail::Pooling {
 public:
  using Config = MaxPooling1DConfig;
  explicit MaxPooling1D(const MaxPooling1DConfig& config = {}) : Pooling(config) {}
  std::string_view class_name() const override { return "MaxPooling1D"; }
};

/// The same over [B, H, W, M]. Source: keras.layers.MaxPooling2D.
class MaxPooling2D final : public detail::Pooling {
 public:
  using Config = MaxPooling2DConfig;
  explicit MaxPooling2D(const MaxPooling2DConfig& config = {}) : Pooling(config) {}
  std::string_view class_name() const override { return "MaxPooling2D"; }
};

/// The mean of each window, of the steps that exist. Shapes and errors as MaxPooling1D's.
/// Source: keras.layers.AveragePooling1D.
class AveragePooling1D final : public detail::Pooling {
 public:
  using Config = AveragePooling1DConfig;
  explicit AveragePooling1D(const AveragePooling1DConfig& config = {}) : Pooling(config) {}
  std::string_view class_name() const override { return "AveragePooling1D"; }
};

/// The same over [B, H, W, M]. Source: keras.layers.AveragePooling2D.
class AveragePooling2D final : public detail::Pooling {
 public:
  using Config = AveragePooling2DConfig;
  explicit AveragePooling2D(const AveragePooling2DConfig& config = {}) : Pooling(config) {}
  std::string_view class_name() const override { return "AveragePooling2D"; }
};

/// [B, T, M] (channels_first: [B, M, T]) to [B, M], or with keepdims to the input's rank: the mean
/// over time, of the steps that the mask names, where there is one: the operand `mask`
/// ([B, T], bool or a number that is not 0) or, without it, the one attached to the input. A row
/// without a step gives NaN. The result has no mask. Source: keras.layers.GlobalAveragePooling1D.
class GlobalAveragePooling1D final : public detail::GlobalPooling {
 public:
  using Config = GlobalAveragePooling1DConfig;
  explicit GlobalAveragePooling1D(const GlobalAveragePooling1DConfig& config = {})
      : GlobalPooling(config) {}
  std::string_view class_name() const override { return "GlobalAveragePooling1D"; }
};

/// [B, H, W, M] (channels_first: [B, M, H, W]) to [B, M]: the mean of each channel.
/// Source: keras.layers.GlobalAveragePooling2D.
class GlobalAveragePooling2D final : public detail::GlobalPooling {
 public:
  using Config = GlobalAveragePooling2DConfig;
  explicit GlobalAveragePooling2D(const GlobalAveragePooling2DConfig& config = {})
      : GlobalPooling(config) {}
  std::string_view class_name() const override { return "GlobalAveragePooling2D"; }
};

/// [B, T, M] to [B, M]: the largest of each feature over time, masked steps included; equal ones
/// share the gradient. The result has no mask.
/// Errors: ShapeError for an input without a step. Source: keras.layers.GlobalMaxPooling1D.
class GlobalMaxPooling1D final : public detail::GlobalPooling {
 public:
  using Config = GlobalMaxPooling1DConfig;
  explicit GlobalMaxPooling1D(const GlobalMaxPooling1DConfig& config = {})
      : GlobalPooling(config) {}
  std::string_view class_name() const override { return "GlobalMaxPooling1D"; }
};

/// [B, H, W, M] to [B, M]: the largest of each channel. Source: keras.layers.GlobalMaxPooling2D.
class GlobalMaxPooling2D final : public detail::GlobalPooling {
 public:
  using Config = GlobalMaxPooling2DConfig;
  explicit GlobalMaxPooling2D(const GlobalMaxPooling2DConfig& config = {})
      : GlobalPooling(config) {}
  std::string_view class_name() const override { return "GlobalMaxPooling2D"; }
};

}  // namespace grouphead
#pragma GCC visibility pop
