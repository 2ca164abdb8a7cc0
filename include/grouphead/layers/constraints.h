#pragma once

#include <string_view>

#include "grouphead/core/context.h"
#include "grouphead/layers/choice.h"

#pragma GCC visibility push(default)
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

/// Keras's constraints. `axis`: what a norm runs over, one axis, a list of them, or null for all.
/// Wherever norms are brought to a wanted one, w := w wanted / (1e-7 + norm).
namespace constraints {

/// Norms above max_value are brought to it.
Constraint max_norm(double max_value = 2, const ConfigValue& axis = 0);
/// Norms outside [min_value, max_value] are brought to the nearer end, by the share `rate` of the
/// way.
Constraint min_max_norm(double min_value = 0, double max_value = 1, double rate = 1,
                        const ConfigValue& axis = 0);
/// Norm 1.
Constraint unit_norm(const ConfigValue& axis = 0);
/// No negative numbers.
Constraint non_neg();

}  // namespace constraints

}  // namespace grouphead
#pragma GCC visibility pop
