#pragma once

// Error texts: `[operation] operand: expected ..., got ...`.

#include <span>
#include <string>
#include <string_view>

#include "grouphead/core/tensor.h"

namespace grouphead::core {

[[noreturn]] void throw_shape_error(std::string_view operation, std::string_view operand,
                                    std::string_view expected, std::string_view got);
[[noreturn]] void throw_config_error(std::string_view operation, std::string_view option,
                                     std::string_view expected, std::string_view got);

/// Errors: ConfigError unless `value` is at least 1.
void require_positive(std::string_view operation, std::string_view option, Index value);

/// `expected` has -1 for an axis of any size, printed as `*`.
void require_shape(std::string_view operation, std::string_view operand, const ConstView& view,
                   std::initializer_list<Index> expected);
void require_shape(std::string_view operation, std::string_view operand, const Shape& shape,
                   std::initializer_list<Index> expected);
void require_shape(std::string_view operation, std::string_view operand, const Shape& shape,
                   std::span<const Index> expected);
void require_dtype(std::string_view operation, std::string_view operand, const ConstView& view,
                   Dtype expected);
void require_contiguous(std::string_view operation, std::string_view operand,
                        const ConstView& view);
/// Present, contiguous, of this shape and type.
void require_dense(std::string_view operation, std::string_view operand, const ConstView& view,
                   std::initializer_list<Index> expected, Dtype dtype);

}  // namespace grouphead::core
