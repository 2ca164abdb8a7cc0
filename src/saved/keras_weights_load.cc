#include <cstring>

#include "ops/convert.h"
#include "saved/keras_numbers.h"
#include "saved/keras_weights.h"

namespace grouphead::saved {
namespace {

const std::string kOptimizer = "optimizer";
// Where a LossScaleOptimizer has the one that it wraps.
const std::string kInnerOptimizer = "optimizer/inner_optimizer";
// What an optimizer has before it is built: iteration and learning rate.
constexpr std::size_t kUnbuilt = 2;
// What a LossScaleOptimizer has itself, first in its list.
constexpr int kOfScaling = 4;

std::string counted(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " array" : " arrays");
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

}  // namespace

void WeightsToLoad::add(const KerasStore& store, const std::vector<KerasObject>& objects) {
  for (const KerasObject& object : objects) {
    const auto* arrays = store.arrays_of(object.path);
    if (arrays == nullptr && !object.other_path.empty()) {
      arrays = store.arrays_of(object.other_path);
    }
    add_object(object, arrays);
    if (object.lora != nullptr) changes_.push_back(object.lora);
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
  if (got > expected) {
    const auto quantized = take_quantized(*object.layer, ordered, expected);
    for (const QuantizedArrays& of_one : quantized) add_quantized(what, object, of_one);
    if (!quantized.empty()) {
      const auto rest = object.variables.begin() + static_cast<std::ptrdiff_t>(quantized.size());
      return add(what, ordered, {rest, object.variables.end()});
    }
  }
  problems_.push_back(what + ": expected " + counted(expected) + ", got " + counted(got));
}

void WeightsToLoad::add_quantized(const std::string& what, const KerasObject& object,
                                  const QuantizedArrays& arrays) {
  Parameter* parameter = object.variables[arrays.variable];
  if (!arrays.is_quantized()) {
    return add_entry(what, {.array = arrays.numbers, .parameter = parameter});
  }
  const std::string problem = problem_of(arrays, *object.layer, parameter->shape());
  if (problem.empty()) {
    entries_.push_back({.array = arrays.numbers,
                        .quantized = arrays,
                        .layer = object.layer,
                        .is_called_inside = object.is_called_inside,
                        .parameter = parameter});
  } else {
    problems_.push_back(what + ": " + problem);
  }
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
  std::vector<OptimizerVariable> variables = optimizer.variables();
  if (arrays.size() <= kUnbuilt && variables.size() > arrays.size()) return;
  // The file's loss was not scaled.
  if (optimizer.scales_loss() && arrays.size() + kOfScaling == variables.size()) {
    variables.erase(variables.begin(), variables.begin() + kOfScaling);
  }
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
  const Shape& wanted = entry.shape();
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
  if (entry.quantized.is_quantized()) {
    entry.made = quantized_numbers(entry.quantized, *entry.layer, *entry.parameter);
    if (entry.is_called_inside) entry.made->leave_out_scales();
    return;
  }
  const Dtype wanted = entry.dtype();
  const io::Hdf5Dataset& dataset = entry.array.dataset();
  const bool is_checked = dataset.dtype != Dtype::boolean;  // its bytes may be any
  if (is_checked && dataset.dtype == wanted && !dataset.elements.empty()) return;
  const Tensor numbers = entry.array.file->read(entry.array.path);
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
    if (entry.made) {
      entry.parameter->set_quantized(std::move(entry.made));
      continue;
    }
    const View target =
        entry.parameter != nullptr ? entry.parameter->replace() : entry.state.view();
    if (entry.converted.has_value()) {
      copy(entry.converted, target);
    } else {
      const auto elements = entry.array.dataset().elements;
      std::memcpy(target.raw(), elements.data(), elements.size());
    }
  }
  for (nn::LowRank* change : changes_) change->reset();
}

}  // namespace grouphead::saved
