#pragma once

#include <optional>
#include <vector>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Keras's arguments.
struct DropoutConfig {
  double rate = 0;                      ///< share of the elements that become 0, in [0, 1]
  std::optional<std::uint32_t> seed{};  ///< of the layer's own generator; none: drawn by build()
  /// Along an axis of 1 all elements are kept or dropped together; -1: an axis of the input's size.
  /// Empty: each element for itself.
  std::vector<Index> noise_shape{};
  std::string name = "dropout";
  DtypePolicy dtype{};
};

/// In training y = x / (1 - rate) where an element is kept, 0 elsewhere; identity otherwise.
///
/// Numbers come from Mode::random, by Philox4x32-10, or without one from the layer's own
/// SeedGenerator, by Threefry: the same seed gives the masks of Keras on JAX. Either way they are a
/// function of (seed, draw, element), so threads do not change them. Hands the mask on.
/// Source: keras.layers.Dropout.
class Dropout final : public Layer {
 public:
  using Config = DropoutConfig;
  /// Errors: ConfigError for a rate outside [0, 1].
  explicit Dropout(const DropoutConfig& config);
  std::string_view class_name() const override { return "Dropout"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  const DropoutConfig& config() const noexcept { return config_; }
  /// Null before build() where no seed is given, and for rate 0.
  const SeedGenerator* seed_generator() const noexcept { return generator_.get(); }

  /// The next draw where dropout acts (training, rate > 0), absent where it is the identity.
  /// Errors: ConfigError without Mode::random before build(), unless a seed is given.
  std::optional<RandomDraw> draw(const Mode& mode) const;
  /// What one draw makes of x, or of the gradient of its result; y may be x.
  void apply(Context& ctx, const RandomDraw& draw, ConstView x, View y) const;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  DropoutConfig config_;
  std::unique_ptr<SeedGenerator> generator_;  // its draws are counted by const calls
};

}  // namespace grouphead
#pragma GCC visibility pop
