#pragma once

#include <optional>
#include <string_view>

#include "grouphead/choice.h"
#include "grouphead/random.h"
#include "grouphead/tensor.h"

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

}  // namespace grouphead
