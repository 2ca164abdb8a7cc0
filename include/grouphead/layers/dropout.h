#pragma once

#include <optional>
#include <vector>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Keras's arguments.
struct DropoutConfig {
  double rate = 0;                      ///< share of the elements that become 0, in [0, 1]
  std::optional<std::uint64_t> seed{};  ///< of the layer's own generator; none: drawn by build()
  /// Along an axis of 1 all elements are kept or dropped together; -1: an axis of the input's size.
  /// Empty: each element for itself.
  std::vector<Index> noise_shape{};
  std::string name = "dropout";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct SpatialDropout1DConfig {
  double rate = 0;
  std::optional<std::uint64_t> seed{};
  std::string name = "spatial_dropout1d";
  DtypePolicy dtype{};
};

struct SpatialDropout2DConfig {
  double rate = 0;
  std::optional<std::uint64_t> seed{};
  bool channels_first = false;  ///< Keras's data_format
  std::string name = "spatial_dropout2d";
  DtypePolicy dtype{};
};

struct GaussianNoiseConfig {
  double stddev = 0;  ///< in [0, 1]
  std::optional<std::uint64_t> seed{};
  std::string name = "gaussian_noise";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct GaussianDropoutConfig {
  double rate = 0;  ///< in [0, 1]
  std::optional<std::uint64_t> seed{};
  std::string name = "gaussian_dropout";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

struct AlphaDropoutConfig {
  double rate = 0;  ///< in [0, 1)
  std::optional<std::uint64_t> seed{};
  std::vector<Index> noise_shape{};  ///< as in DropoutConfig
  std::string name = "alpha_dropout";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

namespace detail {

/// What changes numbers at random in training, and is the identity otherwise. Hands the mask on.
///
/// Numbers come from Mode::random (dropout: by Philox4x32-10), or without one from the layer's own
/// SeedGenerator, by Threefry: the same seed gives the numbers of Keras on JAX. Either way they are
/// a function of (seed, draw, element), so threads do not change them.
template <class LayerConfig>
class RandomLayer final : public Layer {
 public:
  using Config = LayerConfig;
  /// Errors: ConfigError for a rate or deviation outside its range.
  explicit RandomLayer(const LayerConfig& config);
  std::string_view class_name() const override;
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  const LayerConfig& config() const noexcept { return config_; }
  /// Null before build() where no seed is given, and where nothing is drawn.
  const SeedGenerator* seed_generator() const noexcept { return generator_.get(); }

  /// The next draw where the layer acts (training, rate > 0), absent where it is the identity.
  /// Errors: ConfigError without Mode::random before build(), unless a seed is given.
  std::optional<RandomDraw> draw(const Mode& mode) const;
  /// What one draw makes of x, contiguous; y may be x. Errors: ShapeError for another noise shape.
  void apply(Context& ctx, const RandomDraw& draw, ConstView x, View y) const;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  LayerConfig config_;
  std::unique_ptr<SeedGenerator> generator_;  // its draws are counted by const calls
};

extern template class RandomLayer<DropoutConfig>;
extern template class RandomLayer<SpatialDropout1DConfig>;
extern template class RandomLayer<SpatialDropout2DConfig>;
extern template class RandomLayer<GaussianNoiseConfig>;
extern template class RandomLayer<GaussianDropoutConfig>;
extern template class RandomLayer<AlphaDropoutConfig>;

}  // namespace detail

/// In training y = x / (1 - rate) where an element is kept, 0 elsewhere.
/// Source: keras.layers.Dropout.
using Dropout = detail::RandomLayer<DropoutConfig>;
/// Dropout of whole features: x [B, T, M], one choice for each [B, M].
/// Source: keras.layers.SpatialDropout1D.
using SpatialDropout1D = detail::RandomLayer<SpatialDropout1DConfig>;
/// The same of images [B, H, W, C], or [B, C, H, W] with channels_first.
/// Source: keras.layers.SpatialDropout2D.
using SpatialDropout2D = detail::RandomLayer<SpatialDropout2DConfig>;
/// In training y = x + N(0, stddev^2). Source: keras.layers.GaussianNoise.
using GaussianNoise = detail::RandomLayer<GaussianNoiseConfig>;
/// In training y = x N(1, rate / (1 - rate)); a rate of 1 cannot be trained.
/// Source: keras.layers.GaussianDropout.
using GaussianDropout = detail::RandomLayer<GaussianDropoutConfig>;
/// In training dropped elements get selu's lowest value, and all are moved and scaled so that mean
/// and variance stay. Source: keras.layers.AlphaDropout; Klambauer et al. 2017, arXiv:1706.02515.
using AlphaDropout = detail::RandomLayer<AlphaDropoutConfig>;

}  // namespace grouphead
#pragma GCC visibility pop
