#pragma once

// The structures of XLA's foreign-function interface, as far as jax.cc meets them.
// Source: xla/ffi/api/c_api.h of OpenXLA, version 0.3; fields are only ever added at the ends.

#include <cstddef>
#include <cstdint>

namespace grouphead::python::xla {

struct Extension {
  std::size_t size;
  int type;  // 1: asks for Metadata instead of a call
  Extension* next;
};

struct Version {
  std::size_t size;
  Extension* extensions;
  int major;
  int minor;
};

struct Metadata {
  std::size_t size;
  Version version;  // to be filled in
  std::uint32_t traits;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

enum class DataType : int {
  boolean = 1,
  s32 = 4,
  s64 = 5,
  u8 = 6,
  f16 = 10,
  f32 = 11,
  f64 = 12,
  bf16 = 16
};

struct Buffer {  // row-major
  std::size_t size;
  Extension* extensions;
  DataType dtype;
  void* data;
  std::int64_t rank;
  std::int64_t* dims;
};

struct Span {
  const char* data;
  std::size_t size;
};

struct Array {  // an attribute
  DataType dtype;
  std::size_t size;
  void* data;
};

struct Buffers {
  std::size_t struct_size;
  Extension* extensions;
  std::int64_t size;
  int* types;
  void** items;
};

struct Attributes {
  std::size_t struct_size;
  Extension* extensions;
  std::int64_t size;
  int* types;
  Span** names;
  void** items;
};

struct ErrorArguments {
  std::size_t size;
  Extension* extensions;
  const char* message;
  int code;  // 3: an invalid argument
};

struct Api {
  std::size_t size;
  Extension* extensions;
  Version version;
  const void* internal;
  void* (*create_error)(ErrorArguments* arguments);
};

struct CallFrame {
  std::size_t size;
  Extension* extensions;
  const Api* api;
  void* context;
  int stage;
  Buffers arguments;
  Buffers results;
  Attributes attributes;
};

}  // namespace grouphead::python::xla
