#include "nn/quantized_numbers.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "ops/convert.h"

namespace grouphead::nn {
namespace {

std::int8_t with_sign(std::uint8_t byte) noexcept { return static_cast<std::int8_t>(byte); }

/// Numbers of any type that Keras's scales and zeros have, in `dtype`.
Tensor in_type(const Tensor& from, Dtype dtype) {
  if (!from.has_value()) return {};
  Tensor made(from.shape(), dtype);
  if (from.dtype() != Dtype::u8) {
    ops::convert_rounded(from, dtype, made);
    return made;
  }
  const auto fill = [&](auto* to) {
    std::transform(from.data<std::uint8_t>(), from.data<std::uint8_t>() + from.size(), to,
                   with_sign);
  };
  dtype == Dtype::f64 ? fill(made.data<double>()) : fill(made.data<float>());
  return made;
}

/// Whole numbers as int8, in u8.
Tensor bytes_of(const Tensor& from) {
  Tensor made(from.shape(), Dtype::u8);
  const auto fill = [&](const auto* numbers) {
    std::transform(numbers, numbers + from.size(), made.data<std::uint8_t>(), [](auto number) {
      return static_cast<std::uint8_t>(static_cast<std::int8_t>(number));
    });
  };
  from.dtype() == Dtype::f64 ? fill(from.data<double>()) : fill(from.data<float>());
  return made;
}

}  // namespace

QuantizedNumbers::QuantizedNumbers(const Quantization& how, const Shape& shape, Form form,
                                   Arrays arrays, Dtype arithmetic,
                                   std::vector<Index> scale_strides)
    : how_(how),
      shape_(shape),
      form_(form),
      arrays_(std::move(arrays)),
      scales_(in_type(arrays_.scale, arithmetic)),
      zeros_(in_type(arrays_.zero, arithmetic)),
      groups_(in_type(arrays_.groups, arithmetic)),
      scale_strides_(std::move(scale_strides)) {
  if (form == Form::table || how.mode == QuantizationMode::int8) {
    const Index rows = groups_.has_value() ? shape[0] : scales_.size();
    columns_ = form == Form::table ? shape.size() / rows : scales_.size();
  } else {
    columns_ = form == Form::reversed ? shape[1] : shape.size() / arrays_.numbers.dim(0);
  }
}

QuantizedNumbers::Place QuantizedNumbers::place_of(Index i) const noexcept {
  if (how_.mode == QuantizationMode::int8) return {i, 0, 0xFF};
  const Index row = i / columns_;
  const Index column = i % columns_;
  const bool along_rows = form_ != Form::reversed;
  const Index byte =
      along_rows ? row * ((columns_ + 1) / 2) + column / 2 : row / 2 * columns_ + column;
  const bool is_second = (along_rows ? column : row) % 2 != 0;
  return {byte, is_second ? 4U : 0U, 0xF};
}

int QuantizedNumbers::number(Index i) const noexcept {
  const Place place = place_of(i);
  const unsigned byte = arrays_.numbers.data<std::uint8_t>()[place.byte];
  const auto bits = static_cast<int>(byte >> place.shift & place.mask);
  const auto limit = static_cast<int>(place.mask / 2 + 1);
  return bits < limit ? bits : bits - 2 * limit;
}

void QuantizedNumbers::set_number(Index i, int number) noexcept {
  const Place place = place_of(i);
  std::uint8_t& byte = arrays_.numbers.data<std::uint8_t>()[place.byte];
  const unsigned kept = byte & ~(place.mask << place.shift);
  byte =
      static_cast<std::uint8_t>(kept | (static_cast<unsigned>(number) & place.mask) << place.shift);
}

Index QuantizedNumbers::scale_of(Index i) const noexcept {
  const Index row = i / columns_;
  const Index column = i % columns_;
  if (groups_.has_value()) {
    const auto group = [&](Index at) {
      return static_cast<Index>(groups_.dtype() == Dtype::f64
                                    ? groups_.data<double>()[at]
                                    : static_cast<double>(groups_.data<float>()[at]));
    };
    return form_ == Form::table ? row * scales_.dim(1) + group(column)
                                : group(row) * columns_ + column;
  }
  if (scale_strides_.empty()) return form_ == Form::table ? row : column;
  Index at = 0;
  for (int axis = shape_.rank() - 1; axis >= 0; --axis) {
    at += i % shape_[axis] * scale_strides_[static_cast<std::size_t>(axis)];
    i /= shape_[axis];
  }
  return at;
}

Tensor QuantizedNumbers::bytes() const {
  if (how_.mode == QuantizationMode::int8) return arrays_.numbers;
  Tensor made(shape_, Dtype::u8);
  for (Index i = 0; i < made.size(); ++i) {
    made.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(number(i));
  }
  return made;
}

template <class F>
F QuantizedNumbers::scaled_number(Index i) const noexcept {
  const auto q = static_cast<F>(number(i));
  const Index at = scale_of(i);
  const F scale = scales_.data<F>()[at];
  return zeros_.has_value() ? (q - zeros_.data<F>()[at]) * scale : q / scale;
}

template <class F>
void QuantizedNumbers::widen(Index first, Index count, F* to) const {
  for (Index i = 0; i < count; ++i) {
    to[i] = has_scales_ ? scaled_number<F>(first + i) : static_cast<F>(number(first + i));
  }
}

template void QuantizedNumbers::widen(Index, Index, float*) const;
template void QuantizedNumbers::widen(Index, Index, double*) const;

namespace {

constexpr double kEpsilon = 1e-7;  // Keras's
constexpr int kLeastOf4Bits = -8;
constexpr int kMostOf4Bits = 7;

/// 0 for what is no number, as a cast to whole numbers makes it.
template <class F>
F within(F least, F most, F x) {
  return std::isnan(x) ? F{0} : std::min(std::max(x, least), most);
}

/// What is no number stays, as in NumPy's.
template <class F>
F max_of(F a, F b) {
  return a < b || std::isnan(b) ? b : a;
}
template <class F>
F min_of(F a, F b) {
  return b < a || std::isnan(b) ? b : a;
}

}  // namespace

void QuantizedNumbers::round_step(Tensor& numbers) const {
  if (arrays_.scale.dtype() == Dtype::f16) ops::convert_rounded(numbers, Dtype::f16, numbers);
}

template <class F>
F QuantizedNumbers::epsilon() const {
  Tensor one({1}, kDtypeOf<F>);
  *one.data<F>() = static_cast<F>(kEpsilon);
  round_step(one);
  return *one.data<F>();
}

template <class F>
void QuantizedNumbers::fill(const F* w) {
  const bool is_int4 = how_.mode == QuantizationMode::int4;
  const F least = is_int4 ? F{kLeastOf4Bits} : F{-127};
  const F most = is_int4 ? F{kMostOf4Bits} : F{127};
  F* const scales = scales_.data<F>();
  std::fill_n(scales, scales_.size(), F{0});
  for (Index i = 0; i < shape_.size(); ++i) {
    F& greatest = scales[scale_of(i)];
    greatest = max_of(greatest, std::abs(w[i]));
  }
  const F added = epsilon<F>();
  for (Index s = 0; s < scales_.size(); ++s) scales[s] += added;
  round_step(scales_);
  for (Index s = 0; s < scales_.size(); ++s) scales[s] = most / scales[s];
  round_step(scales_);
  Tensor scaled_up(shape_, scales_.dtype());
  for (Index i = 0; i < shape_.size(); ++i) scaled_up.data<F>()[i] = w[i] * scales[scale_of(i)];
  round_step(scaled_up);
  for (Index i = 0; i < shape_.size(); ++i) {
    const F whole = std::nearbyint(scaled_up.data<F>()[i]);
    set_number(i, static_cast<int>(within(least, most, whole)));
  }
}

template <class F>
void QuantizedNumbers::fill_groups(const F* w) {
  constexpr F kLeast{kLeastOf4Bits};
  constexpr F kMost{kMostOf4Bits};
  find_ranges(w);
  F* const scales = scales_.data<F>();
  F* const zeros = zeros_.data<F>();
  for (Index s = 0; s < scales_.size(); ++s) scales[s] -= zeros[s];
  ops::convert_rounded(scales_, arrays_.scale.dtype(), scales_);
  const F added = epsilon<F>();
  for (Index s = 0; s < scales_.size(); ++s) scales[s] += added;
  round_step(scales_);
  for (Index s = 0; s < scales_.size(); ++s) scales[s] /= kMost - kLeast;
  round_step(scales_);
  for (Index s = 0; s < scales_.size(); ++s) zeros[s] = -zeros[s] / scales[s];
  round_step(zeros_);
  for (Index s = 0; s < scales_.size(); ++s) {
    zeros[s] = within(kLeast, kMost, std::nearbyint(zeros[s]) + kLeast);
  }
  Tensor scaled_up(shape_, scales_.dtype());
  for (Index i = 0; i < shape_.size(); ++i) scaled_up.data<F>()[i] = w[i] / scales[scale_of(i)];
  round_step(scaled_up);
  for (Index i = 0; i < shape_.size(); ++i) {
    const F number = std::nearbyint(scaled_up.data<F>()[i]) + zeros[scale_of(i)];
    set_number(i, static_cast<int>(within(kLeast, kMost, number)));
  }
}

template <class F>
void QuantizedNumbers::find_ranges(const F* w) {
  F* const greatest = scales_.data<F>();
  F* const smallest = zeros_.data<F>();
  std::vector<Index> counts(static_cast<std::size_t>(scales_.size()), 0);
  for (Index i = 0; i < shape_.size(); ++i) {
    const Index at = scale_of(i);
    const bool is_first = counts[static_cast<std::size_t>(at)]++ == 0;
    greatest[at] = is_first ? w[i] : max_of(greatest[at], w[i]);
    smallest[at] = is_first ? w[i] : min_of(smallest[at], w[i]);
  }
  const Index largest = *std::max_element(counts.begin(), counts.end());
  const Index whole = how_.block_size > 0 ? how_.block_size : largest;
  for (Index s = 0; s < scales_.size(); ++s) {
    // Keras fills the last group up with zeros, which may be the only one.
    if (counts[static_cast<std::size_t>(s)] >= whole) continue;
    greatest[s] = max_of(greatest[s], F{0});
    smallest[s] = min_of(smallest[s], F{0});
  }
}

std::unique_ptr<QuantizedNumbers> QuantizedNumbers::requantized(const Tensor& w) const {
  const Tensor whole = in_type(w, scales_.dtype());
  Arrays arrays = arrays_;
  arrays.numbers = Tensor::zeros(arrays.numbers.shape(), Dtype::u8);
  auto made = std::make_unique<QuantizedNumbers>(how_, shape_, form_, arrays, scales_.dtype(),
                                                 scale_strides_);
  const auto fill = [&](const auto* numbers) {
    zeros_.has_value() ? made->fill_groups(numbers) : made->fill(numbers);
  };
  whole.dtype() == Dtype::f64 ? fill(whole.data<double>()) : fill(whole.data<float>());
  made->has_scales_ = has_scales_;
  made->arrays_.scale = in_type(made->scales_, arrays_.scale.dtype());
  made->scales_ = in_type(made->arrays_.scale, scales_.dtype());
  if (!zeros_.has_value()) return made;
  made->arrays_.zero = arrays_.zero.dtype() == Dtype::u8
                           ? bytes_of(made->zeros_)
                           : in_type(made->zeros_, arrays_.zero.dtype());
  return made;
}

Tensor QuantizedNumbers::widened() const {
  Tensor made(shape_, scales_.dtype());
  if (made.dtype() == Dtype::f64) {
    widen(0, made.size(), made.data<double>());
  } else {
    widen(0, made.size(), made.data<float>());
  }
  return made;
}

Tensor QuantizedNumbers::scaled() const {
  Tensor made(shape_, scales_.dtype());
  const auto fill_all = [&](auto* to) {
    using F = std::remove_pointer_t<decltype(to)>;
    for (Index i = 0; i < made.size(); ++i) to[i] = scaled_number<F>(i);
  };
  made.dtype() == Dtype::f64 ? fill_all(made.data<double>()) : fill_all(made.data<float>());
  return made;
}

}  // namespace grouphead::nn
