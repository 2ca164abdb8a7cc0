#pragma once

// A kernel or table in 4 or 8 bits, as Keras's quantize() makes it.

#include <memory>
#include <optional>
#include <vector>

#include "grouphead/layers/quantization.h"

namespace grouphead::nn {

/// Numbers q of a parameter w = q / scale, or in groups w = (q - zero) scale. Never changes.
/// Source: keras.layers.Dense, EinsumDense, Embedding and ReversibleEmbedding, as quantized.
class QuantizedNumbers {
 public:
  /// As Keras's variables are: bytes as u8, whose bits are int8.
  struct Arrays {
    Tensor numbers;   ///< u8; two of 4 bits in a byte, the first one in its low bits
    Tensor scale;     ///< floating point
    Tensor zero{};    ///< with groups alone: u8 (int8) or floating point
    Tensor groups{};  ///< floating point: the group of each row, or column of a table
  };
  /// Where scales belong.
  enum class Form : std::uint8_t {
    kernel,    ///< as a matrix, a scale for each column; pairs of 4 bits lie along its rows
    table,     ///< a scale for each row
    reversed,  ///< as `kernel`, with pairs of 4 bits along its columns
  };

  /// `shape` is the parameter's, `arithmetic` the type that its layer computes in. Sizes, and that
  /// there are the groups, are checked before: saved/keras_quantized.h.
  /// `scale_strides`: of a kernel in 8 bits whose scales do not belong to its last axes in their
  /// order, the distance in `scale` along each axis, 0 for those that share one.
  QuantizedNumbers(const Quantization& how, const Shape& shape, Form form, Arrays arrays,
                   Dtype arithmetic, std::vector<Index> scale_strides = {});

  /// From here on q stands in the place of w, and inputs are not rounded: what Keras computes where
  /// it calls a quantized layer as if it were none, in TimeDistributed.
  void leave_out_scales() noexcept { has_scales_ = false; }
  bool has_scales() const noexcept { return has_scales_; }

  const Quantization& how() const noexcept { return how_; }
  const Shape& shape() const noexcept { return shape_; }
  const Arrays& arrays() const noexcept { return arrays_; }
  Form form() const noexcept { return form_; }

  /// Whether w = q / scale with a scale for each column of the kernel as a matrix, or for each row
  /// of a table.
  bool has_plain_scales() const noexcept {
    return !arrays_.groups.has_value() && scale_strides_.empty();
  }
  /// The scales in the arithmetic type.
  const Tensor& scales() const noexcept { return scales_; }
  /// q [shape], u8 whose bits are int8: those that are stored, or unpacked.
  Tensor bytes() const;
  /// to[i] = w[first + i], of the numbers in row-major order; q where scales are left out. F is
  /// float or double, the arithmetic type.
  template <class F>
  void widen(Index first, Index count, F* to) const;
  Tensor widened() const;
  /// w [shape], with the scales in any case.
  Tensor scaled() const;
  /// Other numbers w [shape], floating point, in the same form. Source:
  /// keras.quantizers.abs_max_quantize, abs_max_quantize_grouped_with_zero_point.
  std::unique_ptr<QuantizedNumbers> requantized(const Tensor& w) const;

 private:
  /// Where a number's bits are.
  struct Place {
    Index byte;
    unsigned shift;
    unsigned mask;
  };
  Place place_of(Index i) const noexcept;
  int number(Index i) const noexcept;
  void set_number(Index i, int number) noexcept;
  Index scale_of(Index i) const noexcept;
  template <class F>
  F scaled_number(Index i) const noexcept;
  template <class F>
  void fill(const F* w);
  template <class F>
  void fill_groups(const F* w);
  /// The greatest and the least number of each group, in the places of its scale and zero.
  template <class F>
  void find_ranges(const F* w);
  /// After each step of parameters of float16, as NumPy computes them. Those of bfloat16 are of
  /// float32 there, but for a difference of two.
  void round_step(Tensor& numbers) const;
  template <class F>
  F epsilon() const;

  Quantization how_;
  Shape shape_;
  Form form_;
  Arrays arrays_;
  Tensor scales_, zeros_, groups_;  // in the arithmetic type
  std::vector<Index> scale_strides_;
  bool has_scales_ = true;
  Index columns_ = 1;  // of the kernel or table as a matrix
};

}  // namespace grouphead::nn
