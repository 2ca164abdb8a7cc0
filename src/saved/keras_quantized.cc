#include "saved/keras_quantized.h"

#include <algorithm>

#include "nn/quantized_layout.h"
#include "ops/convert.h"
#include "saved/keras_numbers.h"

namespace grouphead::saved {
namespace {

using Form = nn::QuantizedNumbers::Form;

constexpr std::size_t kOfFloat8 = 6;  // scales and histories, behind the layer's variables
constexpr std::size_t kOfGroups = 3;
// Arrays of a ReversibleEmbedding with two tables, of 8 bits and of 4 in groups.
constexpr std::size_t kOfTwoTables = 4;
constexpr std::size_t kOfTwoGroupedTables = 7;
constexpr std::string_view kReversible = "ReversibleEmbedding";

const io::Hdf5Dataset& dataset_of(const KerasArray& array) {
  return array.file->datasets().at(array.path);
}

bool is_int8(const KerasArray& array) { return dataset_of(array).is_int8; }

bool is_table(const Layer& layer) {
  return layer.class_name() == "Embedding" || layer.class_name() == kReversible;
}

/// Whether what is quantized has two axes.
bool is_matrix(const Layer& layer) { return is_table(layer) || layer.class_name() == "Dense"; }

Form form_of(const QuantizedArrays& arrays, const Layer& layer) {
  if (!is_table(layer)) return Form::kernel;
  return arrays.variable == 0 ? Form::table : Form::reversed;
}

/// A kernel as a matrix, which is how Keras packs two numbers of 4 bits into a byte. How many axes
/// of an einsum's are rows is what the file says.
struct Matrix {
  Index rows;
  Index columns;
};

Matrix matrix_of(const QuantizedArrays& arrays, const Layer& layer, const Shape& shape) {
  if (is_matrix(layer)) return {shape[0], shape[1]};
  const Shape& stored = dataset_of(arrays.numbers).shape;
  const Index rows = stored.rank() == 2 && stored[0] > 0 ? stored[0] : 1;
  return {rows, shape.size() / rows};
}

/// Whether the numbers have 4 bits, by their arrays. One column looks alike in 4 and 8 bits; the
/// largest of 8 bits is 127, and bytes of one number of 4 bits end at 15.
bool has_4_bits(const QuantizedArrays& arrays, const Layer& layer, const Shape& shape) {
  const Shape& stored = dataset_of(arrays.numbers).shape;
  if (stored.rank() != 2) return false;
  const Matrix matrix = matrix_of(arrays, layer, shape);
  const bool fits = form_of(arrays, layer) == Form::reversed
                        ? stored[0] == (matrix.rows + 1) / 2 && stored[1] == matrix.columns
                        : stored[0] == matrix.rows && stored[1] == (matrix.columns + 1) / 2;
  if (!fits) return false;
  if (stored.size() != shape.size() || arrays.has_groups()) return true;
  const Tensor bytes = arrays.numbers.file->read(arrays.numbers.path);
  const auto* first = bytes.data<std::int32_t>();
  return std::all_of(first, first + bytes.size(), [](std::int32_t b) { return b >= 0 && b < 16; });
}

/// What the layer's configuration says, else what Keras takes for arrays like these.
Quantization quantization_of(const QuantizedArrays& arrays, const Layer& layer,
                             const Shape& shape) {
  const auto* takes = dynamic_cast<const HasQuantization*>(&layer);
  if (takes != nullptr && takes->quantization() != nullptr) return *takes->quantization();
  if (has_4_bits(arrays, layer, shape)) return {.mode = QuantizationMode::int4};
  return {.mode = QuantizationMode::int8, .inputs = InputRounding()};
}

/// Of an EinsumDense. The shape of its scales is not asked for: an ellipsis stays as it is.
nn::QuantizedLayout einsum_layout(const Layer& layer, const Shape& shape, QuantizationMode mode) {
  const std::string equation = layer.get_config()["equation"].as_string("equation");
  const std::size_t comma = equation.find(',');
  const std::size_t arrow = equation.find("->");
  return nn::einsum_layout(std::string_view(equation).substr(comma + 1, arrow - comma - 1),
                           std::string_view(equation).substr(arrow + 2), shape, mode);
}

// Whether `count` is the number of elements of some of the last axes.
bool fits_last_axes(const Shape& shape, Index count) {
  Index elements = 1;
  for (int axis = shape.rank() - 1; axis >= 0 && elements < count; --axis) elements *= shape[axis];
  return elements == count;
}

bool fits_groups(const QuantizedArrays& arrays, Form form, const Matrix& matrix) {
  const Shape& scale = dataset_of(arrays.scale).shape;
  const bool is_table = form == Form::table;
  const Index grouped = is_table ? matrix.columns : matrix.rows;
  const Index others = is_table ? matrix.rows : matrix.columns;
  return scale.rank() == 2 && scale[is_table ? 0 : 1] == others &&
         dataset_of(arrays.zero).shape == scale &&
         dataset_of(arrays.groups).shape.size() == grouped;
}

bool fits_int8(const QuantizedArrays& arrays, const Layer& layer, Form form, const Shape& shape) {
  const Index scales = dataset_of(arrays.scale).shape.size();
  if (is_matrix(layer)) return scales == shape[form == Form::table ? 0 : 1];
  if (layer.class_name() != "EinsumDense") return fits_last_axes(shape, scales);
  return scales == einsum_layout(layer, shape, QuantizationMode::int8).columns;
}

/// `dtype`: that in which they are used.
void require_groups(const QuantizedArrays& arrays, const Tensor& groups, Dtype dtype, Index count) {
  Tensor used(groups.shape(), dtype);
  ops::convert_rounded(groups, dtype, used);
  const Tensor numbers = as_f64(used);
  for (Index i = 0; i < numbers.size(); ++i) {
    const double group = numbers.data<double>()[i];
    if (group >= 0 && group < static_cast<double>(count)) continue;
    throw IoError("[load] " + arrays.groups.path + ": expected groups below " +
                  std::to_string(count) + ", got another");
  }
}

/// As the file has it; int8 as u8.
Tensor read(const KerasArray& array) {
  Tensor numbers = array.file->read(array.path);
  if (!is_int8(array)) return numbers;
  Tensor bytes(numbers.shape(), Dtype::u8);
  const auto* const first = numbers.data<std::int32_t>();
  std::transform(first, first + numbers.size(), bytes.data<std::uint8_t>(),
                 [](std::int32_t number) { return static_cast<std::uint8_t>(number); });
  return bytes;
}

bool is_floating_array(const KerasArray& array) {
  const Dtype dtype = dataset_of(array).dtype;
  return dtype == Dtype::f32 || dtype == Dtype::f64 || dtype == Dtype::bf16 || dtype == Dtype::f16;
}

}  // namespace

std::vector<QuantizedArrays> take_quantized(const Layer& layer, std::vector<KerasArray>& ordered,
                                            std::size_t expected) {
  if (expected == 0) return {};
  const std::size_t got = ordered.size();
  const bool has_two = layer.class_name() == kReversible && expected == 2;
  std::vector<QuantizedArrays> found{{.numbers = ordered[0]}};
  if (is_int8(ordered[0]) && has_two) {
    if (got != kOfTwoTables && got != kOfTwoGroupedTables) return {};
    const bool has_groups = got == kOfTwoGroupedTables;
    const std::size_t second = has_groups ? 4 : 2;
    if (!is_int8(ordered[second])) return {};
    found[0].scale = ordered[1];
    found.push_back({.variable = 1, .numbers = ordered[second], .scale = ordered[second + 1]});
    if (has_groups) {
      found[0].zero = ordered[2];
      found[0].groups = found[1].groups = ordered[3];
      found[1].zero = ordered[second + 2];
    }
    ordered.clear();
    return found;
  }
  const std::size_t more = got - expected;
  if (is_int8(ordered[0]) && (more == 1 || more == kOfGroups)) {
    found[0].scale = ordered[expected];
    if (more == kOfGroups) {
      found[0].zero = ordered[expected + 1];
      found[0].groups = ordered[expected + 2];
    }
  } else if (is_int8(ordered[0]) || more != kOfFloat8) {
    return {};
  }
  ordered.resize(expected);
  ordered.erase(ordered.begin());
  return found;
}

std::string problem_of(const QuantizedArrays& arrays, const Layer& layer, const Shape& shape) {
  for (const KerasArray* array : {&arrays.numbers, &arrays.scale, &arrays.zero, &arrays.groups}) {
    if (array->file != nullptr && !dataset_of(*array).problem.empty()) {
      return dataset_of(*array).problem;
    }
  }
  const Form form = form_of(arrays, layer);
  const QuantizationMode mode = quantization_of(arrays, layer, shape).mode;
  if (mode == QuantizationMode::float8) return "expected floating-point numbers, got int8";
  const Matrix matrix = matrix_of(arrays, layer, shape);
  const bool divides = matrix.rows * matrix.columns == shape.size();
  const bool has_scales =
      is_floating_array(arrays.scale) && dataset_of(arrays.scale).shape.size() > 0;
  if (arrays.has_groups()) {
    const bool fits = mode == QuantizationMode::int4 && divides && has_scales &&
                      is_floating_array(arrays.groups) &&
                      (is_int8(arrays.zero) || is_floating_array(arrays.zero)) &&
                      has_4_bits(arrays, layer, shape) && fits_groups(arrays, form, matrix);
    return fits ? "" : "expected numbers of 4 bits in groups, with a scale and a zero for each";
  }
  const Shape& stored = dataset_of(arrays.numbers).shape;
  if (mode == QuantizationMode::int4) {
    const Index scales = form == Form::table ? matrix.rows : matrix.columns;
    const bool fits = divides && has_scales && has_4_bits(arrays, layer, shape) &&
                      dataset_of(arrays.scale).shape.size() == scales;
    return fits ? "" : "expected numbers of 4 bits with a scale for each";
  }
  if (stored != shape) return "expected " + shape.to_string() + ", got " + stored.to_string();
  const bool fits = has_scales && fits_int8(arrays, layer, form, shape);
  return fits ? "" : "expected int8 numbers with a scale for each that is not summed over";
}

std::unique_ptr<nn::QuantizedNumbers> quantized_numbers(const QuantizedArrays& arrays,
                                                        const Layer& layer,
                                                        const Parameter& parameter) {
  const Shape& shape = parameter.shape();
  const Form form = form_of(arrays, layer);
  const Quantization how = quantization_of(arrays, layer, shape);
  nn::QuantizedNumbers::Arrays made{.numbers = read(arrays.numbers), .scale = read(arrays.scale)};
  if (arrays.has_groups()) {
    made.zero = read(arrays.zero);
    made.groups = read(arrays.groups);
    require_groups(arrays, made.groups, parameter.gradient_dtype(),
                   made.scale.dim(form == Form::table ? 1 : 0));
  }
  nn::QuantizedLayout layout{.form = form};
  if (layer.class_name() == "EinsumDense") layout = einsum_layout(layer, shape, how.mode);
  return std::make_unique<nn::QuantizedNumbers>(how, shape, layout.form, std::move(made),
                                                parameter.gradient_dtype(),
                                                std::move(layout.scale_strides));
}

std::vector<StoredArray> stored_arrays(const std::vector<Parameter*>& variables,
                                       const nn::QuantizedNumbers* first) {
  std::vector<StoredArray> list;
  std::vector<StoredArray> behind;
  const auto stored = [](const Tensor& numbers) {
    return StoredArray{numbers.view(), numbers.dtype() == Dtype::u8};
  };
  for (const Parameter* variable : variables) {
    const bool is_replaced = first != nullptr && variable == variables.front();
    const nn::QuantizedNumbers* const quantized = is_replaced ? first : variable->quantized();
    if (quantized == nullptr) {
      list.push_back({variable->value()});
      continue;
    }
    const auto& arrays = quantized->arrays();
    const bool is_second = quantized->form() == Form::reversed;
    if (is_second) {  // of a ReversibleEmbedding: behind all of the first
      list.insert(list.end(), behind.begin(), behind.end());
      behind.clear();
    }
    list.push_back(stored(arrays.numbers));
    behind.push_back(stored(arrays.scale));
    if (!arrays.groups.has_value()) continue;
    behind.push_back(stored(arrays.zero));
    if (!is_second) behind.push_back(stored(arrays.groups));
  }
  list.insert(list.end(), behind.begin(), behind.end());
  return list;
}

}  // namespace grouphead::saved
