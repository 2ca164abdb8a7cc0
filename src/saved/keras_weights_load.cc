#include <cstring>

#include "ops/convert.h"
#include "saved/keras_weights.h"

namespace grouphead::saved {
namespace {

const std::string kOptimizer = "optimizer";
// Where a LossScaleOptimizer has the one that it wraps.
const std::string kInnerOptimizer = "optimizer/inner_optimizer";
// What an optimizer has before it is built: iteration and learning rate.
constexpr std::size_t kUnbuilt = 2;

std::string counted(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " array" : " arrays");
}

template <class T>
double number_of(T value) {
  return static_cast<double>(value);
}
double number_of(Bf16 value) { return static_cast<double>(to_float(value)); }
double number_of(F16 value) { return static_cast<double>(to_float(value)); }

template <class Take>
void with_element(Dtype dtype, const Take& take) {
  switch (dtype) {
    case Dtype::f32:
      return take(float{});
    case Dtype::f64:
      return take(double{});
    case Dtype::bf16:
      return take(Bf16{});
    case Dtype::f16:
      return take(F16{});
    case Dtype::boolean:
      return take(bool{});
    case Dtype::u8:
      return take(std::uint8_t{});
    case Dtype::i32:
      return take(std::int32_t{});
    case Dtype::i64:
      return take(std::int64_t{});
  }
}

Tensor as_f64(const Tensor& from) {
  Tensor numbers(from.shape(), Dtype::f64);
  with_element(from.dtype(), [&](auto zero) {
    const auto* x = from.data<decltype(zero)>();
    for (Index i = 0; i < from.size(); ++i) numbers.data<double>()[i] = number_of(x[i]);
  });
  return numbers;
}

/// Keras's cast to a variable's type. Errors: IoError for a type that no variable has.
Tensor cast(const Tensor& from, Dtype to, const std::string& what) {
  if (from.dtype() == to) return from;
  Tensor out(from.shape(), to);
  const Tensor numbers = ops::is_floating(from.dtype()) ? from : as_f64(from);
  if (ops::is_floating(to)) {
    ops::convert_rounded(numbers, to, out);
  } else if (to == Dtype::i64 && from.dtype() == Dtype::i32) {
    std::copy_n(from.data<std::int32_t>(), from.size(), out.data<std::int64_t>());
  } else {
    throw IoError(what + ": expected " + std::string(name_of(to)) + ", got " +
                  std::string(name_of(from.dtype())));
  }
  return out;
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

/// w = q / scale, as Keras's quantized layers compute with. Source: keras.layers.Dense.
Tensor unscaled(const Tensor& quantized, const Tensor& scale, bool scales_rows) {
  Tensor out = as_f64(quantized);
  const Tensor factors = as_f64(scale);
  double* w = out.data<double>();
  const Index row = scales_rows ? out.size() / std::max<Index>(1, out.dim(0)) : 1;
  for (Index i = 0; i < out.size(); ++i) {
    w[i] /= factors.data<double>()[scales_rows ? i / row : i % factors.size()];
  }
  return out;
}

}  // namespace

void WeightsToLoad::add(const KerasStore& store, const std::vector<KerasObject>& objects) {
  for (const KerasObject& object : objects) {
    const auto* arrays = store.arrays_of(object.path);
    if (arrays == nullptr && !object.other_path.empty()) {
      arrays = store.arrays_of(object.other_path);
    }
    add_object(object, arrays);
  }
}

void WeightsToLoad::add_object(const KerasObject& object,
                               const std::map<std::string, KerasArray>* arrays) {
  const std::size_t expected = object.variables.size();
  const std::size_t got = arrays == nullptr ? 0 : arrays->size();
  const std::string what =
      (object.path.empty() ? "the model" : object.path) + " ('" + object.name + "')";
  std::vector<KerasArray> ordered;
  for (std::size_t i = 0; i < got; ++i) {
    const auto found = arrays->find(std::to_string(i));
    if (found == arrays->end()) {
      problems_.push_back(what + ": expected arrays numbered from 0, got others");
      return;
    }
    ordered.push_back(found->second);
  }
  if (expected == got) return add(what, ordered, object.variables);
  if (expected > 0 && got == expected + 1 &&
      ordered[0].file->datasets().at(ordered[0].path).is_int8) {
    const KerasArray scale = ordered.back();
    ordered.pop_back();
    add_scaled(what, object,
               {.array = ordered[0], .scale = scale, .parameter = object.variables[0]});
    ordered.erase(ordered.begin());
    return add(what, ordered, {object.variables.begin() + 1, object.variables.end()});
  }
  problems_.push_back(what + ": expected " + counted(expected) + ", got " + counted(got));
}

void WeightsToLoad::add_scaled(const std::string& what, const KerasObject& object, Entry entry) {
  const io::Hdf5Dataset& scale = entry.scale.file->datasets().at(entry.scale.path);
  const Shape& shape = entry.parameter->shape();
  entry.scales_rows = object.layer->class_name() == "Embedding";
  const bool fits = entry.scales_rows ? scale.shape.size() == shape[0]
                                      : fits_last_axes(shape, scale.shape.size());
  if (!scale.problem.empty() || !fits || !sums_over_first_axes(*object.layer)) {
    problems_.push_back(what + ": expected int8 numbers with a scale for each of the last axes");
    return;
  }
  add_entry(what, std::move(entry));
}

void WeightsToLoad::add(const std::string& object, const std::vector<KerasArray>& arrays,
                        const std::vector<Parameter*>& parameters) {
  if (arrays.size() != parameters.size()) {
    problems_.push_back(object + ": expected " + counted(parameters.size()) + ", got " +
                        counted(arrays.size()));
    return;
  }
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    add_entry(object + ": " + arrays[i].path, {.array = arrays[i], .parameter = parameters[i]});
  }
}

void WeightsToLoad::add(const KerasStore& store, Optimizer& optimizer) {
  const auto ordered = [&](const std::string& object) {
    std::vector<KerasArray> list;
    const auto* arrays = store.arrays_of(object);
    for (std::size_t i = 0; arrays != nullptr && i < arrays->size(); ++i) {
      const auto found = arrays->find(std::to_string(i));
      if (found != arrays->end()) list.push_back(found->second);
    }
    return list;
  };
  std::vector<KerasArray> all = ordered(kOptimizer);
  const std::vector<KerasArray> inner = ordered(kInnerOptimizer);
  const std::size_t wanted = optimizer.variables().size();
  // A LossScaleOptimizer lists the state inside too, but in some versions of Keras.
  if (all.size() + inner.size() == wanted) all.insert(all.end(), inner.begin(), inner.end());
  if (inner.size() == wanted) all = inner;
  if (!all.empty()) add(kOptimizer, all, optimizer);
}

void WeightsToLoad::add(const std::string& object, const std::vector<KerasArray>& arrays,
                        Optimizer& optimizer) {
  const std::vector<OptimizerVariable> variables = optimizer.variables();
  if (arrays.size() <= kUnbuilt && variables.size() > arrays.size()) return;
  if (arrays.size() != variables.size()) {
    problems_.push_back(object + ": expected " + counted(variables.size()) + " of " +
                        optimizer.name() + ", got " + counted(arrays.size()));
    return;
  }
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    add_entry(object + ": " + variables[i].path, {.array = arrays[i], .state = variables[i].value});
  }
}

void WeightsToLoad::add_entry(const std::string& what, Entry entry) {
  const io::Hdf5Dataset& dataset = entry.array.file->datasets().at(entry.array.path);
  const Shape wanted = entry.target().shape();
  if (!dataset.problem.empty()) {
    problems_.push_back(what + ": " + dataset.problem);
  } else if (dataset.shape != wanted) {
    problems_.push_back(what + ": expected " + wanted.to_string() + ", got " +
                        dataset.shape.to_string());
  } else {
    entries_.push_back(std::move(entry));
  }
}

void WeightsToLoad::convert(Entry& entry) const {
  const Dtype wanted = entry.target().dtype();
  const io::Hdf5Dataset& dataset = entry.array.dataset();
  const bool has_scale = entry.scale.file != nullptr;
  const bool is_checked = dataset.dtype != Dtype::boolean;  // its bytes may be any
  if (!has_scale && is_checked && dataset.dtype == wanted && !dataset.elements.empty()) return;
  Tensor numbers = entry.array.file->read(entry.array.path);
  if (has_scale) {
    numbers = unscaled(numbers, entry.scale.file->read(entry.scale.path), entry.scales_rows);
  }
  entry.converted = cast(numbers, wanted, where_ + ": " + entry.array.path);
}

void WeightsToLoad::load() {
  if (!problems_.empty()) {
    std::string list;
    for (const std::string& problem : problems_) list += "\n  " + problem;
    throw IoError(where_ + ": weights: expected arrays for all that the model has, got" + list);
  }
  for (Entry& entry : entries_) convert(entry);
  for (Entry& entry : entries_) {
    const View target = entry.parameter != nullptr ? entry.parameter->edit() : entry.state.view();
    if (entry.converted.has_value()) {
      copy(entry.converted, target);
    } else {
      const auto elements = entry.array.dataset().elements;
      std::memcpy(target.raw(), elements.data(), elements.size());
    }
  }
}

}  // namespace grouphead::saved
