#pragma once

// Element types in HDF5.

#include "grouphead/core/tensor.h"
#include "io/hdf5_library.h"

namespace grouphead::io {

/// What a file's type is here.
struct Hdf5Type {
  bool is_known = false;
  Dtype dtype = Dtype::f32;
  bool is_int8 = false;
  bool is_opaque = false;  ///< 2 bytes of no type: bf16, where the attribute says so
};
Hdf5Type type_from_hdf5(hid_t type);

/// The type that h5py writes. Errors: IoError.
Hdf5Id type_to_hdf5(Dtype dtype);
Hdf5Id int8_to_hdf5();

}  // namespace grouphead::io
