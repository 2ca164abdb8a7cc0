#include "model_arrays.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "arrays.h"
#include "grouphead/core/tensor_functions.h"

namespace grouphead::python {
namespace {

constexpr std::array kDtypes = {
    std::pair{Dtype::f32, "float32"},   std::pair{Dtype::f64, "float64"},
    std::pair{Dtype::bf16, "bfloat16"}, std::pair{Dtype::f16, "float16"},
    std::pair{Dtype::boolean, "bool"},  std::pair{Dtype::u8, "uint8"},
    std::pair{Dtype::i32, "int32"},     std::pair{Dtype::i64, "int64"},
};

/// The array for as long as a tensor shares its elements; let go of with Python's lock.
std::shared_ptr<const void> keep(Array array) {
  return {new Array(std::move(array)), [](const Array* held) {
            if (Py_IsInitialized() == 0) return;
            const nb::gil_scoped_acquire gil;
            delete held;
          }};
}

nb::dlpack::dtype form_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return nb::dtype<float>();
    case Dtype::f64:
      return nb::dtype<double>();
    case Dtype::f16:
      return {static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
    case Dtype::bf16:
      return nb::dtype<std::uint16_t>();
    case Dtype::boolean:
      return nb::dtype<bool>();
    case Dtype::u8:
      return nb::dtype<std::uint8_t>();
    case Dtype::i32:
      return nb::dtype<std::int32_t>();
    case Dtype::i64:
      break;
  }
  return nb::dtype<std::int64_t>();
}

}  // namespace

Dtype dtype_from(std::string_view name) {
  std::string known_names;
  for (const auto& [dtype, known] : kDtypes) {
    if (name == known) return dtype;
    known_names.append(known_names.empty() ? "" : ", ").append(known);
  }
  throw nb::value_error(
      ("dtype: expected one of " + known_names + ", got " + std::string(name)).c_str());
}

const char* dtype_to(Dtype dtype) noexcept {
  for (const auto& [known, name] : kDtypes) {
    if (dtype == known) return name;
  }
  return "unknown";
}

Tensor tensor_from(nb::handle object) {
  Array array = Array::read(object, {"model", "array"});
  if (!array.view().has_value()) return {};
  if (!array.view().is_contiguous()) return contiguous(array.view());
  const ConstView elements = array.view();
  return Tensor::wrap(elements, keep(std::move(array)));
}

nb::object array_from(Tensor tensor) {
  if (!tensor.has_value()) return nb::none();
  const std::vector<std::size_t> sizes(tensor.shape().begin(), tensor.shape().end());
  const Dtype dtype = tensor.dtype();
  const bool is_read_only = tensor.is_read_only();
  auto* held = new Tensor(std::move(tensor));
  const nb::capsule owner(held, [](void* one) noexcept { delete static_cast<Tensor*>(one); });
  void* data = const_cast<void*>(std::as_const(*held).view().raw());
  nb::object array = nb::cast(
      nb::ndarray<nb::numpy>(data, sizes.size(), sizes.data(), owner, nullptr, form_of(dtype)));
  if (dtype == Dtype::bf16) {
    array = array.attr("view")(nb::module_::import_("ml_dtypes").attr("bfloat16"));
  }
  if (is_read_only) array.attr("setflags")(nb::arg("write") = false);
  return array;
}

std::vector<Tensor> tensors_from(nb::handle arrays) {
  std::vector<Tensor> tensors;
  for (const nb::handle array : nb::iter(arrays)) tensors.push_back(tensor_from(array));
  return tensors;
}

nb::list arrays_from(std::vector<Tensor> tensors) {
  nb::list arrays;
  for (Tensor& tensor : tensors) arrays.append(array_from(std::move(tensor)));
  return arrays;
}

Shape shape_from(nb::handle sizes) {
  std::vector<Index> axes;
  for (const nb::handle size : nb::iter(sizes)) {
    axes.push_back(size.is_none() ? -1 : nb::cast<Index>(size));
  }
  return Shape::partial(axes);
}

nb::tuple shape_to(const Shape& shape) {
  nb::list sizes;
  for (const Index size : shape) {
    sizes.append(size < 0 ? nb::object(nb::none()) : nb::object(nb::int_(size)));
  }
  return nb::tuple(sizes);
}

}  // namespace grouphead::python
