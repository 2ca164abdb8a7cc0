#include "saved/keras_quantized.h"

#include <algorithm>

#include "saved/keras_numbers.h"

namespace grouphead::saved {
namespace {

constexpr std::size_t kOfFloat8 = 6;  // scales and histories, behind the layer's variables
constexpr std::size_t kOfGroups = 3;

const io::Hdf5Dataset& dataset_of(const KerasArray& array) {
  return array.file->datasets().at(array.path);
}

bool is_table(const Layer& layer) {
  return layer.class_name() == "Embedding" || layer.class_name() == "ReversibleEmbedding";
}

/// A kernel as a matrix, which is how Keras packs two numbers of 4 bits into a byte.
struct Matrix {
  Index rows;
  Index columns;
};

Matrix matrix_of(const QuantizedArrays& arrays, const Shape& shape) {
  const Shape& stored = dataset_of(arrays.numbers).shape;
  const Index rows = stored.rank() == 2 && stored[0] > 0 ? stored[0] : 1;
  return {rows, shape.size() / rows};
}

/// Whether the numbers have 4 bits. One column looks alike in 4 and 8 bits; the largest of 8 bits
/// is 127, and bytes of one number of 4 bits end at 15.
bool is_packed(const QuantizedArrays& arrays, const Shape& shape) {
  const Shape& stored = dataset_of(arrays.numbers).shape;
  const Matrix matrix = matrix_of(arrays, shape);
  if (stored.rank() != 2 || stored[1] != (matrix.columns + 1) / 2) return false;
  if (stored.size() != shape.size() || arrays.has_groups()) return true;
  const Tensor bytes = arrays.numbers.file->read(arrays.numbers.path);
  const auto* first = bytes.data<std::int32_t>();
  return std::all_of(first, first + bytes.size(), [](std::int32_t b) { return b >= 0 && b < 16; });
}

/// Whether an int8 kernel has its sums over its first axes, so that the numbers of its scale belong
/// to its last ones. Source: keras.layers.EinsumDense, its quantized form.
bool sums_over_first_axes(const Layer& layer) {
  if (layer.class_name() != "EinsumDense") return true;
  const std::string equation = layer.get_config()["equation"].as_string("equation");
  const std::size_t comma = equation.find(',');
  const std::size_t arrow = equation.find("->");
  const std::string kernel = equation.substr(comma + 1, arrow - comma - 1);
  const std::string output = equation.substr(arrow + 2);
  bool is_output = false;
  for (const char letter : kernel) {
    const bool is_in_output = output.find(letter) != std::string::npos;
    if (is_output && !is_in_output) return false;
    is_output = is_in_output;
  }
  return true;
}

// Whether `count` is the number of elements of some of the last axes.
bool fits_last_axes(const Shape& shape, Index count) {
  Index elements = 1;
  for (int axis = shape.rank() - 1; axis >= 0 && elements < count; --axis) elements *= shape[axis];
  return elements == count;
}

bool fits_groups(const QuantizedArrays& arrays, const Layer& layer, const Matrix& matrix) {
  const Shape& scale = dataset_of(arrays.scale).shape;
  const Index grouped = is_table(layer) ? matrix.columns : matrix.rows;
  const Index others = is_table(layer) ? matrix.rows : matrix.columns;
  const int kept = is_table(layer) ? 0 : 1;
  return scale.rank() == 2 && scale[kept] == others && dataset_of(arrays.zero).shape == scale &&
         dataset_of(arrays.groups).shape.size() == grouped;
}

/// Numbers of 4 bits with a sign, two in a byte, the first one in its low bits.
Tensor unpacked(const Tensor& bytes, const Matrix& matrix, const Shape& shape) {
  Tensor out(shape, Dtype::f64);
  const Index width = (matrix.columns + 1) / 2;
  for (Index i = 0; i < out.size(); ++i) {
    const Index row = i / matrix.columns;
    const Index column = i % matrix.columns;
    const auto byte =
        static_cast<std::uint32_t>(bytes.data<std::int32_t>()[row * width + column / 2]);
    const auto bits = static_cast<std::int32_t>(byte >> (column % 2 == 0 ? 0U : 4U) & 15U);
    out.data<double>()[i] = bits < 8 ? bits : bits - 16;
  }
  return out;
}

/// w = (q - zero) scale, by groups. Source: keras.src.quantizers.dequantize_with_sz_map.
void scale_groups(const QuantizedArrays& arrays, const Layer& layer, const Matrix& matrix,
                  double* w) {
  const Tensor scale = as_f64(arrays.scale.file->read(arrays.scale.path));
  const Tensor zero = as_f64(arrays.zero.file->read(arrays.zero.path));
  const Tensor groups = as_f64(arrays.groups.file->read(arrays.groups.path));
  const Index count = is_table(layer) ? scale.dim(1) : scale.dim(0);
  for (Index g = 0; g < groups.size(); ++g) {
    const double group = groups.data<double>()[g];
    if (group >= 0 && group < static_cast<double>(count)) continue;
    throw IoError("[load] " + arrays.groups.path + ": expected groups below " +
                  std::to_string(count) + ", got another");
  }
  for (Index i = 0; i < matrix.rows * matrix.columns; ++i) {
    const Index row = i / matrix.columns;
    const Index column = i % matrix.columns;
    const auto group = static_cast<Index>(groups.data<double>()[is_table(layer) ? column : row]);
    const Index at = is_table(layer) ? row * count + group : group * matrix.columns + column;
    w[i] = (w[i] - zero.data<double>()[at]) * scale.data<double>()[at];
  }
}

}  // namespace

std::optional<QuantizedArrays> take_quantized(std::vector<KerasArray>& ordered,
                                              std::size_t expected) {
  if (expected == 0) return {};
  const std::size_t more = ordered.size() - expected;
  QuantizedArrays found{.numbers = ordered[0]};
  const bool is_int8 = dataset_of(ordered[0]).is_int8;
  if (is_int8 && (more == 1 || more == kOfGroups)) {
    found.scale = ordered[expected];
    if (more == kOfGroups) {
      found.zero = ordered[expected + 1];
      found.groups = ordered[expected + 2];
    }
  } else if (is_int8 || more != kOfFloat8) {
    return {};
  }
  ordered.resize(expected);
  ordered.erase(ordered.begin());
  return found;
}

std::string problem_of(const QuantizedArrays& arrays, const Layer& layer, const Shape& shape) {
  const io::Hdf5Dataset& numbers = dataset_of(arrays.numbers);
  const io::Hdf5Dataset& scale = dataset_of(arrays.scale);
  for (const KerasArray* array : {&arrays.numbers, &arrays.scale, &arrays.zero, &arrays.groups}) {
    if (array->file != nullptr && !dataset_of(*array).problem.empty()) {
      return dataset_of(*array).problem;
    }
  }
  const Matrix matrix = matrix_of(arrays, shape);
  const bool divides = matrix.rows * matrix.columns == shape.size();
  if (arrays.has_groups()) {
    const bool fits = divides && is_packed(arrays, shape) && fits_groups(arrays, layer, matrix);
    return fits ? "" : "expected numbers of 4 bits in groups, with a scale and a zero for each";
  }
  if (divides && is_packed(arrays, shape)) {
    const Index scales = is_table(layer) ? matrix.rows : matrix.columns;
    return scale.shape.size() == scales ? "" : "expected numbers of 4 bits with a scale for each";
  }
  if (numbers.shape != shape) {
    return "expected " + shape.to_string() + ", got " + numbers.shape.to_string();
  }
  const bool fits = is_table(layer)
                        ? scale.shape.size() == shape[0]
                        : fits_last_axes(shape, scale.shape.size()) && sums_over_first_axes(layer);
  return fits ? "" : "expected int8 numbers with a scale for each of the last axes";
}

Tensor dequantized(const QuantizedArrays& arrays, const Layer& layer, const Shape& shape) {
  const Matrix matrix = matrix_of(arrays, shape);
  const Tensor stored = arrays.numbers.file->read(arrays.numbers.path);
  const bool packed = is_packed(arrays, shape);
  Tensor out = packed ? unpacked(stored, matrix, shape) : as_f64(stored);
  double* w = out.data<double>();
  if (arrays.has_groups()) {
    scale_groups(arrays, layer, matrix, w);
    return out;
  }
  // w = q / scale, as Keras's quantized layers compute with. Source: keras.layers.Dense.
  const Tensor scale = as_f64(arrays.scale.file->read(arrays.scale.path));
  const Index row = is_table(layer) ? out.size() / std::max<Index>(1, shape[0]) : 1;
  for (Index i = 0; i < out.size(); ++i) {
    w[i] /= scale.data<double>()[is_table(layer) ? i / row : i % scale.size()];
  }
  return out;
}

}  // namespace grouphead::saved
