#include "ops/row_product.h"

namespace grouphead::ops {

std::optional<RowProduct> RowProduct::make(Context& ctx, ConstView w, PackedWeights& packed,
                                           ConstView bias) {
  const auto* const table = kernels::gemm_kernels(static_cast<kernels::Level>(ctx.isa()));
  if (table == nullptr || w.dtype() != Dtype::f32 || !w.is_contiguous()) return std::nullopt;
  const Weights weights{w.raw(), w.dim(0), w.dim(1), w.dim(1), 1, &packed, Pass::forward};
  const float* const first = bias.has_value() ? bias.data<float>() : nullptr;
  return RowProduct(*table, w.dim(0), w.dim(1), packed_gemm::kept_panels(ctx, *table, weights),
                    first);
}

void RowProduct::multiply(Index rows, const float* x, float* y, Index y_stride) const noexcept {
  std::visit(
      [&]<class Element>(const kernels::Panels<Element>& panels) {
        kernels::multiply_of<Element> (*table_)(rows, columns_, depth_, {x, depth_, 1}, panels,
                                                bias_, false, y, y_stride);
      },
      panels_);
}

}  // namespace grouphead::ops
