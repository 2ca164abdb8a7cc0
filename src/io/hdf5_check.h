#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace grouphead::io {

/// What can be seen of a file's head before the HDF5 library is given it. Errors: IoError that
/// starts with `where` for what is not HDF5, ends too early or has what no model file has.
void require_hdf5_head(std::span<const std::byte> image, const std::string& where);

}  // namespace grouphead::io
