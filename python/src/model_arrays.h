#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::python {

/// An array as a tensor that shares its elements, for reading, where they are contiguous. None is
/// an absent tensor. Errors: those of Array::read().
Tensor tensor_from(nanobind::handle array);
/// A NumPy array that shares the elements, of ml_dtypes.bfloat16 for bf16; None for an absent one.
nanobind::object array_from(Tensor tensor);

/// The same for lists.
std::vector<Tensor> tensors_from(nanobind::handle arrays);
nanobind::list arrays_from(std::vector<Tensor> tensors);

/// A list of sizes, None for -1. Errors: TypeError.
Shape shape_from(nanobind::handle sizes);
nanobind::tuple shape_to(const Shape& shape);

/// By NumPy's name: `float32`, `bfloat16`, `bool`, `int32`, ... Errors: ValueError.
Dtype dtype_from(std::string_view name);
const char* dtype_to(Dtype dtype) noexcept;

}  // namespace grouphead::python
