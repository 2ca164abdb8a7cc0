#include "testing/reference_layer.h"

#include <algorithm>
#include <cmath>

#include "testing/compare.h"
#include "testing/inputs.h"

namespace grouphead::testing {

void copy_parameters(Context& ctx, const Layer& from, Layer& to) {
  const auto source = from.parameters();
  const auto target = to.parameters();
  for (std::size_t i = 0; i < source.size(); ++i) {
    Parameter& parameter = *target[i].parameter;
    copy(convert(ctx, source[i].parameter->value(), parameter.dtype()), parameter.edit());
  }
}

void round_weights(View weights, Index columns, Dtype form) {
  double* const w = weights.data<double>();
  const Index rows = weights.size() / columns;
  for (Index c = 0; c < columns && form == Dtype::u8; ++c) {
    float most = 0;
    for (Index r = 0; r < rows; ++r) {
      most = std::max(most, static_cast<float>(std::abs(w[r * columns + c])));
    }
    const float scale = most / 127;
    for (Index r = 0; r < rows && scale > 0; ++r) {
      double& number = w[r * columns + c];
      number = double{std::nearbyint(static_cast<float>(number) * (1 / scale))} * double{scale};
    }
  }
  for (Index i = 0; i < weights.size() && form == Dtype::bf16; ++i) {
    w[i] = static_cast<double>(to_float(to_bf16(static_cast<float>(w[i]))));
  }
}

Index kernel_columns(std::string_view path, const Parameter& kernel) {
  const Shape& shape = kernel.shape();
  const bool sums_heads = path.ends_with("attention_output/kernel");
  return sums_heads ? shape.back() : shape.size() / shape[0];
}

void round_kernels(Layer& model, Dtype form) {
  for (const auto& each : model.parameters()) {
    if (each.parameter->name() == "kernel") {
      round_weights(each.parameter->edit(), kernel_columns(each.path, *each.parameter), form);
    }
  }
}

double path_bound(Dtype dtype, double length, double magnitude) {
  return 8 * unit_roundoff(dtype) * std::sqrt(length) * magnitude;
}

}  // namespace grouphead::testing
