#include "io/hdf5_types.h"

#include <atomic>

namespace grouphead::io {
namespace {

constexpr std::size_t kHalfBits = 16;

/// Where sign, exponent and mantissa of IEEE's binary16 stand.
struct HalfFields {
  std::size_t sign = 15;
  std::size_t exponent = 10;
  std::size_t exponent_bits = 5;
  std::size_t mantissa = 0;
  std::size_t mantissa_bits = 10;
  std::size_t bias = 15;
  friend bool operator==(const HalfFields&, const HalfFields&) = default;
};

bool is_half(hid_t type) {
  if (H5Tget_class(type) != H5T_FLOAT || H5Tget_size(type) != kHalfBits / 8 ||
      H5Tget_order(type) != H5T_ORDER_LE) {
    return false;
  }
  HalfFields fields{};
  H5Tget_fields(type, &fields.sign, &fields.exponent, &fields.exponent_bits, &fields.mantissa,
                &fields.mantissa_bits);
  fields.bias = H5Tget_ebias(type);
  return fields == HalfFields{};
}

Hdf5Id make_half() {
  const HalfFields fields{};
  Hdf5Id type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose, "[hdf5] f16: cannot make the type");
  H5Tset_fields(type.get(), fields.sign, fields.exponent, fields.exponent_bits, fields.mantissa,
                fields.mantissa_bits);
  H5Tset_size(type.get(), kHalfBits / 8);
  H5Tset_ebias(type.get(), fields.bias);
  return type;
}

// An enumeration of two, as h5py has them.
Hdf5Id make_boolean() {
  Hdf5Id type(H5Tenum_create(H5T_STD_I8LE), H5Tclose, "[hdf5] bool: cannot make the type");
  signed char value = 0;
  H5Tenum_insert(type.get(), "FALSE", &value);
  value = 1;
  H5Tenum_insert(type.get(), "TRUE", &value);
  return type;
}

Hdf5Id copy_of(hid_t type) {
  return Hdf5Id(H5Tcopy(type), H5Tclose, "[hdf5] type: cannot copy it");
}

}  // namespace

std::recursive_mutex& Hdf5Lock::mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

std::string next_hdf5_name() {
  static std::atomic<unsigned long> count{0};
  return "grouphead-image-" + std::to_string(count.fetch_add(1));
}

Hdf5Type type_from_hdf5(hid_t type) {
  const std::pair<hid_t, Dtype> plain[] = {
      {H5T_IEEE_F32LE, Dtype::f32}, {H5T_IEEE_F64LE, Dtype::f64}, {H5T_STD_U8LE, Dtype::u8},
      {H5T_STD_I32LE, Dtype::i32},  {H5T_STD_I64LE, Dtype::i64},
  };
  for (const auto& [file_type, dtype] : plain) {
    if (H5Tequal(type, file_type) > 0) return {.is_known = true, .dtype = dtype};
  }
  if (is_half(type)) return {.is_known = true, .dtype = Dtype::f16};
  if (H5Tequal(type, H5T_STD_I8LE) > 0) {
    return {.is_known = true, .dtype = Dtype::i32, .is_int8 = true};
  }
  const H5T_class_t kind = H5Tget_class(type);
  const std::size_t size = H5Tget_size(type);
  if (kind == H5T_ENUM && size == 1 && H5Tget_nmembers(type) == 2) {
    return {.is_known = true, .dtype = Dtype::boolean};
  }
  if (kind == H5T_OPAQUE && size == 2)
    return {.is_known = true, .dtype = Dtype::bf16, .is_opaque = true};
  return {};
}

Hdf5Id int8_to_hdf5() { return copy_of(H5T_STD_I8LE); }

Hdf5Id type_to_hdf5(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return copy_of(H5T_IEEE_F32LE);
    case Dtype::f64:
      return copy_of(H5T_IEEE_F64LE);
    case Dtype::f16:
      return make_half();
    case Dtype::bf16:
      return Hdf5Id(H5Tcreate(H5T_OPAQUE, 2), H5Tclose, "[hdf5] bf16: cannot make the type");
    case Dtype::boolean:
      return make_boolean();
    case Dtype::u8:
      return copy_of(H5T_STD_U8LE);
    case Dtype::i32:
      return copy_of(H5T_STD_I32LE);
    case Dtype::i64:
      break;
  }
  return copy_of(H5T_STD_I64LE);
}

}  // namespace grouphead::io
