#pragma once

// Which instruction sets kernels are compiled for. A source with per-target bodies includes this
// before any header of Highway:
//
//   #include "kernels/cpu/targets.h"
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "kernels/x_simd.cc"
//   #include <hwy/foreach_target.h>
//   #include <hwy/highway.h>
//
//   #if GROUPHEAD_TARGET_IS_LEVEL
//   HWY_BEFORE_NAMESPACE();
//   namespace grouphead::kernels::HWY_NAMESPACE {
//   const XKernels& x_table() noexcept { ... }
//   }
//   HWY_AFTER_NAMESPACE();
//   #endif
//
//   #if HWY_ONCE
//   const XKernels& x_kernels(Level level) noexcept {
//     GROUPHEAD_SELECT_TABLE(level, x_table, x_reference_table())
//   }
//   #endif

// One target for each Level but `ref`, and those above avx3, which run what avx3 runs. SCALAR and
// EMU128 are Highway's baselines, one of which it insists on; nothing of ours is compiled for them.
// SVE's vectors have no size that the compiler knows, so there are no arrays of them, which our
// products hold their sums in.
#define HWY_DISABLED_TARGETS \
  (~(HWY_NEON | HWY_SSE4 | HWY_AVX2 | HWY_AVX3 | HWY_SCALAR | HWY_EMU128))
#if defined(__aarch64__)
// NEON is every such compiler's baseline. Without this, Highway 1.0.3 compiles it for processors
// with AES, and g++ does not inline constructors into such functions.
#define TOOLCHAIN_MISS_SYS_AUXV_H
#endif
#include <hwy/targets.h>

#include "kernels/cpu/level.h"

/// True in the passes of foreach_target.h that compile one of our levels.
#define GROUPHEAD_TARGET_IS_LEVEL ((HWY_TARGET & (HWY_NEON | HWY_SSE4 | HWY_AVX2 | HWY_AVX3)) != 0)

#if HWY_TARGETS & HWY_NEON
#define GROUPHEAD_CASE_NEON(table) \
  case Level::neon:                \
    return N_NEON::table();
#else
#define GROUPHEAD_CASE_NEON(table)
#endif
#if HWY_TARGETS & HWY_SSE4
#define GROUPHEAD_CASE_SSE4(table) \
  case Level::sse4:                \
    return N_SSE4::table();
#else
#define GROUPHEAD_CASE_SSE4(table)
#endif
#if HWY_TARGETS & HWY_AVX2
#define GROUPHEAD_CASE_AVX2(table) \
  case Level::avx2:                \
    return N_AVX2::table();
#else
#define GROUPHEAD_CASE_AVX2(table)
#endif
#if HWY_TARGETS & HWY_AVX3
#define GROUPHEAD_CASE_AVX3(table) \
  case Level::avx3:                \
  case Level::avx3_bf16:           \
  case Level::avx3_amx:            \
    return N_AVX3::table();
#else
#define GROUPHEAD_CASE_AVX3(table)
#endif

/// Returns `table()` of the level's namespace, or `reference` for levels that this build lacks.
#define GROUPHEAD_SELECT_TABLE(level, table, reference) \
  switch (level) {                                      \
    GROUPHEAD_CASE_NEON(table)                          \
    GROUPHEAD_CASE_SSE4(table)                          \
    GROUPHEAD_CASE_AVX2(table)                          \
    GROUPHEAD_CASE_AVX3(table)                          \
    default:                                            \
      return reference;                                 \
  }
