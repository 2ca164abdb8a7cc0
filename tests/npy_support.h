#pragma once

// The arrays of tests/golden/npy.

#include <string>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::testing_support {

/// What generate_npy.py writes under this name.
inline Tensor npy_golden(const std::string& name) {
  const auto filled = [](Dtype dtype, auto value) {
    Tensor tensor({2, 3, 4}, dtype);
    using T = decltype(value(0));
    for (int i = 0; i < 24; ++i) tensor.data<T>()[i] = value(i);
    return tensor;
  };
  if (name == "f2")
    return filled(Dtype::f16, [](int i) { return to_f16(0.5F * static_cast<float>(i) - 3); });
  if (name == "f4")
    return filled(Dtype::f32, [](int i) { return 0.5F * static_cast<float>(i) - 3; });
  if (name == "f8") return filled(Dtype::f64, [](int i) { return 0.5 * i - 3; });
  if (name == "i4") return filled(Dtype::i32, [](int i) { return i - 5; });
  if (name == "i8") return filled(Dtype::i64, [](int i) { return Index{i} - 5; });
  if (name == "u1") return filled(Dtype::u8, [](int i) { return static_cast<std::uint8_t>(i); });
  return filled(Dtype::boolean, [](int i) { return i % 3 == 0; });
}

inline const std::vector<std::string> kNpyTypes = {"f2", "f4", "f8", "i4", "i8", "u1", "b1"};

}  // namespace grouphead::testing_support
