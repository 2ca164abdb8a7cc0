#pragma once

#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "grouphead/models/symbol.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// An operand of an operation: a symbol, a tensor of fixed numbers, or a number.
class Term {
 public:
  Term(Symbol symbol) : operand_(std::move(symbol)) {}      // NOLINT(google-explicit-constructor)
  Term(const Outputs& one) : operand_(one) {}               // NOLINT(google-explicit-constructor)
  Term(Tensor constant) : operand_(std::move(constant)) {}  // NOLINT(google-explicit-constructor)
  template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
  Term(T number) : number_(literal(number)) {}  // NOLINT(google-explicit-constructor)

  const Operand& operand() const noexcept { return operand_; }    ///< absent for a number
  const ConfigValue& number() const noexcept { return number_; }  ///< null for the others

 private:
  template <class T>
  static ConfigValue literal(T number) {
    if constexpr (std::is_same_v<T, bool>) return number;
    if constexpr (std::is_integral_v<T>) return static_cast<Index>(number);
    return static_cast<double>(number);
  }

  Operand operand_;
  ConfigValue number_;
};

/// What one of Keras's operations makes of these operands, by its class:
/// `operation("NotEqual", {ids, 0})`, `operation("Sum", {x}, {{"axis", 1}})`. In a file it stands
/// as Keras writes it. Errors: ConfigError for an operation that this library does not have;
/// ShapeError. Source: keras.ops.
Symbol operation(std::string_view class_name, const std::vector<Term>& operands,
                 const ConfigValue::Object& options = {});

inline Symbol operator+(const Symbol& a, const Term& b) { return operation("Add", {a, b}); }
inline Symbol operator-(const Symbol& a, const Term& b) { return operation("Subtract", {a, b}); }
inline Symbol operator*(const Symbol& a, const Term& b) { return operation("Multiply", {a, b}); }
inline Symbol operator/(const Symbol& a, const Term& b) { return operation("TrueDivide", {a, b}); }
inline Symbol operator-(const Symbol& a) { return operation("Negative", {a}); }

template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
Symbol operator+(T a, const Symbol& b) {
  return operation("Add", {a, b});
}
template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
Symbol operator-(T a, const Symbol& b) {
  return operation("Subtract", {a, b});
}
template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
Symbol operator*(T a, const Symbol& b) {
  return operation("Multiply", {a, b});
}
template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
Symbol operator/(T a, const Symbol& b) {
  return operation("TrueDivide", {a, b});
}

}  // namespace grouphead
#pragma GCC visibility pop
