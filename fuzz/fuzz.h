#pragma once

// What the fuzz targets share. Each reads bytes as one format; whatever they are, either they are
// read or an Error says why not, without a memory error, undefined behaviour or another exception.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "grouphead/core/error.h"
#include "io/owned_bytes.h"

namespace grouphead::fuzz {

/// The bytes in a block of their own, so that reading behind them is found.
inline io::OwnedBytes owned(const std::uint8_t* data, std::size_t size) {
  const std::shared_ptr<std::byte[]> block(new std::byte[size]);
  if (size > 0) std::memcpy(block.get(), data, size);
  return {{block.get(), size}, block};
}

/// Reads every element.
inline void touch(const Tensor& tensor) {
  const auto* bytes = static_cast<const volatile unsigned char*>(tensor.view().raw());
  for (Index i = 0; i < tensor.bytes(); ++i) (void)bytes[i];
}

}  // namespace grouphead::fuzz

/// Defines a target: `body` uses `data` and `size`.
///
/// The HDF5 library loses some hundred bytes now and then where it gives up on a damaged file. What
/// grouphead takes from it and does not close stays in HDF5's tables and is no leak to the
/// sanitizer, so nothing of ours is overlooked.
#define GROUPHEAD_FUZZ_TARGET(body)                                                   \
  extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }     \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    try {                                                                             \
      body;                                                                           \
    } catch (const grouphead::Error&) {                                               \
    }                                                                                 \
    return 0;                                                                         \
  }
