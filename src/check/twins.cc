#include "check/twins.h"

#include <cmath>

#include "check/compare.h"
#include "check/inputs.h"

namespace grouphead::check {

void copy_parameters(Context& ctx, const Layer& from, const Layer& to) {
  const ParameterList source = from.parameters();
  const ParameterList target = to.parameters();
  for (std::size_t i = 0; i < source.size(); ++i) {
    Parameter& parameter = *target[i].parameter;
    copy(convert(ctx, source[i].parameter->value(), parameter.dtype()), parameter.edit());
  }
}

double path_bound(Dtype dtype, double length, double magnitude) {
  return 8 * unit_roundoff(dtype) * std::sqrt(length) * magnitude;
}

}  // namespace grouphead::check
