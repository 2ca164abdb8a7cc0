#include "io/owned_bytes.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "grouphead/core/error.h"

namespace grouphead::io {

Tensor tensor_over(const OwnedBytes& elements, Dtype dtype, const Shape& shape,
                   const std::string& where) {
  const std::span<const std::byte> bytes = elements.bytes;
  const bool is_bool = dtype == Dtype::boolean;
  if (is_bool &&
      std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; })) {
    throw IoError(where + ": expected bytes 0 and 1 as bools, got others");
  }
  const auto address = std::bit_cast<std::uintptr_t>(bytes.data());
  if (address % static_cast<std::uintptr_t>(size_of(dtype)) == 0) {
    return {View(const_cast<std::byte*>(bytes.data()), dtype, shape), elements.owner};
  }
  Tensor copied(shape, dtype);
  if (!bytes.empty()) std::memcpy(copied.view().raw(), bytes.data(), bytes.size());
  return copied;
}

}  // namespace grouphead::io
