#pragma once

#include <cstdint>

namespace grouphead::kernels {

/// Sizes and positions; the same type as grouphead::Index.
using Index = std::int64_t;

/// Instruction-set levels that kernels are compiled for, slowest first; the same order as Isa.
enum class Level : std::uint8_t { ref, sse4, avx2, avx3 };

inline constexpr Level kLevels[] = {Level::ref, Level::sse4, Level::avx2, Level::avx3};

/// Whether this build has kernels for `level` and this processor and system can run them.
bool level_available(Level level) noexcept;

}  // namespace grouphead::kernels
