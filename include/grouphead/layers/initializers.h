#pragma once

#include <optional>
#include <string_view>

#include "grouphead/core/random.h"
#include "grouphead/core/tensor.h"
#include "grouphead/layers/choice.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Numbers of elements that a kernel's sums run over, and that it feeds.
struct Fans {
  Index in = 0;
  Index out = 0;
};
/// Keras's rule without an einsum: [n] -> n, n; [a, b] -> a, b; [..., a, b] -> both times the
/// product of the leading axes.
Fans fans_of(const Shape& shape) noexcept;

/// How a parameter gets its first numbers. Source: keras.initializers.
class InitializerRule {
 public:
  static constexpr std::string_view kModule = "keras.initializers";
  /// From a Keras name or envelope; null for null. Errors: ConfigError.
  static std::shared_ptr<const InitializerRule> from_config(const ConfigValue& identifier);

  virtual ~InitializerRule() = default;
  virtual std::string_view class_name() const = 0;
  virtual ConfigValue get_config() const = 0;
  /// Fills w (any floating type). An integer seed gives Keras-on-JAX's numbers, the same ones at
  /// every call; without a seed one key is taken from `random`. Errors: ShapeError for shapes that
  /// the rule cannot fill.
  virtual void fill(View w, const Fans& fans, RandomStream& random) const = 0;
};
using Initializer = Choice<InitializerRule>;

/// Keras's initializers. Those that draw take an optional seed.
namespace initializers {

Initializer zeros();
Initializer ones();
Initializer constant(double value);
/// gain on the diagonal of a matrix, which need not be square, 0 elsewhere. Of rank 2 only.
Initializer identity(double gain = 1);

Initializer random_uniform(double minval = -0.05, double maxval = 0.05, const Seed& seed = {});
Initializer random_normal(double mean = 0, double stddev = 0.05, const Seed& seed = {});
/// Normal numbers within 2 stddev of the mean.
Initializer truncated_normal(double mean = 0, double stddev = 0.05, const Seed& seed = {});

enum class FanMode : std::uint8_t { fan_in, fan_out, fan_avg };
enum class ScalingDistribution : std::uint8_t { uniform, truncated_normal, untruncated_normal };
struct VarianceScalingConfig {
  double scale = 1;
  FanMode mode = FanMode::fan_in;
  ScalingDistribution distribution = ScalingDistribution::truncated_normal;
  Seed seed{};
};
/// Values of variance scale / n, where n is the fan of `mode` (`fan_avg`: their mean), at least 1.
/// Errors: ConfigError for a scale that is not positive.
Initializer variance_scaling(const VarianceScalingConfig& config = {});
Initializer glorot_uniform(const Seed& seed = {});  ///< 1, fan_avg: Glorot & Bengio 2010
Initializer glorot_normal(const Seed& seed = {});
Initializer he_uniform(const Seed& seed = {});  ///< 2, fan_in: He et al. 2015
Initializer he_normal(const Seed& seed = {});
Initializer lecun_uniform(const Seed& seed = {});  ///< 1, fan_in: Klambauer et al. 2017
Initializer lecun_normal(const Seed& seed = {});

/// gain times a matrix whose columns (rows, where there are fewer) are orthonormal; all axes but
/// the last count as rows. Errors: ShapeError below rank 2. Source: Saxe et al. 2014.
Initializer orthogonal(double gain = 1, const Seed& seed = {});

}  // namespace initializers

}  // namespace grouphead
#pragma GCC visibility pop
