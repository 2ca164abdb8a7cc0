#pragma once

#include <cstdint>

#include "kernels/cpu/level.h"

namespace grouphead::kernels {

/// Multiply-adds in registers. The result is returned so that no compiler drops the work.
struct MultiplyAddLimit {
  std::int64_t flops_per_lap;
  float (*run)(std::int64_t laps) noexcept;
};

/// What a core can do at best: the yardstick of `grouphead bench`.
struct LimitKernels {
  const char* target;  ///< the target this table was compiled for
  MultiplyAddLimit multiply_add;
  float (*read_sum)(const float* p, std::int64_t count) noexcept;
};

const LimitKernels& limit_kernels(Level level) noexcept;

/// Products of bf16 summed in f32 by a level's instruction for them: avx3_bf16's or avx3_amx's;
/// null for the others, and where it is not available.
const MultiplyAddLimit* bf16_limit(Level level) noexcept;

}  // namespace grouphead::kernels
