#pragma once

#include <cstdint>

#include "kernels/level.h"

namespace grouphead::kernels {

/// What a core can do at best: the yardstick of `grouphead bench`. Results are returned so that no
/// compiler drops the work.
struct LimitKernels {
  const char* target;  ///< the target this table was compiled for
  std::int64_t flops_per_lap;
  float (*multiply_add)(std::int64_t laps) noexcept;
  float (*read_sum)(const float* p, std::int64_t count) noexcept;
};

const LimitKernels& limit_kernels(Level level) noexcept;

}  // namespace grouphead::kernels
