#pragma once

#include <string_view>

#include "grouphead/choice.h"
#include "grouphead/context.h"

namespace grouphead {

/// What a parameter is brought back to after each optimizer step. Source: keras.constraints.
class ConstraintRule {
 public:
  static constexpr std::string_view kModule = "keras.constraints";
  /// From a Keras name or envelope; null for null. Errors: ConfigError.
  static std::shared_ptr<const ConstraintRule> from_config(const ConfigValue& identifier);

  virtual ~ConstraintRule() = default;
  virtual std::string_view class_name() const = 0;
  virtual ConfigValue get_config() const = 0;
  /// w := constraint(w), f32 or f64, contiguous.
  virtual void apply(Context& ctx, View w) const = 0;
};
using Constraint = Choice<ConstraintRule>;

}  // namespace grouphead
