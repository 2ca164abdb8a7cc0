#pragma once

// x86 intrinsics for the kernels of instructions that Highway 1.0.3 does not know. Such a function
// lies between HWY_PUSH_ATTRIBUTES("its flags") and HWY_POP_ATTRIBUTES.

#include <hwy/base.h>

// g++ 12 takes the undefined operands inside these headers for mistakes.
HWY_DIAGNOSTICS(push)
HWY_DIAGNOSTICS_OFF(disable : 4701, ignored "-Wuninitialized")
HWY_DIAGNOSTICS_OFF(disable : 4703, ignored "-Wmaybe-uninitialized")
#include <immintrin.h>
HWY_DIAGNOSTICS(pop)
