#include "core/check.h"

namespace grouphead::core {
namespace {

std::string message(std::string_view operation, std::string_view operand, std::string_view expected,
                    std::string_view got) {
  std::string text;
  text.append("[").append(operation).append("] ").append(operand);
  text.append(": expected ").append(expected).append(", got ").append(got);
  return text;
}

std::string pattern(std::span<const Index> expected) {
  std::string text = "[";
  for (const Index size : expected) {
    if (text.size() > 1) text += ", ";
    text += size < 0 ? "*" : std::to_string(size);
  }
  return text + "]";
}

}  // namespace

void throw_shape_error(std::string_view operation, std::string_view operand,
                       std::string_view expected, std::string_view got) {
  throw ShapeError(message(operation, operand, expected, got));
}

void throw_config_error(std::string_view operation, std::string_view option,
                        std::string_view expected, std::string_view got) {
  throw ConfigError(message(operation, option, expected, got));
}

void require_positive(std::string_view operation, std::string_view option, Index value) {
  if (value < 1) throw_config_error(operation, option, "1 or more", std::to_string(value));
}

void require_shape(std::string_view operation, std::string_view operand, const Shape& shape,
                   std::initializer_list<Index> expected) {
  require_shape(operation, operand, shape, std::span(expected.begin(), expected.size()));
}

void require_shape(std::string_view operation, std::string_view operand, const Shape& shape,
                   std::span<const Index> expected) {
  bool fits = shape.rank() == static_cast<int>(expected.size());
  int axis = 0;
  for (const Index size : expected) {
    if (!fits) break;
    fits = size < 0 || shape[axis] == size;
    ++axis;
  }
  if (!fits) throw_shape_error(operation, operand, pattern(expected), shape.to_string());
}

void require_shape(std::string_view operation, std::string_view operand, const ConstView& view,
                   std::initializer_list<Index> expected) {
  if (!view.has_value()) {
    throw_shape_error(operation, operand, pattern({expected.begin(), expected.size()}), "nothing");
  }
  require_shape(operation, operand, view.shape(), expected);
}

void require_dtype(std::string_view operation, std::string_view operand, const ConstView& view,
                   Dtype expected) {
  if (view.dtype() != expected) {
    throw_shape_error(operation, operand, name_of(expected), name_of(view.dtype()));
  }
}

void require_contiguous(std::string_view operation, std::string_view operand,
                        const ConstView& view) {
  if (!view.is_contiguous()) {
    throw_shape_error(operation, operand, "contiguous elements", "a strided view");
  }
}

void require_dense(std::string_view operation, std::string_view operand, const ConstView& view,
                   std::initializer_list<Index> expected, Dtype dtype) {
  require_shape(operation, operand, view, expected);
  require_dtype(operation, operand, view, dtype);
  require_contiguous(operation, operand, view);
}

}  // namespace grouphead::core
