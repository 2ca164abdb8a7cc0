#pragma once

#include "grouphead/layers/windows.h"

#pragma GCC visibility push(default)
namespace grouphead {
namespace detail {

/// Steps in front of and behind each spatial axis.
template <int kAxes>
using AxisSides =
    std::conditional_t<kAxes == 1, std::array<Index, 2>, std::array<std::array<Index, 2>, 2>>;

template <int kAxes>
constexpr AxisSides<kAxes> equal_sides(Index size) {
  if constexpr (kAxes == 1) {
    return {size, size};
  } else {
    return {std::array<Index, 2>{size, size}, std::array<Index, 2>{size, size}};
  }
}

enum class ResizingKind : int { pad, crop, repeat };

struct ResizingSettings {
  ResizingKind kind = ResizingKind::pad;
  int axes = 1;
  /// Zeros, or steps taken off, in front and behind; of `repeat` the first is how often.
  AxisSides<2> sides{};
  DataFormat data_format = DataFormat::channels_last;
};

/// What the layers share that change how many steps there are.
class Resizing : public Layer {
 public:
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 protected:
  template <class Config>
  Resizing(const Config& config, const ResizingSettings& settings)
      : Layer(config.name, config.dtype, config.activity_regularizer), settings_(settings) {
    check();
  }
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  const ResizingSettings& settings() const noexcept { return settings_; }
  /// `sides` as Keras writes them.
  ConfigValue sides_config() const;

 private:
  void check() const;
  int first_axis() const noexcept {
    return settings_.data_format == DataFormat::channels_last ? 1 : 2;
  }
  Index resized(Index size, int axis, const Shape& input) const;
  /// The steps of a longer tensor that a shorter one (`shape`) has.
  template <class AnyView>
  AnyView inner(AnyView longer, const Shape& shape) const;
  /// `shape` with an axis of size 1 behind each spatial one.
  Shape with_repeats(const Shape& shape, bool are_ones) const;

  ResizingSettings settings_;
};

template <int kAxes>
struct ZeroPaddingConfig {
  AxisSides<kAxes> padding = equal_sides<kAxes>(1);  ///< zeros in front and behind
  DataFormat data_format = DataFormat::channels_last;
  std::string name = kAxes == 1 ? "zero_padding1d" : "zero_padding2d";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

}  // namespace detail

using ZeroPadding1DConfig = detail::ZeroPaddingConfig<1>;
using ZeroPadding2DConfig = detail::ZeroPaddingConfig<2>;

struct Cropping1DConfig {
  std::array<Index, 2> cropping{1, 1};  ///< steps taken off in front and behind
  std::string name = "cropping1d";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct Cropping2DConfig {
  std::array<std::array<Index, 2>, 2> cropping{};  ///< of the rows, of the columns
  DataFormat data_format = DataFormat::channels_last;
  std::string name = "cropping2d";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct UpSampling1DConfig {
  Index size = 2;
  std::string name = "up_sampling1d";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct UpSampling2DConfig {
  std::array<Index, 2> size{2, 2};
  DataFormat data_format = DataFormat::channels_last;
  std::string name = "up_sampling2d";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

// Tensors of any type; the mask is lost, as in Keras. Errors: ConfigError for numbers below 0
// (sizes of UpSampling: below 1) or above 2^20; ShapeError for another rank.

/// [B, T, M] (channels_first: [B, M, T]) with zeros around the steps.
/// Source: keras.layers.ZeroPadding1D.
class ZeroPadding1D final : public detail::Resizing {
 public:
  using Config = ZeroPadding1DConfig;
  explicit ZeroPadding1D(const ZeroPadding1DConfig& config = {});
  std::string_view class_name() const override { return "ZeroPadding1D"; }
  ConfigValue get_config() const override;
};

/// [B, H, W, M] with zeros around the image. Source: keras.layers.ZeroPadding2D.
class ZeroPadding2D final : public detail::Resizing {
 public:
  using Config = ZeroPadding2DConfig;
  explicit ZeroPadding2D(const ZeroPadding2DConfig& config = {});
  std::string_view class_name() const override { return "ZeroPadding2D"; }
  ConfigValue get_config() const override;
};

/// [B, T, M] without its first and last steps. Errors: ShapeError where none is left.
/// Source: keras.layers.Cropping1D.
class Cropping1D final : public detail::Resizing {
 public:
  using Config = Cropping1DConfig;
  explicit Cropping1D(const Cropping1DConfig& config = {});
  std::string_view class_name() const override { return "Cropping1D"; }
  ConfigValue get_config() const override;
};

/// [B, H, W, M] without its edges. Source: keras.layers.Cropping2D.
class Cropping2D final : public detail::Resizing {
 public:
  using Config = Cropping2DConfig;
  explicit Cropping2D(const Cropping2DConfig& config = {});
  std::string_view class_name() const override { return "Cropping2D"; }
  ConfigValue get_config() const override;
};

/// [B, T, M] with each step `size` times. Source: keras.layers.UpSampling1D.
class UpSampling1D final : public detail::Resizing {
 public:
  using Config = UpSampling1DConfig;
  explicit UpSampling1D(const UpSampling1DConfig& config = {});
  std::string_view class_name() const override { return "UpSampling1D"; }
  ConfigValue get_config() const override;
};

/// [B, H, W, M] with each row and column several times: interpolation `nearest`, others are
/// refused. Source: keras.layers.UpSampling2D.
class UpSampling2D final : public detail::Resizing {
 public:
  using Config = UpSampling2DConfig;
  explicit UpSampling2D(const UpSampling2DConfig& config = {});
  std::string_view class_name() const override { return "UpSampling2D"; }
  ConfigValue get_config() const override;
};

}  // namespace grouphead
#pragma GCC visibility pop
