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
#define HWY_DISABLED_TARGETS \
  (~(HWY_NEON | HWY_SVE_256 | HWY_SSE4 | HWY_AVX2 | HWY_AVX3 | HWY_SCALAR | HWY_EMU128))
#if defined(__aarch64__)
// NEON is every such compiler's baseline. Without this, Highway 1.0.3 compiles it for processors
// with AES, and g++ does not inline constructors into such functions.
#define TOOLCHAIN_MISS_SYS_AUXV_H
#endif
#include <hwy/detect_targets.h>
#if defined(GROUPHEAD_SVE_BITS)  // the build promises that SVE's vectors have this size
static_assert(GROUPHEAD_SVE_BITS == 256);
#undef HWY_TARGETS
#define HWY_TARGETS (HWY_NEON | HWY_SVE_256)
#undef HWY_HAVE_RUNTIME_DISPATCH
#define HWY_HAVE_RUNTIME_DISPATCH (HWY_TARGET == HWY_SVE_256)  // whether it names its instructions
#endif
#include <hwy/targets.h>

#include "kernels/cpu/level.h"

/// Whether this compiler knows instructions of ARM by function: g++ does, clang 14 by file.
#if defined(__aarch64__) && HWY_COMPILER_GCC_ACTUAL
#define GROUPHEAD_HAS_ARM_EXTENSIONS 1
#else
#define GROUPHEAD_HAS_ARM_EXTENSIONS 0
#endif

/// True in the passes of foreach_target.h that compile one of our levels.
#define GROUPHEAD_TARGET_IS_LEVEL \
  ((HWY_TARGET & (HWY_NEON | HWY_SVE_256 | HWY_SSE4 | HWY_AVX2 | HWY_AVX3)) != 0)
/// True where it has 32 vector registers; the others have 16.
#define GROUPHEAD_HAS_32_REGISTERS ((HWY_TARGET & (HWY_SSE4 | HWY_AVX2)) == 0)

#if HWY_TARGETS & HWY_NEON
#define GROUPHEAD_CASE_NEON(table) \
  case Level::neon:                \
    return N_NEON::table();
#else
#define GROUPHEAD_CASE_NEON(table)
#endif
#if HWY_TARGETS & HWY_SVE_256
#define GROUPHEAD_CASE_SVE256(table) \
  case Level::sve256:                \
    return N_SVE_256::table();
#else
#define GROUPHEAD_CASE_SVE256(table)
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
    GROUPHEAD_CASE_SVE256(table)                        \
    GROUPHEAD_CASE_SSE4(table)                          \
    GROUPHEAD_CASE_AVX2(table)                          \
    GROUPHEAD_CASE_AVX3(table)                          \
    default:                                            \
      return reference;                                 \
  }
