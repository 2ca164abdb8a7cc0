#pragma once

// The structures of DLPack 1.3, as far as arrays.cc meets them.
// Source: https://dmlc.github.io/dlpack/latest/c_api.html

#include <cstdint>

namespace grouphead::python::dlpack {

struct Device {
  std::int32_t type;  // 1: CPU, 3 and 11: memory of the host that a GPU reads too
  std::int32_t id;
};

struct DataType {
  std::uint8_t code;  // 0: int, 1: unsigned, 2: float, 4: bfloat, 6: bool
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: row-major
  std::uint64_t byte_offset;
};

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};

struct Managed {  // of capsules named `dltensor`
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct ManagedVersioned {  // of capsules named `dltensor_versioned`
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;  // bit 0: read-only
  Tensor tensor;
};

struct ExchangeApi {  // what the attribute `__dlpack_c_exchange_api__` of a type holds
  Version version;
  ExchangeApi* previous;
  int (*allocate)(Tensor* prototype, ManagedVersioned** out, void* error_context,
                  void (*set_error)(void* error_context, const char* kind, const char* message));
  int (*managed_from_object)(void* object, ManagedVersioned** out);
  int (*object_from_managed)(ManagedVersioned* tensor, void** out);
  int (*tensor_from_object)(void* object, Tensor* out);  // borrows from the object; may be null
  int (*current_stream)(std::int32_t device_type, std::int32_t device_id, void** out);
};

}  // namespace grouphead::python::dlpack
