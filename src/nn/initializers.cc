#include "nn/initializers.h"

#include <algorithm>
#include <cmath>

namespace grouphead::nn {
namespace {

template <class F>
void fill_uniform_as(F* w, Index size, double low, double high, RandomKey key) {
  PhiloxBlock block{};
  for (Index i = 0; i < size; ++i) {
    if (i % 4 == 0) block = philox4x32(key, static_cast<std::uint64_t>(i / 4));
    w[i] = static_cast<F>(low + (high - low) * (block.words[i % 4] * 0x1p-32));
  }
}

}  // namespace

double glorot_limit(Index fan_in, Index fan_out) noexcept {
  return std::sqrt(6.0 / static_cast<double>(fan_in + fan_out));
}

void fill_uniform(View w, double low, double high, RandomKey key) {
  if (w.dtype() == Dtype::f64) {
    fill_uniform_as(w.data<double>(), w.size(), low, high, key);
  } else {
    fill_uniform_as(w.data<float>(), w.size(), low, high, key);
  }
}

void fill_ones(View w) {
  if (w.dtype() == Dtype::f64) {
    std::fill_n(w.data<double>(), w.size(), 1.0);
  } else {
    std::fill_n(w.data<float>(), w.size(), 1.0F);
  }
}

}  // namespace grouphead::nn
