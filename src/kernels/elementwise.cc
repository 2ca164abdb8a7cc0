#include "kernels/elementwise.h"

#include "kernels/elementwise_reference.h"

namespace grouphead::kernels {

template <>
const ElementwiseKernels<float>& elementwise_kernels<float>(Level) noexcept {
  return elementwise_reference<float>();
}

template <>
const ElementwiseKernels<double>& elementwise_kernels<double>(Level) noexcept {
  return elementwise_reference<double>();
}

}  // namespace grouphead::kernels
