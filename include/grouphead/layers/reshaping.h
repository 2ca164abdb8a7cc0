#pragma once

#include <vector>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// What Reshape, Permute and Flatten share: the same elements under another shape, of any type.
/// The mask is lost, unless the shape and order stay what they are.
class Rearranging : public Layer {
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
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  using Layer::Layer;
  /// The result's shape. Errors: ShapeError.
  virtual Shape shape_for(const Shape& input) const = 0;
  /// Which axis of the input each axis is, before the shape is changed.
  virtual std::vector<int> order_for(int rank) const;
};

struct ReshapeConfig {
  Shape target_shape{};  ///< without the batch; one axis may be -1, which takes what is left
  std::string name = "reshape";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// [B, ...] to [B, target_shape]. Source: keras.layers.Reshape.
class Reshape final : public Rearranging {
 public:
  using Config = ReshapeConfig;
  /// Errors: ConfigError for two axes of -1.
  explicit Reshape(const ReshapeConfig& config);
  std::string_view class_name() const override { return "Reshape"; }
  ConfigValue get_config() const override;

 private:
  Shape shape_for(const Shape& input) const override;

  Shape target_shape_;
};

struct PermuteConfig {
  std::vector<Index> dims{};  ///< axes 1, 2, ... in their new order; the batch stays first
  std::string name = "permute";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// Axes in another order: dims = {2, 1} makes [B, M, T] of [B, T, M]. Source: keras.layers.Permute.
class Permute final : public Rearranging {
 public:
  using Config = PermuteConfig;
  /// Errors: ConfigError unless dims holds each of 1 ... n once.
  explicit Permute(const PermuteConfig& config);
  std::string_view class_name() const override { return "Permute"; }
  ConfigValue get_config() const override;

 private:
  Shape shape_for(const Shape& input) const override;
  std::vector<int> order_for(int rank) const override;

  std::vector<Index> dims_;
};

/// Where the features stand: `channels_last` [B, T, M] or `channels_first` [B, M, T].
enum class DataFormat : int { channels_last, channels_first };
std::string_view name_of(DataFormat format) noexcept;
/// Errors: ConfigError that lists the known names.
DataFormat data_format_from_name(std::string_view name);

struct FlattenConfig {
  DataFormat data_format = DataFormat::channels_last;  ///< channels_first: the second axis last
  std::string name = "flatten";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// [B, ...] to [B, everything]; [B] to [B, 1]. Source: keras.layers.Flatten.
class Flatten final : public Rearranging {
 public:
  using Config = FlattenConfig;
  explicit Flatten(const FlattenConfig& config = {});
  std::string_view class_name() const override { return "Flatten"; }
  ConfigValue get_config() const override;

 private:
  Shape shape_for(const Shape& input) const override;
  std::vector<int> order_for(int rank) const override;

  DataFormat data_format_;
};

}  // namespace grouphead
#pragma GCC visibility pop
