#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "grouphead/core/tensor.h"

namespace grouphead::io {

/// Bytes and who keeps them alive. They are the owner's alone, who does not mind when a tensor over
/// them is written to.
struct OwnedBytes {
  std::span<const std::byte> bytes{};
  std::shared_ptr<const void> owner{};

  std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

/// The tensor whose elements these bytes are, as many as it has: over them where they are aligned
/// to its type, else a copy. Errors: IoError that starts with `where` for other bytes than 0 and 1
/// in a tensor of bools.
Tensor tensor_over(const OwnedBytes& elements, Dtype dtype, const Shape& shape,
                   const std::string& where);

}  // namespace grouphead::io
