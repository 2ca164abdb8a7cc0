#pragma once

#include <string_view>

#include "grouphead/choice.h"
#include "grouphead/context.h"

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

}  // namespace grouphead
