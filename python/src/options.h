#pragma once

// What the functions have in common: options by keyword, layouts, and operands of four axes.

#include <nanobind/nanobind.h>

#include <string_view>
#include <vector>

#include "arrays.h"
#include "grouphead/attention.h"

namespace grouphead::python {

/// The keyword arguments of AttentionOptions, for signatures.
#define GROUPHEAD_OPTION_ARGUMENTS                                                             \
  "scale: float | None = None, causal: bool = False, causal_offset: int = 0, "                 \
  "window_left: int | None = None, window_right: int | None = None, mask: typing.Any = None, " \
  "key_mask: typing.Any = None, query_mask: typing.Any = None, bias: typing.Any = None, "      \
  "softcap: float | None = None, alibi_slopes: typing.Any = None, sinks: typing.Any = None, "  \
  "lengths: typing.Any = None, segments: typing.Any = None, key_segments: typing.Any = None, " \
  "masked_rows: str = \"zeros\", dropout_rate: float = 0.0, draw: int | tuple[int, int] = 0"

/// AttentionOptions of keyword arguments by its names, with the arrays they point into. Masks and
/// biases of fewer than four axes get axes of 1 in front, as NumPy broadcasts.
class Options {
 public:
  /// Lists of numbers for the heads become arrays that go with queries of this type.
  /// Errors: TypeError for other names and types, and what Array::read() says.
  Options(std::string_view operation, const nb::kwargs& arguments, Dtype queries);
  /// As the caller gave it, without axes in front.
  const Shape& bias_shape() const noexcept { return bias_shape_; }
  const AttentionOptions& operator*() const noexcept { return options_; }
  const AttentionOptions* operator->() const noexcept { return &options_; }

 private:
  AttentionOptions options_;
  std::vector<Array> arrays_;
  Shape bias_shape_;
};

/// A mask or bias [..., T, S] as [B, Hq, T, S].
ConstView as_grid(ConstView x);

enum class Layout { bthd, bhtd };
/// Errors: ConfigError unless `BTHD` or `BHTD`.
Layout layout_of(std::string_view operation, std::string_view name);

/// Queries, keys, values and what has their form: a view [B, T, H, D] with a contiguous last axis.
/// Without a copy where the caller's has one.
class Heads {
 public:
  /// Errors: ShapeError unless of four axes, and what Array::read() says; None is a TypeError.
  static Heads read(nb::handle object, Place place, Layout layout);
  static Heads of(Array array, Place place, Layout layout);
  /// Queries. Errors: as read(), and TypeError unless f32, f64 or bf16.
  static Heads read_floating(nb::handle object, Place place, Layout layout);
  const ConstView& operator*() const noexcept { return view_; }
  const ConstView* operator->() const noexcept { return &view_; }

 private:
  Heads() = default;

  Array array_;
  Tensor copy_;
  ConstView view_;
};

/// [B, T, Hq, Dv]
inline Shape result_shape(ConstView q, ConstView v) {
  return {q.dim(0), q.dim(1), q.dim(2), v.dim(3)};
}

/// A result [B, T, H, D]: the caller's array, or a new one of the kind of `like`.
class HeadsResult {
 public:
  /// `into` None: new. Errors: what Array::write() says; its shape is checked by the operation.
  HeadsResult(nb::handle into, Place place, Layout layout, nb::handle like, const Shape& shape,
              Dtype dtype);
  /// Errors: ShapeError where the caller's array shares memory with `operand`.
  void require_apart(Place place, ConstView operand) const;
  View view() const noexcept { return view_; }
  nb::object take();

 private:
  nb::object given_;
  Array array_;
  std::unique_ptr<NewArray> made_;
  View view_;
};

}  // namespace grouphead::python
