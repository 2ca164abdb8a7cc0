#include "ops/convert.h"

#include "ops/floating.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "convert";

}  // namespace

void convert_rounded(ConstView from, Dtype grid, View to) {
  if (!from.has_value() || !to.has_value() || from.size() != to.size()) {
    detail::throw_shape_error(kName, "target", from.shape().to_string(), to.shape().to_string());
  }
  detail::require_contiguous(kName, "source", from);
  detail::require_contiguous(kName, "target", to);
  with_floating(kName, "source", from.dtype(), [&](auto source) {
    with_floating(kName, "type", grid, [&](auto on_grid) {
      with_floating(kName, "target", to.dtype(), [&](auto target) {
        using From = decltype(source);
        using Grid = decltype(on_grid);
        using To = decltype(target);
        const From* x = from.data<From>();
        To* y = to.data<To>();
        for (Index i = 0; i < from.size(); ++i) {
          y[i] = narrowed<To>(widened(narrowed<Grid>(widened(x[i]))));
        }
      });
    });
  });
}

}  // namespace grouphead::ops
