#pragma once

// What the tests of the linear products share.

#include <random>
#include <string>

#include "ops/linear.h"
#include "support.h"

namespace grouphead::testing_support {

/// One problem: M rows, K inputs, N outputs.
struct Size {
  Index m, k, n;
};

inline std::string key(const Size& s, Isa isa) {
  return "gemm m" + std::to_string(s.m) + " k" + std::to_string(s.k) + " n" + std::to_string(s.n) +
         " isa=" + std::string(name_of(isa));
}

template <class F>
Tensor random_tensor(const Shape& shape, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<F> uniform(F{-1}, F{1});
  Tensor out(shape, kDtypeOf<F>);
  F* const numbers = out.data<F>();
  for (Index i = 0, size = out.size(); i < size; ++i) numbers[i] = uniform(engine);
  return out;
}

}  // namespace grouphead::testing_support
