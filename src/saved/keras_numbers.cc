#include "saved/keras_numbers.h"

namespace grouphead::saved {
namespace {

template <class T>
double number_of(T value) {
  return static_cast<double>(value);
}
double number_of(Bf16 value) { return static_cast<double>(to_float(value)); }
double number_of(F16 value) { return static_cast<double>(to_float(value)); }

template <class Take>
void with_element(Dtype dtype, const Take& take) {
  switch (dtype) {
    case Dtype::f32:
      return take(float{});
    case Dtype::f64:
      return take(double{});
    case Dtype::bf16:
      return take(Bf16{});
    case Dtype::f16:
      return take(F16{});
    case Dtype::boolean:
      return take(bool{});
    case Dtype::u8:
      return take(std::uint8_t{});
    case Dtype::i32:
      return take(std::int32_t{});
    case Dtype::i64:
      return take(std::int64_t{});
  }
}

}  // namespace

Tensor as_f64(const Tensor& from) {
  Tensor numbers(from.shape(), Dtype::f64);
  with_element(from.dtype(), [&](auto zero) {
    const auto* x = from.data<decltype(zero)>();
    for (Index i = 0; i < from.size(); ++i) numbers.data<double>()[i] = number_of(x[i]);
  });
  return numbers;
}

}  // namespace grouphead::saved
