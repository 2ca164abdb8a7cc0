#pragma once

#include <string>

#include "grouphead/core/tensor.h"
#include "io/hdf5_library.h"

namespace grouphead::io {

/// Bytes that are 100 for each stored one; what a damaged small file may claim is more.
inline constexpr Index kLargestExpansion = 100;
/// Whether `bytes`, an array or a piece of one, are more than 64 MiB and than that.
constexpr bool expands_too_far(Index bytes, Index stored) noexcept {
  constexpr Index kSmall = Index{64} << 20;
  return bytes > kSmall && bytes / kLargestExpansion > stored;
}

/// Reads an array that is stored in pieces, compressed by deflate or not: each piece must have its
/// size, which the library's own filters do not look at, and not expand too far. `image_bytes` of
/// the whole file bound the number of pieces. Errors: IoError, the text `damaged`.
void read_chunks(hid_t dataset, const Shape& shape, Index element_bytes, std::size_t image_bytes,
                 const std::string& damaged, std::byte* to);

}  // namespace grouphead::io
