#include "kernels/gemm/narrow.h"

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/int8.h"

namespace grouphead::kernels {
namespace {

constexpr Index kColumns = 64;  // at once

void narrow_columns(Index depth, Index width, const float* from, Index columns, std::int8_t* to,
                    float* scales) noexcept {
  std::int32_t most[kColumns] = {};
  for (Index d = 0; d < depth; ++d) {
    for (Index j = 0; j < columns; ++j) {
      const std::int32_t size = size_bits(from[d * width + j]);
      most[j] = size > most[j] ? size : most[j];
    }
  }
  float factors[kColumns];
  for (Index j = 0; j < columns; ++j) {
    scales[j] = int8_scale_of_bits(most[j]);
    factors[j] = int8_factor(scales[j]);
  }
  for (Index d = 0; d < depth; ++d) {
    for (Index j = 0; j < columns; ++j) {
      // A factor of 0 stands for a column without numbers, which may yet hold infinity.
      const float x = factors[j] == 0.0F ? 0.0F : from[d * width + j] * factors[j];
      to[d * width + j] = static_cast<std::int8_t>(whole(x));
    }
  }
}

}  // namespace

void narrow(Index depth, Index width, const float* panel, std::uint16_t* to) noexcept {
  for (Index i = 0; i < depth * width; ++i) to[i] = bf16_of(panel[i]);
}

void narrow(Index depth, Index width, const float* panel, std::int8_t* to, float* scales) noexcept {
  for (Index j = 0; j < width; j += kColumns) {
    const Index columns = width - j < kColumns ? width - j : kColumns;
    narrow_columns(depth, width, panel + j, columns, to + j, scales + j);
  }
}

}  // namespace grouphead::kernels
