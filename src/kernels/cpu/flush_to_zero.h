#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace grouphead::kernels {

/// While it lives, operands and results below the normal numbers are zeros on this thread.
/// Arithmetic with such numbers takes a hundred cycles and more on x86, and weights of keys far
/// below a row's greatest logit are among them: with ALiBi's slopes a twentieth of all, which made
/// attention 3 times as slow. So are small integers, which memory may hold from before where lanes
/// without a key read it: they made a call of one query 25 times as slow.
class FlushToZero {
 public:
#if defined(__SSE2__)
  FlushToZero() noexcept : before_(_mm_getcsr()) {
    constexpr unsigned kOperands = 0x40;  // of MXCSR: denormals are zeros
    _mm_setcsr(before_ | static_cast<unsigned>(_MM_FLUSH_ZERO_ON) | kOperands);
  }
  ~FlushToZero() { _mm_setcsr(before_); }
#else
  FlushToZero() noexcept {}
  ~FlushToZero() {}
#endif
  FlushToZero(const FlushToZero&) = delete;
  FlushToZero& operator=(const FlushToZero&) = delete;

#if defined(__SSE2__)
 private:
  unsigned before_;
#endif
};

}  // namespace grouphead::kernels
