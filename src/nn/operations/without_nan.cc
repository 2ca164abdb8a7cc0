// Statistics that pass over NaN.

#include <limits>

#include "nn/operations/traced.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Var is_nan(Var x) { return compare(ops::Comparison::not_equal, x, x); }

/// x with `value` in place of NaN; integers have none.
Var replaced(Var x, double value) {
  if (!ops::is_floating(x.dtype())) return x;
  return select(is_nan(x), literal(x.trace(), value), x);
}

struct Reduced {
  explicit Reduced(const TracedCall& call)
      : x(call[0]), axes(call.axes(x.rank())), keeps(call.truth("keepdims")) {}
  Var counted(bool keeps_axes) const {
    return cast(sum(invert(is_nan(x)), axes, keeps_axes), floating(x.dtype()));
  }
  Var x;
  Axes axes;
  bool keeps;
};

Results sum_of(TracedCall& call) {
  const Reduced r(call);
  return {sum(replaced(r.x, 0), r.axes, r.keeps)};
}

Results mean_of(TracedCall& call) {
  const Reduced r(call);
  return {cast(sum(replaced(r.x, 0), r.axes, r.keeps), floating(r.x.dtype())) / r.counted(r.keeps)};
}

Var variance_of(const Reduced& r) {
  const Dtype dtype = floating(r.x.dtype());
  const Var x = cast(r.x, dtype);
  const Var center = sum(replaced(x, 0), r.axes, true) / r.counted(true);
  const Var offset = select(is_nan(x), center, x) - center;
  return sum(square(offset), r.axes, r.keeps) / r.counted(r.keeps);
}

Results variance(TracedCall& call) { return {variance_of(Reduced(call))}; }
Results deviation(TracedCall& call) {
  return {unary(ops::Unary::sqrt, variance_of(Reduced(call)))};
}

/// NaN where there is nothing else.
template <ops::Extreme Kind>
Results extreme_of(TracedCall& call) {
  const Reduced r(call);
  if (!ops::is_floating(r.x.dtype())) return {extreme(Kind, r.x, r.axes, r.keeps)};
  const double lowest = Kind == ops::Extreme::max ? -kInfinity : kInfinity;
  const Var y = extreme(Kind, replaced(r.x, lowest), r.axes, r.keeps);
  const Var none = extreme(ops::Extreme::min, is_nan(r.x), r.axes, r.keeps);
  const Var nan = literal(call.trace, std::numeric_limits<double>::quiet_NaN());
  return {select(none, nan, y)};
}

template <bool Multiplies>
Results cumulated_of(TracedCall& call) {
  const Var x = replaced(call[0], Multiplies ? 1 : 0);
  const Var numbers = cast(x, call.dtype(x.dtype()));
  if (call["axis"].is_null()) return {cumulated(flattened(numbers), 0, Multiplies)};
  return {cumulated(numbers, call.axis(x.rank(), 0), Multiplies)};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNumpyModule, "Nancumprod", "x", cumulated_of<true>),
    traced_class(kNumpyModule, "Nancumsum", "x", cumulated_of<false>),
    traced_class(kNumpyModule, "Nanmax", "x", extreme_of<ops::Extreme::max>),
    traced_class(kNumpyModule, "Nanmean", "x", mean_of),
    traced_class(kNumpyModule, "Nanmin", "x", extreme_of<ops::Extreme::min>),
    traced_class(kNumpyModule, "Nanstd", "x", deviation),
    traced_class(kNumpyModule, "Nansum", "x", sum_of),
    traced_class(kNumpyModule, "Nanvar", "x", variance),
};

}  // namespace

std::span<const OperationClass> nan_operations() { return kClasses; }

}  // namespace grouphead::nn
