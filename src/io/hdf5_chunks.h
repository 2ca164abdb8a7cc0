#pragma once

#include <string>

#include "grouphead/core/tensor.h"
#include "io/hdf5_library.h"

namespace grouphead::io {

/// Reads an array that is stored in pieces, compressed by deflate or not: each piece must have its
/// size, which the library's own filters do not look at, and not expand too far. `image_bytes` of
/// the whole file bound the number of pieces. Errors: IoError, the text `damaged`.
void read_chunks(hid_t dataset, const Shape& shape, Index element_bytes, std::size_t image_bytes,
                 const std::string& damaged, std::byte* to);

}  // namespace grouphead::io
