#pragma once

// x86 intrinsics for the kernels of instructions that Highway 1.0.3 does not know. Such a function
// lies between HWY_PUSH_ATTRIBUTES("its flags") and HWY_POP_ATTRIBUTES.

#include <hwy/base.h>

// g++ 12 takes the undefined operands inside these headers for mistakes.
#if HWY_COMPILER_GCC && !HWY_COMPILER_CLANG
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if HWY_COMPILER_GCC && !HWY_COMPILER_CLANG
#pragma GCC diagnostic pop
#endif
