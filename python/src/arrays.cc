#include "arrays.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "dlpack.h"
#include "grouphead/core/error.h"

namespace grouphead::python {

void throw_type_error(Place place, std::string_view expected, std::string_view got) {
  const std::string text = "[" + std::string(place.operation) + "] " + std::string(place.operand) +
                           ": expected " + std::string(expected) + ", got " + std::string(got);
  throw nb::type_error(text.c_str());
}

void throw_shape_error(Place place, std::string_view expected, std::string_view got) {
  throw ShapeError("[" + std::string(place.operation) + "] " + std::string(place.operand) +
                   ": expected " + std::string(expected) + ", got " + std::string(got));
}

namespace {

constexpr std::string_view kElementTypes =
    "an array of float32, float64, bfloat16, float16, bool, uint8, int32 or int64";

// Looked up once and kept for the life of the process.
nb::handle numpy(const char* name) {
  return nb::object(nb::module_::import_("numpy").attr(name)).release();
}

bool is_numpy(nb::handle object) {
  static const nb::handle ndarray = numpy("ndarray");
  return PyObject_TypeCheck(object.ptr(), reinterpret_cast<PyTypeObject*>(ndarray.ptr()));
}

// PyTorch's functions, or null. Remembers the last type that had them.
const dlpack::ExchangeApi* exchange_api(nb::handle object) {
  static PyTypeObject* known_type = nullptr;
  static const dlpack::ExchangeApi* known = nullptr;
  PyTypeObject* type = Py_TYPE(object.ptr());
  if (type == known_type) return known;
  const auto capsule = nb::steal(
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__"));
  if (!capsule.is_valid()) {
    PyErr_Clear();
    return nullptr;
  }
  const auto* api = static_cast<const dlpack::ExchangeApi*>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (api == nullptr) PyErr_Clear();
  while (api != nullptr && api->version.major != 1) api = api->previous;
  if (api == nullptr || api->tensor_from_object == nullptr) return nullptr;
  Py_INCREF(type);
  known_type = type;
  known = api;
  return api;
}

// Its arrays are never written, but their capsules do not say so.
bool is_jax(nb::handle object) {
  const auto module = nb::cast<std::string>(nb::str(object.type().attr("__module__")));
  return module.starts_with("jax");
}

std::string name_of_type(nb::handle object) {
  return nb::cast<std::string>(nb::str(nb::handle(object.type()).attr("__name__")));
}

std::optional<Dtype> dtype_of(const dlpack::DataType& type) {
  if (type.lanes != 1) return std::nullopt;
  const auto is = [&](int code, int bits) { return type.code == code && type.bits == bits; };
  if (is(2, 32)) return Dtype::f32;
  if (is(2, 64)) return Dtype::f64;
  if (is(4, 16)) return Dtype::bf16;
  if (is(2, 16)) return Dtype::f16;
  if (is(6, 8)) return Dtype::boolean;
  if (is(1, 8)) return Dtype::u8;
  if (is(0, 32)) return Dtype::i32;
  if (is(0, 64)) return Dtype::i64;
  return std::nullopt;
}

// Of the buffer protocol; see the struct module of Python.
std::optional<Dtype> dtype_of(std::string_view format, Py_ssize_t item_size) {
  if (!format.empty() && (format[0] == '<' || format[0] == '=' || format[0] == '@')) {
    format.remove_prefix(1);
  }
  if (format.size() != 1) return std::nullopt;
  switch (format[0]) {
    case 'f':
      return Dtype::f32;
    case 'd':
      return Dtype::f64;
    case 'e':
      return Dtype::f16;
    case '?':
      return Dtype::boolean;
    case 'B':
      return Dtype::u8;
    case 'i':
    case 'l':
    case 'q':
      return item_size == 8 ? Dtype::i64 : Dtype::i32;
    default:
      return std::nullopt;
  }
}

bool is_bfloat16(nb::handle object) {
  const nb::object dtype = nb::getattr(object, "dtype", nb::none());
  return nb::cast<std::string>(nb::str(dtype)) == "bfloat16";
}

nb::object numpy_dtype(nb::handle like, Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      static const nb::handle f32 = numpy("float32");
      return nb::borrow(f32);
    case Dtype::f64:
      static const nb::handle f64 = numpy("float64");
      return nb::borrow(f64);
    case Dtype::bf16:
      if (is_bfloat16(like)) return like.attr("dtype");
      return nb::module_::import_("ml_dtypes").attr("bfloat16");
    default:
      throw nb::type_error("no such result");
  }
}

dlpack::DataType dlpack_type(Dtype dtype) {
  const auto bits = static_cast<std::uint8_t>(8 * size_of(dtype));
  return {static_cast<std::uint8_t>(dtype == Dtype::bf16 ? 4 : 2), bits, 1};
}

bool is_cpu(dlpack::Device device) {
  return device.type == 1 || device.type == 3 || device.type == 11;
}

// A new tensor of `shape` whose elements lie as `strides` say, densely.
NewTensor new_tensor(const dlpack::ExchangeApi& api, const Shape& shape, const Strides& strides,
                     Dtype dtype) {
  dlpack::Tensor prototype{};
  prototype.device = {1, 0};
  prototype.ndim = shape.rank();
  prototype.dtype = dlpack_type(dtype);
  prototype.shape = const_cast<Index*>(shape.begin());
  dlpack::ManagedVersioned* managed = nullptr;
  const auto set_error = [](void*, const char*, const char* message) {
    PyErr_SetString(PyExc_MemoryError, message);
  };
  if (api.allocate(&prototype, &managed, nullptr, set_error) != 0) nb::raise_python_error();
  // It is read while the object is made, and never again.
  managed->tensor.strides = const_cast<Index*>(strides.data());
  void* const data = managed->tensor.data;
  void* object = nullptr;
  if (api.object_from_managed(managed, &object) != 0) nb::raise_python_error();
  return {nb::steal(static_cast<PyObject*>(object)), {data, dtype, shape, strides}};
}

}  // namespace

enum class Access { read, write };

struct ArrayReader {
  nb::handle object;
  Place place;
  Access access;

  Array read() const {
    if (const auto* api = exchange_api(object)) return from_torch(*api);
    if (is_numpy(object)) return from_buffer(object);
    if (nb::hasattr(object, "__dlpack__")) return from_dlpack();
    if (PyObject_CheckBuffer(object.ptr())) return from_buffer(object);
    if (access == Access::read && PySequence_Check(object.ptr()) &&
        !nb::isinstance<nb::str>(object)) {
      static const nb::handle asarray = numpy("asarray");
      return from_buffer(asarray(object));
    }
    throw_type_error(place, kElementTypes, name_of_type(object));
  }

 private:
  // What Python raised becomes our TypeError.
  [[noreturn]] void refuse(nb::python_error& error) const {
    throw_type_error(place, "an array in memory that DLPack shows",
                     name_of_type(object) + ": " + nb::cast<std::string>(nb::str(error.value())));
  }

  void refuse_read_only() const {
    throw_shape_error(place, "an array that may be written", "a read-only one");
  }

  Array from_torch(const dlpack::ExchangeApi& api) const {
    if (nb::cast<bool>(object.attr("requires_grad")) &&
        nb::cast<bool>(nb::module_::import_("torch").attr("is_grad_enabled")())) {
      throw_type_error(place, "a tensor without gradient",
                       "one that requires it: call the functions of grouphead.torch, or detach()");
    }
    dlpack::Tensor tensor{};
    if (api.tensor_from_object(object.ptr(), &tensor) != 0) {
      nb::python_error error;
      refuse(error);
    }
    return from_tensor(std::make_shared<nb::object>(nb::borrow(object)), tensor);
  }

  Array from_dlpack() const {
    if (access == Access::write && is_jax(object)) refuse_read_only();
    nb::object capsule;
    try {
      try {
        capsule = object.attr("__dlpack__")(nb::arg("max_version") = nb::make_tuple(1, 1));
      } catch (nb::python_error& error) {
        if (!error.matches(PyExc_TypeError)) throw;
        capsule = object.attr("__dlpack__")();
      }
    } catch (nb::python_error& error) {
      refuse(error);
    }
    if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
      return from_managed<dlpack::ManagedVersioned>(capsule, "dltensor_versioned",
                                                    "used_dltensor_versioned");
    }
    if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
      return from_managed<dlpack::Managed>(capsule, "dltensor", "used_dltensor");
    }
    throw_type_error(place, "a capsule of DLPack", name_of_type(object));
  }

  template <class Managed>
  Array from_managed(const nb::object& capsule, const char* name, const char* used) const {
    auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
    PyCapsule_SetName(capsule.ptr(), used);
    std::shared_ptr<void> owner(managed, [](Managed* m) {
      if (m->deleter != nullptr) m->deleter(m);
    });
    if constexpr (requires { managed->flags; }) {
      if (managed->version.major != 1) {
        throw_type_error(place, "DLPack 1", "version " + std::to_string(managed->version.major));
      }
      if (access == Access::write && (managed->flags & 1) != 0) refuse_read_only();
    }
    return from_tensor(std::move(owner), managed->tensor);
  }

  Array from_tensor(std::shared_ptr<void> owner, const dlpack::Tensor& tensor) const {
    if (!is_cpu(tensor.device)) {
      throw_shape_error(place, "an array in the CPU's memory",
                        "one of device " + nb::cast<std::string>(nb::str(nb::getattr(
                                               object, "device", nb::int_(tensor.device.type)))));
    }
    const auto dtype = dtype_of(tensor.dtype);
    if (!dtype) refuse_dtype();
    const Shape shape(std::span<const Index>(tensor.shape, static_cast<std::size_t>(tensor.ndim)));
    const char* data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
    if (tensor.data == nullptr && shape.size() > 0) {
      throw_shape_error(place, "an array whose memory is there", "one whose memory was freed");
    }
    if (tensor.strides == nullptr) return {std::move(owner), {data, *dtype, shape}};
    Strides strides{};
    std::copy_n(tensor.strides, tensor.ndim, strides.begin());
    return checked({std::move(owner), {data, *dtype, shape, strides}});
  }

  [[noreturn]] void refuse_dtype() const {
    throw_type_error(place, kElementTypes,
                     nb::cast<std::string>(nb::str(nb::getattr(object, "dtype", nb::none()))));
  }

  Array from_buffer(nb::handle from) const {
    nb::object source = nb::borrow(from);
    const auto close = [](Py_buffer* buffer) {
      PyBuffer_Release(buffer);
      delete buffer;
    };
    const bool is_bf16 = is_numpy(source) && needs_bits(source);
    if (is_bf16) source = source.attr("view")("uint16");
    auto buffer = std::make_unique<Py_buffer>();
    if (PyObject_GetBuffer(source.ptr(), buffer.get(), PyBUF_RECORDS_RO) != 0) {
      nb::python_error error;
      refuse(error);
    }
    const std::shared_ptr<Py_buffer> owner(buffer.release(), close);
    if (access == Access::write && owner->readonly != 0) refuse_read_only();
    const auto dtype =
        is_bf16 ? Dtype::bf16
                : dtype_of(owner->format == nullptr ? "B" : owner->format, owner->itemsize);
    if (!dtype) refuse_dtype();
    const Shape shape(std::span<const Index>(owner->shape, static_cast<std::size_t>(owner->ndim)));
    Strides strides{};
    bool is_aligned = reinterpret_cast<std::uintptr_t>(owner->buf) %
                          static_cast<std::uintptr_t>(owner->itemsize) ==
                      0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(owner->ndim); ++i) {
      is_aligned = is_aligned && owner->strides[i] % owner->itemsize == 0;
      strides[i] = owner->strides[i] / owner->itemsize;
    }
    if (is_aligned) return checked({owner, {owner->buf, *dtype, shape, strides}});
    if (access == Access::write) {
      throw_shape_error(place, "elements at multiples of their size", "others");
    }
    static const nb::handle copy = numpy("array");
    return from_buffer(copy(source.attr("copy")()));
  }

  // Whether the buffer protocol has no name for the element type, and it is bf16's.
  static bool needs_bits(const nb::object& source) {
    const nb::object dtype = source.attr("dtype");
    return nb::cast<nb::str>(dtype.attr("kind")).c_str()[0] == 'V' && is_bfloat16(source);
  }

  Array checked(Array array) const {
    if (access == Access::read) return array;
    const ConstView& view = array.view();
    for (int axis = 0; axis < view.rank(); ++axis) {
      if (view.dim(axis) > 1 && view.stride(axis) == 0) {
        throw_shape_error(place, "an element for each index", "stride 0");
      }
    }
    return array;
  }
};

Array Array::read(nb::handle object, Place place) {
  if (object.is_none()) return {};
  return ArrayReader{object, place, Access::read}.read();
}

Array Array::write(nb::handle object, Place place) {
  return ArrayReader{object, place, Access::write}.read();
}

ConstView tensor_view(nb::handle object) {
  const auto* api = exchange_api(object);
  dlpack::Tensor tensor{};
  if (api == nullptr) return {};
  if (api->tensor_from_object(object.ptr(), &tensor) != 0) {
    PyErr_Clear();
    return {};
  }
  const auto dtype = dtype_of(tensor.dtype);
  if (!is_cpu(tensor.device) || !dtype || tensor.ndim > kMaxRank) return {};
  const Shape shape(std::span<const Index>(tensor.shape, static_cast<std::size_t>(tensor.ndim)));
  if (tensor.data == nullptr && shape.size() > 0) return {};
  const char* data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
  if (tensor.strides == nullptr) return {data, *dtype, shape};
  Strides strides{};
  std::copy_n(tensor.strides, tensor.ndim, strides.begin());
  return {data, *dtype, shape, strides};
}

NewTensor new_heads(nb::handle like, const Shape& shape, Dtype dtype, bool heads_last) {
  Strides strides = View(nullptr, dtype, shape).strides();
  if (heads_last) {
    strides[1] = shape[3];
    strides[2] = shape[1] * shape[3];
  }
  return new_tensor(*exchange_api(like), shape, strides, dtype);
}

NewArray::NewArray(nb::handle like, const Shape& shape, Dtype dtype) : like_(like) {
  const Place place = {"grouphead", "result"};
  if (const auto* api = exchange_api(like)) {
    NewTensor made = new_tensor(*api, shape, View(nullptr, dtype, shape).strides(), dtype);
    object_ = std::move(made.object);
    view_ = made.view;
    return;
  }
  if (is_numpy(like) || !nb::hasattr(like, "__dlpack__")) {
    static const nb::handle empty = numpy("empty");
    nb::object dims = nb::steal(PyTuple_New(shape.rank()));
    for (int axis = 0; axis < shape.rank(); ++axis) {
      PyTuple_SET_ITEM(dims.ptr(), axis, PyLong_FromSsize_t(shape[axis]));
    }
    object_ = empty(dims, numpy_dtype(like, dtype));
    array_ = Array::write(object_, place);
    view_ = array_.mutable_view();
    return;
  }
  tensor_ = Tensor(shape, dtype);
  view_ = tensor_.view();
}

nb::object NewArray::take() {
  array_ = {};
  if (object_.is_valid()) return std::move(object_);
  std::vector<std::size_t> dims(view_.shape().begin(), view_.shape().end());
  const auto type = dlpack_type(view_.dtype());
  nb::capsule owner(new Tensor(tensor_),
                    [](void* tensor) noexcept { delete static_cast<Tensor*>(tensor); });
  const nb::ndarray<nb::array_api> exported(view_.raw(), dims.size(), dims.data(), owner, nullptr,
                                            {type.code, type.bits, type.lanes});
  const nb::object array = nb::cast(exported);
  if (!nb::hasattr(like_, "__array_namespace__")) {
    return nb::module_::import_("numpy").attr("from_dlpack")(array);
  }
  return like_.attr("__array_namespace__")().attr("from_dlpack")(array);
}

}  // namespace grouphead::python
