#include "kernels/level.h"

#include "kernels/targets.h"

namespace grouphead::kernels {

bool level_available(Level level) noexcept {
  const auto supported = static_cast<std::int64_t>(HWY_TARGETS & hwy::SupportedTargets());
  switch (level) {
    case Level::ref:
      return true;
    case Level::sse4:
      return (supported & HWY_SSE4) != 0;
    case Level::avx2:
      return (supported & HWY_AVX2) != 0;
    case Level::avx3:
      return (supported & HWY_AVX3) != 0;
  }
  return false;
}

}  // namespace grouphead::kernels
