#pragma once

#include "kernels/attention/cache.h"

namespace grouphead::kernels {

/// Plain loops for both formats.
const CacheKernels& cache_reference() noexcept;

}  // namespace grouphead::kernels
