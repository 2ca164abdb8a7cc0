#pragma once

// Operands for the tests of the elementwise operations: misaligned buffers between guard values,
// the same numbers in f32 and f64, and bounds for what rounding may do.

#include <cmath>
#include <functional>
#include <string>

#include "grouphead/core/random.h"
#include "support.h"

namespace grouphead::testing_support {

inline constexpr double kUnit = 0x1p-24;  // unit roundoff of f32
inline constexpr Index kAwkward[] = {1, 15, 16, 17, 31, 33, 100, 256, 1000};

/// Additions behind any term of a sum over n elements: four chains of four lanes or more.
inline double depth(Index n) { return static_cast<double>(n) / 16 + 8; }

/// f32 elements between guards, one element off every alignment.
class Guarded {
 public:
  explicit Guarded(const Shape& shape)
      : shape_(shape), elements_(static_cast<std::size_t>(shape.size() + 2 * kPad), kGuard) {}
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() {
    for (Index i = 0; i < kPad; ++i) {
      EXPECT_EQ(elements_[static_cast<std::size_t>(i)], kGuard) << "written before the start";
      EXPECT_EQ(data()[size() + i], kGuard) << "written behind the end";
    }
  }
  float* data() { return elements_.data() + kPad; }
  float& operator[](Index i) { return data()[i]; }
  Index size() const { return shape_.size(); }
  View view() { return {data(), shape_}; }

 private:
  static constexpr Index kPad = 17;
  static constexpr float kGuard = -12345.5F;
  Shape shape_;
  std::vector<float> elements_;
};

/// Uniform number in [low, high) for one place of one stream.
inline double uniform_at(std::uint64_t seed, Index place, double low, double high) {
  const PhiloxBlock block = philox4x32({seed, 0}, static_cast<std::uint64_t>(place));
  return low + (high - low) * (static_cast<double>(block.words[0]) * 0x1p-32);
}

/// An operand: the same f32 numbers for the kernels and, in double, for the oracle.
struct Operand {
  explicit Operand(const Shape& shape) : f32(shape), f64(shape, Dtype::f64) {}
  Operand(const Shape& shape, std::uint64_t seed, double low = -1, double high = 1)
      : Operand(shape) {
    for (Index i = 0; i < f32.size(); ++i) set(i, uniform_at(seed, i, low, high));
  }
  void set(Index i, double value) {
    f32[i] = static_cast<float>(value);
    f64.data<double>()[i] = static_cast<double>(f32[i]);
  }
  double operator[](Index i) const { return f64.data<double>()[i]; }
  Index size() const { return f64.size(); }

  Guarded f32;
  Tensor f64;
};

/// Row-major f64 tensor of value(i).
inline Tensor tabulate(const Shape& shape, const std::function<double(Index)>& value) {
  Tensor out(shape, Dtype::f64);
  for (Index i = 0; i < out.size(); ++i) out.data<double>()[i] = value(i);
  return out;
}

/// body(ctx, name) for a context of each level, two threads.
template <class Body>
void for_each_level(const Body& body) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    body(ctx, std::string(name_of(isa)));
  }
}

}  // namespace grouphead::testing_support
