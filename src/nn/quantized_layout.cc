#include "nn/quantized_layout.h"

#include <algorithm>

#include "core/check.h"
#include "ops/convert.h"

namespace grouphead::nn {
namespace {

using Form = QuantizedNumbers::Form;

/// Scales of a kernel stand in the order in which the output has the kernel's axes; 0 for an axis
/// that is summed over. Source: keras.layers.EinsumDense, _adjust_scale_for_quant.
std::vector<Index> einsum_strides(std::string_view kernel, std::string_view output,
                                  const Shape& shape) {
  std::vector<Index> strides(kernel.size(), 0);
  Index count = 1;
  for (auto letter = output.rbegin(); letter != output.rend(); ++letter) {
    const std::size_t axis = kernel.find(*letter);
    if (axis == std::string_view::npos) continue;
    strides[axis] = count;
    count *= shape[static_cast<int>(axis)];
  }
  return strides;
}

/// Whether these are the strides of the axes [first, end) of `shape`, in their order.
bool are_strides_of(const std::vector<Index>& strides, const Shape& shape, int first, int end) {
  Index expected = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    const bool counts = axis >= first && axis < end;
    const Index stride = strides[static_cast<std::size_t>(axis)];
    if (shape[axis] > 1 && stride != (counts ? expected : 0)) return false;
    if (counts) expected *= shape[axis];
  }
  return true;
}

/// The output's axes, 1 for those that the kernel has not; where it sums over more axes than there
/// are of these, Keras leaves axes of size 1 behind at the places of the others.
Shape einsum_scale_shape(std::string_view kernel, std::string_view output, const Shape& shape) {
  std::vector<Index> sizes;  // of the scales' axes, transposed
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < output.size(); ++i) {
    const std::size_t axis = kernel.find(output[i]);
    if (axis == std::string_view::npos) {
      missing.push_back(i);
    } else {
      sizes.push_back(shape[static_cast<int>(axis)]);
    }
  }
  std::size_t next = 0;
  std::size_t place = 0;
  std::vector<std::size_t> squeezed;
  for (std::size_t axis = 0; axis < kernel.size(); ++axis) {
    if (output.find(kernel[axis]) != std::string_view::npos) continue;
    if (next < missing.size()) {
      place = missing[next++];
    } else {
      squeezed.push_back(axis);
    }
    sizes.insert(sizes.begin() + static_cast<std::ptrdiff_t>(std::min(place, sizes.size())), 1);
  }
  for (; next < missing.size(); ++next) {
    sizes.insert(sizes.begin() + static_cast<std::ptrdiff_t>(std::min(missing[next], sizes.size())),
                 1);
  }
  for (auto axis = squeezed.rbegin(); axis != squeezed.rend(); ++axis) {
    sizes.erase(sizes.begin() + static_cast<std::ptrdiff_t>(*axis));
  }
  return Shape(sizes);
}

/// The group of each of `count` rows or columns.
Tensor groups_of(Index count, Index block_size) {
  Tensor groups({count}, Dtype::f32);
  for (Index i = 0; i < count; ++i) {
    groups.data<float>()[i] = static_cast<float>(i / block_size);
  }
  return groups;
}

}  // namespace

QuantizedLayout kernel_layout(Index rows, Index columns, const Shape& scale) {
  return {.form = Form::kernel, .rows = rows, .columns = columns, .scale = scale};
}
QuantizedLayout table_layout(const Shape& shape) {
  return {.form = Form::table, .rows = shape[0], .columns = shape[1], .scale = Shape{shape[0]}};
}
QuantizedLayout reversed_layout(const Shape& shape) {
  return {.form = Form::reversed, .rows = shape[0], .columns = shape[1], .scale = Shape{shape[1]}};
}

QuantizedLayout einsum_layout(std::string_view kernel, std::string_view output, const Shape& shape,
                              QuantizationMode mode) {
  std::vector<Index> strides = einsum_strides(kernel, output, shape);
  QuantizedLayout layout{.rows = 1, .scale = einsum_scale_shape(kernel, output, shape)};
  int first = shape.rank();  // of the axes that are not summed over
  int end = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (strides[static_cast<std::size_t>(axis)] == 0) {
      layout.rows *= shape[axis];
      continue;
    }
    first = std::min(first, axis);
    end = axis + 1;
  }
  layout.columns = shape.size() / layout.rows;
  if (mode == QuantizationMode::int8 && layout.scale.size() != layout.columns) {
    // Keras fails in such a layer.
    core::throw_config_error("quantize", "equation", "one whose scales Keras can arrange",
                             std::string(kernel) + "->" + std::string(output));
  }
  // Keras reads any kernel as a matrix of 4 bits, also where its rows are not its first axes.
  const bool is_matrix = mode == QuantizationMode::int4;
  if (is_matrix || are_strides_of(strides, shape, first, shape.rank())) return layout;
  if (are_strides_of(strides, shape, 0, end)) {
    layout.form = Form::table;
  } else {
    layout.scale_strides = std::move(strides);
  }
  return layout;
}

std::unique_ptr<QuantizedNumbers> quantized(const Parameter& parameter,
                                            const QuantizedLayout& layout,
                                            const Quantization& how) {
  const bool is_int4 = how.mode == QuantizationMode::int4;
  const bool is_table = layout.form == Form::table;
  const Dtype dtype = parameter.dtype();
  QuantizedNumbers::Arrays arrays;
  if (!is_int4) {
    arrays = {.numbers = Tensor::zeros(parameter.shape(), Dtype::u8),
              .scale = Tensor::zeros(layout.scale, dtype)};
  } else {
    const bool is_reversed = layout.form == Form::reversed;
    arrays.numbers = is_reversed
                         ? Tensor::zeros({(layout.rows + 1) / 2, layout.columns}, Dtype::u8)
                         : Tensor::zeros({layout.rows, (layout.columns + 1) / 2}, Dtype::u8);
    const Index outputs = is_table ? layout.rows : layout.columns;
    arrays.scale = Tensor::zeros({outputs}, dtype);
    if (how.block_size > 0) {
      const Index grouped = is_table ? layout.columns : layout.rows;
      const Index count = (grouped - 1) / how.block_size + 1;
      const Shape shape = is_table ? Shape{outputs, count} : Shape{count, outputs};
      arrays.scale = Tensor::zeros(shape, dtype);
      // Keras's variable of a table without tied weights is a floating-point one.
      arrays.zero = Tensor::zeros(shape, layout.form == Form::reversed ? dtype : Dtype::u8);
      arrays.groups = groups_of(grouped, how.block_size);
    }
  }
  return QuantizedNumbers(how, parameter.shape(), layout.form, std::move(arrays),
                          parameter.gradient_dtype(), layout.scale_strides)
      .requantized(Tensor::wrap(parameter.value()));
}

}  // namespace grouphead::nn
