#pragma once

#include <string_view>

#include "grouphead/core/context.h"
#include "grouphead/layers/choice.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A penalty on a tensor, added to the loss. Source: keras.regularizers.
class RegularizerRule {
 public:
  static constexpr std::string_view kModule = "keras.regularizers";
  /// From a Keras name or envelope; null for null. Errors: ConfigError.
  static std::shared_ptr<const RegularizerRule> from_config(const ConfigValue& identifier);

  virtual ~RegularizerRule() = default;
  virtual std::string_view class_name() const = 0;
  virtual ConfigValue get_config() const = 0;
  /// The penalty of x (f32 or f64, contiguous). Errors: ShapeError for shapes the rule cannot take.
  virtual double value(Context& ctx, ConstView x) const = 0;
  /// d_x += scale * d value / d x.
  virtual void add_gradient(Context& ctx, ConstView x, double scale, View d_x) const = 0;
};
using Regularizer = Choice<RegularizerRule>;

/// Keras's regularizers. Factors are finite and not negative: ConfigError. As in Keras, l1 and
/// orthogonal keep theirs in f32, and the derivative of |x| at 0 is 1.
namespace regularizers {

/// factor sum |x|
Regularizer l1(double factor = 0.01);
/// factor sum x^2
Regularizer l2(double factor = 0.01);
/// l1 sum |x| + l2 sum x^2
Regularizer l1_l2(double l1 = 0, double l2 = 0);
/// factor times the mean |cos| of the angles between all pairs of `rows` (or `columns`) of a
/// matrix. Where there is only one the penalty is 0 (Keras: NaN).
Regularizer orthogonal(double factor = 0.01, std::string_view mode = "rows");

}  // namespace regularizers

}  // namespace grouphead
#pragma GCC visibility pop
